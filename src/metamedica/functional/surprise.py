"""How surprising a column's mean is for a new task, given the means of earlier tasks: between tasks they differ, and few cases blur them."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from scipy.stats import t as student
from torch import Tensor

_PRIOR_TASKS = 3.0
"""Earlier tasks that what columns usually do is worth when the spread of one column between tasks is judged."""
_LEAST = 1e-3
_MOST = 0.95
"""Of a p-value that is combined: one next to 1 would outweigh a tiny one."""


class Spread(NamedTuple):
    """Of each column: what its mean in a task is about.

    Args:
        centre: mean over tasks of the tasks' means.
        between: variance of a task's true mean about it.
        within: variance of a case about its task's mean.
        tasks: that have measured it.
    """

    centre: Float[Tensor, " columns"]
    between: Float[Tensor, " columns"]
    within: Float[Tensor, " columns"]
    tasks: Float[Tensor, " columns"]


def spread_of(
    mean: Float[Tensor, "tasks columns"],
    variance: Float[Tensor, "tasks columns"],
    count: Float[Tensor, "tasks columns"],
) -> Spread:
    """Return what earlier tasks tell of each column.

    The variance between tasks is that of the tasks' means less what few cases add to it (DerSimonian and Laird 1986), never below 0, and drawn
    towards that of the median column, measured in each column's own within variance, since three tasks cannot tell how different tasks are.

    Args:
        mean: of the measured cases of each task.
        variance: of the measured cases of each task, n - 1 below.
        count: of measured cases; a task with fewer than 2 tells nothing of the column.
    """
    mean, variance, count = mean.double(), variance.double(), count.double()
    told = count >= 2
    tasks = told.sum(0).double()
    freedom = (count - 1).clamp(min=0) * told
    within = (variance * freedom).sum(0) / freedom.sum(0).clamp(min=1)
    within = within.clamp(min=_LEAST**2).maximum(1 / ((count * told).sum(0) + 2))
    centre = (mean * told).sum(0) / tasks.clamp(min=1)
    seen = ((mean - centre).square() * told).sum(0) / (tasks - 1).clamp(min=1)
    blur = (within / count.clamp(min=1) * told).sum(0) / tasks.clamp(min=1)
    excess = (seen - blur).clamp(min=0)
    ratio = excess / within
    judged = ratio[tasks >= 2]
    usual = judged.median() if len(judged) else torch.ones((), dtype=torch.float64)
    freedom_between = (tasks - 1).clamp(min=0)
    between = within * (_PRIOR_TASKS * usual + freedom_between * ratio) / (_PRIOR_TASKS + freedom_between)
    return Spread(centre, between, within, tasks)


def mean_p_values(
    spread: Spread, mean: Float[Tensor, "*batch columns"], count: Float[Tensor, "*batch columns"]
) -> Float[Tensor, "*batch columns"]:
    """Return the two-sided p-value of each column's mean in a new task, by Student's law; 1 where nothing was measured, by it or earlier tasks.

    Args:
        spread: of earlier tasks.
        mean: of the measured cases.
        count: of them.
    """
    count = count.double()
    usable = (count > 0) & (spread.tasks > 0)
    scale = (spread.between * (1 + 1 / spread.tasks.clamp(min=1)) + spread.within / count.clamp(min=1)).sqrt()
    distance = (mean.double() - spread.centre).abs() / scale
    freedom = (spread.tasks - 1).clamp(min=0) + _PRIOR_TASKS
    tail = torch.from_numpy(2 * student.sf(distance.numpy(), freedom.numpy()))
    return torch.where(usable, tail, torch.ones_like(tail))


def combined(p_values: Float[Tensor, "*batch columns"]) -> Float[Tensor, "*batch"]:
    """Return one p-value of many, that holds however they depend on each other when it is small: Cauchy's combination (Liu and Xie 2020)."""
    if p_values.shape[-1] == 0:
        return torch.ones(p_values.shape[:-1], dtype=torch.float64)
    tame = p_values.double().clamp(1e-300, _MOST)
    # tan(pi (1/2 - p)) is 1 / (pi p) for the tiny p that a double cannot take from 1/2
    each = torch.where(tame < 1e-10, 1 / (torch.pi * tame), torch.tan(torch.pi * (0.5 - tame)))
    statistic = each.mean(-1)
    return torch.where(statistic > 1e10, 1 / (torch.pi * statistic), 0.5 - torch.atan(statistic) / torch.pi)
