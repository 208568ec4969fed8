"""NIfTI: places agree with nibabel's affine, files come back as they were written, and what cannot be read is told."""

import gzip
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from metamedica.errors import FileFormatError, InputError
from metamedica.modalities.images.nifti import read_nifti, write_nifti
from metamedica.modalities.images.volumes import Volume, orientation, oriented

nibabel = pytest.importorskip("nibabel")

OWN = Path(nibabel.__file__).parent / "tests" / "data"
MIRROR = Path(os.environ.get("METAMEDICA_DATA", "")) / "images" / "dicom_nifti"


def image(values: np.ndarray, affine: np.ndarray | None = None) -> "nibabel.Nifti1Image":
    made = nibabel.Nifti1Image(values, np.diag([1.0, 2, 3, 1]) if affine is None else affine)
    made.set_sform(made.affine, code=1)
    return made


def test_every_voxel_lies_where_nibabel_says() -> None:
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("xyz", [15, -40, 70], degrees=True).as_matrix() @ np.diag([0.7, 0.9, 2.5])
    turn[:3, 3] = [-12, 30, 4]
    values = np.random.default_rng(0).normal(size=(4, 5, 6)).astype(np.float32)
    volume = read_nifti(image(values, turn).to_bytes())
    assert volume.shape == (6, 5, 4)
    assert np.allclose(volume.spacing_mm, (2.5, 0.9, 0.7))
    for i, j, k in [(0, 0, 0), (3, 0, 0), (0, 4, 0), (1, 2, 5)]:
        ras = nibabel.affines.apply_affine(turn, [i, j, k])
        assert np.allclose(volume.points_mm(np.array([k, j, i])), ras * [-1, -1, 1], atol=1e-4)
        assert volume.values[k, j, i] == values[i, j, k]


@given(
    st.tuples(*[st.integers(1, 5)] * 3),
    st.tuples(*[st.floats(0.2, 5)] * 3),
    st.integers(0, 2**31),
    st.sampled_from(["HU", None]),
)
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory,
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    seed: int,
    unit: str | None,
) -> None:
    generator = np.random.default_rng(seed)
    direction = Rotation.random(random_state=seed).as_matrix() * generator.choice([-1, 1])
    values = generator.normal(size=shape).astype(np.float32) * 1000
    volume = Volume(values, spacing, (1.5, -200.0, 33.0), direction, unit)
    path = tmp_path_factory.mktemp("nifti") / f"a.nii{'.gz' if seed % 2 else ''}"
    write_nifti(path, volume)
    back = read_nifti(path, modality="CT" if unit else None)
    assert np.array_equal(back.values, volume.values)
    assert np.allclose(back.affine(), volume.affine(), atol=1e-3)
    assert back.unit == unit


def test_a_mask_is_written_with_the_grid_of_its_image_and_small_numbers(tmp_path: Path) -> None:
    volume = read_nifti(OWN / "anatomical.nii", modality="MR")
    mask = volume.with_values(volume.values > np.median(volume.values))
    write_nifti(tmp_path / "mask.nii.gz", mask)
    theirs, source = nibabel.load(tmp_path / "mask.nii.gz"), nibabel.load(OWN / "anatomical.nii")
    assert theirs.get_data_dtype() == np.uint8
    assert np.allclose(theirs.affine, source.affine, atol=1e-4)
    assert np.array_equal(np.asarray(theirs.dataobj), np.asarray(source.dataobj) > np.median(source.dataobj))
    assert (tmp_path / "mask.nii.gz").read_bytes()[4:8] == bytes(4)  # no time stamp
    labels = volume.with_values(np.where(mask.values > 0, 300, -2))
    write_nifti(tmp_path / "labels.nii", labels)
    assert nibabel.load(tmp_path / "labels.nii").get_data_dtype() == np.int16
    assert np.array_equal(read_nifti(tmp_path / "labels.nii").labels(), labels.labels())


def test_the_scale_of_the_header_is_applied() -> None:
    made = image(np.arange(24, dtype=np.int16).reshape(2, 3, 4))
    made.header.set_slope_inter(0.5, -100)
    data = bytearray(made.to_bytes())
    volume = read_nifti(bytes(data))
    assert np.allclose(volume.values, np.asarray(nibabel.Nifti1Image.from_bytes(bytes(data)).dataobj).T)
    import struct

    data[112:120] = struct.pack("<2f", 0.5, -100)
    stored = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    data[352:] = stored.tobytes(order="F")
    assert np.array_equal(read_nifti(bytes(data)).values, stored.T * 0.5 - 100)


def test_metres_and_micrometres_become_millimetres() -> None:
    for unit, factor in (("meter", 1000), ("micron", 0.001), ("mm", 1)):
        made = image(np.ones((2, 2, 2), np.float32), np.diag([1.0, 2, 3, 1]) / [factor, factor, factor, 1])
        made.header.set_xyzt_units(unit)
        assert np.allclose(read_nifti(made.to_bytes()).spacing_mm, (3, 2, 1), rtol=1e-5)


def test_a_time_point_must_be_chosen_among_several() -> None:
    with pytest.raises(InputError, match=r"'functional.nii' has 20 time points; choose one with frame=0 to 19"):
        read_nifti(OWN / "functional.nii")
    with pytest.raises(InputError, match=r"frame=20 was asked for; give 0 to 19"):
        read_nifti(OWN / "functional.nii", frame=20)
    with pytest.raises(InputError, match=r"has 1 time points and frame=1 was asked"):
        read_nifti(OWN / "anatomical.nii", frame=1)
    source = np.asarray(nibabel.load(OWN / "functional.nii").dataobj)
    assert np.allclose(read_nifti(OWN / "functional.nii", frame=7).values, source[..., 7].T)
    one = image(np.ones((2, 3, 4, 1), np.float32))
    assert read_nifti(one.to_bytes()).shape == (4, 3, 2)


def test_nifti2_is_read_as_nifti1() -> None:
    volume = read_nifti(OWN / "example_nifti2.nii.gz", frame=1)
    assert np.allclose(volume.values, np.asarray(nibabel.load(OWN / "example_nifti2.nii.gz").dataobj)[..., 1].T)


@pytest.mark.mirror
@pytest.mark.parametrize(("name", "first"), [("example_ct_sm.nii.gz", "SAR"), ("example_mr_sm.nii.gz", "SPL")])
def test_real_files_of_two_orientations_are_turned_to_the_same(name: str, first: str) -> None:
    volume = read_nifti(MIRROR / name, modality="CT" if "ct" in name else "MR")
    assert orientation(volume) == first
    turned = oriented(volume)
    assert orientation(turned) == "SPL"
    flipped = volume.values[:, ::-1, ::-1] if first == "SAR" else volume.values
    assert np.array_equal(turned.values, flipped)
    reference = nibabel.load(MIRROR / name)
    cell = np.array([3, 4, 5])
    ras = turned.points_mm(cell) * [-1, -1, 1]
    place = np.rint(nibabel.affines.apply_affine(np.linalg.inv(reference.affine), ras)).astype(int)
    assert np.asarray(reference.dataobj)[tuple(place)] == turned.values[tuple(cell)]


@pytest.mark.mirror
def test_a_real_label_map_keeps_its_labels() -> None:
    labels = read_nifti(MIRROR / "example_seg.nii.gz").labels()
    assert np.array_equal(labels, np.asarray(nibabel.load(MIRROR / "example_seg.nii.gz").dataobj).T)


# What cannot be read.


def without_place() -> bytes:
    made = image(np.ones((2, 2, 2), np.float32))
    made.set_sform(None, code=0)
    made.set_qform(None, code=0)
    return bytes(made.to_bytes())


SHEARED = np.array([[1.0, 0, 0.3, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
WHOLE = image(np.ones((4, 4, 4), np.float32)).to_bytes()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"no NIfTI file"),
        (b"PK\x03\x04" + bytes(600), r"no NIfTI file \(its header is not 348 or 540 bytes\)"),
        (WHOLE[:400], r"broken or truncated"),
        (gzip.compress(WHOLE, mtime=0)[:-20], r"broken or truncated"),
        (without_place(), r"does not say how it lies in the patient"),
        (image(np.ones((2, 2, 2), np.float32), SHEARED).to_bytes(), r"not unit vectors at right angles"),
        (image(np.ones((2, 2, 2), np.complex64)).to_bytes(), r"complex64 values; real numbers"),
        (image(np.full((2, 2, 2), np.nan, np.float32)).to_bytes(), r"8 values that are not finite"),
        (image(np.ones((2, 2), np.float32)).to_bytes(), r"axes of \(2, 2\); three"),
        (image(np.ones((2, 2, 2, 2, 3), np.float32)).to_bytes(), r"three \(or four, with time\)"),
        (image(np.full((2, 2, 2), 2**24 + 1, np.int32)).to_bytes(), r"above 2\^24"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_in_one_sentence(data: bytes, message: str) -> None:
    with pytest.raises(FileFormatError, match=message) as caught:
        read_nifti(data)
    assert "\n" not in str(caught.value)


def test_a_size_that_a_header_only_claims_is_refused() -> None:
    data = bytearray(WHOLE)
    data[42:48] = (30000).to_bytes(2, "little") * 3
    with pytest.raises(FileFormatError, match=r"says 27,000,000,000,000 voxels"):
        read_nifti(bytes(data))
    with pytest.raises(FileFormatError, match=r"1 to 63 are read"):
        read_nifti(WHOLE, most_values=63)


def test_a_gzip_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metamedica.modalities.images.nifti.MOST_BYTES", 100_000)
    with pytest.raises(FileFormatError, match=r"expands to more than 100,000 bytes"):
        read_nifti(gzip.compress(bytes(200_000)))


def test_only_nifti_endings_are_written(tmp_path: Path) -> None:
    volume = read_nifti(WHOLE)
    with pytest.raises(FileFormatError, match=r"got 'a.nrrd' to write"):
        write_nifti(tmp_path / "a.nrrd", volume)
    with pytest.raises(FileFormatError, match=r"there is no file 'none.nii'"):
        read_nifti(tmp_path / "none.nii")
    write_nifti(tmp_path / "a.nii", replace(volume, unit="HU"))
    assert nibabel.load(tmp_path / "a.nii").get_data_dtype() == np.float32


def test_flipped_bytes_end_in_values_or_in_one_sentence() -> None:
    generator = np.random.default_rng(0)
    whole = np.frombuffer(WHOLE, np.uint8)
    refused = 0
    for _ in range(300):
        data = whole.copy()
        data[generator.integers(0, 352, size=3)] = generator.integers(0, 256, size=3)
        try:
            assert np.isfinite(read_nifti(data.tobytes()).values).all()
        except (FileFormatError, InputError) as error:
            refused += 1
            assert "\n" not in str(error)  # noqa: PT017
    assert refused > 20
