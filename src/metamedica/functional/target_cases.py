"""The cases of a new task, labelled or not, and a pooled score that they change."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from metamedica.functional.additive import Additive, LinearIn
from metamedica.functional.fitted import FittedKinds
from metamedica.functional.pooling import (
    FitScore,
    Pool,
    best_beyond_doubt,
    best_score,
    held_out_models,
    held_out_scores,
    noise_of,
    pools,
)
from metamedica.functional.population import HasPopulation
from metamedica.functional.recalibration import (
    calibrated,
    calibration_buffers,
    calibration_of,
    calibration_start,
    task_calibration,
)
from metamedica.functional.task_posterior import score_law
from metamedica.types import CaseBatch, ClosedForm, LabelledBatch, Law, Learner, RawEncoder, TaskKind
from metamedica.unlabelled import Unlabelled

Taught = Mapping[str, Tensor]


class Target(NamedTuple):
    """All cases of each task."""

    flat: Float[Tensor, "tasks n flat"]
    weight: Float[Tensor, "tasks n"]
    """1 for a case, 0 where padded."""


@runtime_checkable
class Scores(Protocol):
    """A score for each task: a log-odds of class 1, or a mean in standard units."""

    def __call__(self, flat: Float[Tensor, "tasks n flat"]) -> Float[Tensor, "tasks n"]:
        """Return the score of each case."""


class TaskScore(NamedTuple):
    """flat weight + intercept, one a task."""

    weight: Float[Tensor, "tasks flat"]
    intercept: Float[Tensor, " tasks"]

    def __call__(self, flat: Float[Tensor, "tasks n flat"]) -> Float[Tensor, "tasks n"]:
        """Return the score of each case."""
        return (flat @ self.weight[..., None])[..., 0] + self.intercept[:, None]


def target_of(raw: RawEncoder, support: LabelledBatch, unlabelled: CaseBatch | None) -> Target:
    """Return the cases of each task, those of the support first."""
    batches = [support.cases, *([] if unlabelled is None else [unlabelled])]
    flat = torch.cat([raw.flat(batch.features) for batch in batches], dim=1)
    mask = torch.cat([batch.mask for batch in batches], dim=1)
    # What stands in padded rows must not reach a sum, not even times 0.
    return Target(flat.masked_fill(~mask[..., None], 0), mask.to(flat.dtype))


@dataclass(frozen=True)
class MovedState:
    """Per task: the score that its cases made of the pooled one; intercept and log slope on it."""

    kind: TaskKind
    score: Scores
    found: Float[Tensor, "tasks 2"]


class MovedScore(Learner[MovedState], ClosedForm, Unlabelled, Additive, HasPopulation):
    """A pooled score that the cases of a task change, labelled or not, and that its labels set right (a + exp(l) s, as `recalibrated`).

    How far the cases may change it is one of several settings, the first of which is not at all: another is taken where earlier tasks, played as new
    ones with all their cases without label, are scored better by it beyond doubt (`best_beyond_doubt`), with scores that have not seen them.
    Without labels, and where the cases change nothing, the law is that of the pooled model.

    Args:
        raw: its `flat` features are the inputs.
        signals: prior variances of the score of a usual case that are tried for the pooled model.
        most_cases: a task with more is cut down to so many.
    """

    kinds: ClassVar[frozenset[TaskKind]] = frozenset({"binary", "regression"})

    def __init__(self, raw: RawEncoder, *, signals: tuple[float, ...], most_cases: int) -> None:
        super().__init__()
        self.raw = raw
        self.signals = tuple(signals)
        self.most_cases = most_cases
        self.taught = FittedKinds(self.kinds, {**self.start(), **calibration_start()})

    @abstractmethod
    def start(self) -> Taught:
        """Return the buffers of source and setting before any task is seen."""

    @abstractmethod
    def settings(self) -> Sequence[Taught]:
        """Return the settings that are tried, each some of the buffers; the first leaves the score as it is."""

    @abstractmethod
    def pooled(self, *, signal: float) -> FitScore[Any]:
        """Return how the pooled model is fitted."""

    @abstractmethod
    def source(self, pool: Pool, rows: Bool[Tensor, " n"], model: Any, *, signal: float) -> Taught:
        """Return what these rows of the pool, and the pooled model of them, teach, as the other buffers."""

    @abstractmethod
    def moved(self, taught: Taught, target: Target, kind: TaskKind) -> Scores:
        """Return the score of each task; tasks do not touch each other."""

    def adapt(self, support: LabelledBatch) -> MovedState:
        """Return the score of each task, changed by its labelled cases alone."""
        return self._adapted(support, None)

    def adapt_with(self, support: LabelledBatch, unlabelled: CaseBatch) -> MovedState:
        """Return the score of each task, changed by its labelled and unlabelled cases."""
        return self._adapted(support, unlabelled)

    def _adapted(self, support: LabelledBatch, unlabelled: CaseBatch | None) -> MovedState:
        self.check_kind(support.kind)
        taught = self.taught.of(support.kind)
        target = target_of(self.raw, support, unlabelled)
        if len(taught["weight"]):
            score: Scores = self.moved(dict(taught.named_buffers()), target, support.kind)
        else:
            n_tasks, _, size = target.flat.shape
            score = TaskScore(target.flat.new_zeros(n_tasks, size), target.flat.new_zeros(n_tasks))
        found = task_calibration(score(target.flat[:, : support.mask.shape[1]]), support, taught)
        return MovedState(support.kind, score, found)

    def predict(self, state: MovedState, query: CaseBatch) -> Law:
        """Return the law of each query case at its task's score, intercept and slope."""
        taught = self.taught.of(state.kind)
        score = state.score(self.raw.flat(query.features))
        return score_law(calibrated(score, taught["level"], state.found), taught["noise"], state.kind)

    def additive(self, state: MovedState) -> LinearIn | None:
        """Return the score of each task at its intercept and slope, where it is linear in the columns; else None."""
        if not isinstance(state.score, TaskScore):
            return None
        level = self.taught.of(state.kind)["level"]
        linear = LinearIn.of(state.score.weight, state.score.intercept, like=state.found)
        return linear.recalibrated(level, state.found)

    def fit_tasks(self, tasks: Sequence[LabelledBatch]) -> None:
        """Fit the source, choose the setting, and learn the prior of intercept and slope, for each kind that there are tasks of.

        Raises:
            TaskError: no task of a kind that the learner allows.
        """
        for kind, pool in pools(tasks, self.raw, sorted(self.kinds), most_cases=self._most_of(len(tasks))).items():
            fits = [self.pooled(signal=signal) for signal in self.signals]
            models = held_out_models(pool, fits)
            usual = best_score(pool, held_out_scores(pool, models))
            signal = self.signals[usual]
            scores = self._rehearsed(pool, [each[usual] for each in models], signal)
            best = best_beyond_doubt(pool, scores)
            every = torch.ones_like(pool.task, dtype=torch.bool)
            source = self.source(pool, every, fits[usual](pool, every), signal=signal)
            found = {**source, **self.settings()[best]}
            noise = noise_of(pool, scores)[best]
            prior = calibration_of(pool, scores[:, best], noise).about_the_score()
            self.taught.of(kind).keep({**found, **calibration_buffers(prior, scores[:, best], noise)})

    def _most_of(self, n_tasks: int) -> int:
        """Return the most cases of one of so many tasks."""
        return self.most_cases

    def _rehearsed(self, pool: Pool, models: Sequence[Any], signal: float) -> Float[Tensor, "n settings"]:
        """Return the score of each case in each setting, from a source and a pooled model that have not seen its fold."""
        settings = self.settings()
        scores = pool.flat.new_zeros(len(pool.flat), len(settings))
        for fold in range(pool.n_folds):
            source = self.source(pool, pool.fold != fold, models[fold], signal=signal)
            for task in torch.unique(pool.task[pool.fold == fold]):
                rows = ((pool.fold == fold) & (pool.task == task)).nonzero()[:, 0]
                flat = pool.flat[rows][None]
                target = Target(flat, torch.ones_like(flat[..., 0]))
                each = [self.moved({**source, **setting}, target, pool.kind)(flat)[0] for setting in settings]
                scores[rows] = torch.stack(each, dim=-1)
        return scores
