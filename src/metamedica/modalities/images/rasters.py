"""Reading PNG, JPEG, TIFF, BMP and GIF: hostile or broken files are refused in one sentence, and what a file says of itself is kept as facts."""

import hashlib
import struct
import warnings
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt

from metamedica.errors import CaseError, FileFormatError, InputError, MissingExtraError

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF")
_MOST_PIXELS = 178_956_970
"""Pillow itself refuses more, whatever is asked for."""
_FOREIGN = {
    b"PK\x03\x04": "a zip or Office file",
    b"%PDF": "a PDF",
    b"\x1f\x8b": "a gzip file (a NIfTI volume?)",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "a NumPy file",
    b"7z\xbc\xaf": "a 7z file",
    b"Rar!": "a RAR file",
}
_BROKEN = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, AttributeError, EOFError, RuntimeError, ArithmeticError,
    struct.error, zlib.error, MemoryError,
)  # fmt: skip
"""What Pillow's readers raise on files that are not whole."""
_ORIENTATION = 0x0112
_PHOTOMETRIC = 262
_BITS = 258


@dataclass(frozen=True)
class ImageLimits:
    """The largest image that is read.

    Args:
        pixels: width times height, told by the header before anything is decoded.
        file_bytes: of the file on disk.

    Raises:
        InputError: a limit that is no positive number, or more pixels than Pillow reads (178,956,970).
    """

    pixels: int = 64_000_000
    file_bytes: int = 500_000_000

    def __post_init__(self) -> None:
        if not 0 < self.pixels <= _MOST_PIXELS or self.file_bytes <= 0:
            raise InputError(
                f"got limits of {self.pixels:,} pixels and {self.file_bytes:,} bytes; give 1 to {_MOST_PIXELS:,} pixels and at least one byte"
            )


@dataclass(frozen=True)
class ImageFacts:
    """What a file says of itself beside its picture.

    Args:
        format: "PNG", "JPEG", "TIFF", "BMP" or "GIF", by its content; the suffix does not count.
        mode: how the file stores a pixel, in Pillow's words: "1", "L", "I;16", "P", "LA", "RGB", "RGBA", "CMYK", ...
        width: of the picture as it is shown, in pixels.
        height: likewise.
        bits: of one channel in the file: 1 to 16; of a palette's index, its 8.
        bytes: size of the file.
        sha256: of the file.
        pixels_sha256: of shape, type and pixels as they were returned.
        has_alpha: whether it is transparent somewhere by its format; such a picture was laid on black.
        orientation: EXIF's number, 1 to 8; 1 where there is none.
        turned: whether the pixels were turned or mirrored by it.
        jpeg_quality: 1 to 100 on the scale of the Independent JPEG Group, from the luminance table; None for other formats.
    """

    format: str
    mode: str
    width: int
    height: int
    bits: int
    bytes: int
    sha256: str
    pixels_sha256: str
    has_alpha: bool
    orientation: int
    turned: bool
    jpeg_quality: int | None

    def as_dict(self) -> dict[str, Any]:
        """Return the facts as a JSON value."""
        return asdict(self)


@dataclass(frozen=True)
class Raster:
    """A picture and the facts of its file; pixels are `[height, width]` (grey) or `[height, width, 3]` (RGB), uint8 or uint16 as stored."""

    pixels: UInt[np.ndarray, "height width *channels"]
    facts: ImageFacts


def read_raster(source: str | Path | bytes, *, limits: ImageLimits | None = None) -> Raster:
    """Return the picture of one PNG, JPEG, TIFF, BMP or GIF file.

    Grey values stay as stored (8 or 16 bits; one bit becomes 0 and 255, 12 bits stay in 16). A palette of greys gives a grey
    picture, other palettes and CMYK give RGB (by Adobe's convention, inverted, in a JPEG). What is transparent is laid on
    black. EXIF's orientation is applied.

    Args:
        source: path of the file, or its content.
        limits: the largest image that is read; 64 million pixels and 500 MB if left out.

    Raises:
        FileFormatError: the file is missing, a folder, too large, empty, or of another format.
        CaseError: it is truncated or broken, too large a picture, has no pixel, several pages or frames, or numbers that are neither
            8 nor 16 bits without sign (16-bit colour, float).
        MissingExtraError: Pillow is not installed.
    """
    limits = limits or ImageLimits()
    name, data = _content(source, limits)
    _refuse_foreign(name, data)
    try:
        from PIL import Image
    except ImportError:
        raise MissingExtraError("pillow", "images") from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what matters of Pillow's remarks is an error here: size, truncation
        try:
            image = Image.open(BytesIO(data), formats=FORMATS)
        except Image.DecompressionBombError:
            raise CaseError(_too_many(name, f"more than {_MOST_PIXELS:,}", limits)) from None
        except Image.UnidentifiedImageError:
            raise FileFormatError(
                f"{name} is no image that this reads, or its header is broken; give {_formats()}"
            ) from None
        except _BROKEN:
            raise CaseError(f"{name} begins as an image and its header is broken; fetch or export it again") from None
        with image:
            return _decoded(image, name, data, limits)


def _content(source: str | Path | bytes, limits: ImageLimits) -> tuple[str, bytes]:
    """Return what errors call the file, and its content."""
    if isinstance(source, bytes):
        name, data = "the image", source
        if len(data) > limits.file_bytes:
            raise FileFormatError(_too_long(name, limits))
    else:
        path = Path(source)
        name = path.name
        if path.is_dir():
            raise FileFormatError(f"{name} is a folder; give an image file in it")
        try:
            with path.open("rb") as stream:
                data = stream.read(limits.file_bytes + 1)
        except FileNotFoundError:
            raise FileFormatError(f"there is no file {name!r}; check the path") from None
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not a path"
            raise FileFormatError(f"{name!r} cannot be read ({reason}); give a file that can be") from None
        if len(data) > limits.file_bytes:
            raise FileFormatError(_too_long(name, limits))
    if not data:
        raise FileFormatError(f"{name} is empty; give {_formats()}")
    return name, data


def _too_long(name: str, limits: ImageLimits) -> str:
    return f"{name} is larger than the {limits.file_bytes:,} bytes that are read of an image; make it smaller, or raise the limit"


def _too_many(name: str, pixels: str, limits: ImageLimits) -> str:
    return f"{name} has {pixels} pixels and at most {limits.pixels:,} are read; make it smaller, or raise the limit"


def _formats() -> str:
    return f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}"


def _refuse_foreign(name: str, data: bytes) -> None:
    what = next((told for magic, told in _FOREIGN.items() if data.startswith(magic)), None)
    head = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith((b"<!doctype", b"<html", b"<?xml", b"<svg")):
        what = "a web page or XML"
    elif data[128:132] == b"DICM":
        what = "a DICOM file, which is read by another reader"
    if what is not None:
        raise FileFormatError(f"{name} is {what}, whatever its name says; give {_formats()}")


def _decoded(image: Any, name: str, data: bytes, limits: ImageLimits) -> Raster:
    kind = "JPEG" if image.format == "MPO" else str(image.format)  # a camera's JPEG with a preview behind it
    width, height = image.size
    if width <= 0 or height <= 0:
        raise CaseError(f"{name} is {width} x {height} pixels; give an image that has pixels")
    if width * height > limits.pixels:
        raise CaseError(_too_many(name, f"{width:,} x {height:,}", limits))
    try:
        pages = 1 if image.format == "MPO" else int(getattr(image, "n_frames", 1))
        mode, bits = str(image.mode), _bits(image, kind, data)
        inverted = kind == "TIFF" and mode == "I;16" and image.tag_v2.get(_PHOTOMETRIC) == 0
        orientation = (
            _orientation(image) if kind == "TIFF" else 1
        )  # of a TIFF it is gone once Pillow has turned the pixels
    except _BROKEN:
        raise CaseError(_torn(name)) from None
    if pages > 1:
        many = "pages" if kind == "TIFF" else "frames"
        raise CaseError(f"{name} has {pages:,} {many} and a case is one image; give each of them its own file")
    if mode in ("I", "F") and not (mode == "I" and kind == "PNG"):
        raise CaseError(
            f"{name} stores {'decimal' if mode == 'F' else 'signed or 32-bit'} numbers; save it with 8 or 16 bits, unsigned, or give DICOM or NIfTI"
        )
    if bits > 8 and mode not in ("I;16", "I;16B", "I;16L", "I"):
        raise CaseError(f"{name} stores {bits} bits of each colour; save it as 16-bit grey or as 8-bit colour")
    try:
        image.load()
        if kind != "TIFF":
            orientation = _orientation(image)
        pixels = _array(image, name)
        quality = _jpeg_quality(getattr(image, "quantization", None)) if kind == "JPEG" else None
        transparent = _transparent(image)
    except CaseError:
        raise
    except _BROKEN:
        raise CaseError(_torn(name)) from None
    if inverted:
        pixels = 65535 - pixels
    if kind != "TIFF":
        pixels = _upright(pixels, orientation)
    pixels = np.ascontiguousarray(pixels)
    facts = ImageFacts(
        format=kind,
        mode=mode,
        width=pixels.shape[1],
        height=pixels.shape[0],
        bits=bits,
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        pixels_sha256=pixels_sha256(pixels),
        has_alpha=transparent,
        orientation=orientation,
        turned=orientation > 1,
        jpeg_quality=quality,
    )
    return Raster(pixels, facts)


def _torn(name: str) -> str:
    return f"{name} is truncated or broken: not every pixel can be decoded; fetch or export it again"


def pixels_sha256(pixels: UInt[np.ndarray, "height width *channels"]) -> str:
    """Return the SHA-256 of an image's shape, type and values (little-endian), which a copy in another file format shares."""
    little = np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("<"))
    head = f"{little.dtype.itemsize * 8} {'x'.join(map(str, little.shape))}\n".encode()
    return hashlib.sha256(head + little.tobytes()).hexdigest()


def _bits(image: Any, kind: str, data: bytes) -> int:
    """Return the bits of one channel as the file stores it; Pillow's mode alone hides that 16-bit colour is cut to 8."""
    if kind == "PNG":
        return data[24]  # the header chunk always comes first: 8 signature, 8 length and name, 4 width, 4 height
    if kind == "TIFF":
        told = image.tag_v2.get(_BITS, 1)
        return int(max(told) if isinstance(told, tuple) else told)
    return 1 if image.mode == "1" else 8


def _orientation(image: Any) -> int:
    told = image.getexif().get(_ORIENTATION, 1)
    return int(told) if isinstance(told, int) and 1 <= told <= 8 else 1


def _transparent(image: Any) -> bool:
    return image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info


def _array(image: Any, name: str) -> UInt[np.ndarray, "height width *channels"]:
    """Return grey or RGB values; what is transparent is laid on black."""
    mode = image.mode
    if mode.startswith("I"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise CaseError(f"{name} stores 32-bit numbers; save it with 8 or 16 bits without sign")
        clear = image.info.get("transparency")  # a PNG may name one grey as transparent
        return (values if clear is None else np.where(values == clear, 0, values)).astype(np.uint16)
    if mode in ("CMYK", "YCbCr", "RGBX"):
        return np.asarray(image.convert("RGB"))
    if _transparent(image):
        whole = np.asarray(image.convert("RGBA"))
        alpha = whole[..., 3:].astype(np.uint16)
        colours = ((whole[..., :3] * alpha + 127) // 255).astype(np.uint8)
        grey = mode in ("1", "L", "LA", "La") or (mode in ("P", "PA") and _grey(colours))
        return colours[..., 0] if grey else colours
    if mode == "1":
        return np.asarray(image, dtype=np.uint8) * np.uint8(255)
    if mode == "P":
        colours = np.asarray(image.convert("RGB"))
        return colours[..., 0] if _grey(colours) else colours
    if mode in ("L", "RGB"):
        return np.asarray(image)
    raise CaseError(f"{name} stores pixels as {mode}; save it as grey or RGB")


def _grey(colours: UInt[np.ndarray, "height width 3"]) -> bool:
    return bool((colours == colours[..., :1]).all())


def _upright(pixels: UInt[np.ndarray, "height width *channels"], orientation: int) -> UInt[np.ndarray, "..."]:
    """Return the picture as EXIF's orientation says it is to be shown (CIPA DC-008, tag 274)."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels


_LUMINANCE = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
"""Table K.1 of ITU-T T.81, row by row."""


def _jpeg_quality(tables: Mapping[int, Sequence[int]] | None) -> int | None:
    """Return the quality whose luminance table, scaled as libjpeg does (jcparam.c), is nearest to the file's."""
    if not tables or len(tables[min(tables)]) != 64:
        return None
    quality = np.arange(1, 101)
    scale = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    scaled = np.clip((np.array(_LUMINANCE) * scale[:, None] + 50) // 100, 1, 255)
    distance = np.abs(scaled - np.array(tables[min(tables)])).sum(1)
    return int(quality[distance.argmin()])
