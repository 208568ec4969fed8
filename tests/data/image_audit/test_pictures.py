"""What the audit keeps of an image: area means, borders, hashes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from metamedica.data.image_audit.pictures import borders, gathered, look, thumbnail, unit_thumbnails
from metamedica.errors import InputError


def test_a_thumbnail_is_the_mean_of_whole_blocks_where_sides_divide() -> None:
    grey = np.random.default_rng(0).random((64, 96))
    expected = grey.reshape(32, 2, 32, 3).mean((1, 3))
    np.testing.assert_allclose(thumbnail(grey), expected, rtol=1e-6)


@settings(max_examples=40, deadline=None)
@given(arrays.arrays(np.float64, st.tuples(st.integers(1, 50), st.integers(1, 50)), elements=st.floats(0, 1)))
def test_a_thumbnail_keeps_the_mean_and_the_range_of_an_image(grey: np.ndarray) -> None:
    made = thumbnail(grey)
    assert made.shape == (32, 32)
    np.testing.assert_allclose(made.mean(), grey.mean(), atol=1e-5)
    assert grey.min() - 1e-6 <= made.min()
    assert made.max() <= grey.max() + 1e-6


def test_the_borders_of_a_framed_picture_are_measured() -> None:
    grey = np.full((40, 60), 0.5)
    grey[4:-8, 6:] = np.random.default_rng(0).random((28, 54))
    found = borders(grey)
    assert (found["padding_top"], found["padding_bottom"]) == (0.1, 0.2)
    assert (found["padding_left"], found["padding_right"]) == (0.1, 0.0)
    assert (found["corner_top_left"], found["corner_bottom_left"]) == (0.5, 0.5)
    assert borders(np.zeros((5, 5)))["padding_top"] == 1.0


def test_equal_pixels_have_one_hash_and_depth_and_shape_count() -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    same = {look(pixels).sha256, look(pixels.copy(order="F")).sha256}
    others = {look(pixels.astype(np.uint16)).sha256, look(pixels.reshape(4, 3)).sha256}
    assert len(same) == 1
    assert len(same | others) == 3


def test_the_same_picture_in_eight_and_sixteen_bits_and_in_colour_has_one_thumbnail() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40), dtype=np.uint8)
    deep, colour = pixels.astype(np.uint16) * 257, np.repeat(pixels[..., None], 3, axis=2)
    for other in (deep, colour):
        np.testing.assert_allclose(look(other).thumbnail, look(pixels).thumbnail, atol=1e-6)


def test_products_of_unit_thumbnails_are_correlations_and_blank_ones_are_told() -> None:
    thumbnails = np.random.default_rng(0).random((3, 32, 32), dtype=np.float32)
    thumbnails[2] = 0.25
    units, blank = unit_thumbnails(thumbnails)
    np.testing.assert_allclose(
        units[0] @ units[1], np.corrcoef(thumbnails[0].ravel(), thumbnails[1].ravel())[0, 1], atol=1e-6
    )
    assert blank.tolist() == [False, False, True]
    assert not units[2].any()


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 4)),
        np.zeros((4, 4, 4), dtype=np.uint8),
        np.zeros((0, 4), dtype=np.uint8),
        np.zeros((4, 4), dtype=int),
    ],
)
def test_what_is_no_image_of_unsigned_integers_is_refused(pixels: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"got an image of shape .*; give unsigned integers"):
        look(pixels)


def test_a_set_with_other_numbers_of_labels_or_facts_is_refused() -> None:
    one = look(np.zeros((4, 4), dtype=np.uint8))
    with pytest.raises(InputError, match="got 2 images and 1 labels; give one for each image"):
        gathered([one, one], ["a"])
    with pytest.raises(InputError, match="got 2 images and 1 facts; give one row for each image"):
        gathered([one, one], ["a", "b"], facts=[{"bytes": 3}])
    with pytest.raises(InputError, match="got no image; give at least one"):
        gathered([], [])
