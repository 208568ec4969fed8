"""What no rotation changes, against scikit-image, by hand, and under turns."""

import numpy as np
import pytest
import torch
from numpy.random import default_rng

from metamedica.modalities.images.invariants import (
    COLOURS,
    LEVELS,
    PATTERNS,
    _codes,
    colours,
    levels,
    patterns,
)

feature = pytest.importorskip("skimage.feature")


def _grey(n: int = 3, side: int = 64, seed: int = 0) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    random = default_rng(seed).normal(size=(n, side, side))
    smooth = gaussian_filter(random, (0, 1.5, 1.5))
    return np.clip(128 + 90 * smooth / smooth.std(), 0, 255).astype(np.uint8)


def _square(n: int = 3, side: int = 64) -> np.ndarray:
    return np.stack([_grey(n, side, seed) for seed in range(3)], axis=-1)


@pytest.mark.parametrize(("points", "radius"), [(8, 1.0), (16, 2.0), (24, 4.0), (24, 7.0)])
def test_patterns_are_those_of_scikit_image_away_from_the_border(points: int, radius: float) -> None:
    grey = _grey()
    found = _codes(torch.from_numpy(grey).float(), points, radius).numpy()
    want = np.stack([feature.local_binary_pattern(each, points, radius, "uniform") for each in grey])
    inner = slice(int(radius) + 2, -int(radius) - 2)
    same = found[:, inner, inner] == want[:, inner, inner]
    assert same.mean() > 0.998  # interpolation of equal greys rounds the other way there


def test_a_flat_image_has_every_point_of_a_circle_as_light_as_its_centre() -> None:
    found = patterns(np.full((1, 64, 64), 77, np.uint8))[0]
    at = 0
    for points in (8, 16, 24, 24):
        zones = found[at : at + 3 * (points + 2)].reshape(3, points + 2)
        np.testing.assert_array_equal(zones[:, points], 1.0)
        assert zones.sum() == 3
        at += 3 * (points + 2)
    assert at == PATTERNS


@pytest.mark.parametrize("side", [64, 80])
def test_a_quarter_turn_changes_nothing(side: int) -> None:
    squares, grey = _square(side=side), _grey(side=side)
    turned, turned_grey = np.rot90(squares, axes=(1, 2)), np.rot90(grey, axes=(1, 2))
    np.testing.assert_allclose(colours(turned), colours(squares), atol=1e-3)
    np.testing.assert_allclose(levels(turned_grey), levels(grey), atol=0.05)
    np.testing.assert_allclose(patterns(np.ascontiguousarray(turned_grey)), patterns(grey), atol=0.05)


def test_squares_of_levels_are_shares() -> None:
    found = levels(_grey())
    assert found.shape == (3, LEVELS)
    np.testing.assert_allclose((found[:, :32] ** 2).sum(1), 1, atol=1e-6)
    np.testing.assert_allclose((found[:, 32:] ** 2).sum(1), 1, atol=1e-6)


def test_grey_levels_are_counted_as_numpy_counts_them() -> None:
    grey = _grey(1)
    want = np.histogram(grey, 32, (0, 256))[0] / grey.size
    np.testing.assert_allclose(levels(grey)[0, :32] ** 2, want, atol=1e-6)


def test_a_red_middle_is_told_in_the_inner_rings_alone() -> None:
    square = np.full((1, 64, 64, 3), 200, np.uint8)
    square[0, 28:36, 28:36] = (200, 0, 0)
    found = colours(square)[0]
    rings = found[:30].reshape(5, 2, 3)
    assert rings[0, 0, 1] > 15  # a*, towards red
    np.testing.assert_allclose(rings[1:, 0, 1], rings[4, 0, 1], atol=1e-3)
    assert found.shape == (COLOURS,)


def test_no_image_gives_no_row() -> None:
    assert colours(np.zeros((0, 64, 64, 3), np.uint8)).shape == (0, COLOURS)
    assert levels(np.zeros((0, 64, 64), np.uint8)).shape == (0, LEVELS)
    assert patterns(np.zeros((0, 64, 64), np.uint8)).shape == (0, PATTERNS)


def test_many_images_are_told_as_one_by_one() -> None:
    squares, grey = _square(40), _grey(40)
    for whole, one in ((colours(squares), colours(squares[35:36])), (levels(grey), levels(grey[35:36]))):
        np.testing.assert_allclose(whole[35], one[0], atol=1e-6)
    np.testing.assert_allclose(patterns(grey)[35], patterns(grey[35:36])[0], atol=1e-6)
