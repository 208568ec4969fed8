"""Parts that look alike: a patch is found again where it was pasted."""

import numpy as np
import pytest
import torch

from metamedica import registry
from metamedica.errors import InputError
from metamedica.modalities.images.likeness import alike
from metamedica.modalities.images.network import Network


def _network() -> Network:
    settings = {"layers": 10, "width": 8, "groups": 2}
    torch.manual_seed(0)
    made = registry.encoder_class("resnet")((3, 64, 64), **settings)
    return Network("resnet", settings, 64, dict(made.state_dict()), torch.zeros(64), torch.ones(64), {})


def test_an_image_among_the_labelled_ones_is_most_like_itself_place_by_place() -> None:
    squares = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    for number, found in enumerate(alike(_network(), squares[1:3], squares, top=5), 1):
        assert len({each.here for each in found}) == 5
        for each in found:
            assert each.image == number
            assert each.likeness == pytest.approx(1, abs=1e-4)
        likeness = [each.likeness for each in found]
        assert likeness == sorted(likeness, reverse=True)


def test_without_a_labelled_image_or_a_network_of_places_it_is_refused() -> None:
    squares = np.zeros((1, 64, 64, 3), np.uint8)
    with pytest.raises(InputError, match="there is no labelled image to compare with"):
        alike(_network(), squares, squares[:0])
