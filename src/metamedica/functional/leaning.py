"""How far an answer leans on earlier tasks, told by a learner that decides it by itself."""

import math
from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

SCRATCH = "from scratch"
"""Name of the share that takes nothing from earlier tasks."""


class Leaning(NamedTuple):
    """What the answer for each task is made of.

    Args:
        shares: name -> share, 0 to 1; they sum to 1, and the last one takes nothing from earlier tasks.
        gain: per support case, log marginal likelihood of what leans on earlier tasks minus that of what does not, in nats.
    """

    shares: dict[str, Float[Tensor, " tasks"]]
    gain: Float[Tensor, " tasks"]

    @property
    def learned(self) -> Float[Tensor, " tasks"]:
        """Share of the answer that comes from earlier tasks."""
        return 1 - list(self.shares.values())[-1]


def gain_of(
    after: Float[Tensor, "tasks 2"], before: Float[Tensor, " 2"], size: Float[Tensor, " tasks"]
) -> Float[Tensor, " tasks"]:
    """Return the gain of a `Leaning`: the log Bayes factor of what leans on earlier tasks against what does not, per support case.

    Args:
        after: log weight of what leans and of what does not, given the labels.
        before: likewise, before any label.
        size: support cases.
    """
    possible = before[1] > -math.inf  # where nothing can be from scratch there is nothing to gain over
    over = torch.where(possible, after[:, 1] - torch.where(possible, before[1], 0), 0)
    return (after[:, 0] - before[0] - over) / size.clamp(min=1)


class WeighsItself(ABC):
    """What a learner adds that averages by itself over answers which lean on earlier tasks more, less or not at all: it needs no guard beside it."""

    @abstractmethod
    def leaning(self, state: Any) -> Leaning:
        """Return what the answer is made of, given what `adapt` returned."""
