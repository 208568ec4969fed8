"""How well a handful of labelled images tells classes apart: methods side by side on the same episodes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from benchmarks._images_episodes import Judged
from metamedica.modalities.images import Images
from metamedica.predictors.method import Method
from metamedica.types import CaseBatch, Features, LabelledBatch

_AT_ONCE = 10


@dataclass(frozen=True)
class Scored:
    """One method on one task.

    Args:
        accuracy: mean over episodes, or over test images where there is one episode.
        accuracy_interval: 95 %, over episodes (or test images).
        auc: of two classes, likewise; None for more.
        auc_interval: 95 %.
        each: accuracy of each episode (or right or wrong of each test image).
    """

    accuracy: float
    accuracy_interval: tuple[float, float]
    auc: float | None
    auc_interval: tuple[float, float] | None
    each: NDArray[np.float64]


def featurised(reader: Images, judged: Judged) -> Features:
    """Return the blocks of every image of a task, those of the rich encoder included."""
    squares = [np.asarray(each) for each in judged.pixels]
    prepared = reader.prepare(squares)
    rows = torch.tensor(prepared.row)
    if prepared.problems:
        raise ValueError(f"{len(prepared.problems)} images of {judged.name} cannot be read")
    more = reader.blocks(reader.rich_blocks, prepared.canonical)
    return {name: block[rows].float() for name, block in {**prepared.features, **more}.items()}


def scored(method: Method, features: Features, judged: Judged) -> Scored:
    """Return how a method does on every episode of a task."""
    found: list[NDArray[np.float64]] = []
    for at in range(0, len(judged.supports), _AT_ONCE):
        supports, queries = judged.supports[at : at + _AT_ONCE], judged.queries[at : at + _AT_ONCE]
        targets = targets_of(judged, at, supports)
        support = LabelledBatch(cases_of(features, supports), targets, kind_of(judged), judged.n_classes)
        with torch.no_grad():
            law = method(support, cases_of(features, queries))
        for place, query in enumerate(queries):
            found.append(law.probs[place, : len(query)].double().numpy())  # type: ignore[attr-defined]
    return _told(found, judged)


def kind_of(judged: Judged) -> str:
    return "binary" if judged.n_classes == 2 else "multiclass"


def cases_of(features: Features, rows: Sequence[NDArray[np.int64]]) -> CaseBatch:
    most = max(len(each) for each in rows)
    index = torch.zeros(len(rows), most, dtype=torch.int64)
    mask = torch.zeros(len(rows), most, dtype=torch.bool)
    for place, each in enumerate(rows):
        index[place, : len(each)] = torch.from_numpy(each)
        mask[place, : len(each)] = True
    return CaseBatch({name: block[index] for name, block in features.items()}, mask)


def targets_of(judged: Judged, first: int, rows: Sequence[NDArray[np.int64]]) -> torch.Tensor:
    most = max(len(each) for each in rows)
    found = torch.zeros(len(rows), most, dtype=torch.int64)
    for place, each in enumerate(rows):
        found[place, : len(each)] = torch.from_numpy(judged.labelled(first + place, each))
    return found


def _told(probabilities: list[NDArray[np.float64]], judged: Judged) -> Scored:
    truths = [judged.labelled(episode, query) for episode, query in enumerate(judged.queries)]
    right = [(each.argmax(1) == truth).astype(float) for each, truth in zip(probabilities, truths, strict=True)]
    alone = len(right) == 1
    each = right[0] if alone else np.array([values.mean() for values in right])
    accuracy_interval = interval_of(each)
    auc, auc_interval = None, None
    if judged.n_classes == 2:
        scores = np.array([roc_auc_score(t, p[:, 1]) for t, p in zip(truths, probabilities, strict=True)])
        auc = float(scores.mean())
        auc_interval = _resampled_auc(truths[0], probabilities[0][:, 1]) if alone else interval_of(scores)
    return Scored(float(each.mean()), accuracy_interval, auc, auc_interval, each)


def interval_of(values: NDArray[np.float64]) -> tuple[float, float]:
    half = 1.96 * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


def _resampled_auc(truth: NDArray[np.int64], score: NDArray[np.float64]) -> tuple[float, float]:
    random, found = np.random.default_rng(0), []
    while len(found) < 2000:
        rows = random.integers(0, len(truth), len(truth))
        if len(np.unique(truth[rows])) == 2:
            found.append(roc_auc_score(truth[rows], score[rows]))
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


def paired(left: Scored, right: Scored) -> tuple[float, float, float]:
    """Return the mean difference in accuracy, left minus right, and its 95 % interval."""
    difference = left.each - right.each
    low, high = interval_of(difference) if difference.any() else (0.0, 0.0)
    return float(difference.mean()), low, high


Methods = Mapping[str, Method]
