"""One DICOM file -> its frames: CT in HU, grey with high for bright, colour as RGB. Headers are data, never trusted and never quoted.

What a file says of itself is checked before a pixel is decoded, so that a small file cannot ask for much memory. Compressed files are read by
pydicom with Pillow (JPEG, JPEG 2000) or by itself (RLE), and what those cannot by SimpleITK (JPEG-LS, lossless JPEG).
"""

import struct
import warnings
import zlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float32

from metamedica.errors import FileFormatError, MissingExtraError
from metamedica.modalities.images.dicom_decoding import broken, stored_values
from metamedica.modalities.images.dicom_geometry import Place, Rescale, number, places, rescales, windows

Source: TypeAlias = Path | bytes

MOST_VALUES = 2**28
"""Rows x columns x frames x samples that are decoded at most unless told: 1 GiB as float32."""
MOST_BYTES = 2**31
_GREY = ("MONOCHROME1", "MONOCHROME2")
_COLOUR = ("RGB", "PALETTE COLOR", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_ELSE = {
    b"PK\x03\x04": "a zip archive; give it as .zip, or unpack it",
    b"\x1f\x8b": "a gzip file; unpack it",
    b"\x89PNG": "a PNG file; name it .png",
    b"\xff\xd8\xff": "a JPEG file; name it .jpg",
    b"II*\x00": "a TIFF file; name it .tif",
    b"MM\x00*": "a TIFF file; name it .tif",
    b"%PDF": "a PDF file; export the images as DICOM",
}


@dataclass(frozen=True)
class DicomFacts:
    """What a file says of its image, checked.

    Args:
        rows, columns, frames, samples: its size; samples is 1 for grey and palettes, 3 for other colour.
        modality: "CT", "MR", ..., or None.
        photometric: how pixels are stored, such as "MONOCHROME1".
        bits: stored a sample; colour values are 0 ... 2^bits - 1.
        signed: whether stored numbers are.
        unit: "HU" for CT with a rescale (not for localizers, which are projections), else None.
        series: SeriesInstanceUID; None where it is blank.
        windows: level and width of each window that the file suggests, in the values' unit.
        thickness_mm: of a slice, where told.
        places: where each frame lies, None where the file does not say.
        rescale: slope and intercept of each frame.
    """

    rows: int
    columns: int
    frames: int
    samples: int
    modality: str | None
    photometric: str
    bits: int
    signed: bool
    unit: str | None
    series: str | None
    windows: tuple[tuple[float, float], ...]
    thickness_mm: float | None
    places: tuple[Place | None, ...]
    rescale: tuple[Rescale, ...]

    @property
    def colour(self) -> bool:
        return self.photometric in _COLOUR


@dataclass(frozen=True, eq=False)
class DicomImage:
    """The frames of one file.

    Args:
        values: `[frames, rows, columns]` grey, or `[frames, rows, columns, 3]` RGB in 0 ... 2^bits - 1.
        facts: what the file says.
    """

    values: Float32[np.ndarray, "frames rows columns *rgb"]
    facts: DicomFacts


def looks_like_dicom(data: bytes) -> bool:
    """Return whether a file's first 132 bytes are those of DICOM Part 10."""
    return data[128:132] == b"DICM"


def read_facts(source: Source, *, name: str | None = None, most_values: int = MOST_VALUES) -> DicomFacts:
    """Return what one file says of its image, without decoding it.

    Args:
        source: a file, or its bytes.
        name: what errors call it; the file's name if left out.
        most_values: rows x columns x frames x samples at most.

    Raises:
        FileFormatError: no DICOM file, a broken one, one without an image, or a larger one than asked for.
        MissingExtraError: pydicom is not installed.
    """
    called = _called(source, name)
    return _facts(_parsed(source, called), called, most_values)


def read_facts_of_image(
    source: Source, *, name: str | None = None, most_values: int = MOST_VALUES
) -> DicomFacts | None:
    """Return the same, or None for a DICOM file that is no image at all, such as a report, a plan or a DICOMDIR.

    Raises:
        FileFormatError: as `read_facts`; an image whose pixels were cut off is no such file.
        MissingExtraError: pydicom is not installed.
    """
    called = _called(source, name)
    data = _parsed(source, called)
    if not _has_pixels(data) and "Rows" not in data:
        return None
    return _facts(data, called, most_values)


def read_dicom(source: Source, *, name: str | None = None, most_values: int = MOST_VALUES) -> DicomImage:
    """Return the frames of one file.

    Stored bits are cut out and signed (PS3.5 8.1.1), the modality LUT or rescale is applied (PS3.3 C.11.1), MONOCHROME1 is inverted within the
    stored range where values have no unit (HU are numbers, not brightness: they stay), YBR and palettes become RGB.

    Args:
        source: a file, or its bytes.
        name: what errors call it; the file's name if left out.
        most_values: rows x columns x frames x samples at most.

    Raises:
        FileFormatError: as `read_facts`, or pixels that end early, are broken or are compressed in a way that nothing here reads.
        MissingExtraError: pydicom, or for some compressions Pillow or SimpleITK, is not installed.
    """
    return read_with_header(source, name=name, most_values=most_values)[0]


def read_with_header(
    source: Source, *, name: str | None = None, most_values: int = MOST_VALUES
) -> tuple[DicomImage, Any]:
    """Return the frames of one file and pydicom's data set, for who looks at both; arguments and errors are those of `read_dicom`."""
    called = _called(source, name)
    data = _parsed(source, called)
    facts = _facts(data, called, most_values)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom remarks on padding and the like; what matters is checked
        stored = stored_values(data, facts.frames, called)
        try:
            values = _physical(data, stored, facts)
        except broken():
            raise FileFormatError(
                f"{called} has a palette or lookup table that cannot be read; export it again"
            ) from None
    if not np.isfinite(values).all():
        raise FileFormatError(f"{called} holds pixels that are not finite numbers; export it again")
    return DicomImage(values, facts), data


def _called(source: Source, name: str | None) -> str:
    return name or (repr(source.name) if isinstance(source, Path) else "the DICOM file")


def _bytes(source: Source, called: str) -> bytes:
    if isinstance(source, bytes):
        data = source
    elif not source.is_file():
        raise FileFormatError(f"there is no file {called}; check the path")
    elif source.stat().st_size > MOST_BYTES:
        raise FileFormatError(f"{called} has more than {MOST_BYTES:,} bytes; split it into smaller files")
    else:
        data = source.read_bytes()
    if not data:
        raise FileFormatError(f"{called} is empty; export it again")
    if not looks_like_dicom(data):
        for start, what in _ELSE.items():
            if data.startswith(start):
                raise FileFormatError(f"{called} is no DICOM file but {what}")
        raise FileFormatError(
            f"{called} is no DICOM file: 'DICM' is not at byte 128; export it as a DICOM Part 10 file"
        )
    _check_inflated(data, called)
    return data


def _check_inflated(data: bytes, called: str) -> None:
    """Refuse a deflated data set that inflates beyond what is read, before pydicom inflates it whole."""
    if _DEFLATED not in data[132:1024]:
        return
    if data[132:136] != b"\x02\x00\x00\x00":
        raise FileFormatError(f"{called} is deflated and has no header length; convert it to an uncompressed file")
    start = 144 + int(struct.unpack("<I", data[140:144])[0])
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    size = 0
    try:
        rest = data[start:]
        while rest and not stream.eof:
            size += len(stream.decompress(rest, 2**20))
            rest = stream.unconsumed_tail
            if size > MOST_BYTES:
                raise FileFormatError(
                    f"{called} inflates to more than {MOST_BYTES:,} bytes; split it into smaller files"
                )
    except zlib.error:
        stream = zlib.decompressobj()
    if not stream.eof:
        raise FileFormatError(f"{called} is broken: its deflated part ends early or cannot be read; export it again")


def _parsed(source: Source, called: str) -> Any:
    """Return pydicom's data set."""
    try:
        import pydicom
    except ImportError:
        raise MissingExtraError("pydicom", "images") from None
    data = _bytes(source, called)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # blank UIDs are common and harmless; what is read of a header is checked
        try:
            made = pydicom.dcmread(BytesIO(data))
        except broken():
            raise FileFormatError(f"{called} is a broken or truncated DICOM file; export or copy it again") from None
    return made


def _facts(data: Any, called: str, most_values: int) -> DicomFacts:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return _checked(data, called, most_values)
        except FileFormatError:
            raise
        except broken():
            raise FileFormatError(f"{called} has a DICOM header that cannot be read; export or copy it again") from None


def _checked(data: Any, called: str, most_values: int) -> DicomFacts:
    modality = _word(data, "Modality")
    if "TransferSyntaxUID" not in data.file_meta:
        raise FileFormatError(f"{called} does not say how it is encoded (no transfer syntax); export it again")
    if not _has_pixels(data):
        raise FileFormatError(
            f"{called} has no pixel data (modality {modality or 'not told'}): it is no image, or was cut; leave it out or export it again"
        )
    rows, columns = int(data.get("Rows") or 0), int(data.get("Columns") or 0)
    frames, samples = int(data.get("NumberOfFrames") or 1), int(data.get("SamplesPerPixel") or 1)
    if min(rows, columns, frames) < 1 or samples not in (1, 3):
        raise FileFormatError(
            f"{called} says {rows} rows, {columns} columns, {frames} frames and {samples} samples a pixel; 1 or 3 samples and at least one of "
            "the others are wanted: export it again"
        )
    if rows * columns * frames * samples > most_values:
        raise FileFormatError(
            f"{called} says {rows:,} x {columns:,} pixels x {frames:,} frames x {samples} samples, more than the {most_values:,} values that "
            "are read at most; crop or shrink it, or raise most_values"
        )
    photometric = _word(data, "PhotometricInterpretation") or ""
    if photometric not in (_GREY if samples == 1 else _COLOUR) and (samples, photometric) != (1, "PALETTE COLOR"):
        raise FileFormatError(
            f"{called} stores {samples} samples a pixel as {photometric[:20] or 'nothing told'!r}; {', '.join((*_GREY, *_COLOUR))} can be "
            "read: convert it"
        )
    allocated = int(data.get("BitsAllocated") or 0)
    bits = int(data.get("BitsStored") or allocated)
    if not (1 <= bits <= allocated and allocated in (1, 8, 16, 32, 64)):
        raise FileFormatError(
            f"{called} says {bits} bits stored of {allocated}; 1 to all of 1, 8, 16, 32 or 64 are wanted: export it again"
        )
    if photometric == "PALETTE COLOR":
        bits = int(data.RedPaletteColorLookupTableDescriptor[2])
    unit = _unit(data, modality, rescales(data, frames))
    inverted = photometric == "MONOCHROME1" and unit is None
    return DicomFacts(
        rows=rows,
        columns=columns,
        frames=frames,
        samples=samples,
        modality=modality,
        photometric=photometric,
        bits=bits,
        signed=bool(data.get("PixelRepresentation") or 0),
        unit=unit,
        series=str(data.get("SeriesInstanceUID") or "").strip() or None,
        windows=() if inverted else windows(data),
        thickness_mm=number(data, "SliceThickness"),
        places=places(data, frames, called),
        rescale=tuple(each or Rescale(1.0, 0.0) for each in rescales(data, frames)),
    )


def _has_pixels(data: Any) -> bool:
    return any(each in data for each in ("PixelData", "FloatPixelData", "DoubleFloatPixelData"))


def _word(data: Any, keyword: str) -> str | None:
    """Return a code string of the header, None where it is blank."""
    return str(data.get(keyword) or "").strip().upper()[:16] or None


def _unit(data: Any, modality: str | None, found: list[Rescale | None]) -> str | None:
    """Return "HU" where numbers are: PS3.3 C.8.2.1.1.2 takes HU for a CT image whose rescale names no other type."""
    kind = str(data.get("RescaleType") or "HU").strip().upper()
    localizer = "LOCALIZER" in [str(each).upper() for each in (data.get("ImageType") or [])]
    return "HU" if modality == "CT" and None not in found and kind == "HU" and not localizer else None


def _physical(data: Any, stored: Any, facts: DicomFacts) -> Float32[np.ndarray, "frames rows columns *rgb"]:
    """Return what stored numbers mean."""
    if facts.photometric == "PALETTE COLOR":
        from pydicom.pixels import apply_color_lut

        return np.asarray(apply_color_lut(stored[..., 0], data), np.float32)
    if stored.dtype.kind in "iu":
        stored = _cut(stored, facts)
    if facts.samples == 3:
        return np.asarray(stored, np.float32)
    grey = stored[..., 0]
    if facts.photometric == "MONOCHROME1" and facts.unit is None:
        if grey.dtype.kind in "iu":
            grey = (-1 if facts.signed else 2**facts.bits - 1) - grey.astype(np.int64)
        else:
            grey = grey.max() + grey.min() - grey
    if "ModalityLUTSequence" in data:
        from pydicom.pixels import apply_modality_lut

        return np.asarray(apply_modality_lut(grey, data), np.float32)
    slope, intercept = (
        np.array([getattr(each, name) for each in facts.rescale])[:, None, None] for name in ("slope", "intercept")
    )
    return np.asarray(grey * slope + intercept, np.float32)


def _cut(stored: Any, facts: DicomFacts) -> Any:
    """Return the stored bits alone: what lies above them (old overlays) is no part of a value; the highest is the sign where there is one."""
    if facts.bits >= 8 * stored.dtype.itemsize:
        return stored
    low = stored.astype(np.int64) & (2**facts.bits - 1)
    return low - ((low >> (facts.bits - 1)) << facts.bits) if facts.signed else low
