"""Lungs corrected from a few slices: what a threshold misses (consolidation, effusion, tumour at the wall), learned on corrected slices.

A ridge-penalised logistic regression (Newton's method; Hastie, Tibshirani & Friedman 2009, 4.4.1) says for each voxel near the classical mask whether
it is lung, from its grey at several scales, its distances to the mask, to the mask with its bays filled and to the skin, its place between the
lungs' ends and sides, and all products of two of these. Far from the mask the classical answer stands.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Shaped

from metamedica.errors import InputError
from metamedica.modalities.images.lungs import Lungs, body, find_lungs, grown
from metamedica.modalities.images.volumes import Volume

_REACH_MM = 30.0
_BAY_MM = 25.0
_SCALES_MM = (0.0, 2.0, 5.0, 10.0)
_PENALTY = 1.0
_STEPS = 30
_MOST_VOXELS = 8_000
_LEAST_PIECE_ML = 0.5


@dataclass(frozen=True, eq=False)
class RefinedLungs:
    """Lungs after correction.

    Args:
        lungs: the corrected ones, or the classical ones where the correction did not help.
        classical: those before.
        classical_dice, refined_dice: mean Dice on each corrected slice, refined by the others alone.
        helped: whether the correction was used.
    """

    lungs: Lungs
    classical: Lungs
    classical_dice: float
    refined_dice: float
    helped: bool


def dice(one: Bool[np.ndarray, "*shape"], other: Bool[np.ndarray, "*shape"]) -> float:
    """Return 2 |A and B| / (|A| + |B|), 1 where both are empty (Dice 1945)."""
    total = int(one.sum()) + int(other.sum())
    return 1.0 if total == 0 else 2 * int((one & other).sum()) / total


def refined_lungs(volume: Volume, support: Sequence[tuple[int, Shaped[np.ndarray, "rows columns"]]]) -> RefinedLungs:
    """Return the lungs of a CT, corrected by slices whose true masks are given.

    Each slice is also predicted from the others; where that is no better than the classical mask, the classical one is returned. Five slices
    spread over the lungs, some with what is missed, are a good start.

    Args:
        volume: axial, in HU: its first axis runs along the body, as in `volumes.AXIAL` order or the reverse.
        support: number of a slice, and its mask (0 or 1, or true or false); two or more.

    Raises:
        InputError: fewer than two slices, one that is not there or given twice, a mask of another size or with other values, slices without a
            lung nearby, or a volume that is not in HU.
        CaseError: no lung is found to start from.
    """
    given = _checked(volume, support)
    classical = find_lungs(volume)
    numbers = sorted(given)
    features, band = _features(volume, classical.mask)
    truth = np.zeros(volume.shape, bool)
    for number in numbers:
        truth[number] = given[number]
    pairs = []
    for held in numbers:
        others = [each for each in numbers if each != held]
        predicted = _slice(_fit(features, band, truth, others), features, band, classical.mask, held)
        pairs.append((dice(classical.mask[held], truth[held]), dice(predicted, truth[held])))
    before, after = (float(np.mean(each)) for each in zip(*pairs, strict=True))
    if after <= before:
        return RefinedLungs(classical, classical, before, after, False)
    head = _fit(features, band, truth, numbers)
    mask = np.stack([_slice(head, features, band, classical.mask, each) for each in range(volume.shape[0])])
    mask[numbers] = truth[numbers]
    return RefinedLungs(_parted(mask, classical, volume), classical, before, after, True)


def _checked(volume: Volume, support: Sequence[tuple[int, Any]]) -> dict[int, Any]:
    if len(support) < 2:
        raise InputError(
            f"got {len(support)} corrected slices; give two or more as (number, mask), so that each can be checked against the others"
        )
    given: dict[int, Any] = {}
    for number, mask in support:
        if not 0 <= number < volume.shape[0] or number in given:
            raise InputError(
                f"corrected slice {number} is given twice or not there; give each once, from 0 to {volume.shape[0] - 1}"
            )
        if mask.shape != volume.shape[1:]:
            raise InputError(
                f"the mask of slice {number} has shape {mask.shape}, the slice {volume.shape[1:]}; give one value a pixel"
            )
        if not np.isin(mask, (0, 1)).all():
            raise InputError(
                f"the mask of slice {number} holds other values than 0 and 1; give 1 for lung, 0 for all else"
            )
        given[number] = mask.astype(bool)
    return given


def _features(volume: Volume, mask: Any) -> tuple[list[Any], Any]:
    """Return what is known of each voxel, and where the correction may change the mask."""
    from scipy import ndimage

    spacing = np.asarray(volume.spacing_mm)
    grey = np.clip(volume.values, -1100, 300).astype(np.float32)
    scales = [ndimage.gaussian_filter(grey, each / spacing) if each else grey for each in _SCALES_MM]
    spread = np.sqrt(np.maximum(0, ndimage.gaussian_filter(grey**2, 5.0 / spacing) - scales[2] ** 2))
    signed = _signed(mask, spacing)
    filled = _signed(grown(mask, spacing, _BAY_MM), spacing) + _BAY_MM  # grown, then shrunk by as much: bays are filled
    inside = body(volume.values)
    depth = ndimage.distance_transform_edt(inside, sampling=spacing)
    places = np.nonzero(mask)
    relative = []
    for axis, cells in enumerate(places):
        low, high = cells.min(), cells.max() + 1
        line = (np.arange(mask.shape[axis]) - (low + high) / 2) / (high - low)
        relative.append(np.broadcast_to(np.expand_dims(line, [each for each in range(3) if each != axis]), mask.shape))
    across = np.argmax(np.abs(volume.direction[0]))
    features = [
        *(each / 500 for each in scales),
        spread / 200,
        np.clip(signed, -_REACH_MM, _REACH_MM) / 10,
        np.clip(filled, -_REACH_MM, _REACH_MM) / 10,
        np.clip(depth, 0, 80) / 40,
        *relative,
        np.abs(relative[across]),
    ]
    return features, (np.abs(signed) <= _REACH_MM) & inside


def _signed(mask: Any, spacing: Any) -> Any:
    """Return the distance to the border of a mask in mm, below 0 inside."""
    from scipy import ndimage

    outside = ndimage.distance_transform_edt(~mask, sampling=spacing)
    return np.asarray(outside - ndimage.distance_transform_edt(mask, sampling=spacing), np.float32)


def _rows(features: list[Any], chosen: Any) -> Float64[np.ndarray, "voxels columns"]:
    """Return the features of voxels, and all products of two."""
    plain = np.stack([each[chosen] for each in features], axis=1).astype(np.float64)
    first, second = np.triu_indices(plain.shape[1])
    return np.concatenate([plain, plain[:, first] * plain[:, second]], axis=1)


def _fit(features: list[Any], band: Any, truth: Any, numbers: list[int]) -> tuple[Any, Any, Any]:
    """Return centre, scale and weights (the last is the bias) of the regression on some slices."""
    chosen = np.zeros(band.shape, bool)
    chosen[numbers] = band[numbers]
    cells = np.nonzero(chosen)
    if len(cells[0]) > _MOST_VOXELS:
        kept = np.random.default_rng(0).choice(len(cells[0]), _MOST_VOXELS, replace=False)
        cells = tuple(each[kept] for each in cells)
    if len(cells[0]) == 0:
        raise InputError("the corrected slices lie away from every lung that was found; correct slices with lung")
    rows, wanted = _rows(features, cells), truth[cells].astype(np.float64)
    centre, scale = rows.mean(axis=0), rows.std(axis=0) + 1e-6
    rows = np.concatenate([(rows - centre) / scale, np.ones((len(rows), 1))], axis=1)
    penalty = np.full(rows.shape[1], _PENALTY)
    penalty[-1] = 1e-3
    weights = np.zeros(rows.shape[1])
    for _ in range(_STEPS):
        chance = _chance(rows @ weights)
        slope = rows.T @ (chance - wanted) + penalty * weights
        curvature = (rows * np.maximum(chance * (1 - chance), 1e-5)[:, None]).T @ rows + np.diag(penalty)
        step = np.linalg.solve(curvature, slope)
        weights = weights - step * min(1.0, 5.0 / np.abs(step).max())
        if np.abs(step).max() < 1e-4:
            break
    return centre, scale, weights


def _chance(scores: Any) -> Any:
    return 1 / (1 + np.exp(-np.clip(scores, -40, 40)))


def _slice(head: tuple[Any, Any, Any], features: list[Any], band: Any, classical: Any, number: int) -> Any:
    """Return the corrected mask of one slice."""
    from scipy import ndimage

    centre, scale, weights = head
    chance = classical[number].astype(np.float64)
    inside = band[number]
    if inside.any():
        rows = (_rows([each[number] for each in features], inside) - centre) / scale
        chance[inside] = _chance(rows @ weights[:-1] + weights[-1])
    return ndimage.binary_fill_holes(ndimage.gaussian_filter(chance, 0.7) > 0.5)


def _parted(mask: Any, classical: Lungs, volume: Volume) -> Lungs:
    """Return a mask as two lungs: each voxel belongs to the nearer classical one; small loose pieces are dropped."""
    from scipy import ndimage

    labels, count = ndimage.label(mask)
    sizes = np.bincount(labels.ravel(), minlength=count + 1) * volume.voxel_ml
    touches = np.bincount(labels.ravel(), weights=classical.mask.ravel(), minlength=count + 1) > 0
    kept = (sizes >= _LEAST_PIECE_ML) & touches
    kept[0] = False
    mask = kept[labels]
    far = float(np.linalg.norm(volume.extent_mm))
    to_left, to_right = (
        ndimage.distance_transform_edt(~side, sampling=volume.spacing_mm) if side.any() else np.full(mask.shape, far)
        for side in (classical.left, classical.right)
    )
    nearer = to_left < to_right
    return Lungs(mask & nearer, mask & ~nearer, volume.voxel_ml)
