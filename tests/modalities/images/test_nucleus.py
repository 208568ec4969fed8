"""What is dark and darkest, on cells that were drawn."""

import numpy as np
import pytest

from metamedica.modalities.images.nucleus import SIZE, nuclei

pytest.importorskip("skimage")


def _cell(lobes: list[tuple[int, int]], *, radius: int = 5, side: int = 64) -> np.ndarray:
    """A pale disc of radius 20 with dark lobes."""
    square = np.full((side, side, 3), 235, np.uint8)
    row, column = np.indices((side, side))
    square[(row - 32) ** 2 + (column - 32) ** 2 <= 20**2] = (200, 150, 190)
    for y, x in lobes:
        square[(row - y) ** 2 + (column - x) ** 2 <= radius**2] = (70, 30, 120)
    return square


def test_the_share_of_cytoplasm_and_nucleus_is_that_of_the_drawing() -> None:
    (found,) = nuclei(_cell([(32, 32)], radius=9)[None])
    assert found[0] == pytest.approx(np.pi * 400 / 64**2, rel=0.03)
    assert found[8] == pytest.approx(np.pi * 81 / 64**2, rel=0.05)


def test_lobes_are_counted() -> None:
    one, three = nuclei(np.stack([_cell([(32, 32)]), _cell([(25, 25), (25, 40), (40, 32)])]))
    assert one[9] == pytest.approx(1)
    assert three[9] == pytest.approx(3**0.5)
    assert three[8 + 5] == pytest.approx(1 / 3, rel=0.05)


def test_a_disc_is_round_and_its_colour_is_the_mean() -> None:
    (found,) = nuclei(_cell([(32, 32)], radius=9)[None])
    assert found[8 + 2] > 0.9
    assert found[8 + 3] < 0.2
    darker, darkest = found[16:19], found[19:22]
    assert darker[0] > darkest[0] + 20  # lightness


def test_a_turn_changes_nothing() -> None:
    cell = _cell([(25, 25), (40, 32)])
    one, other = nuclei(np.stack([cell, np.rot90(cell)]))
    np.testing.assert_allclose(one, other, atol=0.02)


@pytest.mark.parametrize("other", [None, 10], ids=["one grey", "two greys"])
def test_an_image_on_which_nothing_stands_out_gives_zeros(other: int | None) -> None:
    square = np.full((1, 64, 64, 3), 90, np.uint8)
    if other is not None:
        square[0, 10:20, 10:20] = other
    assert (nuclei(square) == np.zeros((1, SIZE))).all()
