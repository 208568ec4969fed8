"""Scales of the blocks: the rule by hand, and the file against what the modality makes."""

import numpy as np
import torch

from metamedica.modalities.images import Images
from metamedica.modalities.images.encoding import BY_SPREAD, OF_PLACES, OF_THE_MIDDLE, SCALES
from metamedica.modalities.images.spreads import LEAST, spread_of, spreads


def test_a_spread_is_the_root_of_the_mean_variance_where_a_number_varies() -> None:
    one = torch.tensor([[0.0, 0.0, 0.0], [2.0, 0.0, 0.01]])  # variances 2, 0, 5e-5
    other = torch.tensor([[0.0, 0.0, 0.0], [4.0, 2.0, 0.01]])  # variances 8, 2, 5e-5
    found = spread_of([one, other])
    torch.testing.assert_close(found, torch.tensor([5**0.5, 2**0.5, LEAST * 2**0.5]))


def test_the_file_has_a_spread_for_every_number_of_its_blocks() -> None:
    random = np.random.default_rng(0)
    made = Images().prepare([random.integers(0, 255, (64, 64, 3), dtype=np.uint8)]).features
    held = spreads()
    assert set(held) == set(BY_SPREAD)
    assert {name: len(held[name]) for name in held} == {name: made[name].shape[1] for name in BY_SPREAD}
    assert all((values > 0).all() for values in held.values())


def test_every_block_has_a_scale_and_a_kernel() -> None:
    blocks = set(Images().rich_encoder().blocks)  # type: ignore[attr-defined]
    assert blocks == set(OF_THE_MIDDLE) | set(OF_PLACES)
    assert blocks | {"network"} == set(BY_SPREAD) | set(SCALES)
