"""One penalised linear model of all earlier tasks' cases, used as it is: the baseline that every other method has to beat."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from metamedica.functional.additive import Additive, LinearIn
from metamedica.functional.fitted import FittedKinds
from metamedica.functional.pooled_models import SIGNALS, LinearScore, linear_fit
from metamedica.functional.pooling import best_model, pools
from metamedica.functional.population import HasPopulation
from metamedica.functional.task_posterior import score_law
from metamedica.types import CaseBatch, ClosedForm, LabelledBatch, Law, Learner, Paper, RawEncoder, TaskKind


@dataclass(frozen=True)
class PooledState:
    """What is asked: the model is the same for every task."""

    kind: TaskKind


class PooledLinear(Learner[PooledState], ClosedForm, Additive, HasPopulation):
    """Logistic or ridge regression on the pool of all earlier tasks' cases, without any adaptation: the labels of the support are not read.

    The penalty has the best likelihood on tasks left out (on cases left out, where there is one task only); a regression's
    noise is the mean squared residual there.

    Args:
        raw: its `flat` features are the inputs.
        signals: prior variances of the score of a case at the usual distance from the centre that are tried, strongest penalty first.
        most_cases: a task with more is cut down to so many.
    """

    paper: ClassVar[Paper] = Paper(
        "Ridge estimators in logistic regression", "le Cessie and van Houwelingen", 1992, "doi:10.2307/2347628"
    )
    kinds: ClassVar[frozenset[TaskKind]] = frozenset({"binary", "regression"})
    least_classes: ClassVar[int] = 1

    def __init__(self, raw: RawEncoder, *, signals: tuple[float, ...] = SIGNALS, most_cases: int = 2000) -> None:
        super().__init__()
        self.raw = raw
        self.signals = tuple(signals)
        self.most_cases = most_cases
        start = {"weight": torch.zeros(0), "intercept": torch.zeros(()), "noise": torch.ones(())}
        self.taught = FittedKinds(self.kinds, start)

    def adapt(self, support: LabelledBatch) -> PooledState:
        """Return what kind of task is asked."""
        self.check_kind(support.kind)
        return PooledState(support.kind)

    def predict(self, state: PooledState, query: CaseBatch) -> Law:
        """Return the pooled model's law of each query case."""
        taught = self.taught.of(state.kind)
        score = LinearScore(taught["weight"], taught["intercept"])(self.raw.flat(query.features))
        return score_law(score, taught["noise"], state.kind)

    def additive(self, state: PooledState) -> LinearIn | None:
        """Return the pooled model, as one task's; None before anything was learned."""
        taught = self.taught.of(state.kind)
        if not len(taught["weight"]):
            return None
        return LinearIn.of(taught["weight"], taught["intercept"], like=taught["weight"][None])

    def fit_tasks(self, tasks: Sequence[LabelledBatch]) -> None:
        """Fit the model of each kind that there are tasks of.

        Raises:
            TaskError: no task of a kind that the learner allows.
        """
        for kind, pool in pools(tasks, self.raw, sorted(self.kinds), most_cases=self.most_cases).items():
            best = best_model(pool, [linear_fit(signal=signal) for signal in self.signals])
            self.taught.of(kind).keep({**best.model._asdict(), "noise": best.noise})
