"""Families of functions of one number on which the papers of meta-learning and of neural processes measure their methods.

A task is one function, seen at a few places (the support) and asked at others (the query). Nothing is stored: batch *number* is a pure
function of (seed, number), so a family is a sampler without end. Cases are one feature block "x" `[tasks, cases, 1]`; targets are raw,
in the units of the paper, never standardised.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from torch.distributions import MultivariateNormal

from metamedica.errors import InputError
from metamedica.types import CaseBatch, EpisodeBatch, LabelledBatch

BLOCK = "x"
Range = tuple[float, float]


@dataclass(frozen=True)
class FunctionPlan:
    """How many cases a batch shows and asks, and where.

    Args:
        tasks_per_batch: functions a batch.
        support: fewest and most known cases; one number a batch, all equally likely.
        query: asked cases a function.
        places: from where to where known cases lie, uniformly.
        asked: from where to where asked cases lie, uniformly; None for the same places.
    """

    tasks_per_batch: int
    support: tuple[int, int]
    query: int
    places: Range
    asked: Range | None = None

    def __post_init__(self) -> None:
        low, high = self.support
        if not 0 <= low <= high or min(self.query, self.tasks_per_batch) < 1:
            raise InputError(
                f"got supports of {low} to {high}, {self.query} queries and {self.tasks_per_batch} tasks; "
                "give a rising range from 0 and at least one query and task"
            )


class FunctionFamily(ABC):
    """Functions drawn at random, in batches of episodes.

    Args:
        plan: sizes and places.
        seed: of everything drawn; batches of two seeds share no function.
    """

    def __init__(self, plan: FunctionPlan, *, seed: int) -> None:
        self.plan = plan
        self.seed = seed

    @abstractmethod
    def targets(self, x: Float[Tensor, "tasks cases"], random: np.random.Generator) -> Float[Tensor, "tasks cases"]:
        """Return the value of one new function a task at its places, noise included, in double precision."""

    def batch(self, number: int) -> EpisodeBatch:
        """Return batch `number`: single precision, the same bits for the same seed, number and plan."""
        plan, random = self.plan, np.random.default_rng([self.seed, number])
        known = int(random.integers(plan.support[0], plan.support[1] + 1))
        places = np.concatenate(
            [
                random.uniform(*plan.places, size=(plan.tasks_per_batch, known)),
                random.uniform(*(plan.asked or plan.places), size=(plan.tasks_per_batch, plan.query)),
            ],
            axis=1,
        )
        x = torch.from_numpy(places)
        y = self.targets(x, random)

        def part(cases: slice) -> LabelledBatch:
            own = x[:, cases, None].float()
            batch = CaseBatch({BLOCK: own}, torch.ones(own.shape[:2], dtype=torch.bool))
            return LabelledBatch(batch, y[:, cases].float(), "regression")

        return EpisodeBatch(part(slice(known)), part(slice(known, None)), torch.arange(plan.tasks_per_batch))


class Sinusoids(FunctionFamily):
    """`amplitude * sin(frequency * x - phase) + noise`, all three uniform (Finn et al. 2017, arXiv:1703.03400, section 5.1).

    Args:
        plan: sizes and places; the paper's lie in [-5, 5].
        seed: of everything drawn.
        amplitude: from where to where; the paper's is 0.1 to 5.
        phase: in radians; the paper's is 0 to pi.
        frequency: fixed at 1 in the paper; 0.8 to 1.2 in Li et al. 2017 (arXiv:1707.09835, section 4.1).
        noise: standard deviation of a target; none in the paper, 0.1 in Patacchiola et al. 2020 (arXiv:1910.05199).
    """

    def __init__(
        self,
        plan: FunctionPlan,
        *,
        seed: int,
        amplitude: Range = (0.1, 5.0),
        phase: Range = (0.0, float(np.pi)),
        frequency: Range = (1.0, 1.0),
        noise: float = 0.0,
    ) -> None:
        super().__init__(plan, seed=seed)
        self.amplitude, self.phase, self.frequency, self.noise = amplitude, phase, frequency, noise

    def targets(self, x: Float[Tensor, "tasks cases"], random: np.random.Generator) -> Float[Tensor, "tasks cases"]:
        """Return the value of one new sinusoid a task."""

        def each(bounds: Range) -> Tensor:
            return torch.from_numpy(random.uniform(*bounds, size=(len(x), 1)))

        amplitude, phase, frequency = each(self.amplitude), each(self.phase), each(self.frequency)
        clean = amplitude * torch.sin(frequency * x - phase)
        return clean + self.noise * torch.from_numpy(random.standard_normal(x.shape)) if self.noise else clean


class GaussianProcesses(FunctionFamily):
    """Draws from a Gaussian process of mean 0 with noise; the exact posterior is at hand.

    Args:
        plan: sizes and places.
        seed: of everything drawn.
        kernel: a name of `KERNELS`.
        noise: variance of the noise of a target.

    Raises:
        InputError: a kernel that is not one of `KERNELS`, or noise that is not positive.
    """

    KERNELS: ClassVar[tuple[str, ...]] = ("eq", "matern", "weakly_periodic")
    LENGTH: ClassVar[float] = 0.25
    """Length scale of "eq" and "matern", and period of "weakly_periodic"."""

    def __init__(self, plan: FunctionPlan, *, seed: int, kernel: str, noise: float = 0.05) -> None:
        super().__init__(plan, seed=seed)
        if kernel not in self.KERNELS or not noise > 0:
            raise InputError(
                f"got kernel {kernel!r} and noise {noise}; give one of {', '.join(self.KERNELS)} and a positive variance"
            )
        self.kernel, self.noise = kernel, noise

    def covariance(
        self, left: Float[Tensor, "*batch n"], right: Float[Tensor, "*batch m"]
    ) -> Float[Tensor, "*batch n m"]:
        """Return the kernel between places, without noise (Bruinsma 2022, arXiv:2408.09583, section 6.2)."""
        way = left[..., :, None] - right[..., None, :]
        if self.kernel == "eq":
            return torch.exp(-0.5 * (way / self.LENGTH).square())
        if self.kernel == "matern":
            far = 5**0.5 * way.abs() / self.LENGTH
            return (1 + far + far.square() / 3) * torch.exp(-far)
        return torch.exp(-0.5 * (way / 0.5).square() - 2 * torch.sin(torch.pi * way / self.LENGTH).square())

    def targets(self, x: Float[Tensor, "tasks cases"], random: np.random.Generator) -> Float[Tensor, "tasks cases"]:
        """Return one new draw a task, with noise."""
        normal: NDArray[np.float64] = random.standard_normal((*x.shape, 1))
        factor = torch.linalg.cholesky(self._noisy(x))
        drawn: Tensor = (factor @ torch.from_numpy(normal))[..., 0]
        return drawn

    def _noisy(self, x: Float[Tensor, "tasks n"]) -> Float[Tensor, "tasks n n"]:
        return self.covariance(x, x) + self.noise * torch.eye(x.shape[1], dtype=x.dtype)

    def posterior(self, support: LabelledBatch, query: CaseBatch) -> MultivariateNormal:
        """Return the joint law of each task's query targets, noise included, in double precision (Rasmussen & Williams 2006, eq. 2.22 to
        2.24): no method can be better on average.

        Args:
            support: every case real; may be empty.
            query: every case real.
        """
        known, asked = support.features[BLOCK][..., 0].double(), query.features[BLOCK][..., 0].double()
        factor = torch.linalg.cholesky(self._noisy(known))
        half = torch.linalg.solve_triangular(factor, self.covariance(known, asked), upper=False)
        white = torch.linalg.solve_triangular(factor, support.targets.double()[..., None], upper=False)
        mean = (half.mT @ white)[..., 0]
        return MultivariateNormal(mean, covariance_matrix=self._noisy(asked) - half.mT @ half, validate_args=False)
