"""What is known of a case from other tasks: a level of its own, shared by every task that measures it, in closed form.

Around their common mean m, the targets of a case i that several tasks t measured are taken for draws of a one-way random-effects model
(Searle, Casella and McCulloch 1992, Variance Components, ch. 3),

    y_t(x_i) - b_t - m(x_i) = c_i + r_ti,    c_i ~ N(0, V),  r_ti ~ N(0, R),

so that what k tasks say of c_i is their sum over k + R / V. How much of it another task may believe, and what it says that a case was
measured often, are two weights, fitted by generalised least squares on tasks whose own targets are left out of c. A case is known again
by a hash of its raw vector: nothing else of it is kept.
"""

import math
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function

FEATURES = 2
"""Of a measured case: the level that other tasks give it, and the logarithm of 1 + their number."""
HASH_UNITS = 1000.0
"""A hash tells values apart that differ by one part in so many."""
_LEAST_RATIO, _MOST_RATIO = 1e-3, 1e2


def content_hash(rows: Float[Tensor, "*batch dim"]) -> Int64[Tensor, "*batch"]:
    """Return a 64-bit hash of each row (values to a thousandth); equal rows have equal hashes on every machine."""
    if has_torch_function(
        (rows,)
    ):  # whoever traces has this as one operator: a search has no place in a fixed list of them
        traced: Tensor = handle_torch_function(content_hash, (rows,), rows)
        return traced
    dim = rows.shape[-1]
    numbers = rows.detach().cpu().numpy().reshape(-1, dim)
    there = np.flatnonzero(
        numbers != 0
    )  # of 2,048 columns a molecule uses some 50; torch takes twice as long to find them
    starts = np.arange(len(numbers) + 1) * dim
    ends = np.searchsorted(there, starts)
    columns = there - np.repeat(starts[:-1], np.diff(ends))
    values = np.rint(numbers.reshape(-1)[there].astype(np.float64) * HASH_UNITS).astype(np.int64)
    summed = np.concatenate([[0], np.cumsum(values * hash_steps(dim).numpy()[columns])])
    return torch.from_numpy(np.diff(summed[ends])).reshape(rows.shape[:-1]).to(rows.device)


@cache
def hash_steps(dim: int) -> Int64[Tensor, " dim"]:
    """Return the factor of each column in `content_hash`."""
    mixed = torch.arange(1, dim + 1, dtype=torch.int64) * 0x2545F4914F6CDD1D
    return (mixed ^ (mixed >> 29)) * 0x1B873593CC9E2D51


def recalled(
    hashes: Int64[Tensor, "*batch"], known: Int64[Tensor, " cases"], values: Float[Tensor, " cases"]
) -> Float[Tensor, "*batch"]:
    """Return the value of each hash that is known, and 0 for every other.

    Args:
        hashes: of raw vectors (`content_hash`).
        known: hashes in ascending order, one at least.
        values: of the known cases.
    """
    if has_torch_function((hashes,)):
        found: Tensor = handle_torch_function(recalled, (hashes,), hashes, known, values)
        return found
    at = torch.searchsorted(known, hashes).clamp(max=len(known) - 1)
    return torch.where(known[at] == hashes, values[at], 0.0)


class CaseEffects(NamedTuple):
    """What to add to the mean of each case that earlier tasks measured."""

    known: Int64[Tensor, " cases"]
    """Hashes in ascending order."""
    values: Float[Tensor, " cases"]


class Around(NamedTuple):
    """Targets of one task around the common mean and the task's own level, one for each distinct case."""

    hashes: Int64[Tensor, " n"]
    residuals: Float[Tensor, " n"]


def around(hashes: Int64[Tensor, " n"], residuals: Float[Tensor, " n"]) -> Around:
    """Return the residuals minus their mean, those of equal cases as their average."""
    distinct, place = torch.unique(hashes, return_inverse=True)
    total = residuals.new_zeros(len(distinct)).index_add(0, place, residuals - residuals.mean())
    return Around(distinct, total / torch.bincount(place, minlength=len(distinct)))


class Measured:
    """Distinct cases of all tasks: how often each was measured, and the sum of its residuals."""

    def __init__(self, tasks: Iterable[Around]) -> None:
        each = list(tasks)
        residuals = torch.cat([task.residuals for task in each]).double()
        self.known, place, self.counts = torch.unique(
            torch.cat([task.hashes for task in each]), return_inverse=True, return_counts=True
        )
        self.sums = residuals.new_zeros(len(self.known)).index_add(0, place, residuals)
        self.squares = float(residuals.square().sum())
        self.ratio = self._ratio()

    def _ratio(self) -> float:
        """Return V / R that maximises the likelihood of the residuals; 0 where nothing repeats, or where repeats do not agree."""
        total, again = int(self.counts.sum()), self.counts > 1
        if not bool(again.any()):
            return 0.0

        def objective(log_ratio: float) -> float:
            """-2 log likelihood with the best R, up to a constant."""
            ratio = math.exp(log_ratio)
            shrunk = 1 + ratio * self.counts
            left = self.squares - float((ratio * self.sums.square() / shrunk).sum())
            return total * math.log(left / total) + float(shrunk.log().sum())

        if self.squares == 0:
            return 0.0
        best = minimize_scalar(objective, bounds=(math.log(_LEAST_RATIO), math.log(_MOST_RATIO)), method="bounded")
        return math.exp(best.x) if best.fun < objective(-math.inf) else 0.0

    def features(self, counts: Tensor, sums: Tensor) -> Float[Tensor, "n 2"]:
        """Return the two features of cases measured so often with such sums; both 0 for a case never measured."""
        level = sums * self.ratio / (1 + self.ratio * counts)
        return torch.stack([level, torch.log1p(counts.to(level.dtype))], dim=-1)

    def without(self, task: Around, hashes: Int64[Tensor, " n"]) -> Float[Tensor, "n 2"]:
        """Return the features of some cases of a task as the other tasks alone give them."""
        at, own = torch.searchsorted(self.known, hashes), torch.searchsorted(task.hashes, hashes)
        return self.features(self.counts[at] - 1, self.sums[at] - task.residuals[own])

    def effects(self, weights: Float[Tensor, " 2"], *, most: int) -> CaseEffects:
        """Return what another task may believe of each case; with more cases than `most`, of those with the largest effects."""
        values = self.features(self.counts, self.sums) @ weights
        kept = values.abs().argsort(descending=True, stable=True)[:most].sort().values
        return CaseEffects(self.known[kept], values[kept])
