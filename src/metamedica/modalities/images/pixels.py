"""A raw image, whatever it came as -> a square of 8-bit pixels, and the text that stands for it."""

import base64
import binascii
from io import BytesIO
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray

from metamedica.errors import CaseError, FileFormatError, MissingExtraError
from metamedica.modalities.images.dicom import looks_like_dicom, read_dicom
from metamedica.modalities.images.nifti import read_nifti
from metamedica.modalities.images.rasters import ImageLimits, read_raster
from metamedica.modalities.images.windows import normalised

Windowing: TypeAlias = str | tuple[float, float] | None
"""Of Hounsfield units: a name of `windows.WINDOWS`, (level, width), or None: then only DICOM files of CT are windowed, as lung."""
Square: TypeAlias = UInt8[np.ndarray, "side side 3"]
"""Red, green and blue, which are equal in a grey image."""
PREFIX = "data:image/png;base64,"
_NIFTI = (".nii", ".nii.gz")
_GREY = np.array([0.299, 0.587, 0.114], np.float32)


def square_of(case: object, *, side: int, window: Windowing, limits: ImageLimits) -> Square:
    """Return one image as a square of red, green and blue.

    A file's own shape is not kept: it is stretched to a square, as the published baselines do. 16-bit images and DICOM images are brought to
    8 bits by `window` where they hold Hounsfield units, else between percentiles of their own (`windows.normalised`).

    Args:
        case: path of a PNG, JPEG, TIFF, BMP, GIF or DICOM file; of a volume with a slice, such as "scan.nii.gz#12"; the content of a file; pixels
            `[height, width]` or `[height, width, 3]`; or what `text_of` returned.
        side: in pixels.
        window: of Hounsfield units; with one, NIfTI volumes are read as CT.
        limits: the largest file that is read.

    Raises:
        CaseError: nothing of these, or an image that is constant or has no finite pixel.
        FileFormatError: a file that cannot be read.
        MissingExtraError: Pillow is not installed.
    """
    if isinstance(case, str) and case.startswith(PREFIX):
        found = _of_text(case)
    elif isinstance(case, np.ndarray):
        found = _eight_bits(case, window)
    else:
        found = _of_file(case, window, limits)
    if found.shape[:2] != (side, side):
        found = _resized(found, side)
    return np.repeat(found[..., None], 3, axis=2) if found.ndim == 2 else found


def text_of(square: Square) -> str:
    """Return the text that stands for a square: a PNG as a data URI, grey where it is grey; equal squares have equal texts."""
    image = _pillow()
    grey = bool((square[..., :1] == square).all())
    data = BytesIO()
    image.fromarray(square[..., 0] if grey else square).save(data, "PNG", optimize=False, compress_level=9)
    return PREFIX + base64.b64encode(data.getvalue()).decode()


def grey_of(squares: UInt8[np.ndarray, "n side side 3"]) -> UInt8[np.ndarray, "n side side"]:
    """Return the luminance (ITU-R BT.601) of each square."""
    same = (squares[..., :1] == squares).all((1, 2, 3))
    found = np.rint(squares @ _GREY).astype(np.uint8)
    found[same] = squares[same][..., 0]
    return found


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError:
        raise MissingExtraError("pillow", "images") from None
    return Image


def _of_text(text: str) -> NDArray[np.uint8]:
    try:
        data = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise CaseError("a data URI came whose base64 is broken; give the image as a file") from None
    pixels = read_raster(data).pixels
    if pixels.dtype != np.uint8:
        raise CaseError("a data URI of a 16-bit image came, 8 bits were wanted; give the image as a file")
    return pixels


def _of_file(case: object, window: Windowing, limits: ImageLimits) -> NDArray[np.uint8]:
    if isinstance(case, bytes):
        source: Path | bytes = case
        head = case[:132]
    elif isinstance(case, str | Path) and str(case).strip():
        name, _, place = str(case).partition("#")
        if name.lower().endswith(_NIFTI):
            return _of_volume(Path(name), place, window)
        source = Path(case)
        try:
            with source.open("rb") as stream:
                head = stream.read(132)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "it is no path"
            raise FileFormatError(f"{source.name[:80]!r} cannot be opened ({why}); give the path of an image") from None
    else:
        raise CaseError(
            f"got a {type(case).__name__} where an image was wanted; give a path, bytes or an array of pixels"
        )
    if looks_like_dicom(head):
        image = read_dicom(source)
        if len(image.values) != 1:
            raise CaseError(
                f"the DICOM file has {len(image.values)} frames; cut out the one that is meant, or read it as a volume"
            )
        pixels: NDArray[Any] = image.values[0]
        if image.facts.colour and image.facts.bits == 8:
            pixels = pixels.astype(np.uint8)
        modality = image.facts.modality if image.facts.unit == "HU" or image.facts.modality != "CT" else None
        return _eight_bits(pixels, window, unit=image.facts.unit, modality=modality)
    return _eight_bits(read_raster(source, limits=limits).pixels, window)


def _of_volume(path: Path, place: str, window: Windowing) -> NDArray[np.uint8]:
    volume = read_nifti(path, modality=None if window is None else "CT")
    count = len(volume.values)
    if not place.isdigit() or int(place) >= count:
        raise CaseError(
            f"{path.name} is a volume of {count} slices and the slice {place!r} was asked for; write {path.name}#N with N from 0 to {count - 1}"
        )
    return _eight_bits(volume.values[int(place)], window, unit=volume.unit, modality=volume.modality)


def _eight_bits(
    pixels: NDArray[Any], window: Windowing, *, unit: str | None = None, modality: str | None = None
) -> NDArray[np.uint8]:
    """Return pixels in 8 bits; those that are so already as they are."""
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] != 3) or 0 in pixels.shape:
        raise CaseError(f"got pixels of shape {pixels.shape}; give [height, width] or [height, width, 3]")
    if pixels.dtype == np.uint8:
        found = pixels
    else:
        found = np.rint(255 * normalised(pixels, window=window or "lung", unit=unit, modality=modality)).astype(
            np.uint8
        )
    if found.min() == found.max():
        raise CaseError("every pixel has the same value (an all-black image?); leave the image out")
    return found


def _resized(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    image = _pillow()
    shrinks = min(pixels.shape[:2]) >= side
    how = image.Resampling.LANCZOS if shrinks else image.Resampling.BILINEAR
    return np.asarray(image.fromarray(pixels).resize((side, side), how))
