"""What `make bench-trust` measures of one task at one support size: the law of every method on a fixed query, and what hidden labels tell of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.distributions import Categorical, Normal

from metamedica.data.collection import IntArray, Task, TaskCollection
from metamedica.data.draws import group_codes
from metamedica.data.episodes import gather, labelled
from metamedica.errors import TaskError
from metamedica.functional import conformal
from metamedica.predictors.expected_gain import gain_of_hidden, promised_gain
from metamedica.predictors.guard import AdaptedMixture, Evidence
from metamedica.predictors.held_out import HeldOut, held_out
from metamedica.predictors.method import Method
from metamedica.reports import metrics
from metamedica.reports.calibration_figures import calibration_slope
from metamedica.reports.judging import order_of
from metamedica.types import CaseBatch, LabelledBatch, Law

COVERAGE = 0.9
ABSTAIN = 0.2
NOISE = 0.2
SIZE = 20
"""Labelled cases at which calibration, coverage, abstention and label noise are judged."""
LEAST_QUERY = 10
_CHUNK = 2048
_FLOOR_DRAWS = 20


@dataclass(frozen=True)
class Contest:
    """The methods that are compared on a family's tasks.

    Args:
        methods: name -> method; the default is `default`.
        default: what the product answers with.
        candidates: names of what its mixture chooses between.
        pooled: the candidate without adaptation (tables) or the plain one from scratch (molecules) that nobody may be worse than.
        local: the plain method from scratch.
        foretold: what the predictor says of its gain, from its evidence; None: from hidden labels.
    """

    methods: Mapping[str, Method]
    default: str
    candidates: Sequence[str]
    pooled: str
    local: str
    foretold: Callable[[Evidence], Tensor] | None = None


@dataclass(frozen=True)
class Draws:
    """Supports of one task, nested over sizes, and the query of each, which is the same for all sizes."""

    task: Task
    support: list[IntArray]
    query: list[IntArray]


def drawn(
    task: Task, size: int, sizes: Sequence[int], *, draws: int, most_query: int, of_a_class: int = 0, seed: int = 0
) -> Draws | None:
    """Return the draws of a task; None where it is too small for this size. No group (patient) stands on both sides.

    Args:
        task: all of its cases may be drawn.
        size: of the support.
        sizes: those that share a query.
        draws: supports.
        most_query: of a larger query only so many, by chance.
        of_a_class: cases of each class that a support begins with; 0: as they come.
        seed: with the task's name, decides the draws.
    """
    if len(task) < size + LEAST_QUERY:
        return None
    largest = max(each for each in sizes if len(task) >= each + LEAST_QUERY)
    orders = [_begun(order_of(task, draw=draw, seed=seed), task, of_a_class) for draw in range(draws)]
    codes = group_codes(task)
    queries = [
        order[largest:] if codes is None else order[largest:][~np.isin(codes[order[largest:]], codes[order[:largest]])]
        for order in orders
    ]
    length = min(most_query, *(len(query) for query in queries))
    if length < LEAST_QUERY:
        return None
    return Draws(task, [order[:size] for order in orders], [query[:length] for query in queries])


def _begun(order: IntArray, task: Task, of_a_class: int) -> IntArray:
    """Return the order with the first so many of each class at its start."""
    if not of_a_class or task.kind == "regression":
        return order
    first = np.concatenate([np.flatnonzero(task.targets[order] == each)[:of_a_class] for each in (0, 1)])
    return np.concatenate([order[np.sort(first)], np.delete(order, first)])


def laws(method: Method, tasks: TaskCollection, draws: Draws) -> tuple[Law, Any]:
    """Return the law of every query case, `[draws, cases]`, and what was adapted."""
    with torch.no_grad():
        adapted = method.adapt(labelled(tasks, [draws.task] * len(draws.support), draws.support))
        found = []
        for start in range(0, len(draws.query[0]), _CHUNK):
            rows = [draws.task.rows[query[start : start + _CHUNK]] for query in draws.query]
            found.append(adapted.predict(gather(tasks, rows)))
    if all(isinstance(law, Categorical) for law in found):
        logits = torch.cat([law.logits for law in found if isinstance(law, Categorical)], dim=1)
        return Categorical(logits=logits, validate_args=False), adapted
    mean, deviation = torch.cat([law.mean for law in found], 1), torch.cat([law.stddev for law in found], 1)
    return Normal(mean, deviation, validate_args=False), adapted


def measured(contest: Contest, tasks: TaskCollection, draws: Draws, alone: TaskCollection) -> list[dict[str, Any]]:
    """Return a row a draw: figures of every method, and at `SIZE` labels those of calibration, sets, abstention and label noise.

    Args:
        contest: the methods.
        tasks: as the learned methods read them.
        draws: of one task.
        alone: as the method from scratch reads them.
    """
    targets = np.stack([draws.task.targets[query] for query in draws.query])
    size = len(draws.support[0])
    rows: list[dict[str, Any]] = [{"task": draws.task.name, "size": size, "draw": at} for at in range(len(targets))]
    found: dict[str, Law] = {}
    default: Any = None
    for name, method in contest.methods.items():
        found[name], adapted = laws(method, alone if name == contest.local else tasks, draws)
        if name == contest.default:
            default = adapted
        for at, row in enumerate(rows):
            row |= {f"{name}.{figure}": value for figure, value in _figures(found[name], at, targets[at]).items()}
    for at, row in enumerate(rows):
        if isinstance(default, AdaptedMixture):
            row["weight"] = float(default.weighed.weights[at, 0])
    if size == SIZE:
        support = labelled(tasks, [draws.task] * len(draws.support), draws.support)
        hidden = held_out(contest.methods[contest.default], support)
        if contest.foretold is not None and isinstance(default, AdaptedMixture):
            for row, gain in zip(rows, contest.foretold(default.weighed.evidence).tolist(), strict=True):
                row["expected_gain"] = gain
        else:
            _expected(contest, draws, alone, default.predict(support.cases), hidden, rows)
        _at_size(contest, tasks, alone, draws, found, hidden, targets, rows)
    return rows


def _expected(
    contest: Contest,
    draws: Draws,
    alone: TaskCollection,
    ours: Law,
    hidden: HeldOut,
    rows: list[dict[str, Any]],
) -> None:
    """Add what the predictor says of the gain over the local method."""
    local, support = contest.methods[contest.local], labelled(alone, [draws.task] * len(draws.support), draws.support)
    whole = local.adapt(support)
    plain, promised = held_out(local, support, whole=whole), promised_gain(ours, whole.predict(support.cases))
    for at, row in enumerate(rows):
        told = gain_of_hidden(_one(hidden, at), _one(plain, at), promised[at])
        row["expected_gain"] = float("nan") if told is None else told.mean


def _one(found: HeldOut, at: int) -> HeldOut:
    law: Law = (
        Categorical(logits=found.law.logits[at : at + 1], validate_args=False)
        if isinstance(found.law, Categorical)
        else Normal(found.law.mean[at : at + 1], found.law.stddev[at : at + 1], validate_args=False)
    )
    return HeldOut(law, *(each[at : at + 1] for each in (found.targets, found.known, found.mask)))


def _figures(law: Law, at: int, targets: NDArray[Any]) -> dict[str, float]:
    if isinstance(law, Categorical):
        probability = law.probs[at, :, 1].double().numpy()
        labels = targets.astype(np.int64)
        return {
            "log_loss": metrics.log_loss_of(labels, probability),
            "roc_auc": metrics.roc_auc(labels, probability),
            "ece": metrics.expected_calibration_error(labels, probability),
            "brier": metrics.brier(labels, probability),
        }
    mean, deviation = law.mean[at].double().numpy(), law.stddev[at].double().numpy()
    return metrics.regression_figures(targets.astype(np.float64), mean, deviation)


def _at_size(
    contest: Contest, tasks: TaskCollection, alone: TaskCollection, draws: Draws, found: Mapping[str, Law],
    hidden: HeldOut, targets: NDArray[Any], rows: list[dict[str, Any]],
) -> None:  # fmt: skip
    """Add the figures that are judged at `SIZE` labels."""
    law = found[contest.default]
    largest = _largest(hidden, law)
    half_law, half_largest = _split_conformal(contest.methods[contest.default], tasks, draws)
    noisy = _noisy(contest, tasks, alone, draws) if isinstance(law, Categorical) else {}
    random = np.random.default_rng(0)
    for at, row in enumerate(rows):
        row |= {f"conformal.{k}": v for k, v in _sets(law, largest, at, targets[at]).items()}
        row |= {f"split.{k}": v for k, v in _sets(half_law, half_largest, at, targets[at]).items()}
        row |= {name: values[at] for name, values in noisy.items()}
        if isinstance(law, Categorical):
            probability, labels = law.probs[at, :, 1].double().numpy(), targets[at].astype(np.int64)
            row["slope"] = _slope(labels, probability)
            row["ece_floor"] = float(
                np.mean(
                    [
                        metrics.expected_calibration_error(
                            (random.random(len(probability)) < probability).astype(np.int64), probability
                        )
                        for _ in range(_FLOOR_DRAWS)
                    ]
                )
            )
            row |= _abstaining(labels, probability)


def _largest(hidden: HeldOut, law: Law) -> Tensor:
    scores = conformal.nonconformity(hidden.levelled, hidden.targets)
    if isinstance(law, Categorical):  # a case that cannot be hidden counts as the least fitting one
        scores = scores.masked_fill(~hidden.known, float("inf"))
        return conformal.threshold(scores, hidden.mask, COVERAGE)
    return conformal.half_width(scores, hidden.known, COVERAGE)


def _split_conformal(method: Method, tasks: TaskCollection, draws: Draws) -> tuple[Law, Tensor]:
    """Return the law and the thresholds of plain split conformal: half of the same labels adapt, the other half says how far (Papadopoulos 2002)."""
    halves = Draws(draws.task, [each[: len(each) // 2] for each in draws.support], draws.query)
    rest = Draws(draws.task, halves.support, [each[len(each) // 2 :] for each in draws.support])
    law, _ = laws(method, tasks, halves)
    said, _ = laws(method, tasks, rest)
    targets = torch.from_numpy(np.stack([draws.task.targets[query] for query in rest.query]))
    scores = conformal.nonconformity(said, targets.long() if isinstance(said, Categorical) else targets)
    known = torch.ones_like(scores, dtype=torch.bool)
    if isinstance(law, Categorical):
        return law, conformal.threshold(scores, known, COVERAGE)
    return law, conformal.threshold(scores, known, COVERAGE)


def _sets(law: Law, largest: Tensor, at: int, targets: NDArray[Any]) -> dict[str, float]:
    if isinstance(law, Categorical):
        inside = conformal.sets(Categorical(logits=law.logits[at : at + 1], validate_args=False), largest[at : at + 1])[
            0
        ].numpy()
        return {
            "coverage": float(inside[np.arange(len(targets)), targets.astype(np.int64)].mean()),
            "size": float(inside.sum(1).mean()),
        }
    half = float(largest[at, 0]) * law.stddev[at].double().numpy()
    return {
        "coverage": float((np.abs(targets - law.mean[at].double().numpy()) <= half).mean()),
        "size": float(2 * half.mean()),
    }


def _slope(labels: NDArray[np.int64], probability: NDArray[np.float64]) -> float:
    """Return the calibration slope; NaN where it has no finite value (a query of one class, or told apart without error)."""
    try:
        return calibration_slope(labels, probability)
    except TaskError:
        return float("nan")


def _abstaining(labels: NDArray[np.int64], probability: NDArray[np.float64]) -> dict[str, float]:
    """Return the share of wrong classes over all cases, and without the least sure fifth; and what predictions that are right as often as they say
    would have of both."""
    wrong = (probability > 0.5) != (labels == 1)
    sure = np.maximum(probability, 1 - probability)
    kept = np.argsort(-sure, kind="stable")[: len(sure) - round(ABSTAIN * len(sure))]
    said = 1 - sure
    return {
        "error": float(wrong.mean()),
        "error_kept": float(wrong[kept].mean()),
        "said": float(said.mean()),
        "said_kept": float(said[kept].mean()),
    }


def _noisy(contest: Contest, tasks: TaskCollection, alone: TaskCollection, draws: Draws) -> dict[str, list[float]]:
    """Return the AUC of the default and of the local method when a fifth of the labels is flipped."""
    flips = [
        np.random.default_rng([at, len(each)]).permutation(len(each))[: round(NOISE * len(each))]
        for at, each in enumerate(draws.support)
    ]
    found: dict[str, list[float]] = {}
    for name in (contest.default, contest.local):
        world = alone if name == contest.local else tasks
        support = labelled(world, [draws.task] * len(draws.support), draws.support)
        targets = support.targets.clone()
        for at, places in enumerate(flips):
            targets[at, places] = 1 - targets[at, places]
        with torch.no_grad():
            adapted = contest.methods[name].adapt(_with(support, targets))
            law = adapted.predict(gather(world, [draws.task.rows[query] for query in draws.query]))
        assert isinstance(law, Categorical)
        probability = law.probs[..., 1].double().numpy()
        found[f"{name}.noisy_auc"] = [
            metrics.roc_auc(draws.task.targets[query].astype(np.int64), probability[at])
            for at, query in enumerate(draws.query)
        ]
    return found


def _with(support: LabelledBatch, targets: Tensor) -> LabelledBatch:
    return LabelledBatch(CaseBatch(support.features, support.mask), targets, support.kind, support.n_classes)
