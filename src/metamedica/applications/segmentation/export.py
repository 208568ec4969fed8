"""Masks for other programs: NIfTI by nibabel, DICOM SEG by highdicom from the DICOM slices that were segmented."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Integer

from metamedica.errors import CaseError, InputError, MissingExtraError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

SOFTWARE = "Metamedica"


def write_nifti(
    mask: Integer[np.ndarray, "*axes"],
    path: Path,
    *,
    affine: Float[np.ndarray, "4 4"] | None = None,
    spacing: tuple[float, ...] | None = None,
) -> None:
    """Write a mask of whole numbers as NIfTI (`.nii` or `.nii.gz`), 8 or 16 bits a voxel.

    Args:
        mask: 2-D or 3-D, in the order of axes of the image it belongs to.
        path: whose folder exists.
        affine: from voxels to mm, as the image's NIfTI has it.
        spacing: size of a voxel along each axis, mm, where there is no affine; 1 by default.

    Raises:
        InputError: both affine and spacing, a spacing for another number of axes, or another suffix.
        CaseError: a mask of other axes, or values below 0 or above 65,535.
        MissingExtraError: nibabel is not installed.
    """
    try:
        import nibabel
    except ImportError:
        raise MissingExtraError("nibabel", "images") from None
    if affine is not None and spacing is not None:
        raise InputError("got an affine and a spacing; give one of them")
    if not path.name.endswith((".nii", ".nii.gz")):
        raise InputError(f"got the file name {path.name!r}; give one that ends in .nii or .nii.gz")
    values = _whole(mask)
    if affine is None:
        steps = spacing if spacing is not None else (1.0,) * values.ndim
        if len(steps) != values.ndim or not all(np.isfinite(step) and step > 0 for step in steps):
            raise InputError(
                f"got spacing {steps} for a mask of {values.ndim} axes; give a positive number of mm for each"
            )
        affine = np.diag([*steps, *[1.0] * (3 - values.ndim), 1.0])
    image = nibabel.Nifti1Image(values, affine)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)


def write_dicom_seg(
    mask: Integer[np.ndarray, "slices rows columns"],
    slices: "Sequence[Dataset]",
    path: Path,
    *,
    classes: Sequence[str],
    series_number: int = 100,
) -> None:
    """Write a mask as a DICOM Segmentation object (PS3.3 A.51), one binary segment a structure, that refers to its source slices.

    Args:
        mask: the class of each voxel, in the order of `slices`.
        slices: datasets of the series, one a slice, of one frame of reference.
        path: of the file, such as mask.dcm.
        classes: names, the background first.
        series_number: of the new series.

    Raises:
        CaseError: another size than the slices', values that are not declared, no structure, or slices without what a SEG must repeat.
        MissingExtraError: highdicom or pydicom is not installed.
    """
    try:
        import highdicom
        from highdicom.content import AlgorithmIdentificationSequence
        from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentationTypeValues, SegmentDescription
        from pydicom.sr.codedict import codes
        from pydicom.uid import ExplicitVRLittleEndian
    except ImportError:
        raise MissingExtraError("highdicom", "images") from None
    values = _whole(mask)
    if values.ndim != 3 or len(slices) != len(values) or not slices:
        raise CaseError(f"got a mask of shape {values.shape} for {len(slices)} slices; give slices x rows x columns")
    _check_slices(values, slices)
    shown = int(values.max())
    if shown == 0:
        raise CaseError("the mask shows no structure; a DICOM SEG needs at least one voxel")
    if shown >= len(classes):
        raise CaseError(f"the mask holds the class {shown}, declared are {len(classes)}; declare a name for each class")
    algorithm = AlgorithmIdentificationSequence(
        name=SOFTWARE, family=codes.cid7162.ArtificialIntelligence, version=_version()
    )
    segments = [
        SegmentDescription(
            segment_number=number,
            segment_label=name[:64],
            segmented_property_category=codes.SCT.AnatomicalStructure,
            segmented_property_type=codes.SCT.AnatomicalStructure,
            algorithm_type=SegmentAlgorithmTypeValues.SEMIAUTOMATIC,
            algorithm_identification=algorithm,
        )
        for number, name in enumerate(classes[1:], start=1)
    ]
    written: Any = Segmentation(
        source_images=list(slices),
        pixel_array=values.astype(np.uint8),
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=segments,
        series_instance_uid=highdicom.UID(),
        series_number=series_number,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer=SOFTWARE,
        manufacturer_model_name=SOFTWARE,
        software_versions=_version(),
        device_serial_number="0",
        transfer_syntax_uid=ExplicitVRLittleEndian,
        omit_empty_frames=True,
    )
    written.save_as(path)


def _check_slices(values: np.ndarray, slices: "Sequence[Dataset]") -> None:
    for at, each in enumerate(slices):
        size = (getattr(each, "Rows", None), getattr(each, "Columns", None))
        if size != values.shape[1:]:
            raise CaseError(
                f"slice {at + 1} has {size[0]} rows and {size[1]} columns, the mask {values.shape[1]} and {values.shape[2]}; "
                "give the slices that were segmented"
            )
        for tag in ("SOPInstanceUID", "SOPClassUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
            if not getattr(each, tag, None):
                raise CaseError(
                    f"slice {at + 1} has no {tag}, to which a DICOM SEG must refer; give slices with their UIDs"
                )


def _whole(mask: np.ndarray) -> np.ndarray:
    if mask.ndim not in (2, 3) or mask.dtype.kind not in "bui":
        raise CaseError(f"got a mask of shape {mask.shape} and type {mask.dtype}; give whole numbers in 2-D or 3-D")
    if mask.size == 0 or mask.min() < 0 or mask.max() > 65535:
        raise CaseError(
            "got a mask that is empty or holds values below 0 or above 65,535; give the class of each voxel"
        )
    return mask.astype(np.uint8 if mask.max() < 256 else np.uint16)


def _version() -> str:
    from importlib.metadata import version

    return version("metamedica")
