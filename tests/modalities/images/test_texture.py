"""Waves in zones: means and spreads of the scattering coefficients, by hand."""

import numpy as np
import torch

from metamedica.modalities.images.texture import SIZE, ZONES_SIZE, in_zones, textures


def test_the_first_zone_is_the_mean_of_the_image_and_the_last_part_its_spread() -> None:
    texture = torch.randn(2, 217, 8, 8)
    found = in_zones(texture).reshape(2, 5, 217)
    torch.testing.assert_close(found[:, 0], texture.mean((2, 3)))
    torch.testing.assert_close(found[:, 4], texture.flatten(2).std(2, correction=0))


def test_zones_are_rings_that_cover_the_image_once() -> None:
    ones = torch.zeros(64, 217, 8, 8)
    for place in range(64):
        ones[place, 0].view(-1)[place] = 1.0
    shares = in_zones(ones).reshape(64, 5, 217)[:, 1:4, 0]
    assert ((shares > 0).sum(1) == 1).all()
    torch.testing.assert_close(shares.sum(0), torch.ones(3))


def test_images_of_another_side_are_brought_to_one() -> None:
    large = np.random.default_rng(0).integers(0, 255, (1, 96, 96, 3), dtype=np.uint8)
    found = textures(large)
    assert found.flatten(1).shape == (1, SIZE)
    assert in_zones(found).shape == (1, ZONES_SIZE)
    assert textures(np.zeros((0, 64, 64, 3), np.uint8)).shape == (0, 217, 8, 8)
