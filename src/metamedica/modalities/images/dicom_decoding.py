"""Pixel data of a DICOM file -> stored numbers: by pydicom and Pillow, else by SimpleITK."""

import struct
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from metamedica.errors import FileFormatError, MissingExtraError

_PIXELS = (
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelData",
)
_BY_PILLOW = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91")
_BY_SIMPLEITK = (
    *_BY_PILLOW,
    "1.2.840.10008.1.2.4.57",
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.81",
)


def broken() -> tuple[type[Exception], ...]:
    """Return what pydicom, Pillow and SimpleITK raise on broken files; their texts may quote a header, so they are never passed on."""
    from pydicom.errors import BytesLengthException, InvalidDicomError

    return (
        ValueError,
        TypeError,
        AttributeError,
        LookupError,
        RuntimeError,
        OSError,
        EOFError,
        ArithmeticError,
        AssertionError,
        struct.error,
        zlib.error,
        BytesLengthException,
        InvalidDicomError,
    )


def stored_values(data: Any, frames: int, called: str) -> Any:
    """Return the stored numbers of a checked data set, `[frames, rows, columns, samples]`; YBR as RGB.

    Raises:
        FileFormatError: pixels that end early or are broken, or a compression that nothing here reads.
        MissingExtraError: a package that reads this compression is not installed.
    """
    from pydicom.pixels import get_decoder, pixel_array

    syntax = data.file_meta.TransferSyntaxUID
    shape = (frames, int(data.Rows), int(data.Columns), int(data.get("SamplesPerPixel") or 1))
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        what = syntax.name if syntax.is_transfer_syntax else "an unknown transfer syntax"
        raise FileFormatError(
            f"{called} is compressed as {what}, which cannot be read here; convert it to JPEG 2000 or an uncompressed file"
        ) from None
    _check_length(data, shape, called)
    tried = False
    if decoder.is_available:
        tried = True
        try:
            return np.asarray(pixel_array(data)).reshape(shape)
        except broken():
            if str(syntax) not in _BY_SIMPLEITK:
                raise _broken(called) from None
    if str(syntax) not in _BY_SIMPLEITK:
        raise FileFormatError(
            f"{called} is compressed as {syntax.name}, which cannot be read here; convert it to JPEG 2000 or an uncompressed file"
        )
    try:
        import SimpleITK
    except ImportError:
        if tried:
            raise _broken(called) from None
        raise MissingExtraError("pillow" if str(syntax) in _BY_PILLOW else "SimpleITK", "images") from None
    try:
        return _by_simpleitk(SimpleITK, data).reshape(shape)
    except broken():
        raise _broken(called) from None


def _broken(called: str) -> FileFormatError:
    return FileFormatError(f"{called} has pixel data that are broken or end early; export or copy it again")


def _check_length(data: Any, shape: tuple[int, ...], called: str) -> None:
    """Refuse pixel data that are shorter than the header says; decoders fill up what a cut stream lacks."""
    if "PixelData" not in data:
        return
    held = len(data.PixelData or b"")
    if data.file_meta.TransferSyntaxUID.is_encapsulated:
        element = data["PixelData"]
        whole = bool(element.is_undefined_length) and held > 8
        if not whole:
            raise _broken(called)
        return
    bits = int(np.prod(shape)) * int(data.BitsAllocated)
    if str(data.get("PhotometricInterpretation")).strip() == "YBR_FULL_422":
        bits = bits * 2 // 3
    wanted = (bits + 7) // 8
    if held < wanted:
        raise FileFormatError(
            f"{called} ends early: its header says {wanted:,} bytes of pixels and {held:,} are there; copy or export it again"
        )


def _by_simpleitk(sitk: Any, data: Any) -> Any:
    """Return what SimpleITK decodes of the pixels alone: nothing else of the header is written to the disk, and no rescale is applied."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import SecondaryCaptureImageStorage

    alone = Dataset()
    for keyword in _PIXELS:
        if keyword in data:
            alone[keyword] = data[keyword]
    alone.SOPClassUID, alone.SOPInstanceUID = SecondaryCaptureImageStorage, "2.25.1"
    alone.file_meta = FileMetaDataset()
    alone.file_meta.TransferSyntaxUID = data.file_meta.TransferSyntaxUID
    alone.file_meta.MediaStorageSOPClassUID, alone.file_meta.MediaStorageSOPInstanceUID = (
        SecondaryCaptureImageStorage,
        "2.25.1",
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pixels.dcm"
        alone.save_as(path, enforce_file_format=True)
        return np.asarray(sitk.GetArrayFromImage(sitk.ReadImage(str(path))))
