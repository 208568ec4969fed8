"""A volume: voxels with their place in the patient; turned, resampled, cut into slices and patches.

Array axes are slices, rows, columns. Places are millimetres in the patient's system of DICOM, LPS: x to the patient's left, y to the back
(posterior), z to the head (superior) (PS3.3 C.7.6.2.1.1). A voxel's place is that of its centre.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float, Float32, Float64, Int32, Shaped

from metamedica.errors import InputError

Triple: TypeAlias = tuple[float, float, float]

AXIAL = "SPL"
"""The canonical orientation: slices run to the head, rows to the back, columns to the left, as an axial CT is shown."""

_LETTERS = ("LR", "PA", "SI")
_ORTHONORMAL = 1e-3
_EXACT = 2**24


@dataclass(frozen=True, eq=False)
class Volume:
    """Voxels and where they lie.

    Args:
        values: voxels; in HU where `unit` says so.
        spacing_mm: distance between neighbouring voxels along slices, rows and columns (down a column, along a row).
        origin_mm: LPS place of voxel [0, 0, 0].
        direction: its columns are the LPS unit vectors along slices, rows and columns.
        unit: "HU", or None where values have no physical unit.
        modality: as DICOM has it ("CT", "MR", ...), or None.
        photometric: how grey was stored ("MONOCHROME1", "MONOCHROME2"), or None; the values are those of MONOCHROME2, high is bright.
        windows: level and width of the windows that the file suggests.

    Raises:
        InputError: no voxel, a value, spacing or place that is not finite, a spacing of zero or less, or axes that are not at right angles.
    """

    values: Float32[np.ndarray, "slices rows columns"]
    spacing_mm: Triple
    origin_mm: Triple
    direction: Float64[np.ndarray, "3 3"]
    unit: str | None = None
    modality: str | None = None
    photometric: str | None = None
    windows: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        if self.values.ndim != 3 or self.values.size == 0:
            raise InputError(
                f"got voxels of shape {self.values.shape}; give three axes: slices, rows and columns, each of 1 or more"
            )
        if not all(np.isfinite(each) and each > 0 for each in self.spacing_mm):
            raise InputError(f"got spacing {self.spacing_mm} mm; give three distances above 0")
        if not np.isfinite(self.origin_mm).all():
            raise InputError(f"got origin {self.origin_mm} mm; give three finite numbers")
        if not np.allclose(self.direction.T @ self.direction, np.eye(3), atol=_ORTHONORMAL):
            raise InputError(
                "got axes that are not unit vectors at right angles (a tilted gantry, or a sheared affine); resample the volume upright first"
            )
        if not np.isfinite(self.values).all():
            bad = int((~np.isfinite(self.values)).sum())
            raise InputError(f"got {bad:,} voxels that are not finite numbers; replace them before use")
        if self.unit not in (None, "HU"):
            raise InputError(f"got unit {self.unit!r}; a volume is in 'HU' or has no unit (None)")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows, columns."""
        slices, rows, columns = self.values.shape
        return slices, rows, columns

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return float(np.prod(self.spacing_mm)) / 1000.0

    @property
    def extent_mm(self) -> Triple:
        """Length along each axis, from the outer face of the first voxel to that of the last."""
        return _triple(np.asarray(self.shape) * np.asarray(self.spacing_mm))

    def affine(self) -> Float64[np.ndarray, "4 4"]:
        """Return the matrix from (slice, row, column, 1) to LPS millimetres."""
        matrix = np.eye(4)
        matrix[:3, :3] = self.direction * np.asarray(self.spacing_mm)
        matrix[:3, 3] = self.origin_mm
        return matrix

    def points_mm(self, indices: Shaped[np.ndarray, "*n 3"]) -> Float64[np.ndarray, "*n 3"]:
        """Return the LPS places of voxels [slice, row, column]; fractions lie between voxels."""
        matrix = self.affine()
        return np.asarray(np.asarray(indices, np.float64) @ matrix[:3, :3].T + matrix[:3, 3])

    def indices(self, points_mm: Shaped[np.ndarray, "*n 3"]) -> Float64[np.ndarray, "*n 3"]:
        """Return [slice, row, column] of LPS places, in fractions of voxels; outside of the volume too."""
        away = np.asarray(points_mm, np.float64) - np.asarray(self.origin_mm)
        return np.asarray(away @ np.linalg.inv(self.affine()[:3, :3]).T)

    def labels(self) -> Int32[np.ndarray, "slices rows columns"]:
        """Return the values as the whole numbers that they are.

        Raises:
            InputError: a value is not whole, or too large to be kept exactly (2^24).
        """
        whole = np.rint(self.values).astype(np.float64)
        if not np.array_equal(whole, self.values) or np.abs(whole).max() > _EXACT:
            raise InputError(
                "got a label map with values that are not whole numbers up to 2^24; give the map, or resample it with order=0"
            )
        return np.asarray(whole, np.int32)

    def with_values(self, values: Shaped[np.ndarray, "slices rows columns"], *, unit: str | None = None) -> "Volume":
        """Return other values in the same place, such as a mask.

        Raises:
            InputError: another shape.
        """
        if values.shape != self.shape:
            raise InputError(
                f"got values of shape {values.shape} for a volume of shape {self.shape}; give one value a voxel, "
                "or resample to the same grid first"
            )
        return replace(self, values=np.asarray(values, np.float32), unit=unit, photometric=None, windows=())


@dataclass(frozen=True, eq=False)
class Patch:
    """A block of a volume.

    Args:
        values: its voxels.
        start: slice, row and column of its first voxel.
        centre_mm: LPS place of its middle.
    """

    values: Float32[np.ndarray, "slices rows columns"]
    start: tuple[int, int, int]
    centre_mm: Triple


def orientation(volume: Volume) -> str:
    """Return where slices, rows and columns run, each the nearest of L, R, P, A, S and I: "SPL" for an axial CT from feet to head."""
    order = _nearest(volume.direction)
    return "".join(_LETTERS[axis][int(volume.direction[axis, number] < 0)] for number, axis in enumerate(order))


def oriented(volume: Volume, towards: str = AXIAL) -> Volume:
    """Return the same voxels at the same places with other axes: swapped and turned round, never interpolated.

    Args:
        volume: any.
        towards: where slices, rows and columns shall run, one letter each; an oblique volume comes as near as swapping gets.

    Raises:
        InputError: `towards` does not name each of the three directions once.
    """
    wanted = [next((axis for axis, pair in enumerate(_LETTERS) if letter in pair), -1) for letter in towards]
    if sorted(wanted) != [0, 1, 2]:
        raise InputError(
            f"got orientation {towards!r}; give one of L and R, one of P and A, and one of S and I, such as {AXIAL!r}"
        )
    have = _nearest(volume.direction)
    order = [have.index(axis) for axis in wanted]
    direction = volume.direction[:, order].copy()
    values = volume.values.transpose(order)
    spacing = _triple(np.asarray(volume.spacing_mm)[order])
    origin = np.asarray(volume.origin_mm, np.float64)
    for number, (axis, letter) in enumerate(zip(wanted, towards, strict=True)):
        if _LETTERS[axis][int(direction[axis, number] < 0)] != letter:
            origin = origin + direction[:, number] * spacing[number] * (values.shape[number] - 1)
            direction[:, number] *= -1
            values = np.flip(values, number)
    return replace(
        volume,
        values=np.ascontiguousarray(values),
        spacing_mm=spacing,
        origin_mm=_triple(origin),
        direction=direction,
    )


def resampled(volume: Volume, spacing_mm: Sequence[float], *, order: int = 1) -> Volume:
    """Return the volume on a grid of another spacing, with the same axes and the same middle.

    An axis of n voxels `s` mm apart becomes `max(1, round(n s / new))` voxels, whose outer faces lie within half a new voxel of the old ones;
    beyond the middle of the outermost old voxel its value holds on. Where the grid gets coarser and `order` is not 0, values are smoothed first
    by a Gaussian of (new / old - 1) / 2 old voxels, so that fine structure and noise do not alias.

    Args:
        volume: any.
        spacing_mm: along slices, rows and columns.
        order: 0 nearest (label maps keep their labels), 1 linear, 2 and 3 splines (which overshoot).

    Raises:
        InputError: a spacing of zero or less, another order, or a grid of more than 2^31 voxels.
    """
    from scipy import ndimage

    new = np.asarray(spacing_mm, np.float64)
    if new.shape != (3,) or not np.isfinite(new).all() or (new <= 0).any():
        raise InputError(f"got spacing {tuple(spacing_mm)} mm; give three distances above 0: slices, rows, columns")
    if order not in (0, 1, 2, 3):
        raise InputError(f"got order {order}; give 0 (labels), 1 (linear), 2 or 3 (splines)")
    old, counts = np.asarray(volume.spacing_mm), np.asarray(volume.shape)
    size = np.maximum(1, np.rint(counts * old / new)).astype(int)
    if np.prod(size.astype(np.float64)) > 2**31:
        raise InputError(
            f"spacing {tuple(spacing_mm)} mm makes {tuple(size)} voxels of this volume; give a coarser one"
        )
    step = new / old
    first = (counts - 1) / 2 - (size - 1) / 2 * step
    values = volume.values
    sigma = np.maximum(0.0, (step - 1) / 2)
    if order and sigma.any():
        values = ndimage.gaussian_filter(values, sigma, mode="nearest")
    made = ndimage.affine_transform(values, step, first, output_shape=tuple(size), order=order, mode="nearest")
    return replace(
        volume,
        values=np.asarray(made, np.float32),
        spacing_mm=_triple(new),
        origin_mm=_triple(volume.points_mm(first)),
    )


def axial_slices(volume: Volume) -> list[Float32[np.ndarray, "rows columns"]]:
    """Return the slices across the body from feet to head, rows to the back and columns to the left; an oblique volume is not straightened."""
    return list(oriented(volume).values)


def patches(volume: Volume, size: Sequence[int], *, stride: Sequence[int] | None = None) -> Iterator[Patch]:
    """Yield blocks that together cover the volume, each with its place, slices first.

    Args:
        volume: any.
        size: of a block, in voxels along slices, rows and columns.
        stride: from one block to the next, at most `size` (else voxels are left out); `size` where not given. The last block along an axis is
            moved back so that it ends with the volume.

    Raises:
        InputError: sizes or strides that are not whole numbers from 1, a stride above the size, or a block larger than the volume.
    """
    block, step = tuple(size), tuple(size if stride is None else stride)
    if len(block) != 3 or len(step) != 3:
        raise InputError(f"got size {block} and stride {step}; give three numbers each: slices, rows, columns")
    for number, (most, wide, far) in enumerate(zip(volume.shape, block, step, strict=True)):
        if not 1 <= far <= wide <= most:
            raise InputError(
                f"got size {block} and stride {step} for a volume of shape {volume.shape}; along axis {number} give "
                "1 <= stride <= size <= the volume's, or resample the volume"
            )
    return _cut(volume, block, step)


def _cut(volume: Volume, block: tuple[int, ...], step: tuple[int, ...]) -> Iterator[Patch]:
    starts = [
        sorted({*range(0, most - wide, far), most - wide})
        for most, wide, far in zip(volume.shape, block, step, strict=True)
    ]
    for corner in itertools.product(*starts):
        first = (corner[0], corner[1], corner[2])
        inside = tuple(slice(start, start + wide) for start, wide in zip(corner, block, strict=True))
        middle = np.asarray(corner) + (np.asarray(block) - 1) / 2
        yield Patch(volume.values[inside].copy(), first, _triple(volume.points_mm(middle)))


def _nearest(direction: Float64[np.ndarray, "3 3"]) -> list[int]:
    """Return for each array axis the patient axis nearest to it, each once."""
    strength = np.abs(direction)
    orders = list(itertools.permutations(range(3)))
    return list(max(orders, key=lambda order: sum(strength[axis, number] for number, axis in enumerate(order))))


def _triple(values: Float[np.ndarray, "3"] | Any) -> Triple:
    first, second, third = (float(each) for each in values)
    return first, second, third
