"""Series: slices come in the order of the patient whatever their names; SimpleITK and NIfTI label maps are oracles; what does not fit is named."""

import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from made_dicom import dataset, enhanced, saved, stack, written
from metamedica.errors import FileFormatError
from metamedica.modalities.images.series import read_volume, read_volumes
from metamedica.modalities.images.volumes import orientation

pytest.importorskip("pydicom")


def files(slices: list[Any]) -> list[bytes]:
    return [written(each) for each in slices]


def hounsfield(count: int = 5, size: tuple[int, int] = (6, 7), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 3000, size=(count, *size), dtype=np.uint16) - 1024.0


def refusal(source: Any, **options: Any) -> str:
    with pytest.raises(FileFormatError) as caught:
        read_volume(source, **options)
    assert "\n" not in str(caught.value)
    assert "1.2.3" not in str(caught.value)  # no UID
    return str(caught.value)


def test_slices_are_ordered_by_their_place_whatever_the_order_of_their_files(tmp_path: Path) -> None:
    slices = stack()
    shuffled = [slices[number] for number in (3, 0, 4, 1, 2)]
    for number, each in enumerate(shuffled):
        each.InstanceNumber = number + 1
    saved(shuffled, tmp_path / "series")
    volume = read_volume(tmp_path / "series")
    assert np.array_equal(volume.values, hounsfield())
    assert volume.spacing_mm == (2.5, 0.5, 0.75)
    assert volume.origin_mm == (-10, 20, -30)
    assert (volume.unit, volume.modality, orientation(volume)) == ("HU", "CT", "SPL")


def test_an_oblique_stack_has_the_places_of_its_slices() -> None:
    turn = Rotation.from_euler("xyz", [20, -35, 50], degrees=True).as_matrix()
    row, column, normal = turn.T
    slices = stack(4)
    for number, each in enumerate(slices):
        each.ImageOrientationPatient = [float(f"{value:.10f}") for value in (*row, *column)]
        each.ImagePositionPatient = [float(f"{value:.8f}") for value in np.array([5, 6, 7]) + normal * 2.5 * number]
    volume = read_volume(files(slices[::-1]))
    assert np.array_equal(volume.values, hounsfield(4))
    points = volume.points_mm(np.array([[3, 0, 0], [0, 4, 0], [0, 0, 5]]))
    assert np.allclose(
        points, np.array([5, 6, 7]) + np.array([7.5 * normal, 4 * 0.5 * column, 5 * 0.75 * row]), atol=1e-4
    )


def test_a_series_agrees_with_simpleitk(tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    paths = saved(stack(), tmp_path)
    ours = read_volume(tmp_path)
    image = sitk.ReadImage([str(path) for path in paths])
    assert np.array_equal(sitk.GetArrayFromImage(image), ours.values)
    assert np.allclose(image.GetSpacing(), ours.spacing_mm[::-1])
    assert np.allclose(image.TransformIndexToPhysicalPoint((6, 5, 4)), ours.points_mm(np.array([4, 5, 6])))


@pytest.mark.mirror
def test_a_real_series_in_a_zip_lies_on_its_label_map() -> None:
    nibabel = pytest.importorskip("nibabel")
    folder = Path(os.environ["METAMEDICA_DATA"]) / "images" / "dicom_nifti"
    volume = read_volume(folder / "ct_series_j2k_deid.zip")
    assert volume.shape == (20, 512, 512)
    assert np.allclose(volume.spacing_mm, (2, 0.9765625, 0.9765625))
    assert volume.windows == ((40.0, 300.0), (300.0, 1500.0))
    labels = nibabel.load(folder / "example_seg_dicom.nii.gz")
    corner = labels.affine @ [0, 0, 0, 1] * [-1, -1, 1, 1]  # RAS to LPS
    assert np.allclose(volume.indices(corner[:3]), (0, 511, 0), atol=1e-3)
    organs = np.asarray(labels.dataobj)[:, ::-1, :].T
    inside = volume.values[organs > 0]
    assert np.median(inside) == pytest.approx(50, abs=60)  # soft organs
    assert np.median(volume.values) < -200


def test_frames_of_an_enhanced_file_make_a_volume() -> None:
    volume = read_volume([written(enhanced())])
    stored = np.random.default_rng(0).integers(0, 3000, size=(4, 5, 6), dtype=np.uint16)
    assert np.array_equal(volume.values, stored * np.arange(1.0, 5)[:, None, None] - 1024)
    assert volume.spacing_mm == (3.0, 0.5, 0.75)


def test_one_slice_has_its_thickness() -> None:
    assert read_volume(files(stack(1))).spacing_mm == (2.0, 0.5, 0.75)
    (only,) = stack(1)
    del only.SliceThickness
    assert "the only slice and tells no thickness" in refusal([written(only)])


def test_series_are_told_apart_by_their_uid_and_without_one_by_their_geometry(tmp_path: Path) -> None:
    one, other = stack(3), stack(4, seed=1, size=(5, 5))
    for each in other:
        each.SeriesInstanceUID = "1.2.3.99"
    assert [each.shape for each in read_volumes(files(one + other)).volumes] == [(3, 6, 7), (4, 5, 5)]
    assert "one series was wanted and 2 came (slices: 3, 4;" in refusal(files(one + other))
    for each in one + other:
        each.SeriesInstanceUID = ""
    found = read_volumes(files([each for pair in zip(one, other, strict=False) for each in pair]))
    assert [each.shape for each in found.volumes] == [(3, 6, 7), (3, 5, 5)]


def test_what_is_no_image_is_left_out_and_counted(tmp_path: Path) -> None:
    saved(stack(3), tmp_path / "a")
    (tmp_path / "a" / "README.txt").write_text("read me")
    report = stack(1)[0]
    for keyword in ("PixelData", "Rows", "Columns"):
        delattr(report, keyword)
    (tmp_path / "a" / "report").write_bytes(written(report))
    found = read_volumes(tmp_path)
    assert len(found.volumes) == 1
    assert found.left_out == {"files that are not DICOM": 1, "DICOM files without an image": 1}
    (tmp_path / "a" / "broken.dcm").write_bytes(b"nothing")
    assert "'broken.dcm' is no DICOM file" in refusal(tmp_path)


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    assert "holds no file" in refusal(tmp_path)
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(FileFormatError, match="among 1 files there is no DICOM image"):
        read_volumes(tmp_path)
    assert "there is no file or folder 'none'" in refusal(tmp_path / "none")


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    saved(stack(3), tmp_path / "in")
    (other,) = saved(stack(1, seed=5), tmp_path / "out")
    (tmp_path / "in" / "link.dcm").symlink_to(other)
    assert read_volume(tmp_path / "in").shape == (3, 6, 7)


def test_a_missing_slice_is_named_and_filled_only_where_asked() -> None:
    slices = stack()
    del slices[2]
    text = refusal(files(slices))
    assert text == (
        "1 slice is missing between file 2 of 4 and file 3 of 4: 5.00 mm apart where 2.50 mm is usual; add it, or read with gaps='interpolate'"
    )
    volume = read_volume(files(slices), gaps="interpolate")
    expected = hounsfield()
    expected[2] = (expected[1] + expected[3]) / 2
    assert np.allclose(volume.values, expected)
    assert volume.spacing_mm[0] == 2.5


def test_a_wide_gap_is_refused_even_where_gaps_are_filled() -> None:
    slices = stack(9)
    assert "4 slices are missing" in refusal(files(slices[:3] + slices[7:]), gaps="interpolate")


def test_unequal_spacing_is_refused_and_interpolated_where_asked() -> None:
    slices = stack()
    for each, height in zip(slices, (0, 2, 4, 7, 9), strict=True):
        each.ImagePositionPatient = [0, 0, height]
    slices[3].ImagePositionPatient = [0, 0, 6.8]
    assert "the slices are unequally spaced, 2.00 to 2.80 mm (widest between file 3 of 5 and file 4 of 5)" in refusal(
        files(slices)
    )
    volume = read_volume(files(slices), gaps="interpolate")
    expected = np.array(
        [np.interp(np.linspace(0, 9, 5), [0, 2, 4, 6.8, 9], line) for line in hounsfield().reshape(5, -1).T]
    ).T
    assert volume.shape[0] == 5
    assert np.allclose(volume.values.reshape(5, -1), expected, atol=1e-3)


def test_rounded_positions_are_even_enough() -> None:
    slices = stack(60, step=1.25)
    for each in slices:
        each.ImagePositionPatient = [0, 0, round(float(each.ImagePositionPatient[2]), 1)]
    assert read_volume(files(slices)).spacing_mm[0] == pytest.approx(1.25, abs=0.002)


def test_two_slices_at_one_place_are_refused_and_dropped_only_where_equal() -> None:
    slices = stack()
    twice = [*slices, slices[1]]
    assert "lie at the same position with equal pixels; drop one, or read with duplicates" in refusal(files(twice))
    assert np.array_equal(read_volume(files(twice), duplicates="drop_identical").values, hounsfield())
    other = stack(seed=9)[1]
    for duplicates in ("refuse", "drop_identical"):
        text = refusal(files([*slices, other]), duplicates=duplicates)
        assert "different pixels; they may be two time points or echoes: give one of them" in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}, "different orientations (a localizer among them?): 1 of 5"),
        ({"PixelSpacing": [0.5, 0.8]}, "different pixel spacings"),
        ({"Modality": "MR"}, "different modalities"),
        ({"RescaleType": "US"}, "different units (some in HU, some not)"),
        ({"ImagePositionPatient": ""}, "does not say where its image lies"),
        ({"ImageOrientationPatient": None}, "does not say where its image lies"),
    ],
)
def test_slices_of_one_series_that_do_not_fit_are_named(changes: dict[str, Any], message: str) -> None:
    slices = stack()
    for keyword, value in changes.items():
        if value is None:
            delattr(slices[2], keyword)
        else:
            setattr(slices[2], keyword, value)
    text = refusal(files(slices))
    assert message in text
    assert "file 3 of 5" in text


def test_slices_of_another_size_are_named() -> None:
    slices = stack()
    slices[4] = dataset(np.zeros((4, 4), np.uint16), ImagePositionPatient=[0, 0, 90])
    assert "different sizes (rows x columns): 1 of 5 differ from file 1 of 5, such as file 5 of 5" in refusal(
        files(slices)
    )


def test_a_tilted_gantry_is_refused_with_its_angle() -> None:
    slices = stack()
    for number, each in enumerate(slices):
        each.ImagePositionPatient = [0, -2.5 * number * float(np.tan(np.radians(15))), 2.5 * number]
    text = refusal(files(slices))
    assert "(15.0 degrees: a tilted gantry?)" in text
    assert "correct the tilt" in text


def test_a_colour_series_is_refused() -> None:
    colour = dataset(np.zeros((4, 4, 3), np.uint8))
    assert "is in colour (RGB); volumes are grey" in refusal([written(colour)])


def test_more_voxels_than_asked_for_are_refused() -> None:
    assert "more than the 100 voxels" in refusal(files(stack()), most_values=100)


# Zip files.


def packed(path: Path, members: dict[str, bytes], kind: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_a_zip_is_read_without_unpacking_whatever_its_name(tmp_path: Path) -> None:
    members = {f"study/series/{number}": data for number, data in enumerate(files(stack()))}
    path = packed(tmp_path / "scan.dcm", members)
    assert np.array_equal(read_volume(path).values, hounsfield())
    assert [each.name for each in tmp_path.iterdir()] == ["scan.dcm"]


@pytest.mark.parametrize("name", ["../evil.dcm", "/etc/evil.dcm", "a/../../evil.dcm", "..\\evil.dcm", "C:/evil.dcm"])
def test_a_zip_that_names_a_path_outside_is_refused(tmp_path: Path, name: str) -> None:
    assert "names a file outside of itself" in refusal(packed(tmp_path / "b.zip", {name: b"x"}))


def test_a_zip_bomb_is_refused_before_it_expands(tmp_path: Path) -> None:
    path = packed(tmp_path / "a.zip", {"a.dcm": bytes(5_000_000)})
    assert path.stat().st_size < 10_000
    assert "expands to 5,000,000 bytes, more than the 1,000,000" in refusal(path, most_bytes=1_000_000)


def test_a_zip_that_lies_about_its_size_is_broken(tmp_path: Path) -> None:
    path = packed(tmp_path / "a.zip", {"a.dcm": bytes(5_000_000)})
    data = path.read_bytes().replace((5_000_000).to_bytes(4, "little"), (500).to_bytes(4, "little"))
    path.write_bytes(data)
    assert "is a broken zip archive" in refusal(path, most_bytes=1_000_000)


def test_a_zip_that_is_cut_or_encrypted_is_refused(tmp_path: Path) -> None:
    path = packed(tmp_path / "a.zip", {"a.dcm": os.urandom(1000)}, zipfile.ZIP_STORED)
    whole = path.read_bytes()
    path.write_bytes(whole[:600])
    assert "is a broken zip archive" in refusal(path)
    flagged = bytearray(whole)
    flagged[whole.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(bytes(flagged))
    assert "is encrypted; unpack it" in refusal(path)
