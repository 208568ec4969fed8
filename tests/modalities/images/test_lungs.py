"""Lungs: known volumes of a generated chest, a real CT against its lobes, and bodies without a lung."""

import os
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from chest_phantom import ball, chest, millilitres, places

from metamedica.errors import CaseError, InputError
from metamedica.modalities.images.lung_refinement import dice
from metamedica.modalities.images.lungs import Lungs, find_lungs, lungs_of_slice, lungs_of_window
from metamedica.modalities.images.nifti import read_nifti
from metamedica.modalities.images.volumes import Volume, oriented
from metamedica.modalities.images.windows import windowed

HEAD_SHAPE, HEAD_SPACING = (40, 50, 45), (4.0, 4.5, 4.5)


@cache
def plain() -> tuple[Volume, dict[str, np.ndarray], Lungs]:
    """Return the plain phantom, its true lungs, and those that are found."""
    volume, truth = chest()
    return volume, truth, find_lungs(volume)


def test_the_lungs_of_a_generated_chest_have_their_known_volumes() -> None:
    _, truth, lungs = plain()
    assert lungs.left_ml == pytest.approx(millilitres("left"), rel=0.03)
    assert lungs.right_ml == pytest.approx(millilitres("right"), rel=0.03)
    assert dice(lungs.left, truth["left"]) > 0.99  # vessels inside, no trachea
    assert dice(lungs.right, truth["right"]) > 0.99
    assert not (lungs.left & lungs.right).any()


def test_lungs_that_touch_in_front_are_parted() -> None:
    volume, truth = chest(joined=True)
    lungs = find_lungs(volume)
    assert dice(lungs.left, truth["left"]) > 0.97
    assert dice(lungs.right, truth["right"]) > 0.97


def test_the_trachea_is_no_lung() -> None:
    volume, _, lungs = plain()
    grid = places(volume.shape, volume.spacing_mm)
    tube = (np.hypot(grid[1] + 5, grid[2]) < 10) & (grid[0] > 40)
    assert tube.sum() > 100
    assert (lungs.mask & tube).sum() < 0.02 * tube.sum()


@pytest.mark.parametrize("towards", ["LIP", "IAR"])
def test_the_lungs_are_the_same_however_the_volume_is_turned(towards: str) -> None:
    volume, _, lungs = plain()
    turned = find_lungs(oriented(volume, towards))
    for ours, theirs in ((lungs.left, turned.left), (lungs.right, turned.right)):
        assert np.array_equal(oriented(volume.with_values(ours), towards).values > 0, theirs)


def test_a_part_of_the_chest_has_the_part_of_its_lungs() -> None:
    volume, truth, _ = plain()
    part = replace(volume, values=volume.values[8:16].copy())
    lungs = find_lungs(part)
    assert dice(lungs.left, truth["left"][8:16]) > 0.98
    assert dice(lungs.right, truth["right"][8:16]) > 0.98


def test_after_a_lung_was_taken_out_the_other_keeps_its_side() -> None:
    volume, truth, _ = plain()
    values = volume.values.copy()
    values[truth["left"]] = 20
    lungs = find_lungs(replace(volume, values=values))
    assert lungs.left_ml == 0
    assert dice(lungs.right, truth["right"]) > 0.99


def test_gas_in_the_stomach_is_no_lung() -> None:
    volume, truth, _ = plain()
    grid = places(volume.shape, volume.spacing_mm)
    stomach = ball(grid, (-133, -20, 60), (14, 60, 50))
    values = volume.values.copy()
    values[stomach & ~(truth["left"] | truth["right"])] = -1000
    lungs = find_lungs(replace(volume, values=values))
    assert stomach.sum() > 500
    assert (lungs.mask & stomach).sum() < 0.1 * stomach.sum()
    assert dice(lungs.left, truth["left"]) > 0.98


def test_one_slice_is_enough() -> None:
    volume, truth, _ = plain()
    lungs = lungs_of_slice(volume.values[14], spacing_mm=(5.0, 5.0))
    assert dice(lungs.left[0], truth["left"][14]) > 0.97
    assert dice(lungs.right[0], truth["right"][14]) > 0.97
    assert lungs.left_ml == pytest.approx(truth["left"][14].sum() * 25 / 1000, rel=0.05)


def test_an_8_bit_slice_in_a_lung_window_has_the_same_lungs() -> None:
    volume, _, _ = plain()
    grey = np.rint(windowed(volume.values[14], "lung") * 255).astype(np.uint8)
    shown = lungs_of_window(grey, shown="lung", spacing_mm=(5.0, 5.0))
    assert dice(shown.mask, lungs_of_slice(volume.values[14], spacing_mm=(5.0, 5.0)).mask) > 0.995


@pytest.mark.parametrize("name", ["mediastinum", "bone", "brain"])
def test_a_window_that_hides_the_lung_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"cuts off what tells lung from air and tissue.*read the CT itself"):
        lungs_of_window(np.zeros((8, 8), np.uint8), shown=name, spacing_mm=(5.0, 5.0))
    with pytest.raises(InputError, match=r"grey from 0 to 300; 0 to 255"):
        lungs_of_window(np.array([[0, 300]]), shown="lung", spacing_mm=(5.0, 5.0))


def test_a_head_has_no_lung() -> None:
    grid = places(HEAD_SHAPE, HEAD_SPACING)
    values = np.full(HEAD_SHAPE, -1000.0)
    values[ball(grid, (0, 0, 0), (85, 100, 80))] = 900  # skull
    values[ball(grid, (0, 0, 0), (78, 93, 73))] = 35
    for side in (-25, 25):
        values[ball(grid, (-40, -60, side), (17, 15, 13))] = -990  # sinuses
    values += np.random.default_rng(0).normal(0, 20, size=HEAD_SHAPE)
    volume, _, _ = plain()
    with pytest.raises(CaseError, match=r"no lung was found: \d+ mL of air lie inside the body.*CT of the chest"):
        find_lungs(replace(volume, values=values.astype(np.float32), spacing_mm=HEAD_SPACING))


def test_a_volume_without_a_body_or_without_units_is_refused() -> None:
    volume, _, _ = plain()
    with pytest.raises(CaseError, match=r"no lung was found: 0 mL"):
        find_lungs(replace(volume, values=np.full((6, 8, 8), -1000, np.float32)))
    with pytest.raises(InputError, match=r"Hounsfield units and this volume has none"):
        find_lungs(replace(volume, unit=None))


@pytest.mark.mirror
def test_a_real_ct_agrees_with_its_lobes() -> None:
    folder = Path(os.environ["METAMEDICA_DATA"]) / "images" / "dicom_nifti"
    labels = read_nifti(
        folder / "example_seg.nii.gz"
    ).labels()  # its last 30 slices: lung bases; 10, 11 left, 12 to 14 right
    lungs = find_lungs(read_nifti(folder / "example_ct.nii.gz", modality="CT"))
    part = slice(82, 112)
    assert dice(lungs.mask[part], np.isin(labels, [10, 11, 12, 13, 14])) > 0.95
    assert dice(lungs.left[part], np.isin(labels, [10, 11])) > 0.94
    assert dice(lungs.right[part], np.isin(labels, [12, 13, 14])) > 0.95
