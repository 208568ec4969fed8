"""The pooled linear model with each task's own intercept and slope: logistic recalibration that five labels cannot spoil."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from metamedica.functional.additive import Additive, LinearIn
from metamedica.functional.fitted import Fitted, FittedKinds
from metamedica.functional.pooled_models import SIGNALS, LinearScore, linear_fit
from metamedica.functional.pooling import best_model, pools
from metamedica.functional.population import HasPopulation
from metamedica.functional.recalibration import (
    calibrated,
    calibration_buffers,
    calibration_of,
    calibration_start,
    task_calibration,
)
from metamedica.functional.task_posterior import score_law
from metamedica.types import CaseBatch, ClosedForm, Features, LabelledBatch, Law, Learner, Paper, RawEncoder, TaskKind


@dataclass(frozen=True)
class RecalibratedState:
    """Per task: intercept and log slope on the pooled score."""

    kind: TaskKind
    found: Float[Tensor, "tasks 2"]


class Recalibrated(Learner[RecalibratedState], ClosedForm, Additive, HasPopulation):
    """Score a + b m(x): m is the pooled linear model, and (a, log b) of a task is its maximum a posteriori given the support.

    The prior of (a, log b) is normal and learned from the earlier tasks, each scored by models that have not seen it; with few tasks it stays
    near a weak one. A support of one class, or of one case, is answered.

    Deviates: Cox estimates intercept and slope without a prior, which few labels do not bear.

    Args:
        raw: its `flat` features are the inputs.
        signals: prior variances of the score of a usual case that are tried for the pooled model.
        most_cases: a task with more is cut down to so many.
    """

    paper: ClassVar[Paper] = Paper(
        "Two further applications of a model for binary regression", "Cox", 1958, "doi:10.1093/biomet/45.3-4.562"
    )
    kinds: ClassVar[frozenset[TaskKind]] = frozenset({"binary", "regression"})
    least_classes: ClassVar[int] = 1

    def __init__(self, raw: RawEncoder, *, signals: tuple[float, ...] = SIGNALS, most_cases: int = 2000) -> None:
        super().__init__()
        self.raw = raw
        self.signals = tuple(signals)
        self.most_cases = most_cases
        start = {"weight": torch.zeros(0), "intercept": torch.zeros(()), **calibration_start()}
        self.taught = FittedKinds(self.kinds, start)

    def _score(self, features: Features, taught: Fitted) -> Float[Tensor, "tasks n"]:
        return LinearScore(taught["weight"], taught["intercept"])(self.raw.flat(features))

    def adapt(self, support: LabelledBatch) -> RecalibratedState:
        """Return intercept and log slope of each task."""
        self.check_kind(support.kind)
        taught = self.taught.of(support.kind)
        score = self._score(support.features, taught)
        return RecalibratedState(support.kind, task_calibration(score, support, taught))

    def predict(self, state: RecalibratedState, query: CaseBatch) -> Law:
        """Return the law of each query case at its task's intercept and slope."""
        taught = self.taught.of(state.kind)
        return score_law(
            calibrated(self._score(query.features, taught), taught["level"], state.found), taught["noise"], state.kind
        )

    def additive(self, state: RecalibratedState) -> LinearIn | None:
        """Return the pooled model at each task's intercept and slope; None before anything was learned."""
        taught = self.taught.of(state.kind)
        if not len(taught["weight"]):
            return None
        pooled = LinearIn.of(taught["weight"], taught["intercept"], like=state.found)
        return pooled.recalibrated(taught["level"], state.found)

    def fit_tasks(self, tasks: Sequence[LabelledBatch]) -> None:
        """Fit the pooled model and the prior of intercept and slope, for each kind that there are tasks of.

        Raises:
            TaskError: no task of a kind that the learner allows.
        """
        for kind, pool in pools(tasks, self.raw, sorted(self.kinds), most_cases=self.most_cases).items():
            best = best_model(pool, [linear_fit(signal=signal) for signal in self.signals])
            learned = calibration_buffers(calibration_of(pool, best.held_out, best.noise), best.held_out, best.noise)
            self.taught.of(kind).keep({**best.model._asdict(), **learned})
