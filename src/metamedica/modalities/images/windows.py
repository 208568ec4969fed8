"""Values -> [0, 1]: named windows for CT, robust percentiles and z-scores for what has no unit.

Windows are usual settings of level and width (Murphy & Baba, "Windowing (CT)", Radiopaedia, doi:10.53347/rID-52108). A window is applied as DICOM's
LINEAR_EXACT (PS3.3 C.11.2.1.3.2): (value - level) / width + 1/2, cut to [0, 1]. Percentiles are numpy's, linear between neighbours.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from jaxtyping import Bool, Float32, Shaped

from metamedica.errors import CaseError, InputError

LOW, HIGH = 1.0, 99.0
"""Percentiles that become 0 and 1 unless told."""


@dataclass(frozen=True)
class Window:
    """A range of CT numbers: `level` in the middle, `width` from black to white, in HU."""

    level: float
    width: float

    def __post_init__(self) -> None:
        if not (np.isfinite([self.level, self.width]).all() and self.width > 0):
            raise InputError(
                f"got a window of level {self.level} and width {self.width}; give finite HU and a width above 0"
            )


WINDOWS: Mapping[str, Window] = MappingProxyType(
    {
        "lung": Window(-600.0, 1500.0),
        "mediastinum": Window(50.0, 350.0),
        "soft_tissue": Window(50.0, 400.0),
        "liver": Window(30.0, 150.0),
        "bone": Window(400.0, 1800.0),
        "brain": Window(40.0, 80.0),
        "stroke": Window(40.0, 40.0),
        "subdural": Window(75.0, 215.0),
        "temporal_bone": Window(600.0, 2800.0),
        "spine": Window(50.0, 250.0),
    }
)


def window(which: str | tuple[float, float] | Window) -> Window:
    """Return a window by its name, or by level and width in HU.

    Raises:
        InputError: an unknown name, or a width of zero or less.
    """
    if isinstance(which, Window):
        return which
    if isinstance(which, tuple):
        return Window(*which)
    if which not in WINDOWS:
        raise InputError(
            f"there is no window {which!r}; choose one of {', '.join(WINDOWS)}, or give (level, width) in HU"
        )
    return WINDOWS[which]


def windowed(
    values: Shaped[np.ndarray, "*shape"], which: str | tuple[float, float] | Window
) -> Float32[np.ndarray, "*shape"]:
    """Return CT numbers in [0, 1]: 0 below the window, 1 above it.

    Args:
        values: in HU.
        which: as `window`.

    Raises:
        InputError: as `window`.
    """
    chosen = window(which)
    return np.asarray(np.clip((values - chosen.level) / chosen.width + 0.5, 0, 1), np.float32)


def foreground(values: Shaped[np.ndarray, "*shape"]) -> Bool[np.ndarray, "*shape"]:
    """Return where there is body rather than background in an image without a unit: above the mean (Nyul & Udupa 1999).

    Raises:
        CaseError: a constant image.
    """
    _check_varied(values)
    return np.asarray(values > values.mean(dtype=np.float64))


def percentile_scaled(
    values: Shaped[np.ndarray, "*shape"],
    *,
    low: float = LOW,
    high: float = HIGH,
    inside: Bool[np.ndarray, "*shape"] | None = None,
) -> Float32[np.ndarray, "*shape"]:
    """Return values in [0, 1]: the `low`-th percentile becomes 0, the `high`-th 1, what lies beyond is cut.

    Where the two are equal though the image varies (a few bright pixels on black), its smallest and largest value take their place.

    Args:
        values: any unit.
        low, high: percentiles, 0 <= low < high <= 100.
        inside: where percentiles are taken; everywhere if left out.

    Raises:
        InputError: percentiles out of order, or nothing inside.
        CaseError: a constant image (such as an all-black one), or values that are not finite.
    """
    if not 0 <= low < high <= 100:
        raise InputError(f"got percentiles {low} and {high}; give 0 <= low < high <= 100")
    _check_varied(values)
    bottom, top = np.percentile(_taken(values, inside).astype(np.float64), [low, high])
    if bottom == top:
        bottom, top = float(values.min()), float(values.max())
    return np.asarray(np.clip((values - bottom) / (top - bottom), 0, 1), np.float32)


def z_scored(
    values: Shaped[np.ndarray, "*shape"], *, inside: Bool[np.ndarray, "*shape"] | None = None
) -> Float32[np.ndarray, "*shape"]:
    """Return values with mean 0 and standard deviation 1 over `inside` (everywhere if left out).

    Raises:
        InputError: nothing inside.
        CaseError: a constant image, one that is constant inside, or values that are not finite.
    """
    _check_varied(values)
    taken = _taken(values, inside).astype(np.float64)
    spread = taken.std()
    if spread == 0:
        raise CaseError(
            f"the image is constant ({taken[0]:g}) where it was measured; measure it elsewhere, or leave it out"
        )
    return np.asarray((values - taken.mean()) / spread, np.float32)


def normalised(
    values: Shaped[np.ndarray, "*shape"],
    *,
    modality: str | None,
    unit: str | None = None,
    window: str | tuple[float, float] | Window = "soft_tissue",
) -> Float32[np.ndarray, "*shape"]:
    """Return values in [0, 1] as is usual for their modality.

    CT in HU: the window. MR: the 1st to the 99th percentile of the foreground. All else (X-ray, ultrasound, nuclear medicine, unknown): those of
    the whole image.

    Args:
        values: of a slice or a volume.
        modality: as DICOM has it, or None.
        unit: "HU" or None.
        window: for CT.

    Raises:
        InputError: a CT whose values are not in HU.
        CaseError: a constant image, or values that are not finite.
    """
    if modality == "CT":
        if unit != "HU":
            raise InputError(
                "got a CT whose values are not in HU; a window needs HU: read the DICOM or NIfTI file itself"
            )
        _check_varied(values)
        return windowed(values, window)
    if modality == "MR":
        return percentile_scaled(values, inside=foreground(values))
    return percentile_scaled(values)


def _taken(values: Shaped[np.ndarray, "*shape"], inside: Bool[np.ndarray, "*shape"] | None) -> Shaped[np.ndarray, " n"]:
    taken = values.reshape(-1) if inside is None else values[inside]
    if taken.size == 0:
        raise InputError("got a region without a pixel; give one with some")
    return np.asarray(taken)


def _check_varied(values: Shaped[np.ndarray, "*shape"]) -> None:
    if values.size == 0:
        raise CaseError("the image has no pixel; leave it out")
    if not np.isfinite(values).all():
        raise CaseError("the image holds values that are not finite numbers; replace them first")
    first = values.reshape(-1)[0]
    if (values == first).all():
        what = "all black" if first == 0 else f"constant ({first:g})"
        raise CaseError(f"the image is {what}: there is nothing to see; leave it out, or export it again")
