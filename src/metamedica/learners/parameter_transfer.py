"""A task's linear model pulled to the pooled one by the squared distance of their weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from metamedica.functional.additive import Additive, LinearIn
from metamedica.functional.fitted import Fitted, FittedKinds
from metamedica.functional.linear_prior import Hold, LinearPrior, best_rehearsed, fit_linear_prior, pulled_to, with_one
from metamedica.functional.pooled_models import SIGNALS
from metamedica.functional.pooling import pools
from metamedica.functional.population import HasPopulation
from metamedica.functional.task_posterior import score_law, task_posterior
from metamedica.types import CaseBatch, ClosedForm, LabelledBatch, Law, Learner, Paper, RawEncoder, TaskKind

PULLS = (1.0, 0.99, 0.97, 0.9, 0.7, 0.4)
"""Lambdas that are tried; 1 is the source as it is."""


@dataclass(frozen=True)
class TransferredState:
    """Per task: the weights of the columns and, last, the intercept; the variance of a target about its score."""

    kind: TaskKind
    weight: Float[Tensor, "tasks p"]
    noise: Float[Tensor, " tasks"]


class ParameterTransfer(Learner[TransferredState], ClosedForm, Additive, HasPopulation):
    """The weights t of a task minimise  pull |t - s|^2 + (1 - pull) L(t),  with s the pooled model and L the support's loss.

    L is the sum over the support of the negative log-likelihood (half the squared residual, for regression), so that more labels count
    for more. The pull has the best query likelihood where earlier tasks are played as new ones, with sources that have not seen
    them. A support of one class, or of one case, is answered.

    Deviates: Li et al. pull the weights of a network; these are a linear model's, and its intercept is pulled like a weight.

    Args:
        raw: its `flat` features are the inputs.
        signals: prior variances of the score of a usual case that are tried for the source.
        pulls: in (0, 1].
        most_cases: a task with more is cut down to so many.
    """

    paper: ClassVar[Paper] = Paper(
        "Explicit inductive bias for transfer learning with convolutional networks", "Li, Grandvalet and Davoine", 2018, "arXiv:1802.01483"
    )  # fmt: skip
    kinds: ClassVar[frozenset[TaskKind]] = frozenset({"binary", "regression"})
    least_classes: ClassVar[int] = 1

    def __init__(
        self,
        raw: RawEncoder,
        *,
        signals: tuple[float, ...] = SIGNALS,
        pulls: tuple[float, ...] = PULLS,
        most_cases: int = 2000,
    ) -> None:
        super().__init__()
        self.raw = raw
        self.signals = tuple(signals)
        self.pulls = tuple(pulls)
        self.most_cases = most_cases
        start = {"source": torch.zeros(0), "noise": torch.ones(()), "pull": torch.tensor(0.7)}
        self.taught = FittedKinds(self.kinds, start)

    def _source(self, flat: Float[Tensor, "tasks n flat"], taught: Fitted) -> Float[Tensor, " p"]:
        return taught["source"] if len(taught["source"]) else flat.new_zeros(flat.shape[-1] + 1)

    def adapt(self, support: LabelledBatch) -> TransferredState:
        """Return the weights of each task."""
        self.check_kind(support.kind)
        taught, flat = self.taught.of(support.kind), self.raw.flat(support.features)
        source = self._source(flat, taught)
        root = prior_variance(taught["pull"]).sqrt()
        inputs = with_one(flat)
        targets, weight = support.targets.to(flat.dtype), support.mask.to(flat.dtype)
        found = task_posterior(
            root * inputs, inputs @ source, targets, weight, kind=support.kind, noise=taught["noise"]
        )
        return TransferredState(support.kind, source + root * found.mode, found.noise)

    def predict(self, state: TransferredState, query: CaseBatch) -> Law:
        """Return the law of each query case at its task's weights."""
        score = (with_one(self.raw.flat(query.features)) @ state.weight[..., None])[..., 0]
        return score_law(score, state.noise, state.kind)

    def additive(self, state: TransferredState) -> LinearIn:
        """Return the linear model of each task."""
        return LinearIn.of(state.weight[:, :-1], state.weight[:, -1], like=state.weight)

    def fit_tasks(self, tasks: Sequence[LabelledBatch]) -> None:
        """Fit the source and choose the pull, for each kind that there are tasks of.

        Raises:
            TaskError: no task of a kind that the learner allows.
        """
        holds = [Hold(share=float(prior_variance(torch.tensor(pull).double())), spread=0.0) for pull in self.pulls]
        for kind, pool in pools(tasks, self.raw, sorted(self.kinds), most_cases=self.most_cases).items():
            fitted = fit_linear_prior(pool, signals=self.signals)
            sources: list[LinearPrior] = [pulled_to(score) for score in fitted.held_out_score]
            best = best_rehearsed(pool, sources, fitted.noise, holds)
            found = {"source": pulled_to(fitted.score).mean, "pull": torch.tensor(self.pulls[best])}
            self.taught.of(kind).keep(found | {"noise": fitted.noise})


def prior_variance(pull: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """Return the variance of the normal prior that the pull amounts to: (1 - pull) / (2 pull)."""
    return (1 - pull) / (2 * pull)
