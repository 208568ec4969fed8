"""Intervals of what is measured on a mask: bands of nested masks, as wide as the labelled images asked for when they were hidden.

A structure's mask is where its score is above every other; moved by s log-odds it grows (s > 0) or shrinks, so masks are nested in s, and what grows
with a mask (area, volume, diameter) or shrinks with it (the distance to another) lies between its values at -s and +s. For each hidden image the
smallest s whose band holds the true measure is its score, and the s of a new image is the conformal quantile of those (`functional/conformal`;
the jackknife of Barber et al. 2021). Where n images cannot vouch for a coverage, the interval is told at the n / (n + 1) that they can.
Scores are kept in working pixels of spacing 1: unequal spacing changes a diameter's score a little.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from metamedica.applications.segmentation.cases import UNLABELLED
from metamedica.applications.segmentation.judging import Calibration, Hidden
from metamedica.applications.segmentation.measures import largest_part, longest_diameter, margin
from metamedica.functional import conformal

SHIFTS = (0.0, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0)
"""Log-odds by which masks are moved, at most; a hidden image that needs more has an infinite score."""
Mask: TypeAlias = Bool[np.ndarray, "height width"]
Measure: TypeAlias = Callable[[Mask], float]


@dataclass(frozen=True)
class Interval:
    """A measure with the range that holds the true one.

    Args:
        value: of the mask as it is predicted.
        low: end of the range; NaN where nothing vouches for one.
        high: other end; infinity where hidden images were off by more than any band.
        coverage: how often such ranges hold the true measure; what was asked for, or the less that the labelled images vouch for.
    """

    value: float
    low: float
    high: float
    coverage: float


@dataclass(frozen=True)
class Bands:
    """How far the masks of hidden images were off, in log-odds.

    Args:
        scores: measure ("area", "diameter", "margin") -> class (or classes, "1-2") -> a score for each hidden image that shows it.
    """

    scores: Mapping[str, Mapping[str, Sequence[float]]]

    @classmethod
    def learned(cls, hidden: Sequence[Hidden], calibration: Calibration) -> "Bands":
        """Return the scores of hidden images.

        Args:
            hidden: what was said of labelled images that the model had not seen, each a whole image: halves of one vouch for no other image.
            calibration: with the background's offset that masks are drawn with.
        """
        found: dict[str, dict[str, list[float]]] = {"area": {}, "diameter": {}, "margin": {}}
        for each in hidden:
            said = each.said.clone()
            said[0] += calibration.offset
            labelled = each.pair.classes != UNLABELLED
            n_classes = len(said)
            for structure in range(1, n_classes):
                true = ((each.pair.classes == structure) & labelled).numpy()
                if not true.any():
                    continue
                for name, measure in (("area", _area), ("diameter", _diameter)):
                    goal = measure(true)
                    masks = (
                        (moved(said, structure, -s, labelled), moved(said, structure, s, labelled)) for s in SHIFTS
                    )
                    score = _smallest((measure(small), measure(large)) for small, large in masks)(goal)
                    found[name].setdefault(str(structure), []).append(score)
                for other in range(structure + 1, n_classes):
                    beside = ((each.pair.classes == other) & labelled).numpy()
                    if beside.any():
                        ends = (_margins(said, structure, other, s, labelled, (1.0, 1.0)) for s in SHIFTS)
                        score = _smallest(ends)(margin(true, beside, spacing=(1.0, 1.0)))
                        found["margin"].setdefault(f"{structure}-{other}", []).append(score)
        return cls(found)

    def reach(self, measure: str, key: str, coverage: float) -> tuple[float, float]:
        """Return the log-odds of a band and the coverage that it has: the one asked for, or the less that the images vouch for.

        Args:
            measure: "area", "diameter" or "margin".
            key: class, or classes such as "1-2".
            coverage: asked for.

        Raises:
            TaskError: a coverage that is not between 0 and 1.
        """
        conformal.check_coverage(coverage)
        scores = torch.tensor([list(self.scores.get(measure, {}).get(key, ()))], dtype=torch.float64)
        if scores.numel() == 0:
            return float("nan"), 0.0
        held = min(coverage, float(conformal.reach(scores.shape[1])))
        known = torch.ones(scores.shape, dtype=torch.bool)
        return float(conformal.threshold(scores, known, held)[0, 0]), held

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON value; an infinite score is null."""
        return {
            name: {key: [None if score == float("inf") else score for score in each] for key, each in by.items()}
            for name, by in self.scores.items()
        }

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> "Bands":
        """Return what `as_dict` gave."""
        return cls(
            {
                name: {
                    key: [float("inf") if score is None else float(score) for score in each] for key, each in by.items()
                }
                for name, by in value.items()
            }
        )


def moved(said: Float[Tensor, "classes height width"], structure: int, shift: float, inside: Tensor) -> Mask:
    """Return the mask of a structure whose score is raised by `shift` log-odds.

    Args:
        said: log-probabilities, with the background's offset.
        structure: its class.
        shift: in log-odds; negative shrinks the mask.
        inside: pixels that count.
    """
    others = said.clone()
    others[structure] = -torch.inf
    found: Mask = ((said[structure] + shift > others.amax(0)) & inside).numpy()
    return found


def measured(
    said: Float[Tensor, "classes height width"],
    inside: Tensor,
    bands: Bands,
    *,
    name: str,
    structure: int,
    measure: Measure,
    coverage: float = 0.9,
) -> Interval:
    """Return a measure of a structure's mask, which grows with the mask, and its interval.

    Args:
        said: log-probabilities with the background's offset (`Segmentation.said`).
        inside: pixels that count.
        bands: of the predictor.
        name: whose scores count: "area" (also for volumes) or "diameter".
        structure: its class.
        measure: of a mask at the working size.
        coverage: asked for.
    """
    value = measure(moved(said, structure, 0.0, inside))
    reach, held = bands.reach(name, str(structure), coverage)
    if np.isnan(reach):
        return Interval(value, float("nan"), float("nan"), 0.0)
    if np.isinf(reach):
        return Interval(value, 0.0, float("inf"), held)
    low, high = (measure(moved(said, structure, shift, inside)) for shift in (-reach, reach))
    return Interval(value, low, high, held)


def measured_margin(
    said: Float[Tensor, "classes height width"],
    inside: Tensor,
    bands: Bands,
    *,
    between: tuple[int, int],
    spacing: tuple[float, float],
    coverage: float = 0.9,
) -> Interval:
    """Return the least distance between two structures in mm, and its interval. Arguments as those of `measured`.

    Args:
        between: the two classes.
        spacing: height and width of a working pixel, mm.
    """
    first, second = sorted(between)
    value = _margins(said, first, second, 0.0, inside, spacing)[0]
    reach, held = bands.reach("margin", f"{first}-{second}", coverage)
    if np.isnan(reach):
        return Interval(value, float("nan"), float("nan"), 0.0)
    if np.isinf(reach):
        return Interval(value, 0.0, float("inf"), held)
    low, high = _margins(said, first, second, reach, inside, spacing)
    return Interval(value, low, high, held)


def _margins(
    said: Tensor, first: int, second: int, shift: float, inside: Tensor, spacing: tuple[float, float]
) -> tuple[float, float]:
    """Return the distance of both masks grown and both shrunk; infinite where one has vanished."""
    ends = []
    for way in (shift, -shift):
        masks = [moved(said, each, way, inside) for each in (first, second)]
        ends.append(margin(masks[0], masks[1], spacing=spacing) if all(mask.any() for mask in masks) else float("inf"))
    return ends[0], ends[1]


def _area(mask: Mask) -> float:
    return float(mask.sum())


def _diameter(mask: Mask) -> float:
    return longest_diameter(largest_part(mask), spacing=(1.0, 1.0))


def _smallest(ends: Any) -> Callable[[float], float]:
    def score(goal: float) -> float:
        for shift, (low, high) in zip(SHIFTS, ends, strict=True):
            if low <= goal <= high:
                return shift
        return float("inf")

    return score
