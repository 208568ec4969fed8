"""What a random split would flatter: the same simple models judged with random folds and with whole groups or blocks held out."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from metamedica.data.image_audit.pictures import ImageSet, unit_thumbnails

MODELS = ("nearest neighbour", "logistic regression")
FOLDS = 5
REPEATS = 3
"""Draws of the folds, over which each image's answers are averaged."""
MOST = 4000
"""Images that are compared; of more, whole blocks are drawn."""
_RESAMPLES = 1000
_COMPONENTS = 40


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval (bootstrap over whole blocks)."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class SplitLeak:
    """Accuracy of one model on thumbnails under two ways to split the same images.

    Args:
        model: one of `MODELS`.
        images: that were judged.
        blocks: whole groups or blocks among them.
        random: accuracy with random folds.
        blocked: accuracy with whole blocks held out.
        gain: random less blocked, paired: by how much a random split flatters.
    """

    model: str
    images: int
    blocks: int
    random: Estimate
    blocked: Estimate
    gain: Estimate

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as a JSON value."""
        return asdict(self)


def split_leak(images: ImageSet, blocks: Int64[np.ndarray, " images"], *, seed: int = 0) -> list[SplitLeak]:
    """Return what random folds flatter, for the nearest neighbour and a logistic regression on 40 components of thumbnails.

    Five folds each, stratified by class, drawn three times. Classes in fewer than five blocks are left out, as they cannot be in
    each fold; an empty list where fewer than two classes are left.
    """
    random = np.random.default_rng(seed)
    codes = images.codes
    wide = [code for code in range(len(images.classes)) if len(np.unique(blocks[codes == code])) >= FOLDS]
    rows = np.flatnonzero(np.isin(codes, wide))
    if len(wide) < 2:
        return []
    rows = _drawn(rows, blocks, random)
    labels, kept = codes[rows], blocks[rows]
    if min(np.unique(labels, return_counts=True)[1]) < FOLDS or len(np.unique(labels)) < 2:
        return []
    units, _ = unit_thumbnails(images.thumbnails[rows])
    points = images.thumbnails[rows].reshape(len(rows), -1).astype(np.float64)
    state = int(random.integers(2**31))
    mixed = [
        StratifiedKFold(FOLDS, shuffle=True, random_state=state + each).split(points, labels) for each in range(REPEATS)
    ]
    whole = [
        StratifiedGroupKFold(FOLDS, shuffle=True, random_state=state + each).split(points, labels, kept)
        for each in range(REPEATS)
    ]
    both = [[list(folds) for folds in way] for way in (mixed, whole)]
    told = []
    for model in MODELS:
        seen = units.astype(np.float64) if model == MODELS[0] else points
        right = [np.mean([_right(seen, labels, folds, model) for folds in way], axis=0) for way in both]
        random_, blocked, gain = _estimates(right[0], right[1], kept, random)
        told.append(SplitLeak(model, len(rows), len(np.unique(kept)), random_, blocked, gain))
    return told


def _drawn(
    rows: NDArray[np.int64], blocks: Int64[np.ndarray, " images"], random: np.random.Generator
) -> NDArray[np.int64]:
    """Return the rows of blocks in random order until enough are taken."""
    if len(rows) <= MOST:
        return rows
    _, place = np.unique(blocks[rows], return_inverse=True)
    rank = random.permutation(place.max() + 1)[place]
    order = np.argsort(rank, kind="stable")
    last = rank[order[MOST - 1]]
    return rows[np.flatnonzero(rank < last)] if (rank < last).any() else rows[np.flatnonzero(rank <= last)]


def _right(
    points: Float64[np.ndarray, "images points"],
    labels: Int64[np.ndarray, " images"],
    folds: Sequence[tuple[NDArray[Any], NDArray[Any]]],
    model: str,
) -> Bool[np.ndarray, " images"]:
    """Return for each image whether it was told right by a model that had not seen its fold."""
    right = np.zeros(len(labels), dtype=bool)
    for train, test in folds:
        if model == MODELS[0]:
            told = labels[train][(points[test] @ points[train].T).argmax(1)]
        else:
            size = min(_COMPONENTS, len(train) - 1, points.shape[1])
            fitted = make_pipeline(
                StandardScaler(), PCA(size, random_state=0), StandardScaler(), LogisticRegression(C=0.1, max_iter=2000)
            ).fit(points[train], labels[train])
            told = fitted.predict(points[test])
        right[test] = told == labels[test]
    return right


def _estimates(
    random_: Float64[np.ndarray, " images"],
    blocked: Float64[np.ndarray, " images"],
    blocks: Int64[np.ndarray, " images"],
    random: np.random.Generator,
) -> tuple[Estimate, Estimate, Estimate]:
    """Return both accuracies and their difference, with intervals from whole blocks drawn with replacement."""
    _, place = np.unique(blocks, return_inverse=True)
    n = place.max() + 1
    sums = np.stack([np.bincount(place, weights=each, minlength=n) for each in (random_, blocked)])
    sizes = np.bincount(place, minlength=n)
    drawn = random.multinomial(n, np.full(n, 1 / n), size=_RESAMPLES)
    shares = (drawn @ sums.T) / (drawn @ sizes)[:, None]
    values = [float(random_.mean()), float(blocked.mean())]
    draws = [shares[:, 0], shares[:, 1], shares[:, 0] - shares[:, 1]]
    low, high = np.quantile(np.stack(draws), [0.025, 0.975], axis=1)
    every = [*values, values[0] - values[1]]
    one, two, three = (Estimate(v, float(a), float(b)) for v, a, b in zip(every, low, high, strict=True))
    return one, two, three
