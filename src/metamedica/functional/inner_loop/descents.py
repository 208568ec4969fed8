"""Gradient steps of many tasks at once, each with a rate and a number of its own: `descent` for a batch of tasks."""

from collections.abc import Callable, Iterator
from typing import TypeAlias

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from metamedica.functional.inner_loop.chain import Parameters

Slopes: TypeAlias = Callable[[Parameters], tuple[Parameters, Tensor]]
"""Each task's slope, `[tasks, ...]` per parameter name, and each task's loss, `[tasks]`."""


def descents_if_better(
    slopes: Slopes, start: Parameters, *, rate: Float[Tensor, " tasks"], steps: Int[Tensor, " tasks"]
) -> Iterator[Parameters]:
    """Yield every task's parameters after 0, 1, ... tries of a gradient step, up to the most that a task has; they carry no gradient.

    The rule of `descent.descend_if_better` for each task by itself: a try is kept only if the task's loss falls, and makes the next 1.5 times
    longer, a refused one half as long. A task that has had its number of tries stays where it is.

    Args:
        slopes: of each task's loss; tasks must not touch each other.
        start: `[tasks, ...]` per parameter name.
        rate: length of each task's first step.
        steps: tries of each task, 0 or more.
    """
    own = {name: value.detach() for name, value in start.items()}
    yield own
    most = int(steps.max()) if len(steps) else 0
    if not most:
        return
    with torch.no_grad():
        gradient, now = slopes(own)
        for step in range(most):
            tried = {name: value - _wide(rate, value) * gradient[name] for name, value in own.items()}
            next_gradient, then = slopes(tried)
            better = (then < now) & (step < steps)
            own = _chosen(better, tried, own)
            gradient, now = _chosen(better, next_gradient, gradient), torch.where(better, then, now)
            rate = torch.where(better, rate * 1.5, rate / 2)
            yield own


def _wide(each: Tensor, like: Tensor) -> Tensor:
    return each.view(-1, *[1] * (like.dim() - 1))


def _chosen(better: Bool[Tensor, " tasks"], new: Parameters, old: Parameters) -> Parameters:
    return {name: torch.where(_wide(better, value), new[name], value) for name, value in old.items()}
