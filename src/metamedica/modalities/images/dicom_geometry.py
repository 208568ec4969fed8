"""Numbers of a DICOM header: where frames lie, how they are rescaled, which windows are suggested; enhanced multi-frame files included.

Classic files say so once; enhanced ones a frame (PerFrameFunctionalGroupsSequence) or for all (SharedFunctionalGroupsSequence), PS3.3 C.7.6.16.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from metamedica.errors import FileFormatError
from metamedica.modalities.images.volumes import Triple

_UNIT = 1e-3


@dataclass(frozen=True)
class Place:
    """Where a frame lies in the patient (PS3.3 C.7.6.2.1.1), LPS.

    Args:
        position_mm: middle of the first pixel.
        along_row: unit vector from one column to the next.
        along_column: unit vector from one row to the next.
        spacing_mm: between rows, between columns.
    """

    position_mm: Triple
    along_row: Triple
    along_column: Triple
    spacing_mm: tuple[float, float]

    @property
    def normal(self) -> Triple:
        """Return the unit vector across the frame: along the row x along the column."""
        x, y, z = (float(each) for each in np.cross(self.along_row, self.along_column))
        return x, y, z


@dataclass(frozen=True)
class Rescale:
    """Stored number -> value: slope x + intercept."""

    slope: float
    intercept: float


def numbers(data: Any, keyword: str, count: int) -> tuple[float, ...] | None:
    """Return so many finite numbers of an element, None where it is absent or blank.

    Raises:
        ValueError: another count, or no finite numbers.
    """
    value = data.get(keyword)
    if value is None or value == "" or (hasattr(value, "__len__") and len(value) == 0):
        return None
    every = tuple(
        float(each) for each in (value if hasattr(value, "__len__") and not isinstance(value, str) else [value])
    )
    if len(every) != count or not np.isfinite(every).all():
        raise ValueError(keyword)
    return every


def number(data: Any, keyword: str) -> float | None:
    """Return one finite number above 0 of an element, None where it is absent or blank, zero or less."""
    found = numbers(data, keyword, 1)
    return found[0] if found and found[0] > 0 else None


def places(data: Any, frames: int, called: str) -> tuple[Place | None, ...]:
    """Return where each frame lies; None for those of which position, orientation or pixel spacing is not told.

    Raises:
        FileFormatError: an orientation that is not two unit vectors at right angles, or a pixel spacing of zero or less.
        ValueError: numbers that are none.
    """
    if frames > 1 and "PerFrameFunctionalGroupsSequence" not in data:
        return (None,) * frames
    return tuple(_place(data, frame, called) for frame in range(frames))


def rescales(data: Any, frames: int) -> list[Rescale | None]:
    """Return how each frame is rescaled, None where the file does not say."""
    return [_rescale(_macro(data, frame, "PixelValueTransformationSequence")) for frame in range(frames)]


def windows(data: Any) -> tuple[tuple[float, float], ...]:
    """Return level and width of the suggested windows, those of the first frame; what is no pair of numbers with a width above 0 is left out."""
    source = _macro(data, 0, "FrameVOILUTSequence")
    levels, widths = (source.get(keyword) for keyword in ("WindowCenter", "WindowWidth"))
    if levels in (None, "") or widths in (None, ""):
        return ()
    pairs = zip(_list(levels), _list(widths), strict=False)
    return tuple((level, width) for level, width in pairs if width > 0 and np.isfinite([level, width]).all())


def _list(value: Any) -> list[float]:
    return [float(each) for each in (value if hasattr(value, "__len__") and not isinstance(value, str) else [value])]


def _macro(data: Any, frame: int, sequence: str) -> Any:
    """Return what holds a frame's elements: its functional group, that of all frames, or the data set itself."""
    for groups, index in (("PerFrameFunctionalGroupsSequence", frame), ("SharedFunctionalGroupsSequence", 0)):
        every = data.get(groups)
        if every and len(every) > index and every[index].get(sequence):
            return every[index].get(sequence)[0]
    return data


def _place(data: Any, frame: int, called: str) -> Place | None:
    position = numbers(_macro(data, frame, "PlanePositionSequence"), "ImagePositionPatient", 3)
    axes = numbers(_macro(data, frame, "PlaneOrientationSequence"), "ImageOrientationPatient", 6)
    spacing = numbers(_macro(data, frame, "PixelMeasuresSequence"), "PixelSpacing", 2)
    if position is None or axes is None or spacing is None:
        return None
    row, column = np.array(axes[:3]), np.array(axes[3:])
    if not np.allclose([row @ row, column @ column, row @ column], [1, 1, 0], atol=_UNIT):
        raise FileFormatError(
            f"{called} has an image orientation that is not two unit vectors at right angles; export it again"
        )
    if min(spacing) <= 0:
        raise FileFormatError(
            f"{called} has a pixel spacing of {min(spacing):g} mm; one above 0 is wanted: export it again"
        )
    (x, y, z), (r1, r2, r3, c1, c2, c3), (down, across) = position, axes, spacing
    return Place((x, y, z), (r1, r2, r3), (c1, c2, c3), (down, across))


def _rescale(source: Any) -> Rescale | None:
    slope, intercept = (numbers(source, keyword, 1) for keyword in ("RescaleSlope", "RescaleIntercept"))
    if slope is None and intercept is None:
        return None
    return Rescale(slope[0] if slope else 1.0, intercept[0] if intercept else 0.0)
