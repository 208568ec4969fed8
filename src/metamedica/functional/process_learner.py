"""What learners that are exact Gaussian processes have in common: leave-one-out in closed form, and the average over kernels and noise."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Protocol, TypeVar, runtime_checkable

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
from metamedica.types import CaseBatch, Features, LabelledBatch, Law, Learner, LeaveOneOut, RawEncoder, TaskKind

NOISES = (0.05, 0.15, 0.3, 0.5, 0.75)
"""Shares of noise in a standardised target's variance that are averaged over."""


@runtime_checkable
class Conditioned(Protocol):
    """A state that holds the posterior given the support."""

    @property
    def posterior(self) -> Posterior:
        """Of each task in every cell."""


Held = TypeVar("Held", bound=Conditioned)


class ProcessLearner(Learner[Held], LeaveOneOut, ABC):
    """A Gaussian process that `adapt` conditions on `signed_targets` of the support, all else being the same with a case hidden."""

    kinds: ClassVar[frozenset[TaskKind]] = frozenset({"binary", "multiclass", "regression"})

    def leave_one_out(self, support: LabelledBatch, state: Held | None = None) -> Float[Tensor, "tasks cases"]:
        """Return the log-likelihood of each support case when it is hidden, in closed form.

        Raises:
            TaskError: classes, and a support of one class only.
        """
        posterior = (state or self.adapt(support)).posterior
        return leave_one_out(posterior, signed_targets(support, posterior.whitened.dtype), support)


@dataclass(frozen=True)
class AveragedState:
    """Per task: the support, the cells (a kernel and a noise share each) and the posterior in every cell."""

    batch: LabelledBatch
    grid: Grid
    posterior: Posterior


class AveragedProcess(ProcessLearner[AveragedState], ABC):
    """A Gaussian process averaged over every pair of a fixed kernel and a noise share by marginal likelihood. Learns nothing from tasks.

    Args:
        raw: what the kernels compare cases by.
        noises: shares of noise in a standardised target's variance, in (0, 1).
    """

    noise: Tensor

    def __init__(self, raw: RawEncoder, *, noises: tuple[float, ...] = NOISES) -> None:
        super().__init__()
        self.raw = raw
        self.register_buffer("noise", torch.tensor(noises))

    @abstractmethod
    def kernels(self, left: Features, right: Features) -> Float[Tensor, "tasks kernels n m"]:
        """Return the kernels to average over, each positive semi-definite and 1 on the diagonal."""

    def adapt(self, support: LabelledBatch) -> AveragedState:
        """Return the posterior of each task given its support.

        Raises:
            TaskError: classes, and a support of one class only.
        """
        self.check_kind(support.kind)
        kernels = self.kernels(support.features, support.features)
        grid = self._grid(kernels.shape[1])
        even = torch.zeros_like(grid.noise)
        return AveragedState(
            support, grid, condition(kernels, signed_targets(support, kernels.dtype), support.mask, grid, even)
        )

    def _grid(self, kernels: int) -> Grid:
        each = torch.eye(kernels, dtype=self.noise.dtype, device=self.noise.device)
        return Grid(each.repeat_interleave(len(self.noise), 0), self.noise.repeat(kernels))

    def predict(self, state: AveragedState, query: CaseBatch) -> Law:
        """Return the predictive law of each query case, averaged over kernels and noise."""
        cross = self.kernels(query.features, state.batch.features)
        mean, variance = predictive(
            state.posterior, cross, cross.new_ones(cross.shape[:3]), state.batch.mask, state.grid
        )
        return average_law(mean, variance, state.posterior.log_weight, state.batch.kind)
