"""A pooled linear score of cases that a linear map brings to the source's mean and covariance first."""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from metamedica.functional.moments import Moments, moments, shrunk
from metamedica.functional.pooled_models import LinearScore, linear_fit
from metamedica.functional.pooling import FitScore, Pool
from metamedica.functional.target_cases import MovedScore, Target, TaskScore, Taught
from metamedica.types import RawEncoder, TaskKind

AS_IT_IS = float("inf")


class AlignedScore(MovedScore):
    """A case x of the task is scored as  m_s + (x - m_t) A  by the pooled model, A a map from the task's covariance to the source's.

    Mean m_t and covariance of the task are those of all its cases, labelled or not, shrunk to the source's by so many cases' worth; a
    task of no case is scored as it is.

    Args:
        raw: its `flat` features are the inputs; the source's covariance holds their number squared.
        mean_cases: what the source's mean may be worth, in cases, beside infinitely many.
        spread_cases: the same of its covariance, in cases a column.
        ridge: added to the diagonal of both covariances.
        signals: prior variances of the score of a usual case that are tried for the pooled model.
        most_cases: a task with more is cut down to so many.
    """

    def __init__(
        self,
        raw: RawEncoder,
        *,
        mean_cases: tuple[float, ...],
        spread_cases: tuple[float, ...],
        ridge: float,
        signals: tuple[float, ...],
        most_cases: int,
    ) -> None:
        self.mean_cases = tuple(mean_cases)
        self.spread_cases = tuple(spread_cases)
        self.ridge = ridge
        super().__init__(raw, signals=signals, most_cases=most_cases)

    @abstractmethod
    def aligned(
        self, own: Float[Tensor, "tasks d d"], source: Float[Tensor, "d d"], weight: Float[Tensor, " d"]
    ) -> Float[Tensor, "tasks d"]:
        """Return A weight for each task; both covariances are positive definite."""

    def start(self) -> Taught:
        """Return the buffers before any task is seen."""
        endless = torch.tensor(AS_IT_IS)
        return {
            "weight": torch.zeros(0),
            "intercept": torch.zeros(()),
            "mean": torch.zeros(0),
            "covariance": torch.zeros(0, 0),
            "mean_cases": endless,
            "spread_cases": endless.clone(),
        }

    def settings(self) -> Sequence[Taught]:
        """Return what mean and covariance of the source may be worth."""
        return [
            {"mean_cases": torch.tensor(mean), "spread_cases": torch.tensor(spread)}
            for mean in self.mean_cases
            for spread in self.spread_cases
        ]

    def pooled(self, *, signal: float) -> FitScore[LinearScore]:
        """Return how the pooled linear model is fitted."""
        return linear_fit(signal=signal)

    def source(self, pool: Pool, rows: Bool[Tensor, " n"], model: LinearScore, *, signal: float) -> Taught:
        """Return pooled model, mean and covariance of these rows."""
        flat = pool.flat[rows]
        found = moments(flat, torch.ones_like(flat[:, 0]))
        return {**model._asdict(), "mean": found.mean, "covariance": found.covariance}

    def moved(self, taught: Taught, target: Target, kind: TaskKind) -> TaskScore:
        """Return the pooled model of each task's aligned cases, as a linear score of the cases themselves."""
        flat = target.flat
        names = ("weight", "intercept", "mean", "covariance", "mean_cases", "spread_cases")
        weight, intercept, mean, covariance, mean_cases, spread_cases = (taught[name].to(flat) for name in names)
        source = Moments(flat.new_tensor(torch.inf), mean, covariance)
        own = shrunk(moments(flat, target.weight), source, mean_cases=mean_cases, spread_cases=spread_cases * len(mean))
        ridge = self.ridge * torch.eye(len(mean), dtype=flat.dtype, device=flat.device)
        turned = self.aligned(own.covariance + ridge, covariance + ridge, weight)
        return TaskScore(turned, intercept + mean @ weight - (own.mean * turned).sum(-1))
