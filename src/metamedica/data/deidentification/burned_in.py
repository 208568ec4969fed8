"""Does writing stand in the pixels? Nobody can be sure, so a file that may have some is flagged, with the reason.

What a file says of itself and what kind it is count first. Then the pixels are looked at: a line of writing is a row of at least five small shapes
of one brightness (nearly the brightest or the darkest of the image), of about one height, on one base line, near each other, in the outer part.
Large, faint or slanted writing, and writing in the middle of a photograph, is missed.
"""

import warnings
from typing import Any

import numpy as np
from jaxtyping import Bool, Shaped

SAYS_SO = "says that it has writing in its pixels"
KIND = "is of a kind that often has writing in its pixels (secondary capture, ultrasound, photograph, screen, scanned film)"
LOOKS_SO = "has shapes like writing near its border"
UNSEEN = "has pixels that could not be looked at"

_KINDS = (
    "1.2.840.10008.5.1.4.1.1.7",  # secondary capture, all of them
    "1.2.840.10008.5.1.4.1.1.6",  # ultrasound
    "1.2.840.10008.5.1.4.1.1.3",  # ultrasound, many frames
    "1.2.840.10008.5.1.4.1.1.77",  # visible light
    "1.2.840.10008.5.1.4.1.1.12",  # X-ray angiography
    "1.2.840.10008.5.1.4.1.1.104",  # encapsulated documents
)
_MODALITIES = ("US", "IVUS", "OT", "SC", "ES", "XC", "GM", "SM", "DOC", "RF", "XA")
_BORDER = 0.25
_BRIGHT = 0.85
_SHORTEST, _TALLEST = 5, 60
_FEWEST = 5
_MOST_PIXELS = 2**26


def reasons(data: Any) -> list[str]:
    """Return why writing may stand in the pixels of a data set; an empty list where nothing speaks for it."""
    found = []
    if str(data.get("BurnedInAnnotation") or "").strip().upper() == "YES":
        found.append(SAYS_SO)
    kind, modality = str(data.get("SOPClassUID") or ""), str(data.get("Modality") or "").strip().upper()
    converted = bool(str(data.get("ConversionType") or "").strip())
    if converted or modality in _MODALITIES or any(kind == each or kind.startswith(f"{each}.") for each in _KINDS):
        found.append(KIND)
    frames = _looked_at(data)
    if frames is None:
        found.append(UNSEEN)
    elif any(has_writing(frame) for frame in frames):
        found.append(LOOKS_SO)
    return found


def has_writing(frame: Shaped[np.ndarray, "rows columns *rgb"]) -> bool:
    """Return whether a line of shapes like letters stands in the outer part of an image, bright on dark or dark on bright."""
    grey = np.asarray(frame, np.float64)
    if grey.ndim == 3:
        grey = grey.max(axis=-1)
    low, high = float(grey.min()), float(grey.max())
    if low == high:
        return False
    level = (grey - low) / (high - low)
    return _has_line(level >= _BRIGHT) or _has_line(level <= 1 - _BRIGHT)


def _looked_at(data: Any) -> list[Any] | None:
    """Return the first, the middle and the last frame, None where they cannot be decoded."""
    from pydicom.errors import BytesLengthException
    from pydicom.pixels import pixel_array

    frames = int(data.get("NumberOfFrames") or 1)
    if int(data.Rows) * int(data.Columns) * int(data.get("SamplesPerPixel") or 1) > _MOST_PIXELS:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return [pixel_array(data, index=each) for each in sorted({0, frames // 2, frames - 1})]
    except (
        ValueError,
        TypeError,
        AttributeError,
        LookupError,
        RuntimeError,
        OSError,
        ArithmeticError,
        AssertionError,
        BytesLengthException,
    ):  # broken pixels, or no package that decodes them: the caller is told
        return None


def _has_line(shapes: Bool[np.ndarray, "rows columns"]) -> bool:
    """Return whether five or more letters stand in a row."""
    from scipy import ndimage

    labels, count = ndimage.label(shapes, structure=np.ones((3, 3)))
    if count < _FEWEST:
        return False
    rows, columns = shapes.shape
    boxes, filled = ndimage.find_objects(labels), np.bincount(labels.ravel())
    letters = []
    for number, (down, across) in enumerate(boxes, start=1):
        height, width = down.stop - down.start, across.stop - across.start
        middle = (down.start + down.stop) / 2 / rows, (across.start + across.stop) / 2 / columns
        outer = min(*middle, 1 - middle[0], 1 - middle[1]) <= _BORDER
        full = filled[number] / (height * width)
        small = _SHORTEST <= height <= min(_TALLEST, rows // 4) and 1 <= width <= 1.6 * height
        if outer and small and (full < 0.9 or width <= height / 3):
            letters.append((down.stop, across.start, across.stop, height))
    return any(_in_line(letters, each) >= _FEWEST for each in letters)


def _in_line(letters: list[tuple[int, int, int, int]], first: tuple[int, int, int, int]) -> int:
    """Return how many letters follow each other from one on: the same base line and height, each less than two heights from the last."""
    base, _, end, height = first
    row = sorted(
        (start, stop)
        for bottom, start, stop, tall in letters
        if abs(bottom - base) <= max(1, 0.15 * height) and 0.6 <= tall / height <= 1.67
    )
    count = 1
    for start, stop in row:
        if start >= end:
            if start - end > 2 * height:
                break
            count, end = count + 1, stop
    return count
