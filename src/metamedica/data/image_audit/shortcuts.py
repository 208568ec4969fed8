"""Do facts of the file tell the label, with no look at the picture? If so, a model may learn the source of an image in place of the disease."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float64, Int64
from numpy.typing import NDArray
from scipy.stats import rankdata

from metamedica.data.image_audit.pictures import CORNERS, PADDING, ImageSet

FAMILIES = {
    "file": (
        "format",
        "mode",
        "bits",
        "bytes",
        "bytes_per_pixel",
        "jpeg_quality",
        "has_alpha",
        "orientation",
        "channels",
    ),
    "size": ("width", "height", "aspect", "pixels"),
    "scanner": ("modality", "manufacturer", "model", "kernel", "thickness_mm", "spacing_mm", "window", "frames"),
    "date": ("weekday",),
    "borders": ("border_level", "border_spread", *PADDING, *CORNERS),
}
"""The facts that are tried, by family; those that a set does not have, or that are all equal, are left out."""
PERMUTATIONS = 199
FOLDS = 5
LEVEL = 0.05
CLEAR = 0.6
"""An AUC below it is no shortcut to speak of, however small the p-value in a large set."""
LEAST_OF_CLASS = 5
_BINS = 8
_COMMON = 0.01
_RIDGE = 1.0
_MOST_CATEGORIES = 40
_RESAMPLES = 500
_MARKS = 10
MOST = 3000
"""Images that the model is judged on; of more, whole groups are drawn."""


@dataclass(frozen=True)
class Told:
    """How well some facts tell the label of images that the model was not fitted on.

    Args:
        facts: what the model reads: a family, "all", or one fact.
        auc: mean over classes of the ROC-AUC of each against the rest; 0.5 tells nothing.
        low: lower end of its 95 % interval (bootstrap over whole groups).
        high: upper end.
        accuracy: share of images whose highest score is their class.
        majority: accuracy of always naming the most frequent class.
        p: (1 + permutations with as large an AUC) / (1 + permutations), labels of whole groups shuffled.
    """

    facts: str
    auc: float
    low: float
    high: float
    accuracy: float
    majority: float
    p: float


@dataclass(frozen=True)
class Mark:
    """A value that only one class has.

    Args:
        fact: "format", "mode", "jpeg_quality" or "size".
        value: which `images` of `label` have, and no other image.
        label: the class.
        images: that have it.
        groups: that they come from.
        certain: whether so many groups, too, would fall into one class with a chance below 0.001; else they may be one patient's.
    """

    fact: str
    value: str
    label: str
    images: int
    groups: int
    certain: bool


@dataclass(frozen=True)
class Alone:
    """The AUC of one fact on its own."""

    fact: str
    auc: float


@dataclass(frozen=True)
class Shortcuts:
    """What `find_shortcuts` found.

    Args:
        images: that were judged: those of classes with at least 5.
        groups: how many groups they fall into, each held out whole; equal to `images` where none are known.
        every: all facts together.
        families: each family on its own, and what is known without opening the picture: file and size together.
        single: each fact on its own, the most telling first.
        marks: values that one class alone has, in more images than chance would give.
        predicts: whether the facts tell the label: an AUC of at least 0.6 with p at most 0.025 for all together, or 0.025 divided
            by the number of families for one of them: at most one false alarm in twenty.
    """

    images: int
    groups: int
    every: Told
    families: list[Told]
    single: list[Alone]
    marks: list[Mark]
    predicts: bool

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as a JSON value."""
        return asdict(self)


def with_ratios(facts: pd.DataFrame) -> pd.DataFrame:
    """Return the facts with bytes per pixel, aspect and number of pixels, where their parts are known."""
    made = facts.copy()
    if {"width", "height"} <= set(made):
        width, height = (pd.to_numeric(made[name]) for name in ("width", "height"))
        made["aspect"], made["pixels"] = width / height, width * height
        if "bytes" in made:
            made["bytes_per_pixel"] = pd.to_numeric(made["bytes"]) / (width * height)
    return made


def find_shortcuts(
    images: ImageSet, *, groups: Int64[np.ndarray, " images"] | None = None, seed: int = 0
) -> Shortcuts | None:
    """Return how well facts of files and borders predict the label; None where fewer than two classes have 5 images, or nothing varies.

    The model is a ridge classifier on categories: of a number, the values that are frequent (1 %, at least 5 images) and eighths of
    the others; of a text, its values. It is fitted in closed form, so that the permutation test fits it anew to every shuffle of the
    labels: folds and categories do not look at labels, which makes the test exact where groups have one label each.

    Args:
        images: the set; of `facts`, those named in `FAMILIES` are used, and width, height and bytes give ratios.
        groups: patients, series or blocks that are held out whole and whose labels are shuffled together.
        seed: of folds, shuffles and resamples.
    """
    codes = images.codes
    frequent = np.flatnonzero(np.bincount(codes, minlength=len(images.classes)) >= LEAST_OF_CLASS)
    rows = np.flatnonzero(np.isin(codes, frequent))
    if len(frequent) < 2:
        return None
    labels = np.searchsorted(frequent, codes[rows])
    names = [images.classes[code] for code in frequent]
    of = np.arange(len(rows)) if groups is None else np.unique(groups[rows], return_inverse=True)[1]
    facts = with_ratios(images.facts).iloc[rows].reset_index(drop=True)
    marks = _marks(facts, labels, names, of)
    random = np.random.default_rng(seed)
    if len(rows) > MOST:
        rank = random.permutation(of.max() + 1)[of]
        drawn = rank <= np.sort(rank)[MOST - 1]
        facts, labels = facts[drawn].reset_index(drop=True), np.unique(labels[drawn], return_inverse=True)[1]
        of = np.unique(of[drawn], return_inverse=True)[1]
    columns = {name: part for name in _known(facts) if (part := _categories(facts[name])) is not None}
    test = _Test(labels, of, random)
    if not columns or test.folds is None:
        return None
    sets = {"all": list(columns)}
    sets |= {family: own for family, known in FAMILIES.items() if (own := [name for name in known if name in columns])}
    if {"file", "size"} <= set(sets):
        sets["file and size"] = [*sets["file"], *sets["size"]]
    told = {
        name: test.told(name, np.concatenate([columns[each] for each in part], axis=1)) for name, part in sets.items()
    }
    single = sorted((test.alone(name, part) for name, part in columns.items()), key=lambda each: -each.auc)
    families = [told[name] for name in sets if name != "all"]
    every = told["all"]
    predicts = (every.auc >= CLEAR and every.p <= LEVEL / 2) or any(
        each.auc >= CLEAR and each.p * len(families) <= LEVEL / 2 for each in families
    )
    return Shortcuts(len(labels), int(of.max()) + 1, every, families, single, marks, predicts)


def _known(facts: pd.DataFrame) -> list[str]:
    return [name for family in FAMILIES.values() for name in family if name in facts]


def _categories(column: "pd.Series[Any]") -> Float64[np.ndarray, "images categories"] | None:
    """Return a column of zeros and ones for each category; None where all images are in one."""
    missing = column.isna().to_numpy()
    texts = column.astype(str).to_numpy(dtype=object)
    values, place, counts = np.unique(np.where(missing, "", texts).astype(str), return_inverse=True, return_counts=True)
    if pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(column.dtype):
        common = counts >= max(LEAST_OF_CLASS, _COMMON * len(column))
        if common.sum() > _MOST_CATEGORIES:
            common &= counts >= np.sort(counts)[-_MOST_CATEGORIES]
        rare = ~common[place] & ~missing
        numbers = column.to_numpy(dtype=np.float64, na_value=np.nan)
        place = place.copy()
        if rare.any():
            cuts = np.quantile(numbers[rare], np.linspace(0, 1, _BINS + 1)[1:-1])
            place[rare] = len(values) + np.searchsorted(np.unique(cuts), numbers[rare])
    elif len(values) > _MOST_CATEGORIES:
        place = np.where(counts[place] >= np.sort(counts)[-_MOST_CATEGORIES], place, len(values))
    kept, place = np.unique(place, return_inverse=True)
    return None if len(kept) < 2 else np.eye(len(kept))[place]


class _Test:
    """A ridge classifier in folds of whole groups, refitted to shuffled labels by one product of matrices."""

    def __init__(
        self, labels: Int64[np.ndarray, " images"], groups: NDArray[np.int64], random: np.random.Generator
    ) -> None:
        self.labels, self.groups = labels, groups
        self.n_classes = int(labels.max()) + 1
        n_groups = int(groups.max()) + 1
        self.folds = None if n_groups < 2 * FOLDS else (random.permutation(n_groups) % FOLDS)[groups]
        shuffles = [_shuffled(labels, groups, random) for _ in range(PERMUTATIONS)]
        self.laws = np.stack([labels, *shuffles])
        drawn = random.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=_RESAMPLES)
        self.weights = drawn[:, groups].astype(np.float64)

    def told(self, name: str, design: Float64[np.ndarray, "images categories"]) -> Told:
        scores = self._scores(design, self.laws)
        aucs = _aucs(scores, self.laws, self.n_classes)
        low, high = np.nanquantile(_weighted_aucs(scores[0], self.labels, self.weights), [0.025, 0.975])
        shares = np.bincount(self.labels) / len(self.labels)
        p = (1 + int((aucs[1:] >= aucs[0]).sum())) / (1 + PERMUTATIONS)
        right = float(((scores[0] + shares).argmax(1) == self.labels).mean())
        return Told(name, float(aucs[0]), float(low), float(high), right, float(shares.max()), p)

    def alone(self, fact: str, design: Float64[np.ndarray, "images categories"]) -> Alone:
        return Alone(fact, float(_aucs(self._scores(design, self.laws[:1]), self.laws[:1], self.n_classes)[0]))

    def _scores(
        self, design: Float64[np.ndarray, "images categories"], laws: Int64[np.ndarray, "laws images"]
    ) -> Float64[np.ndarray, "laws images classes"]:
        """Return by how much each class is likelier than on average, for images of the fold that is held out, for many labellings at once.

        The average itself is left out: in the other folds it is high where it is low in this one, which would blur the AUC over all folds.
        """
        assert self.folds is not None
        scores = np.empty((*laws.shape, self.n_classes), dtype=np.float64)
        for fold in range(FOLDS):
            test = self.folds == fold
            mean = design[~test].mean(0)
            train = design[~test] - mean
            targets = np.eye(self.n_classes)[laws[:, ~test]]
            base = targets.mean(1, keepdims=True)
            side = np.tensordot(train, targets - base, axes=(0, 1))  # categories, laws, classes
            gram = train.T @ train + _RIDGE * np.eye(train.shape[1])
            solved = np.linalg.solve(gram, side.reshape(len(gram), -1))
            told = (design[test] - mean) @ solved
            scores[:, test] = told.reshape(len(told), len(laws), self.n_classes).swapaxes(0, 1)
        return scores


def _shuffled(
    labels: Int64[np.ndarray, " images"], groups: NDArray[np.int64], random: np.random.Generator
) -> NDArray[np.int64]:
    """Return labels shuffled between groups: all images of a group that had one label have one label again."""
    _, first, place = np.unique(groups * (labels.max() + 1) + labels, return_index=True, return_inverse=True)
    return labels[first][random.permutation(len(first))][place]


def _aucs(
    scores: Float64[np.ndarray, "laws images classes"], labels: Int64[np.ndarray, "laws images"], n_classes: int
) -> Float64[np.ndarray, " laws"]:
    """Return the mean over classes of the ROC-AUC of each against the rest (Mann-Whitney; a class that a law lacks counts as 0.5)."""
    total = np.zeros(len(labels))
    for code in range(n_classes):
        inside = labels == code
        n = inside.sum(1)
        both = n * (inside.shape[1] - n)
        ranks = np.where(inside, rankdata(scores[..., code], axis=1), 0.0).sum(1)
        total += np.where(both > 0, (ranks - n * (n + 1) / 2) / np.maximum(both, 1), 0.5)
    mean: Float64[np.ndarray, " laws"] = total / n_classes
    return mean


def _weighted_aucs(
    scores: Float64[np.ndarray, "images classes"],
    labels: Int64[np.ndarray, " images"],
    weights: Float64[np.ndarray, "draws images"],
) -> Float64[np.ndarray, " draws"]:
    """Return the same AUC with each image counted as often as each draw says; NaN where a draw lacks a class or all others."""
    total = np.zeros(len(weights))
    for code in range(scores.shape[1]):
        order = np.argsort(scores[:, code], kind="stable")
        ties = np.flatnonzero(np.diff(scores[order, code], prepend=-np.inf))
        inside = (labels[order] == code)[None, :]
        ordered = weights[:, order]
        wins = np.add.reduceat(ordered * inside, ties, axis=1)
        losses = np.add.reduceat(ordered * ~inside, ties, axis=1)
        below = np.cumsum(losses, axis=1) - losses / 2
        both = wins.sum(1) * losses.sum(1)
        total += np.divide((wins * below).sum(1), both, out=np.full(len(weights), np.nan), where=both > 0)
    mean: Float64[np.ndarray, " draws"] = total / scores.shape[1]
    return mean


def _marks(
    facts: pd.DataFrame, labels: Int64[np.ndarray, " images"], names: Sequence[str], groups: NDArray[np.int64]
) -> list[Mark]:
    """Return the frequent values that one class alone has and that so many images would share with a chance below 0.001 over all values."""
    tried = {
        name: facts[name].astype(str).to_numpy(dtype=object)
        for name in ("format", "mode", "jpeg_quality")
        if name in facts
    }
    if {"width", "height"} <= set(facts):
        pairs = zip(facts["width"], facts["height"], strict=True)
        tried["size"] = np.array([f"{width:g}x{height:g}" for width, height in pairs], dtype=object)
    shares = np.bincount(labels) / len(labels)
    found, n = [], 0
    for fact, values in tried.items():
        distinct, counts = np.unique(values.astype(str), return_counts=True)
        for value in distinct[(counts >= LEAST_OF_CLASS) & (counts < len(values))]:
            n += 1
            inside = values == value
            if len(set(labels[inside])) == 1:
                label = int(labels[inside][0])
                in_groups = len(np.unique(groups[inside]))
                by_image, by_group = (float(shares[label] ** (size - 1)) for size in (inside.sum(), in_groups))
                found.append(
                    (by_image, by_group, Mark(fact, str(value), names[label], int(inside.sum()), in_groups, False))
                )
    kept = [replace(mark, certain=by_group * n < 0.001) for by_image, by_group, mark in found if by_image * n < 0.001]
    return sorted(kept, key=lambda mark: (not mark.certain, -mark.images))[:_MARKS]
