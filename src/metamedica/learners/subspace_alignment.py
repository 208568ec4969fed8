"""Subspace alignment: a task's principal directions are turned to those of the earlier tasks' cases before the pooled model scores it."""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from metamedica.functional.aligned_score import AS_IT_IS, AlignedScore
from metamedica.functional.moments import leading
from metamedica.functional.pooled_models import SIGNALS
from metamedica.types import Between, Paper, Ranges, RawEncoder


class SubspaceAlignment(AlignedScore):
    """A case x of the task is scored as  m_s + (x - m_t) D_t^-1 (P_t P_s + Q_t Q_s) D_s  by the pooled model.

    D are the columns' standard deviations, P = X X^T projects standardised cases on the d leading directions X of their correlations, and Q
    = I - P on the others. P_t P_s = X_t M X_s^T with M = X_t^T X_s, the matrix that brings X_t M nearest to X_s (the paper's, with the sides
    exchanged). d is the least number of directions that hold `share` of the source's variance; with all of them the map is D_t^-1 D_s.

    Deviates: Fernando et al. turn the source and train on it, for one target; the map is turned round, as in `coral`, so that no case of
    an earlier task is kept. They leave out what lies outside of the subspaces; here it is mapped likewise, so that a task like the
    source is scored as it is. d is not chosen by their bound or by cross-validation. Mean and covariance are aligned as far as earlier
    tasks say (`AlignedScore`). The labels of the support set intercept and slope.

    Args:
        raw: its `flat` features are the inputs; the source's covariance holds their number squared.
        share: of the variance of the source's standardised cases that the leading directions hold, up to 1.
        mean_cases: what the source's mean may be worth, in cases; infinitely many first: the cases' own mean stays.
        spread_cases: the same of its covariance, in cases a column.
        ridge: added to the diagonal of both covariances.
        signals: prior variances of the score of a usual case that are tried for the pooled model.
        most_cases: a task with more is cut down to so many.
    """

    paper: ClassVar[Paper] = Paper(
        "Unsupervised visual domain adaptation using subspace alignment", "Fernando, Habrard, Sebban and Tuytelaars", 2013,
        "doi:10.1109/ICCV.2013.368",
    )  # fmt: skip
    ranges: ClassVar[Ranges] = {"share": Between(0.5, 1.0)}

    def __init__(
        self,
        raw: RawEncoder,
        *,
        share: float = 0.8,
        mean_cases: tuple[float, ...] = (AS_IT_IS, 30.0),
        spread_cases: tuple[float, ...] = (AS_IT_IS, 3.0),
        ridge: float = 0.1,
        signals: tuple[float, ...] = SIGNALS,
        most_cases: int = 2000,
    ) -> None:
        self.share = share
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
        """Return D_t^-1 (P_t P_s + Q_t Q_s) D_s weight."""
        # Source and tasks go through one decomposition: where a task's covariance is the source's, so are its directions.
        every = torch.cat([source[None], own])
        spread = every.diagonal(dim1=-2, dim2=-1).sqrt()
        inside = leading(every / (spread[:, :, None] * spread[:, None, :]), share=self.share)
        scaled = spread[0] * weight
        kept = inside[0] @ scaled
        rest = scaled - kept
        turned = inside[1:] @ kept + rest - inside[1:] @ rest
        return turned / spread[1:]
