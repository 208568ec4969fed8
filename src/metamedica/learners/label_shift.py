"""The pooled model at the task's own prevalence, which its cases without label tell before its labels do."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from metamedica.functional.additive import Additive, LinearIn
from metamedica.functional.classes import HALF
from metamedica.functional.fitted import Fitted, FittedKinds
from metamedica.functional.pooled_models import SIGNALS, LinearScore, linear_fit
from metamedica.functional.pooling import Pool, best_model, best_score, pools
from metamedica.functional.population import HasPopulation
from metamedica.functional.prevalence import odds_in_score, unlabelled_shift
from metamedica.functional.recalibration import (
    CalibrationPrior,
    calibrated,
    calibration_buffers,
    calibration_of,
    calibration_start,
    prior_of,
    task_calibration,
)
from metamedica.functional.task_posterior import binary_law
from metamedica.types import CaseBatch, ClosedForm, Features, LabelledBatch, Law, Learner, Paper, RawEncoder, TaskKind
from metamedica.unlabelled import Unlabelled


@dataclass(frozen=True)
class ShiftedState:
    """Per task: intercept and log slope on the pooled score."""

    found: Float[Tensor, "tasks 2"]


class LabelShift(Learner[ShiftedState], ClosedForm, Unlabelled, Additive, HasPopulation):
    """Log-odds  s(x) + a + (exp(l) - 1) (s(x) - level):  s is the pooled linear model, a the shift of the task's log-odds of class 1.

    The cases without label make a normal law of the shift (`functional/prevalence`), starting from one about 0 whose width earlier tasks
    teach; with it as the prior, the labels set shift and slope, as in `recalibrated`. With neither, the law is that of the pooled model.

    Deviates: Saerens et al. have no prior, no labels of the new task, and count every case in full. Here one without label counts for a part, the
    part with the best likelihood where earlier tasks are played as new ones, all their cases without label: that tasks differ in prevalence
    only is never quite true, and 0 is among the parts. All of them together count for no more than those of an earlier task of usual size.

    Args:
        raw: its `flat` features are the inputs.
        parts: tried.
        signals: prior variances of the score of a usual case that are tried for the pooled model.
        most_cases: a task with more is cut down to so many.
    """

    paper: ClassVar[Paper] = Paper(
        "Adjusting the outputs of a classifier to new a priori probabilities", "Saerens, Latinne and Decaestecker", 2002,
        "doi:10.1162/089976602753284446",
    )  # fmt: skip
    kinds: ClassVar[frozenset[TaskKind]] = frozenset({"binary"})

    def __init__(
        self,
        raw: RawEncoder,
        *,
        parts: tuple[float, ...] = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0),
        signals: tuple[float, ...] = SIGNALS,
        most_cases: int = 2000,
    ) -> None:
        super().__init__()
        self.raw = raw
        self.parts = tuple(parts)
        self.signals = tuple(signals)
        self.most_cases = most_cases
        source = {"weight": torch.zeros(0), "intercept": torch.zeros(()), "odds": torch.zeros(())}
        source |= {"part": torch.zeros(()), "usual": torch.ones(())}
        self.taught = FittedKinds(self.kinds, {**source, **calibration_start()})

    def _score(self, features: Features, taught: Fitted) -> Float[Tensor, "tasks n"]:
        return LinearScore(taught["weight"], taught["intercept"])(self.raw.flat(features))

    def adapt(self, support: LabelledBatch) -> ShiftedState:
        """Return shift and slope of each task from its labels."""
        self.check_kind(support.kind)
        taught = self.taught.of(support.kind)
        return ShiftedState(task_calibration(self._score(support.features, taught), support, taught))

    def adapt_with(self, support: LabelledBatch, unlabelled: CaseBatch) -> ShiftedState:
        """Return shift and slope of each task from its labels and its cases without."""
        self.check_kind(support.kind)
        taught = self.taught.of(support.kind)
        score = self._score(unlabelled.features, taught).masked_fill(~unlabelled.mask, 0)
        weight, prior = _counted(unlabelled.mask.to(score.dtype), taught["part"], taught["usual"]), prior_of(taught)
        shift = unlabelled_shift(score, weight, odds=taught["odds"], variance=prior.variance[0])
        told = CalibrationPrior(
            torch.stack([shift.mean, prior.mean[1].expand_as(shift.mean)], dim=-1),
            torch.stack([shift.variance, prior.variance[1].expand_as(shift.mean)], dim=-1),
        )
        return ShiftedState(task_calibration(self._score(support.features, taught), support, taught, prior=told))

    def predict(self, state: ShiftedState, query: CaseBatch) -> Law:
        """Return the law of each query case at its task's shift and slope."""
        taught = self.taught.of("binary")
        return binary_law(calibrated(self._score(query.features, taught), taught["level"], state.found))

    def additive(self, state: ShiftedState) -> LinearIn | None:
        """Return the pooled model at each task's shift and slope; None before anything was learned."""
        taught = self.taught.of("binary")
        if not len(taught["weight"]):
            return None
        pooled = LinearIn.of(taught["weight"], taught["intercept"], like=state.found)
        return pooled.recalibrated(taught["level"], state.found)

    def fit_tasks(self, tasks: Sequence[LabelledBatch]) -> None:
        """Fit the pooled model, the law of shift and slope, and what a case without label counts for.

        Raises:
            TaskError: no task of a kind that the learner allows.
        """
        pool = pools(tasks, self.raw, sorted(self.kinds), most_cases=self.most_cases)["binary"]
        best = best_model(pool, [linear_fit(signal=signal) for signal in self.signals])
        score = best.held_out
        prior = calibration_of(pool, score, 1.0).about_the_score()
        odds = odds_in_score(score, pool.targets, _log_odds(pool)[pool.task])
        usual = torch.bincount(pool.task).to(score.dtype).mean()
        part = self.parts[best_score(pool, self._rehearsed(pool, score, odds, prior, usual))]
        taught = calibration_buffers(prior, score, torch.ones(()))
        found = {**best.model._asdict(), "odds": odds, "part": torch.tensor(part), "usual": usual}
        self.taught.of("binary").keep({**found, **taught})

    def _rehearsed(
        self, pool: Pool, score: Float[Tensor, " n"], odds: Tensor, prior: CalibrationPrior, usual: Tensor
    ) -> Float[Tensor, "n parts"]:
        """Return the log-odds of each case where its task's cases have no label, for each part that one may count for."""
        shifted = score.new_zeros(len(score), len(self.parts))
        parts = torch.tensor(self.parts, dtype=score.dtype)[:, None]
        for task in range(pool.n_tasks):
            rows = pool.rows_of(task)
            wide = score[rows].expand(len(self.parts), -1)
            weight = _counted(torch.ones_like(wide), parts, usual)
            shift = unlabelled_shift(wide, weight, odds=odds, variance=prior.variance[0])
            shifted[rows] = (wide + shift.mean[:, None]).mT
        return shifted


def _counted(there: Float[Tensor, "tasks n"], part: Tensor, usual: Float[Tensor, ""]) -> Float[Tensor, "tasks n"]:
    """Return what each case without label counts for, 0 where padded."""
    return part * there * (usual / there.sum(-1, keepdim=True).clamp(min=1)).clamp(max=1)


def _log_odds(pool: Pool) -> Float[Tensor, " tasks"]:
    """Return the log-odds of class 1 of each task, half a case of each class added."""
    counts = torch.bincount(pool.task).to(pool.targets.dtype)
    positives = torch.bincount(pool.task, pool.targets)
    return ((positives + HALF) / (counts - positives + HALF)).log()
