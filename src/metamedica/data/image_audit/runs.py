"""Slices of one patient stand side by side under running numbers: are neighbours in number alike, for how long, and which blocks to keep whole."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64
from numpy.typing import NDArray

from metamedica.data.image_audit.pictures import ImageSet, unit_thumbnails

PERMUTATIONS = 499
ALIKE = 0.1
"""Neighbours whose mean correlation exceeds that of random pairs by less are no series of slices, whatever the p-value."""
_LEAST_NUMBERED = 0.8
_LEAST_IMAGES = 8
_MOST_LAG = 100
_SHUFFLED = 2000
"""Images of a shuffle: of fewer the mean varies more, so that the test of a larger class errs towards finding nothing."""
_CUT = 0.95
_GAP = 1000
_NUMBER = re.compile(r"(.*?)(\d+)\D*")


def running_numbers(names: Sequence[str], labels: Sequence[str]) -> Int64[np.ndarray, " images"] | None:
    """Return the last whole number in each file's name, -1 where there is none, or None where names carry no running number.

    Names of a class that differ before the number are series of their own: their numbers follow after those of the series before,
    with a gap. A class counts where at least 80 % of its names have a number and at least 80 % of those occur once in their series.
    """
    found = [_NUMBER.fullmatch(_stem(name)) for name in names]
    numbers = np.array([-1 if each is None else int(each[2][-15:]) for each in found], dtype=np.int64)
    series = np.array(["" if each is None else each[1] for each in found], dtype=str)
    of_class = np.asarray(labels, dtype=str)
    for label in np.unique(of_class):
        inside = np.flatnonzero((of_class == label) & (numbers >= 0))
        once = len(set(zip(series[inside], numbers[inside], strict=True)))
        if len(inside) < _LEAST_NUMBERED * (of_class == label).sum() or once < _LEAST_NUMBERED * len(inside):
            numbers[of_class == label] = -1
            continue
        first = 0
        for start in np.unique(series[inside]):
            rows = inside[series[inside] == start]
            numbers[rows] += first
            first = int(numbers[rows].max()) + _GAP
    return numbers if (numbers >= 0).any() else None


def _stem(name: str) -> str:
    return re.sub(r"\.[A-Za-z]{1,5}[0-9]?$", "", name.replace("\\", "/").rsplit("/", 1)[-1])


@dataclass(frozen=True)
class ClassRuns:
    """Neighbours in number within one class.

    Args:
        label: the class.
        images: of it that have a number.
        neighbours: mean correlation of thumbnails (less the class's mean image) of images that follow each other in number.
        random: the same for random pairs of the class.
        p: of the difference, from shuffled numbers: (1 + as large) / (1 + shuffles).
        lag: the furthest distance in order up to which pairs stay that much more alike than 95 % of shuffles; 0 where none are.
        runs: number of runs: stretches in which each image resembles the one before more than 95 % of random pairs do.
        median_run: images in a run, the median.
        longest_run: images in the longest.
    """

    label: str
    images: int
    neighbours: float
    random: float
    p: float
    lag: int
    runs: int
    median_run: float
    longest_run: int


@dataclass(frozen=True)
class Runs:
    """What `find_runs` found.

    Args:
        classes: those with at least 8 numbered images.
        blocks: the block of each image: keep each whole on one side of a split. Numbered images of a class in which neighbours
            are alike stand in blocks of whole runs, at least as long as their likeness reaches; every other image alone.
        found: whether neighbours are alike in any class (p of 0.05 shared by the classes, and 0.1 more correlation than random pairs).
    """

    classes: list[ClassRuns]
    blocks: Int64[np.ndarray, " images"]
    found: bool

    def as_dict(self) -> dict[str, Any]:
        """Return the figures and the number of blocks as a JSON value."""
        return {
            "classes": [asdict(each) for each in self.classes],
            "blocks": len(np.unique(self.blocks)),
            "found": self.found,
        }


def find_runs(images: ImageSet, *, seed: int = 0) -> Runs | None:
    """Return how alike images are that follow each other in number, class by class; None where nothing is numbered.

    The statistic is the mean correlation of neighbours; under the null, numbers say nothing, so that shuffling them gives its law.
    """
    if images.numbers is None:
        return None
    random = np.random.default_rng(seed)
    codes, numbers = images.codes, images.numbers
    blocks = np.arange(len(images)) + len(images)
    told, block = [], 0
    members = [np.flatnonzero((codes == code) & (numbers >= 0)) for code in range(len(images.classes))]
    tried = [rows for rows in members if len(rows) >= _LEAST_IMAGES]
    for rows in tried:
        ordered = rows[np.argsort(numbers[rows], kind="stable")]
        centred = images.thumbnails[ordered] - images.thumbnails[ordered].mean(0)
        units, _ = unit_thumbnails(centred)
        found, starts = _class_runs(units, images.labels[ordered[0]], random)
        told.append(found)
        if found.p * len(tried) <= 0.05 and found.neighbours - found.random >= ALIKE:
            for part in np.split(ordered, _whole(starts, len(ordered), max(found.lag, 2))):
                blocks[part] = block
                block += 1
    return Runs(told, np.unique(blocks, return_inverse=True)[1].astype(np.int64), block > 0)


def _class_runs(
    units: Float32[np.ndarray, "images points"], label: str, random: np.random.Generator
) -> tuple[ClassRuns, NDArray[np.int64]]:
    """Return the figures of a class whose images are in the order of their numbers, and where its runs begin."""
    n = len(units)
    lags = np.arange(1, min(_MOST_LAG, n // 2) + 1)
    similar = np.einsum("ij,ij->i", units[1:], units[:-1])
    observed = np.array([_at(units, np.arange(n), int(lag)) for lag in lags])
    shuffled = np.array([_at(units, random.permutation(n)[:_SHUFFLED], 1) for _ in range(PERMUTATIONS)])
    ceiling = float(np.quantile(shuffled, 0.95))
    above = observed > ceiling + ALIKE
    lag = int(lags[-1]) if above.all() else int(lags[above.argmin()]) - 1
    left, right = random.integers(n, size=(2, 20_000))
    pairs = np.einsum("ij,ij->i", units[left[left != right]], units[right[left != right]])
    starts = np.flatnonzero(similar <= np.quantile(pairs, _CUT)) + 1
    lengths = np.diff(np.concatenate([[0], starts, [n]]))
    p = (1 + int((shuffled >= observed[0]).sum())) / (1 + PERMUTATIONS)
    found = ClassRuns(
        label,
        n,
        float(observed[0]),
        round(float(pairs.mean()), 4) + 0.0,
        p,
        lag,
        len(lengths),
        float(np.median(lengths)),
        int(lengths.max()),
    )
    return found, starts


def _at(units: Float32[np.ndarray, "images points"], order: NDArray[np.int64], lag: int) -> float:
    """Return the mean correlation of images that stand so far apart in the order."""
    return float(np.einsum("ij,ij->i", units[order[lag:]], units[order[:-lag]]).mean())


def _whole(starts: NDArray[np.int64], n: int, least: int) -> list[int]:
    """Return where blocks begin: at beginnings of runs that leave each block, the last one too, at least so long."""
    cuts, last = [], 0
    for start in starts:
        if start - last >= least and n - start >= least:
            cuts.append(int(start))
            last = int(start)
    return cuts
