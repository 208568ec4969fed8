"""Masks written as NIfTI and DICOM SEG come back as they were, by nibabel and highdicom."""

import copy
from pathlib import Path

import numpy as np
import pytest

from metamedica.applications.segmentation.export import write_dicom_seg, write_nifti
from metamedica.errors import CaseError, InputError

nibabel = pytest.importorskip("nibabel")
pydicom = pytest.importorskip("pydicom")
highdicom = pytest.importorskip("highdicom")


def _mask(shape: tuple[int, ...]) -> np.ndarray:
    mask = np.zeros(shape, dtype=np.int64)
    mask[..., 10:30, 12:40] = 1
    mask[..., 15:20, 20:25] = 2
    return mask


def _series(n: int) -> list:
    from pydicom.data import get_testdata_file

    first = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    slices = []
    for at in range(n):
        each = copy.deepcopy(first)
        each.SOPInstanceUID = f"{first.SOPInstanceUID}.{at + 1}"
        each.ImagePositionPatient = [*first.ImagePositionPatient[:2], float(first.ImagePositionPatient[2]) + 5.0 * at]
        each.InstanceNumber = at + 1
        slices.append(each)
    return slices


def test_a_nifti_mask_comes_back_with_its_affine_and_spacing(tmp_path: Path) -> None:
    affine = np.array([[-0.7, 0, 0, 90.0], [0, 0.7, 0, -20], [0, 0, 2.5, 4], [0, 0, 0, 1]])
    mask = _mask((6, 40, 50))
    write_nifti(mask, tmp_path / "mask.nii.gz", affine=affine)
    found = nibabel.load(tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(np.asarray(found.dataobj), mask)
    np.testing.assert_allclose(found.affine, affine)
    assert found.get_data_dtype() == np.uint8
    write_nifti(mask[0], tmp_path / "flat.nii", spacing=(0.5, 0.25))
    flat = nibabel.load(tmp_path / "flat.nii")
    np.testing.assert_allclose(flat.header.get_zooms()[:2], (0.5, 0.25))
    assert flat.header.get_xyzt_units()[0] == "mm"


def test_what_nifti_cannot_hold_is_refused(tmp_path: Path) -> None:
    mask = _mask((40, 50))
    with pytest.raises(InputError, match=r"ends in \.nii"):
        write_nifti(mask, tmp_path / "mask.png")
    with pytest.raises(InputError, match="give one of them"):
        write_nifti(mask, tmp_path / "mask.nii", affine=np.eye(4), spacing=(1.0, 1.0))
    with pytest.raises(InputError, match="a positive number of mm for each"):
        write_nifti(mask, tmp_path / "mask.nii", spacing=(1.0,))
    with pytest.raises(CaseError, match="below 0"):
        write_nifti(mask - 1, tmp_path / "mask.nii")
    assert not list(tmp_path.iterdir())


def test_a_dicom_seg_comes_back_and_refers_to_its_slices(tmp_path: Path) -> None:
    slices = _series(3)
    mask = np.zeros((3, 128, 128), dtype=np.int64)
    mask[0, 10:20, 30:50] = 1
    mask[2, 60:70, 60:64] = 2
    write_dicom_seg(mask, slices, tmp_path / "seg.dcm", classes=("background", "tumour", "vessel"))
    found = highdicom.seg.segread(tmp_path / "seg.dcm")
    assert [found.get_segment_description(at).segment_label for at in (1, 2)] == ["tumour", "vessel"]
    back = found.get_pixels_by_source_instance(
        [str(each.SOPInstanceUID) for each in slices], combine_segments=True, assert_missing_frames_are_empty=True
    )
    np.testing.assert_array_equal(back, mask)
    assert found.FrameOfReferenceUID == slices[0].FrameOfReferenceUID
    assert found.StudyInstanceUID == slices[0].StudyInstanceUID


def test_slices_that_do_not_fit_the_mask_are_refused(tmp_path: Path) -> None:
    slices, mask = _series(2), np.ones((2, 128, 128), dtype=np.int64)
    classes = ("background", "tumour")
    path = tmp_path / "seg.dcm"
    with pytest.raises(CaseError, match="give slices x rows x columns"):
        write_dicom_seg(mask[:1], slices, path, classes=classes)
    with pytest.raises(CaseError, match="slice 1 has 128 rows"):
        write_dicom_seg(mask[:, :64], slices, path, classes=classes)
    with pytest.raises(CaseError, match="shows no structure"):
        write_dicom_seg(mask * 0, slices, path, classes=classes)
    with pytest.raises(CaseError, match="declare a name for each class"):
        write_dicom_seg(mask * 2, slices, path, classes=classes)
    slices[1].SOPInstanceUID = ""
    with pytest.raises(CaseError, match="slice 2 has no SOPInstanceUID"):
        write_dicom_seg(mask, slices, path, classes=classes)
    assert not path.exists()
