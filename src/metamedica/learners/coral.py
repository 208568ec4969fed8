"""Correlation alignment: a task's cases are given the mean and the correlations of the earlier tasks' before the pooled model scores them."""

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from metamedica.functional.aligned_score import AS_IT_IS, AlignedScore
from metamedica.functional.moments import root
from metamedica.functional.pooled_models import SIGNALS
from metamedica.types import Paper, RawEncoder


class Coral(AlignedScore):
    """A case x of the task is scored as  m_s + (x - m_t) C_t^(-1/2) C_s^(1/2)  by the pooled model; C = covariance + ridge.

    Deviates: Sun et al. re-colour the source and train on it, for one target; the map is turned round, so that no case of an earlier task is kept
    and one model serves all. They scale every column of both sides to mean 0 and variance 1; here mean and covariance are aligned as far as
    earlier tasks say (`AlignedScore`). The labels of the support set intercept and slope.

    Args:
        raw: its `flat` features are the inputs; the source's covariance holds their number squared.
        mean_cases: what the source's mean may be worth, in cases; infinitely many first: the cases' own mean stays.
        spread_cases: the same of its covariance, in cases a column.
        ridge: added to the diagonal of both covariances (1 in the paper).
        signals: prior variances of the score of a usual case that are tried for the pooled model.
        most_cases: a task with more is cut down to so many.
    """

    paper: ClassVar[Paper] = Paper(
        "Return of frustratingly easy domain adaptation", "Sun, Feng and Saenko", 2016, "arXiv:1511.05547"
    )

    def __init__(
        self,
        raw: RawEncoder,
        *,
        mean_cases: tuple[float, ...] = (AS_IT_IS, 30.0),
        spread_cases: tuple[float, ...] = (AS_IT_IS, 3.0),
        ridge: float = 1.0,
        signals: tuple[float, ...] = SIGNALS,
        most_cases: int = 2000,
    ) -> None:
        super().__init__(
            raw,
            mean_cases=mean_cases,
            spread_cases=spread_cases,
            ridge=ridge,
            signals=signals,
            most_cases=most_cases,
        )

    def aligned(
        self, own: Float[Tensor, "tasks d d"], source: Float[Tensor, "d d"], weight: Float[Tensor, " d"]
    ) -> Float[Tensor, "tasks d"]:
        """Return C_t^(-1/2) C_s^(1/2) weight."""
        return root(own, power=-0.5) @ (root(source, power=0.5) @ weight)
