"""One linear model on all data, earlier tasks' and the task's own, in which the task's few cases count for more than one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from metamedica.functional.additive import Additive, LinearIn
from metamedica.functional.fitted import Fitted, FittedKinds
from metamedica.functional.linear_prior import Hold, LinearPrior, best_rehearsed, fit_linear_prior
from metamedica.functional.pooled_models import SIGNALS
from metamedica.functional.pooling import pools
from metamedica.functional.population import HasPopulation
from metamedica.functional.task_posterior import (
    TaskPosterior,
    averaged_law,
    posterior_scores,
    task_posterior,
)
from metamedica.types import CaseBatch, ClosedForm, LabelledBatch, Law, Learner, Paper, RawEncoder, TaskKind

CASE_WEIGHTS = (1.0, 3.0, 10.0, 30.0)


@dataclass(frozen=True)
class PooledAndLocalState:
    """Per task: the pooled posterior, updated on the support."""

    kind: TaskKind
    posterior: TaskPosterior


class PooledAndLocal(Learner[PooledAndLocalState], ClosedForm, Additive, HasPopulation):
    """Laplace's posterior of the pooled linear model's weights is the prior of a task's; a case of the support counts for several.

    At a weight of 1 that is one model fitted to all data, as sequential Bayes says. The weight has the best query likelihood where earlier
    tasks are played as new ones, with pooled models that have not seen them.

    Deviates: the power of the likelihood is on the task's own cases (above 1) and not on the earlier ones (below 1).

    Args:
        raw: its `flat` features are the inputs; the posterior holds a matrix of their number squared.
        signals: prior variances of the score of a usual case that are tried for the pooled model.
        case_weights: what a case of the support may count for.
        most_cases: a task with more is cut down to so many.
    """

    paper: ClassVar[Paper] = Paper(
        "Power prior distributions for regression models", "Ibrahim and Chen", 2000, "doi:10.1214/ss/1009212673"
    )
    kinds: ClassVar[frozenset[TaskKind]] = frozenset({"binary", "regression"})
    least_classes: ClassVar[int] = 1

    def __init__(
        self,
        raw: RawEncoder,
        *,
        signals: tuple[float, ...] = SIGNALS,
        case_weights: tuple[float, ...] = CASE_WEIGHTS,
        most_cases: int = 2000,
    ) -> None:
        super().__init__()
        self.raw = raw
        self.signals = tuple(signals)
        self.case_weights = tuple(case_weights)
        self.most_cases = most_cases
        start = {
            "mean": torch.zeros(0),
            "factor": torch.zeros(0, 0),
            "noise": torch.ones(()),
            "case_weight": torch.ones(()),
        }
        self.taught = FittedKinds(self.kinds, start)

    def _rows(
        self, flat: Float[Tensor, "tasks n flat"], taught: Fitted
    ) -> tuple[Float[Tensor, "tasks n p"], Float[Tensor, "tasks n"]]:
        prior = LinearPrior(taught["mean"], taught["factor"])
        return prior.design(flat), prior.offset(flat)

    def adapt(self, support: LabelledBatch) -> PooledAndLocalState:
        """Return the posterior of each task."""
        self.check_kind(support.kind)
        taught = self.taught.of(support.kind)
        design, offset = self._rows(self.raw.flat(support.features), taught)
        weight = taught["case_weight"] * support.mask.to(offset.dtype)
        targets = support.targets.to(offset.dtype)
        found = task_posterior(design, offset, targets, weight, kind=support.kind, noise=taught["noise"])
        return PooledAndLocalState(support.kind, found)

    def predict(self, state: PooledAndLocalState, query: CaseBatch) -> Law:
        """Return the law of each query case, averaged over the posterior."""
        design, offset = self._rows(self.raw.flat(query.features), self.taught.of(state.kind))
        mean, variance = posterior_scores(state.posterior, design, offset)
        return averaged_law(
            mean[:, None],
            variance[:, None],
            state.posterior.noise[:, None],
            torch.zeros_like(mean[:, :1]),
            kind=state.kind,
        )

    def additive(self, state: PooledAndLocalState) -> LinearIn | None:
        """Return the posterior mean of the weights for regression; None for classes, whose averaged log-odds are no sum."""
        if state.kind != "regression":
            return None
        taught, mode = self.taught.of(state.kind), state.posterior.mode.double()
        if len(taught["mean"]):
            mode = taught["mean"].double() + mode @ taught["factor"].double().mT
        return LinearIn.of(mode[:, :-1], mode[:, -1], like=mode)

    def fit_tasks(self, tasks: Sequence[LabelledBatch]) -> None:
        """Fit the pooled posterior and the weight of a case, for each kind that there are tasks of.

        Raises:
            TaskError: no task of a kind that the learner allows.
        """
        for kind, pool in pools(tasks, self.raw, sorted(self.kinds), most_cases=self.most_cases).items():
            fitted = fit_linear_prior(pool, signals=self.signals)
            best = best_rehearsed(
                pool, fitted.held_out, fitted.noise, [Hold(weight=weight) for weight in self.case_weights]
            )
            found = {**fitted.prior._asdict(), "noise": fitted.noise}
            self.taught.of(kind).keep(found | {"case_weight": torch.tensor(self.case_weights[best])})
