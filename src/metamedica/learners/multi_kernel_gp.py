"""Gaussian process from scratch, averaged over several kernels of the modality (Tanimoto and descriptors for molecules)."""

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
class MultiKernelGPState:
    """Per task: the support, the cells (a kernel and a noise share each) and the posterior in every cell."""

    batch: LabelledBatch
    grid: Grid
    posterior: Posterior


class MultiKernelGP(Learner[MultiKernelGPState], LeaveOneOut):
    """Exact Gaussian process averaged over every pair of a raw kernel and a noise share by marginal likelihood. Learns nothing from tasks.

    Which kernels there are is the modality's matter: `RawEncoder.kernels`.

    Deviates: Duvenaud et al. search sums and products of kernels greedily and keep the best; here a handful is fixed and the average is
    taken, since 16 cases rarely single one out.

    Args:
        raw: its `kernels`, 1 on the diagonal, compare cases.
        noises: shares of noise in a standardised target's variance, in (0, 1).
    """

    paper: ClassVar[Paper] = Paper(
        "Structure discovery in nonparametric regression through compositional kernel search",
        "Duvenaud et al.",
        2013,
        "arXiv:1302.4922",
    )
    kinds: ClassVar[frozenset[TaskKind]] = frozenset({"binary", "multiclass", "regression"})
    noise: Tensor

    def __init__(self, raw: RawEncoder, *, noises: tuple[float, ...] = NOISES) -> None:
        super().__init__()
        self.raw = raw
        self.register_buffer("noise", torch.tensor(noises))

    def _grid(self, kernels: int) -> Grid:
        each = torch.eye(kernels, dtype=self.noise.dtype)
        return Grid(each.repeat_interleave(len(self.noise), 0), self.noise.repeat(kernels))

    def adapt(self, support: LabelledBatch) -> MultiKernelGPState:
        """Return the posterior of each task given its support."""
        self.check_kind(support.kind)
        kernels = self.raw.kernels(support.features, support.features)
        grid = self._grid(kernels.shape[1])
        even = torch.zeros_like(grid.noise)
        return MultiKernelGPState(support, grid, condition(kernels, signed_targets(support), support.mask, grid, even))

    def predict(self, state: MultiKernelGPState, query: CaseBatch) -> Law:
        """Return the predictive law of each query case, averaged over kernels and noise."""
        cross = self.raw.kernels(query.features, state.batch.features)
        mean, variance = predictive(
            state.posterior, cross, cross.new_ones(cross.shape[:3]), state.batch.mask, state.grid
        )
        return average_law(mean, variance, state.posterior.log_weight, state.batch.kind)

    def leave_one_out(
        self, support: LabelledBatch, state: MultiKernelGPState | None = None
    ) -> Float[Tensor, "tasks cases"]:
        """Return the log-likelihood of each support case when it is hidden, in closed form."""
        posterior = (state or self.adapt(support)).posterior
        return leave_one_out(posterior, signed_targets(support), support)
