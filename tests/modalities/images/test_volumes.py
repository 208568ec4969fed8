"""Volumes: places hold through turning, resampling and cutting; SimpleITK is the oracle of interpolation."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from metamedica.errors import InputError
from metamedica.modalities.images.volumes import (
    Volume,
    axial_slices,
    orientation,
    oriented,
    patches,
    resampled,
)

AXES = np.array([[0.0, 0, 1], [0, 1, 0], [1, 0, 0]])  # slices to the head, rows to the back, columns to the left


def made(
    shape: tuple[int, int, int] = (4, 5, 6),
    spacing: tuple[float, float, float] = (3.0, 0.5, 0.75),
    direction: np.ndarray = AXES,
    seed: int = 0,
) -> Volume:
    values = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return Volume(values, spacing, (-10.0, 20.0, 5.0), direction, "HU", "CT", "MONOCHROME2", ((40.0, 400.0),))


ORIENTATIONS = [
    "".join(letters[axis] for axis in order)
    for order in itertools.permutations(range(3))
    for letters in itertools.product("LR", "PA", "SI")
]
SHAPES = st.tuples(*[st.integers(1, 6)] * 3)
SPACINGS = st.tuples(*[st.floats(0.3, 4.0)] * 3)
TURNS = st.integers(0, 2**31).map(lambda seed: Rotation.random(random_state=seed).as_matrix())


def test_an_axial_volume_has_the_canonical_orientation() -> None:
    assert orientation(made()) == "SPL"


@given(SHAPES, SPACINGS, TURNS, st.sampled_from(ORIENTATIONS))
def test_turning_moves_no_voxel_in_the_patient(
    shape: tuple[int, int, int], spacing: tuple[float, float, float], turn: np.ndarray, towards: str
) -> None:
    volume = made(shape, spacing, turn)
    other = oriented(volume, towards)
    assert orientation(other) == towards
    cells = np.stack(np.meshgrid(*map(np.arange, other.shape), indexing="ij"), axis=-1)
    places = np.rint(volume.indices(other.points_mm(cells))).astype(int)
    assert np.allclose(volume.points_mm(places), other.points_mm(cells), atol=1e-6)
    assert np.array_equal(volume.values[tuple(np.moveaxis(places, -1, 0))], other.values)
    back = oriented(other, orientation(volume))
    assert np.array_equal(back.values, volume.values)
    assert np.allclose(back.origin_mm, volume.origin_mm)


@given(SHAPES, SPACINGS, TURNS, st.integers(0, 99))
def test_a_place_and_its_voxel_are_inverse(
    shape: tuple[int, int, int], spacing: tuple[float, float, float], turn: np.ndarray, seed: int
) -> None:
    volume = made(shape, spacing, turn)
    cells = np.random.default_rng(seed).normal(size=(7, 3)) * 20
    assert np.allclose(volume.indices(volume.points_mm(cells)), cells, atol=1e-6)


def test_the_step_along_an_axis_is_its_spacing_along_its_direction() -> None:
    volume = made()
    points = volume.points_mm(np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]))
    assert np.allclose(points[0], (-10, 20, 5))
    assert np.allclose(points[1:] - points[0], [[0, 0, 3], [0, 0.5, 0], [0.75, 0, 0]])


@pytest.mark.parametrize("towards", ["SPP", "SP", "spl", "", "SPLL"])
def test_an_orientation_that_is_none_is_refused(towards: str) -> None:
    with pytest.raises(InputError, match=r"one of L and R, one of P and A"):
        oriented(made(), towards)


@given(SHAPES, SPACINGS, SPACINGS, TURNS)
def test_resampling_keeps_the_middle_and_the_extent_to_half_a_voxel(
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    new: tuple[float, float, float],
    turn: np.ndarray,
) -> None:
    volume = made(shape, spacing, turn)
    other = resampled(volume, new)
    middles = [each.points_mm((np.asarray(each.shape) - 1) / 2) for each in (volume, other)]
    assert np.allclose(*middles, atol=1e-6)
    assert other.spacing_mm == new
    one = np.asarray(other.shape) == 1
    assert (np.abs(np.subtract(volume.extent_mm, other.extent_mm))[~one] <= np.asarray(new)[~one] / 2 + 1e-6).all()
    assert volume.values.min() - 1e-4 <= other.values.min() <= other.values.max() <= volume.values.max() + 1e-4


@pytest.mark.parametrize(("order", "name"), [(0, "sitkNearestNeighbor"), (1, "sitkLinear")])
def test_a_finer_grid_has_the_values_of_simpleitk(order: int, name: str) -> None:
    sitk = pytest.importorskip("SimpleITK")
    volume = made((6, 7, 8), (3.0, 2.0, 2.0), Rotation.from_euler("xyz", [10, 20, 30], degrees=True).as_matrix())
    ours = resampled(volume, (1.3, 0.9, 1.1), order=order)

    def image(each: Volume) -> "sitk.Image":
        grid = sitk.GetImageFromArray(each.values)
        grid.SetSpacing(each.spacing_mm[::-1])
        grid.SetOrigin(each.origin_mm)
        grid.SetDirection(each.direction[:, ::-1].ravel().tolist())
        return grid

    theirs = sitk.GetArrayFromImage(sitk.Resample(image(volume), image(ours), sitk.Transform(), getattr(sitk, name)))
    cells = np.stack(np.meshgrid(*map(np.arange, ours.shape), indexing="ij"), axis=-1)
    places = volume.indices(ours.points_mm(cells))
    inside = ((places > 0.01) & (places < np.asarray(volume.shape) - 1.01)).all(axis=-1)
    inside &= (np.abs(places % 1 - 0.5) > 0.01).all(axis=-1)  # between two voxels each may take either
    assert inside.sum() > 300
    assert np.allclose(ours.values[inside], theirs[inside], atol=1e-3)


def test_a_linear_ramp_stays_the_same_function_of_place() -> None:
    volume = made((9, 12, 15), (2.0, 1.5, 1.0))
    cells = np.stack(np.meshgrid(*map(np.arange, volume.shape), indexing="ij"), axis=-1)
    ramp = volume.points_mm(cells) @ [0.7, -1.1, 0.3]
    other = resampled(replace(volume, values=ramp.astype(np.float32)), (4.0, 3.0, 2.0))
    cells = np.stack(np.meshgrid(*map(np.arange, other.shape), indexing="ij"), axis=-1)
    expected = other.points_mm(cells) @ [0.7, -1.1, 0.3]
    inner = (slice(1, -1),) * 3  # smoothing flattens the ramp near the border
    assert np.allclose(other.values[inner], expected[inner], atol=0.05)


def test_a_coarser_grid_averages_noise_and_does_not_alias_it() -> None:
    volume = made((40, 40, 40), (1.0, 1.0, 1.0))
    coarse = resampled(volume, (4.0, 4.0, 4.0))
    assert coarse.values.std() < 0.25  # picking voxels would leave 1, linear weights alone 0.35 and more


def test_labels_stay_labels_on_a_new_grid() -> None:
    volume = made((5, 6, 7)).with_values(np.random.default_rng(1).choice([0, 3, 14], size=(5, 6, 7)))
    assert volume.unit is None
    for spacing in ((1.1, 0.3, 0.4), (5.0, 1.3, 2.0)):
        assert set(np.unique(resampled(volume, spacing, order=0).labels())) <= {0, 3, 14}
    with pytest.raises(InputError, match=r"label map with values that are not whole.*order=0"):
        resampled(volume, (1.1, 0.3, 0.4)).labels()


@pytest.mark.parametrize(
    ("spacing", "order", "message"),
    [
        ((1.0, 0.0, 1.0), 1, r"got spacing \(1\.0, 0\.0, 1\.0\) mm; give three distances above 0"),
        ((1.0, 1.0), 1, r"give three distances"),
        ((1.0, np.nan, 1.0), 1, r"give three distances"),
        ((1.0, 1.0, 1.0), 5, r"got order 5; give 0"),
        ((1e-4, 1e-4, 1e-4), 1, r"give a coarser one"),
    ],
)
def test_a_grid_that_cannot_be_is_refused(spacing: tuple[float, ...], order: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        resampled(made(), spacing, order=order)


def test_axial_slices_of_a_sagittal_volume_are_those_of_the_turned_one() -> None:
    volume = made((4, 5, 6))
    sagittal = oriented(volume, "LIP")
    assert sagittal.shape == (6, 4, 5)
    slices = axial_slices(sagittal)
    assert len(slices) == 4
    assert np.array_equal(np.stack(slices), volume.values)


@given(SHAPES, st.data())
def test_patches_cover_every_voxel_and_know_their_place(shape: tuple[int, int, int], data: st.DataObject) -> None:
    volume = made(shape)
    size = tuple(data.draw(st.integers(1, most)) for most in shape)
    stride = tuple(data.draw(st.integers(1, wide)) for wide in size)
    seen = np.zeros(shape, bool)
    for patch in patches(volume, size, stride=stride):
        place = tuple(slice(start, start + wide) for start, wide in zip(patch.start, size, strict=True))
        assert patch.values.shape == size
        assert np.array_equal(volume.values[place], patch.values)
        ends = np.array([patch.start, np.add(patch.start, size) - 1])
        assert np.allclose(volume.points_mm(ends).mean(axis=0), patch.centre_mm)
        seen[place] = True
    assert seen.all()


def test_patches_as_large_as_their_stride_overlap_only_at_the_end() -> None:
    starts = [patch.start for patch in patches(made((7, 5, 6)), (3, 5, 6))]
    assert starts == [(0, 0, 0), (3, 0, 0), (4, 0, 0)]


@pytest.mark.parametrize(("size", "stride"), [((5, 5, 6), None), ((2, 2, 2), (3, 1, 1)), ((0, 2, 2), None)])
def test_patches_that_leave_voxels_out_or_do_not_fit_are_refused(
    size: tuple[int, ...], stride: tuple[int, ...] | None
) -> None:
    with pytest.raises(InputError, match=r"1 <= stride <= size <= the volume's, or resample"):
        patches(made((4, 5, 6)), size, stride=stride)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": np.zeros((0, 2, 2), np.float32)}, r"shape \(0, 2, 2\); give three axes"),
        ({"spacing_mm": (1.0, -1.0, 1.0)}, r"give three distances above 0"),
        ({"origin_mm": (1.0, np.inf, 1.0)}, r"give three finite numbers"),
        ({"direction": AXES + 0.1}, r"not unit vectors at right angles.*resample"),
        ({"values": np.full((2, 2, 2), np.nan, np.float32)}, r"8 voxels that are not finite"),
        ({"unit": "BQML"}, r"unit 'BQML'; a volume is in 'HU'"),
    ],
)
def test_a_volume_that_cannot_be_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(made(), **change)


def test_patches_of_two_axes_are_refused() -> None:
    with pytest.raises(InputError, match=r"got size \(2, 2\) and stride \(2, 2\); give three numbers each"):
        patches(made(), (2, 2))


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(InputError, match=r"shape \(2, 2, 2\) for a volume of shape \(4, 5, 6\)"):
        made().with_values(np.zeros((2, 2, 2)))


def test_volume_and_extent_follow_from_the_spacing() -> None:
    volume = made()
    assert volume.voxel_ml == pytest.approx(3 * 0.5 * 0.75 / 1000)
    assert volume.extent_mm == (12.0, 2.5, 4.5)
