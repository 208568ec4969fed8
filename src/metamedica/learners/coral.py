"""Correlation alignment: a task's cases are given the mean and the correlations of the earlier tasks' before the pooled model scores them."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from jaxtyping import Bool
from torch import Tensor

from metamedica.functional.moments import Moments, moments, root, shrunk
from metamedica.functional.pooled_models import SIGNALS
from metamedica.functional.pooling import Pool
from metamedica.functional.target_cases import MovedScore, Target, TaskScore, Taught, linear_source
from metamedica.types import Paper, RawEncoder, TaskKind

AS_IT_IS = float("inf")


class Coral(MovedScore):
    """A case x of the task is scored as  (x - m_t) C_t^(-1/2) C_s^(1/2) + m_s  by the pooled model; C = covariance + ridge.

    Mean m_t and covariance of the task are those of all its cases, labelled or not, shrunk to the source's by so many cases' worth; a
    task of no case is scored as it is.

    Deviates: Sun et al. re-colour the source and train on it, for one target; the map is turned round, so that no case of an earlier task is kept
    and one model serves all. They scale every column of both sides to mean 0 and variance 1; here the mean is aligned as far as earlier tasks say.
    The labels of the support set intercept and slope.

    Args:
        raw: its `flat` features are the inputs; the source's covariance holds their number squared.
        mean_cases: what the source's mean may be worth, in cases, beside infinitely many.
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
        self.mean_cases = tuple(mean_cases)
        self.spread_cases = tuple(spread_cases)
        self.ridge = ridge
        super().__init__(raw, signals=signals, most_cases=most_cases)

    def start(self) -> Taught:
        """Return the buffers before any task is seen."""
        endless = torch.tensor(AS_IT_IS)
        return {
            "weight": torch.zeros(0),
            "intercept": torch.zeros(()),
            "mean": torch.zeros(0),
            "covariance": torch.zeros(0, 0),
            "coloured": torch.zeros(0),
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

    def source(self, pool: Pool, rows: Bool[Tensor, " n"], *, signal: float) -> Taught:
        """Return pooled model, mean and covariance of these rows."""
        flat = pool.flat[rows]
        found = moments(flat, torch.ones_like(flat[:, 0]))
        score = linear_source(pool, rows, signal=signal)
        coloured = root(found.covariance + self._ridge_like(found.covariance), power=0.5) @ score.weight
        return {**score._asdict(), "mean": found.mean, "covariance": found.covariance, "coloured": coloured}

    def _ridge_like(self, covariance: Tensor) -> Tensor:
        return self.ridge * torch.eye(covariance.shape[-1], dtype=covariance.dtype, device=covariance.device)

    def moved(self, taught: Taught, target: Target, kind: TaskKind) -> TaskScore:
        """Return the pooled model of each task's re-coloured cases, as a linear score of the cases themselves."""
        flat = target.flat
        names = ("weight", "intercept", "mean", "covariance", "coloured", "mean_cases", "spread_cases")
        weight, intercept, mean, covariance, coloured, mean_cases, spread_cases = (taught[n].to(flat) for n in names)
        source = Moments(flat.new_tensor(torch.inf), mean, covariance)
        own = shrunk(moments(flat, target.weight), source, mean_cases=mean_cases, spread_cases=spread_cases * len(mean))
        turned = root(own.covariance + self._ridge_like(covariance), power=-0.5) @ coloured
        return TaskScore(turned, intercept + mean @ weight - (own.mean * turned).sum(-1))
