"""Where the lungs are on a CT: a classical pipeline on Hounsfield units, with volumes a side.

Threshold, air outside of the body dropped, components, airways taken out, the two lungs told apart, closing and hole filling: the steps of Hu,
Hoffman & Reinhardt (IEEE Trans. Med. Imaging 20:490-498, 2001, doi:10.1109/42.929615). What is dense (consolidation, effusion, large tumours at the
wall) is missed, as in every method by threshold: `lung_refinement` learns it from corrected slices.

Deviates: the threshold is fixed at -400 HU, not iterated; lungs that touch are parted by erosion and nearest distance, not by dynamic programming.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Shaped

from metamedica.errors import CaseError, InputError
from metamedica.modalities.images.volumes import Volume, orientation, oriented
from metamedica.modalities.images.windows import Window, window

AIR_HU = -400.0
"""Below it is air or lung, above it tissue."""
_AIRWAY_HU = -930.0
_GAS_HU = -960.0
_DENSE_HU = -500.0
_LEAST_ML = 30.0
_LEAST_MM2 = 1000.0
_TRACHEA_MM2 = (40.0, 900.0)
_CLOSING_MM = 8.0
_WALL_MM = 2.0
_EQUAL = 0.2
"""A piece may be the other lung without more ado from this share of the first."""
_SECOND = 0.05
"""A second component counts as a lung from this share of the first."""


@dataclass(frozen=True, eq=False)
class Lungs:
    """The lungs of a volume, on its grid.

    Args:
        left, right: voxels of the patient's left and right lung; one may be empty.
        voxel_ml: of one voxel.
    """

    left: Bool[np.ndarray, "slices rows columns"]
    right: Bool[np.ndarray, "slices rows columns"]
    voxel_ml: float

    @property
    def mask(self) -> Bool[np.ndarray, "slices rows columns"]:
        """Both lungs."""
        return np.asarray(self.left | self.right)

    @property
    def left_ml(self) -> float:
        return float(self.left.sum()) * self.voxel_ml

    @property
    def right_ml(self) -> float:
        return float(self.right.sum()) * self.voxel_ml


def find_lungs(volume: Volume) -> Lungs:
    """Return the lungs of a chest CT of any orientation and spacing; parts of the chest and single slices too.

    Airways count as lung where they are finer than the main bronchi, vessels inside of the lungs do.

    Args:
        volume: in HU, with the body's outline in the field of view.

    Raises:
        InputError: values that are not in HU.
        CaseError: no air inside of the body that looks like lung (such as on a head CT).
    """
    if volume.unit != "HU":
        raise InputError("lungs are found by their Hounsfield units and this volume has none; read the CT itself")
    straight = oriented(volume)
    left, right = _found(straight.values, np.asarray(straight.spacing_mm))
    sides = [_back(straight, side, volume) for side in (left, right)]
    return Lungs(sides[0], sides[1], volume.voxel_ml)


def lungs_of_slice(values: Shaped[np.ndarray, "rows columns"], *, spacing_mm: Sequence[float]) -> Lungs:
    """Return the lungs of one axial slice, rows to the back and columns to the patient's left, as one slice of 1 mm.

    Args:
        values: in HU.
        spacing_mm: between rows, between columns.

    Raises:
        CaseError: no lung.
    """
    down, across = (float(each) for each in spacing_mm)
    values = np.asarray(values, np.float32)[None]
    return find_lungs(Volume(values, (1.0, down, across), (0.0, 0.0, 0.0), np.eye(3)[:, ::-1].copy(), "HU", "CT"))


def lungs_of_window(
    grey: Shaped[np.ndarray, "rows columns"],
    *,
    shown: str | tuple[float, float] | Window,
    spacing_mm: Sequence[float],
) -> Lungs:
    """Return the lungs of an 8-bit axial slice whose window is known, by undoing the window.

    Grey alone does not tell where -400 HU lies; a window that cuts it off (a mediastinal one shows lung, gas and outer air equally black) cannot
    be undone, and is refused.

    Args:
        grey: 0 to 255.
        shown: the window that it was made with, by name or (level, width) in HU.
        spacing_mm: between rows, between columns.

    Raises:
        InputError: a window that does not reach from -1000 to -200 HU, or grey that is not 0 to 255.
        CaseError: no lung.
    """
    chosen = window(shown)
    low, high = chosen.level - chosen.width / 2, chosen.level + chosen.width / 2
    if low > -1000 or high < -200:
        raise InputError(
            f"a window from {low:g} to {high:g} HU cuts off what tells lung from air and tissue; one that reaches from -1000 to -200 HU (lung) "
            "is wanted: read the CT itself"
        )
    if grey.min() < 0 or grey.max() > 255:
        raise InputError(f"got grey from {grey.min()} to {grey.max()}; 0 to 255 is wanted: give the 8-bit image")
    return lungs_of_slice(low + np.asarray(grey, np.float32) / 255 * chosen.width, spacing_mm=spacing_mm)


def body(values: Float32[np.ndarray, "slices rows columns"]) -> Bool[np.ndarray, "slices rows columns"]:
    """Return where the body is on a CT: the largest piece of tissue, its slices filled."""
    from scipy import ndimage

    labels, count = ndimage.label(values > AIR_HU)
    if count == 0:
        return np.zeros(values.shape, bool)
    largest = labels == np.bincount(labels.ravel())[1:].argmax() + 1
    return np.stack([ndimage.binary_fill_holes(each) for each in largest])


def grown(
    mask: Bool[np.ndarray, "slices rows columns"], spacing_mm: Any, by_mm: float
) -> Bool[np.ndarray, "slices rows columns"]:
    """Return a mask with all voxels within a distance of it."""
    from scipy import ndimage

    if not mask.any():
        return mask
    return np.asarray(ndimage.distance_transform_edt(~mask, sampling=spacing_mm) <= by_mm)


def _back(straight: Volume, side: Any, volume: Volume) -> Bool[np.ndarray, "slices rows columns"]:
    return np.asarray(oriented(straight.with_values(side), orientation(volume)).values > 0)


def _found(values: Float32[np.ndarray, "slices rows columns"], spacing: Any) -> tuple[Any, Any]:
    """Return left and right lung of a volume that runs to head, back and left."""
    from scipy import ndimage

    smooth = ndimage.gaussian_filter(values, np.minimum(1.0, 0.7 / spacing))
    inside = body(values)
    air = (smooth < AIR_HU) & inside
    airway = _airway(smooth, air, spacing)
    parts = _plausible(smooth, air & ~airway, spacing)
    if not parts:
        raise CaseError(
            f"no lung was found: {air.sum() * np.prod(spacing) / 1000:.0f} mL of air lie inside the body and none of it looks like lung; give a "
            "CT of the chest with the body's outline in view"
        )
    left, right = _sides(parts, inside, spacing)
    return _smoothed(left, right, inside, airway, spacing)


def _airway(smooth: Any, air: Any, spacing: Any) -> Any:
    """Return the trachea and main bronchi: from the head down, the air of a small round hole, followed while it does not widen into a lung."""
    from scipy import ndimage

    pixel = spacing[1] * spacing[2]
    tube = np.zeros(air.shape, bool)
    last, area = None, 0.0
    for number in range(len(air) - 1, -1, -1):
        labels, _ = ndimage.label((smooth[number] < _AIRWAY_HU) & air[number])
        sizes = np.bincount(labels.ravel()) * pixel
        if last is None:
            chosen = [each for each in range(1, len(sizes)) if _round(labels == each, sizes[each], spacing)]
            chosen = [max(chosen, key=lambda each: sizes[each])] if len(chosen) else []
        else:
            chosen = [
                each for each in np.unique(labels[last]) if each and sizes[each] <= max(2 * area, _TRACHEA_MM2[0])
            ]
        piece = np.isin(labels, chosen) & (labels > 0)
        if not chosen:
            last = None if last is None or not tube.any() else last
            if tube.any():
                break
            continue
        tube[number], last, area = piece, piece, min(float(sizes[chosen].sum()), _TRACHEA_MM2[1])
    return grown(tube, spacing, _WALL_MM) if tube.any() else tube


def _round(shape: Any, area: float, spacing: Any) -> bool:
    """Return whether a hole in a slice may be the trachea: its size, and nearly as much of its box as a disc."""
    if not _TRACHEA_MM2[0] <= area <= _TRACHEA_MM2[1]:
        return False
    rows, columns = np.nonzero(shape)
    height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
    ratio = height * spacing[1] / (width * spacing[2])
    return bool(0.5 <= ratio <= 2 and shape.sum() / (height * width) > 0.6)


def _plausible(smooth: Any, air: Any, spacing: Any) -> list[Any]:
    """Return the components that may be lung, the largest first: large enough, and neither pure gas nor mostly dense."""
    from scipy import ndimage

    labels, count = ndimage.label(air)
    if count == 0:
        return []
    voxel, pixel = np.prod(spacing) / 1000, spacing[1] * spacing[2]
    sizes = np.bincount(labels.ravel())[1:]
    least = min(_LEAST_ML, _LEAST_MM2 * len(air) * spacing[0] / 1000)
    found: list[int] = []
    for number in np.argsort(-sizes, kind="stable")[:10]:
        if sizes[number] * voxel < least or (found and sizes[number] < _SECOND * sizes[found[0]]):
            break
        part = labels == number + 1
        widest = part.sum(axis=(1, 2)).max() * pixel
        middle = float(np.median(smooth[part]))
        if widest >= _LEAST_MM2 and _GAS_HU <= middle <= _DENSE_HU:
            found.append(int(number))
    return [labels == number + 1 for number in found]


def _sides(parts: list[Any], inside: Any, spacing: Any) -> tuple[Any, Any]:
    """Return left and right: two components by where they lie, one that holds both lungs parted where it is narrowest."""
    first, middle = parts[0], _column(inside)
    second = parts[1] if len(parts) > 1 else np.zeros_like(first)
    if second.sum() < _EQUAL * first.sum() or not _apart(first, second):
        first, second = _parted(first, middle, spacing) or (first, second)
    is_left = _column(first) > (_column(second) if second.any() else middle)
    return (first, second) if is_left else (second, first)


def _apart(one: Any, other: Any) -> bool:
    """Return whether two pieces lie left and right of each other."""
    low, high = sorted((np.nonzero(each)[2] for each in (one, other)), key=np.mean)
    return bool(np.quantile(low, 0.75) < np.quantile(high, 0.25))


def _column(mask: Any) -> float:
    return float(np.nonzero(mask)[2].mean())


def _parted(part: Any, middle: float, spacing: Any) -> tuple[Any, Any] | None:
    """Return the two lungs of a component, None where it is only one: eroded until it falls into two large pieces, left and right of the middle."""
    from scipy import ndimage

    depth = ndimage.distance_transform_edt(part, sampling=spacing)
    for by in (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 10.0, 13.0):
        labels, count = ndimage.label(depth > by)
        if count < 2:
            continue
        sizes = np.bincount(labels.ravel())[1:]
        first, second = np.argsort(-sizes, kind="stable")[:2] + 1
        one, other = labels == first, labels == second
        if sizes[second - 1] < _EQUAL * sizes[first - 1] or (_column(one) > middle) == (_column(other) > middle):
            continue
        if _apart(one, other):
            seeds = np.where(one, 1, np.where(other, 2, 0))
            nearest = ndimage.distance_transform_edt(
                seeds == 0, sampling=spacing, return_distances=False, return_indices=True
            )
            side = seeds[tuple(nearest)]
            return part & (side == 1), part & (side == 2)
    return None


def _smoothed(left: Any, right: Any, inside: Any, airway: Any, spacing: Any) -> tuple[Any, Any]:
    """Return both lungs closed and filled, so that vessels inside and at the border belong to them; neither takes of the other."""
    from scipy import ndimage

    made = []
    for own, other in ((left, right), (right, left)):
        if not own.any():
            made.append(own)
            continue
        wide = int(np.ceil(_CLOSING_MM / spacing.min())) + 1
        pads = [(min(wide, int(np.ceil(_CLOSING_MM / each)) + 1),) * 2 for each in spacing]
        padded = np.pad(own, pads, mode="edge")
        closed = ndimage.distance_transform_edt(grown(padded, spacing, _CLOSING_MM), sampling=spacing) > _CLOSING_MM
        closed = closed[tuple(slice(before, before + size) for (before, _), size in zip(pads, own.shape, strict=True))]
        whole = (closed | own) & inside & ~other & ~(airway & ~own)
        made.append(np.stack([ndimage.binary_fill_holes(each) for each in whole]))
    return made[0], made[1] & ~made[0]
