"""Gaussian process from scratch with the modality's own similarity as kernel (Tanimoto over counts for molecules)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from metamedica.functional.gaussian_process import (
    Grid,
    Posterior,
    average_law,
    condition,
    leave_one_out,
    predictive,
    signed_targets,
)
from metamedica.types import CaseBatch, LabelledBatch, Law, Learner, LeaveOneOut, Paper, RawEncoder, TaskKind

NOISES = (0.05, 0.15, 0.3, 0.5, 0.75)


@dataclass(frozen=True)
class TanimotoGPState:
    """Per task: the support in raw form and the posterior in every noise cell."""

    support: Float[Tensor, "tasks n dim"]
    batch: LabelledBatch
    posterior: Posterior


class TanimotoGP(Learner[TanimotoGPState], LeaveOneOut):
    """Exact Gaussian process on the raw similarity; noise share averaged over a grid by marginal likelihood. Learns nothing from tasks.

    Deviates: Griffiths et al. maximise the marginal likelihood over scale and noise; here the scale is fixed by standardised
    targets and the noise share is averaged over five values.
    """

    paper: ClassVar[Paper] = Paper(
        "GAUCHE: a library for Gaussian processes in chemistry", "Griffiths et al.", 2023, "arXiv:2212.04450"
    )
    kinds: ClassVar[frozenset[TaskKind]] = frozenset({"binary", "multiclass", "regression"})
    noise: Tensor
    log_prior: Tensor

    def __init__(self, raw: RawEncoder, *, noises: tuple[float, ...] = NOISES) -> None:
        super().__init__()
        self.raw = raw
        self.register_buffer("noise", torch.tensor(noises))
        self.register_buffer("log_prior", torch.zeros(len(noises)))

    def _grid(self) -> Grid:
        return Grid(torch.ones_like(self.noise)[:, None], self.noise)

    def adapt(self, support: LabelledBatch) -> TanimotoGPState:
        """Return the posterior of each task given its support."""
        self.check_kind(support.kind)
        rows = self.raw(support.features)
        kernel = self.raw.similarity(rows, rows)[:, None]
        return TanimotoGPState(
            rows, support, condition(kernel, signed_targets(support), support.mask, self._grid(), self.log_prior)
        )

    def predict(self, state: TanimotoGPState, query: CaseBatch) -> Law:
        """Return the predictive law of each query case, averaged over noise cells."""
        rows = self.raw(query.features)
        cross = self.raw.similarity(rows, state.support)[:, None]
        mean, variance = predictive(
            state.posterior, cross, cross.new_ones(cross.shape[:3]), state.batch.mask, self._grid()
        )
        return average_law(mean, variance, state.posterior.log_weight, state.batch.kind)

    def leave_one_out(
        self, support: LabelledBatch, state: TanimotoGPState | None = None
    ) -> Float[Tensor, "tasks cases"]:
        """Return the log-likelihood of each support case when it is hidden, in closed form."""
        posterior = (state or self.adapt(support)).posterior
        return leave_one_out(posterior, signed_targets(support), support)
