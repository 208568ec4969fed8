"""Scores that are sums over the columns of a case: what a learner adds that can be explained exactly, in closed form."""

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

from jaxtyping import Float
from torch import Tensor

from metamedica.types import RawEncoder


class LinearIn(NamedTuple):
    """weight . flat + intercept, in double precision, one a task.

    Args:
        weight: of each column of `RawEncoder.flat`.
        intercept: of the task.
    """

    weight: Float[Tensor, "tasks flat"]
    intercept: Float[Tensor, " tasks"]

    @classmethod
    def of(cls, weight: Tensor, intercept: Tensor, *, like: Float[Tensor, "tasks *rest"]) -> "LinearIn":
        """Return weight `[flat]` and intercept `[]` common to all tasks, or those of each, once a task of `like`."""
        n_tasks = len(like)
        wide = weight.double().expand(n_tasks, -1) if weight.dim() == 1 else weight.double()
        return cls(wide, intercept.double().expand(n_tasks))

    def recalibrated(self, level: Tensor, found: Float[Tensor, "tasks 2"]) -> "LinearIn":
        """Return level + a + exp(l) (score - level), with (a, l) those of each task (`functional/recalibration`)."""
        shift, slope = found[:, 0].double(), found[:, 1].double().exp()
        level = level.double()
        return LinearIn(slope[:, None] * self.weight, level + shift + slope * (self.intercept - level))


class Additive(ABC):
    """What a learner adds whose log-odds (two classes) or mean (regression) is a weighted sum of the columns of `raw.flat`."""

    raw: RawEncoder

    @abstractmethod
    def additive(self, state: Any) -> LinearIn | None:
        """Return the sum that `predict` gives the log-odds of class 1, or the mean in standardised units, of; None where this state's answer is none
        (several classes, an average over laws, nothing learned yet)."""
