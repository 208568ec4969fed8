"""Measures on shapes whose area, diameters and distances are known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from metamedica.applications.segmentation import measures
from metamedica.errors import InputError

SPACING = (2.0, 0.5, 0.7)


def _ball(centre: tuple[float, float, float], radius: float, shape: tuple[int, int, int]) -> np.ndarray:
    at = np.stack(np.meshgrid(*(np.arange(n) * s for n, s in zip(shape, SPACING, strict=True)), indexing="ij"), -1)
    return ((at - np.asarray(centre)) ** 2).sum(-1) <= radius**2


def test_a_box_of_voxels_has_the_area_volume_and_diameter_of_the_box() -> None:
    box = np.zeros((4, 9, 9), dtype=bool)
    box[1:3, 2:6, 3:8] = True
    assert measures.volume_ml(box, spacing=SPACING) == pytest.approx(2 * 2 * 4 * 0.5 * 5 * 0.7 / 1000)
    assert measures.area_mm2(box[1], spacing=(0.5, 0.7)) == pytest.approx(4 * 0.5 * 5 * 0.7)
    assert measures.longest_diameter(box, spacing=SPACING) == pytest.approx(np.hypot(np.hypot(4, 2), 3.5))


def test_a_row_of_pixels_is_as_long_as_its_pixels() -> None:
    row = np.zeros((5, 9), dtype=bool)
    row[2, 1:8] = True
    found = measures.diameters(row, spacing=(1.0, 1.0))
    assert found.longest == pytest.approx(np.hypot(7, 1))
    assert measures.longest_diameter(np.zeros((3, 3), dtype=bool), spacing=(1.0, 1.0)) == 0


def test_an_ellipse_has_its_axes_as_diameters_however_it_lies() -> None:
    down, right = np.mgrid[:200, :200]
    for angle in (0.0, 0.4, 1.2):
        along = (right - 100) * np.cos(angle) + (down - 100) * np.sin(angle)
        across = (down - 100) * np.cos(angle) - (right - 100) * np.sin(angle)
        found = measures.diameters((along / 60) ** 2 + (across / 25) ** 2 <= 1, spacing=(0.5, 0.5))
        assert found.longest == pytest.approx(60, abs=1)
        assert found.short_axis == pytest.approx(25, abs=1.5)


def test_the_widest_slice_is_that_of_the_ball_s_middle() -> None:
    ball = _ball((20, 12, 14), 8, (21, 50, 41))
    at, found = measures.widest_slice(ball, spacing=SPACING)
    assert at == 10
    assert found.longest == pytest.approx(16, abs=1)
    with pytest.raises(InputError, match="empty mask"):
        measures.widest_slice(np.zeros((2, 2, 2), dtype=bool), spacing=SPACING)


def test_the_margin_of_two_balls_is_the_gap_between_them_under_unequal_spacing() -> None:
    first = _ball((14, 10, 14), 5, (30, 40, 50))
    for centre, gap in (((34.0, 10.0, 14.0), 20 - 9), ((14.0, 10.0, 30.0), 16 - 9)):
        found = measures.margin(first, _ball(centre, 4, (30, 40, 50)), spacing=SPACING)
        assert found == pytest.approx(gap, abs=2.0)
        points = [np.argwhere(m) * SPACING for m in (first, _ball(centre, 4, (30, 40, 50)))]
        assert found == pytest.approx(cKDTree(points[0]).query(points[1])[0].min(), abs=1e-9)
    assert measures.margin(first, first, spacing=SPACING) == 0


@given(st.integers(0, 2**32 - 1), st.tuples(*[st.floats(0.2, 5.0)] * 3))
def test_margins_and_surface_distances_agree_with_all_pairs_of_voxels(
    seed: int, spacing: tuple[float, float, float]
) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.random((2, 4, 5, 6)) < 0.2
    first[0, 0, 0], second[-1, -1, -1] = True, True
    second &= ~first
    points = [np.argwhere(m) * spacing for m in (first, second)]
    gaps = np.sqrt(((points[0][:, None] - points[1][None]) ** 2).sum(-1))
    assert measures.margin(first, second, spacing=spacing) == pytest.approx(gaps.min())
    # scattered voxels: nearly each is a surface, and the greatest distance is that of the sets
    found = measures.surface_distances(first, second, spacing=spacing)
    assert 0 < found.mean <= found.hausdorff
    assert found.hausdorff95 <= found.hausdorff
    back = measures.surface_distances(second, first, spacing=spacing)
    assert (back.hausdorff95, back.hausdorff) == (found.hausdorff95, found.hausdorff)
    assert back.mean == pytest.approx(found.mean)


def test_a_mask_moved_by_two_voxels_lies_two_voxels_away() -> None:
    square = np.zeros((30, 30), dtype=bool)
    square[5:15, 5:15] = True
    found = measures.surface_distances(square, np.roll(square, 2, axis=1), spacing=(1.0, 1.5))
    assert found.hausdorff == pytest.approx(3.0)
    same = measures.surface_distances(square, square, spacing=(1.0, 1.5))
    assert (same.mean, same.hausdorff95, same.hausdorff) == (0, 0, 0)


def test_the_largest_part_leaves_specks_out_and_joins_corners() -> None:
    mask = np.zeros((9, 9), dtype=bool)
    mask[0, 8] = True
    mask[3:5, 3:5], mask[5, 5] = True, True
    found = measures.largest_part(mask)
    assert found.sum() == 5
    assert not found[0, 8]
    assert (measures.largest_part(found) == found).all()


def test_dice_is_twice_the_overlap_over_both_sizes() -> None:
    first, second = np.array([True, True, False, False]), np.array([True, False, True, True])
    assert measures.dice(first, second) == pytest.approx(2 / 5)
    assert measures.dice(first & False, first & False) == 1


def test_what_cannot_be_measured_is_refused() -> None:
    mask = np.ones((3, 3), dtype=bool)
    with pytest.raises(InputError, match="2 axes and 3 spacings"):
        measures.longest_diameter(mask, spacing=(1.0, 1.0, 1.0))
    with pytest.raises(InputError, match="give positive numbers of mm"):
        measures.area_mm2(mask, spacing=(1.0, 0.0))
    with pytest.raises(InputError, match="3 x 3 and 2 x 3"):
        measures.dice(mask, mask[:2])
    with pytest.raises(InputError, match="empty mask"):
        measures.margin(mask, ~mask, spacing=(1.0, 1.0))
    with pytest.raises(InputError, match="empty mask"):
        measures.surface_distances(mask, ~mask, spacing=(1.0, 1.0))
