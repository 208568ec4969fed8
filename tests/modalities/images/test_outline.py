"""The object in the middle: drawn discs and ellipses have the sizes and shapes that they were drawn with, whichever way they are turned."""

import numpy as np
import pytest
from skimage.draw import disk, ellipse
from skimage.transform import rotate

from metamedica.modalities.images.outline import _SPREADS, HARMONICS, SIZE, outlines

SIDE = 64


def _drawn(mask: np.ndarray, *, level: int = 90) -> np.ndarray:
    grey = np.where(mask, level, 220).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def _disc(radius: float, *, centre: tuple[float, float] = (31.5, 31.5)) -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[disk(centre, radius, shape=mask.shape)] = True
    return mask


def _ellipse(long: float, short: float, degrees: float = 0.0) -> np.ndarray:
    mask = np.zeros((SIDE, SIDE))
    mask[ellipse(31.5, 31.5, short, long)] = 1
    return rotate(mask, degrees) > 0.5


def _raw(mask: np.ndarray, **changes: int) -> np.ndarray:
    (found,) = outlines(_drawn(mask, **changes)[None])
    return found * _SPREADS


@pytest.mark.parametrize("radius", [8.0, 14.0, 20.0])
def test_a_disc_has_its_area_and_is_round(radius: float) -> None:
    found = _raw(_disc(radius))
    assert found[0] == pytest.approx(np.sqrt(np.pi) * radius / SIDE, rel=0.05)
    assert found[3] < 0.3  # eccentricity
    assert found[4] > 0.95  # solidity
    assert found[7] > 0.95  # ratio of the axes
    assert found[10] == 0  # the border is not touched


def test_an_ellipse_has_the_ratio_of_its_axes() -> None:
    found = _raw(_ellipse(22, 11))
    assert found[7] == pytest.approx(0.5, abs=0.04)
    assert found[3] == pytest.approx(np.sqrt(1 - 0.25), abs=0.03)


def test_a_turn_changes_little_of_the_outline_and_the_rings() -> None:
    ways = np.stack([_drawn(_ellipse(20, 10, degrees)) for degrees in (0, 25, 90, 160)])
    found = outlines(ways)
    kept = np.r_[0:5, 6:10, 11:13, 23:46]  # the extent depends on the axes of the image, high harmonics on its pixels
    assert np.abs(found[:, kept] - found[0, kept]).max() < 0.6
    round_one = outlines(_drawn(_disc(14))[None])[0]
    assert np.abs(found[0, kept] - round_one[kept]).max() > 2


def test_a_darker_object_is_said_to_be_darker() -> None:
    light, dark = _raw(_disc(14), level=150), _raw(_disc(14), level=60)
    assert dark[8] > light[8] + 0.3
    np.testing.assert_allclose(dark[:8], light[:8], atol=0.05)


def test_the_object_in_the_middle_counts_and_not_a_larger_one_at_the_border() -> None:
    both = _disc(10) | _disc(18, centre=(0.0, 0.0))
    np.testing.assert_allclose(_raw(both)[:8], _raw(_disc(10))[:8], atol=0.05)


def test_a_star_has_harmonics_that_a_disc_has_not() -> None:
    y, x = np.mgrid[:SIDE, :SIDE] - 31.5
    star = np.hypot(x, y) < 14 * (1 + 0.3 * np.cos(5 * np.arctan2(y, x)))
    found, plain = _raw(star), _raw(_disc(14))
    harmonics = found[11 : 11 + HARMONICS]
    assert int(harmonics.argmax()) == 4  # the fifth
    assert harmonics[4] > plain[15] + 2


def test_nothing_that_stands_out_gives_noughts_and_every_number_is_finite() -> None:
    plain = np.full((1, SIDE, SIDE, 3), 128, np.uint8)
    np.testing.assert_array_equal(outlines(plain), np.zeros((1, SIZE), np.float32))
    noise = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    assert np.isfinite(outlines(noise)).all()
    assert outlines(noise[:0]).shape == (0, SIZE)
