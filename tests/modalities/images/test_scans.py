"""Scans as the audit sees them: pixels on one scale, a hash of every voxel, facts of the scanner, nobody's name and no date."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from tests.made_dicom import dataset, one, saved, stack, written

from metamedica.errors import FileFormatError, InputError
from metamedica.modalities.images.scans import is_scan, read_scan

pytest.importorskip("pydicom")
nibabel = pytest.importorskip("nibabel")


def _file(tmp_path: Path, data: bytes, name: str = "x.dcm") -> Path:
    (tmp_path / name).write_bytes(data)
    return tmp_path / name


def _pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 3000, (6, 7), dtype=np.uint16)


def test_hounsfield_units_have_one_scale_and_headers_give_facts(tmp_path: Path) -> None:
    told = {
        "Manufacturer": "Acme", "ConvolutionKernel": ["B70f", "3"], "StudyDate": "20240229", "PatientID": "secret-7", "PatientName": "A^B",
        "WindowCenter": -600, "WindowWidth": 1500,
    }  # fmt: skip
    scan = read_scan(_file(tmp_path, one(_pixels(), **told)))
    assert scan.pixels.dtype == np.uint16
    np.testing.assert_allclose(scan.pixels, _pixels() / 4095 * 65535, atol=0.6)
    facts = scan.facts
    assert (facts["format"], facts["manufacturer"], facts["kernel"]) == ("DICOM", "ACME", "B70F/3")
    assert (facts["thickness_mm"], facts["spacing_mm"], facts["window"]) == (2.0, 0.75, "-600/1500")
    assert facts["weekday"] == "Thursday"  # 29 February 2024
    assert scan.height_mm == 0.0
    assert "secret" not in f"{scan.patient}{scan.facts}"
    assert "2024" not in str(dict(facts))
    assert scan.patient != scan.series
    assert len({scan.patient, scan.series, None}) == 3


def test_equal_voxels_have_equal_hashes_whatever_the_header_says(tmp_path: Path) -> None:
    first = read_scan(_file(tmp_path, one(_pixels()), "a.dcm"))
    other = read_scan(_file(tmp_path, one(_pixels(), PatientID="other", SliceThickness=5), "b.dcm"))
    moved = read_scan(_file(tmp_path, one(_pixels() + 1), "c.dcm"))
    assert first.sha256 == other.sha256 != moved.sha256
    assert (first.patient, other.patient is None) == (None, False)


def test_blank_and_impossible_headers_are_no_facts(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = one(_pixels(), StudyDate="20230231", SliceThickness=None, SeriesInstanceUID="")
    scan = read_scan(_file(tmp_path, data))
    assert (scan.facts["weekday"], scan.facts["thickness_mm"], scan.facts["manufacturer"]) == (None, None, None)
    assert scan.series is None


def test_slices_of_a_series_share_it_and_lie_at_their_heights(tmp_path: Path) -> None:
    scans = [read_scan(path) for path in saved(stack(3, step=2.5), tmp_path)]
    assert len({scan.series for scan in scans}) == 1
    np.testing.assert_allclose([scan.height_mm for scan in scans], [-30, -27.5, -25])


def test_colour_is_eight_bits(tmp_path: Path) -> None:
    colour = np.random.default_rng(1).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    scan = read_scan(_file(tmp_path, one(colour, Modality="US", RescaleSlope=None, RescaleIntercept=None)))
    np.testing.assert_array_equal(scan.pixels, colour)


def test_a_volume_is_its_middle_slice_and_the_hash_of_all(tmp_path: Path) -> None:
    values = np.random.default_rng(2).normal(size=(5, 6, 9)).astype(np.float32)
    other = values.copy()
    other[0, 0, 0] += 1
    made = []
    for name, voxels in (("a.nii.gz", values), ("b.nii", other)):
        nibabel.save(nibabel.Nifti1Image(voxels, np.diag([0.5, 0.75, 3.0, 1.0])), tmp_path / name)
        made.append(read_scan(tmp_path / name))
    assert made[0].sha256 != made[1].sha256
    np.testing.assert_array_equal(made[0].pixels, made[1].pixels)
    facts = made[0].facts
    assert (facts["format"], facts["frames"], facts["thickness_mm"], facts["spacing_mm"]) == ("NIfTI", 9, 3.0, 0.75)
    assert (made[0].pixels.min(), made[0].pixels.max()) == (0, 65535)
    assert made[0].patient is None


def test_a_flat_slice_stays_flat(tmp_path: Path) -> None:
    scan = read_scan(_file(tmp_path, one(np.full((4, 4), 7, np.uint16), Modality="MR")))
    assert np.ptp(scan.pixels) == 0


def test_what_is_no_scan_is_refused_in_a_sentence(tmp_path: Path) -> None:
    assert is_scan(Path("A.DCM"))
    assert is_scan(Path("b.nii.gz"))
    assert not is_scan(Path("c.png"))
    with pytest.raises(FileFormatError, match=r"'x\.dcm' is no DICOM file but a zip archive"):
        read_scan(_file(tmp_path, b"PK\x03\x04" + bytes(200)))
    with pytest.raises(FileFormatError, match=r"ends early|broken|truncated|shorter"):
        read_scan(_file(tmp_path, one(_pixels())[:-30]))
    data = dataset(_pixels())
    del data.PixelData
    with pytest.raises(FileFormatError, match="has no pixel data"):
        read_scan(_file(tmp_path, written(data)))
    nibabel.save(nibabel.Nifti1Image(np.zeros((3, 3, 3, 2), np.float32), np.eye(4)), tmp_path / "t.nii")
    with pytest.raises(InputError, match="time point"):
        read_scan(tmp_path / "t.nii")
    with pytest.raises(FileFormatError, match="there is no file"):
        read_scan(tmp_path / "gone.dcm")
