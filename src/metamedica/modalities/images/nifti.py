"""NIfTI files -> volumes and back: RAS millimetres become LPS, array axes i, j, k become columns, rows, slices; no voxel is moved."""

import gzip
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Shaped

from metamedica.errors import FileFormatError, InputError, MissingExtraError
from metamedica.modalities.images.volumes import Volume
from metamedica.storage import replace_file

MOST_VALUES = 2**28
MOST_BYTES = 2**31
_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_EXACT = 2**24
_MILLIMETRES = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
"""Spatial unit code (unknown, metre, millimetre, micrometre) -> millimetres; unknown is taken as millimetres, as NIfTI readers do."""
_KINDS: tuple[type[np.signedinteger[Any] | np.unsignedinteger[Any]], ...] = (np.uint8, np.int16, np.int32)


def read_nifti(
    source: Path | bytes, *, frame: int | None = None, modality: str | None = None, most_values: int = MOST_VALUES
) -> Volume:
    """Return a NIfTI-1 or NIfTI-2 file, plain or gzip, as a volume; the scale of its header (scl_slope, scl_inter) is applied.

    Args:
        source: a file, or its bytes.
        frame: which time point (from 0) of a file with four axes; with three there is none to choose.
        modality: "CT" (values are then in HU), "MR", ...; the format does not say.
        most_values: voxels of all time points at most.

    Raises:
        FileFormatError: no NIfTI file, a broken or larger one, other than three or four axes, no orientation, axes not at right angles,
            complex or colour values, values that are not finite.
        InputError: a time point that is not there, or none chosen among several.
        MissingExtraError: nibabel is not installed.
    """
    try:
        from nibabel import Nifti1Image, Nifti2Image
        from nibabel.filebasedimages import ImageFileError
        from nibabel.spatialimages import HeaderDataError
        from nibabel.wrapstruct import WrapStructError
    except ImportError:
        raise MissingExtraError("nibabel", "images") from None
    called = repr(source.name) if isinstance(source, Path) else "the NIfTI file"
    data = _unpacked(source, called)
    kind = {348: Nifti1Image, 540: Nifti2Image}.get(_header_size(data))
    if kind is None:
        raise FileFormatError(f"{called} is no NIfTI file (its header is not 348 or 540 bytes); give .nii or .nii.gz")
    try:
        image = kind.from_bytes(data)
        _check(image, called, most_values)
        chosen = _chosen(image.shape, frame, called)
        values = np.asanyarray(image.dataobj[(..., *chosen)]).reshape(image.shape[:3])
        unit = _MILLIMETRES.get(int(image.header["xyzt_units"]) & 7, 1.0)
        affine = np.diag([unit, unit, unit, 1.0]) @ np.asarray(image.affine, np.float64)
    except (FileFormatError, InputError):
        raise
    except (
        ImageFileError,
        HeaderDataError,
        WrapStructError,
        ValueError,
        TypeError,
        OSError,
        ArithmeticError,
        LookupError,
    ):
        raise FileFormatError(f"{called} is broken or truncated; copy or export it again") from None
    return _volume(values, affine, modality, called)


def write_nifti(path: Path, volume: Volume) -> None:
    """Write a volume, or a mask or label map from `Volume.with_values`, whole or not at all; `read_nifti` reads the same.

    Whole numbers of a volume without a unit are stored as the smallest whole kind of number that holds them, all else as float32.

    Args:
        path: `.nii`, or `.nii.gz` (packed without a time stamp, so that equal volumes are equal files).
        volume: what to write.

    Raises:
        FileFormatError: another ending.
        MissingExtraError: nibabel is not installed.
    """
    try:
        from nibabel import Nifti1Image
    except ImportError:
        raise MissingExtraError("nibabel", "images") from None
    if not path.name.endswith((".nii", ".nii.gz")):
        raise FileFormatError(f"got {path.name!r} to write a volume to; name it .nii or .nii.gz")
    values = _compact(volume)
    image = Nifti1Image(values.T, _affine(volume))
    image.set_sform(_affine(volume), code=1)
    image.set_qform(_affine(volume), code=1)
    image.header.set_xyzt_units("mm")
    data = image.to_bytes()
    replace_file(path, gzip.compress(data, mtime=0) if path.name.endswith(".gz") else data)


def _affine(volume: Volume) -> Float64[np.ndarray, "4 4"]:
    """Return the matrix from (i, j, k, 1) = (column, row, slice, 1) to RAS millimetres."""
    return np.asarray(_TO_LPS @ volume.affine()[:, [2, 1, 0, 3]])


def _compact(volume: Volume) -> Shaped[np.ndarray, "slices rows columns"]:
    values = volume.values
    if volume.unit is not None or not np.array_equal(values, np.rint(values)) or np.abs(values).max() > _EXACT:
        return values
    low, high = int(values.min()), int(values.max())
    kind = next(each for each in _KINDS if np.iinfo(each).min <= low and high <= np.iinfo(each).max)
    return values.astype(kind)


def _unpacked(source: Path | bytes, called: str) -> bytes:
    if isinstance(source, bytes):
        data = source
    elif not source.is_file():
        raise FileFormatError(f"there is no file {called}; check the path")
    elif source.stat().st_size > MOST_BYTES:
        raise FileFormatError(f"{called} has more than {MOST_BYTES:,} bytes; crop it")
    else:
        data = source.read_bytes()
    if data[:2] != b"\x1f\x8b":
        return data
    try:
        with gzip.GzipFile(fileobj=BytesIO(data)) as file:
            data = file.read(MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error):
        raise FileFormatError(f"{called} is broken or truncated; copy or export it again") from None
    if len(data) > MOST_BYTES:
        raise FileFormatError(f"{called} expands to more than {MOST_BYTES:,} bytes; crop it")
    return data


def _header_size(data: bytes) -> int:
    """Return what the first number of a header says, in the byte order in which it makes sense."""
    sizes = [int.from_bytes(data[:4], "little"), int.from_bytes(data[:4], "big")]
    return next((each for each in sizes if each in (348, 540) and len(data) >= each), 0)


def _check(image: Any, called: str, most_values: int) -> None:
    size = 1
    for each in image.shape:
        size *= int(each)
    if size > most_values or size < 1:
        raise FileFormatError(
            f"{called} says {size:,} voxels; 1 to {most_values:,} are read: crop it, or raise most_values"
        )
    if image.get_data_dtype().kind not in "iuf":
        raise FileFormatError(f"{called} holds {image.get_data_dtype()} values; real numbers are wanted: convert it")
    if int(image.header["sform_code"]) < 1 and int(image.header["qform_code"]) < 1:
        raise FileFormatError(
            f"{called} does not say how it lies in the patient (sform and qform codes are 0); convert it anew from its source, or set one"
        )


def _chosen(shape: tuple[int, ...], frame: int | None, called: str) -> tuple[int, ...]:
    """Return the indices beyond the three of space."""
    times = [each for each in shape[3:] if each != 1]
    if len(shape) < 3 or len(times) > 1:
        raise FileFormatError(f"{called} has axes of {shape}; three (or four, with time) are wanted: export one volume")
    count = times[0] if times else 1
    if count > 1 and frame is None:
        raise InputError(
            f"{called} has {count} time points; choose one with frame=0 to {count - 1}, or average them first"
        )
    if not 0 <= (frame or 0) < count:
        raise InputError(f"{called} has {count} time points and frame={frame} was asked for; give 0 to {count - 1}")
    return tuple((frame or 0) if each != 1 else 0 for each in shape[3:])


def _volume(values: Any, affine: Float64[np.ndarray, "4 4"], modality: str | None, called: str) -> Volume:
    if values.dtype.kind in "iu" and np.abs(values.astype(np.float64)).max() > _EXACT:
        raise FileFormatError(
            f"{called} holds whole numbers above 2^24, which float32 cannot keep apart; number its labels anew"
        )
    if not np.isfinite(values).all():
        bad = int((~np.isfinite(values)).sum())
        raise FileFormatError(f"{called} holds {bad:,} values that are not finite numbers; replace them first")
    place = (_TO_LPS @ affine)[:, [2, 1, 0, 3]]
    spacing = np.linalg.norm(place[:3, :3], axis=0)
    if not np.isfinite(place).all() or not (spacing > 0).all():
        raise FileFormatError(f"{called} has an affine without three axes; export it again")
    x, y, z = (float(each) for each in place[:3, 3])
    slices, rows, columns = (float(each) for each in spacing)
    try:
        return Volume(
            values=np.ascontiguousarray(values.T, np.float32),
            spacing_mm=(slices, rows, columns),
            origin_mm=(x, y, z),
            direction=place[:3, :3] / spacing,
            unit="HU" if modality == "CT" else None,
            modality=modality,
        )
    except InputError as error:
        raise FileFormatError(f"{called}: {error}") from None
