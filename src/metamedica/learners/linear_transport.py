"""Optimal transport between Gaussians: a task's cases are moved to the earlier tasks' as little as possible before the pooled model scores them."""

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from metamedica.functional.aligned_score import AS_IT_IS, AlignedScore
from metamedica.functional.moments import root
from metamedica.functional.pooled_models import SIGNALS
from metamedica.types import Paper, RawEncoder


class LinearTransport(AlignedScore):
    """A case x of the task is scored as  m_s + (x - m_t) C_t^(-1/2) (C_t^(1/2) C_s C_t^(1/2))^(1/2) C_t^(-1/2)  by the pooled model.

    That is the Monge map from the normal law of the task's cases to that of the source's; of all linear maps that bring one covariance to the
    other it moves cases least (CORAL's turns them more than it must).

    Deviates: Flamary et al. move the source to the target and train there; the map is turned round, as in `coral`, and mean and covariance
    are aligned as far as earlier tasks say (`AlignedScore`). The labels of the support set intercept and slope.

    Args:
        raw: its `flat` features are the inputs; the source's covariance holds their number squared.
        mean_cases: what the source's mean may be worth, in cases; infinitely many first: the cases' own mean stays.
        spread_cases: the same of its covariance, in cases a column.
        ridge: added to the diagonal of both covariances.
        signals: prior variances of the score of a usual case that are tried for the pooled model.
        most_cases: a task with more is cut down to so many.
    """

    paper: ClassVar[Paper] = Paper(
        "Concentration bounds for linear Monge mapping estimation and optimal transport domain adaptation",
        "Flamary, Lounici and Ferrari", 2019, "arXiv:1905.10155",
    )  # fmt: skip

    def __init__(
        self,
        raw: RawEncoder,
        *,
        mean_cases: tuple[float, ...] = (AS_IT_IS, 30.0),
        spread_cases: tuple[float, ...] = (AS_IT_IS, 3.0),
        ridge: float = 0.1,
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
        """Return the Monge map times weight."""
        half, back = root(own, power=0.5), root(own, power=-0.5)
        both = half @ source @ half
        middle = root((both + both.mT) / 2, power=0.5)
        return (back @ middle @ (back @ weight)[..., None])[..., 0]
