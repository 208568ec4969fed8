"""What earlier tasks tell for each size of a support: gains judged at a few sizes, doubted, and read off between them."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from metamedica.functional.classes import membership
from metamedica.types import LabelledBatch

LEAST_GAIN = 0.01
"""Nats a case; what is smaller is not worth the steps."""


def cases_a_class(counts: Float[Tensor, "tasks classes"]) -> Float[Tensor, " tasks"]:
    """Return the harmonic mean of the numbers of cases of the classes that are shown.

    The variance of a difference of class means goes with the sum of 1 / n_k, so 2 against 60 cases count for 3.9 a class.
    """
    shown = counts > 0
    return shown.sum(1) / torch.where(shown, 1 / counts.clamp(min=1), 0.0).sum(1)


def first_of_each_class(support: LabelledBatch, most: int) -> LabelledBatch:
    """Return the supports cut down to the first `most` cases of each class, padding last."""
    members = membership(support, torch.float64)
    place = (members.cumsum(1) * members).sum(2)
    kept = support.mask & (place <= most)
    order = torch.argsort(~kept, dim=1, stable=True)[:, : int(kept.sum(1).max())]
    task = torch.arange(len(order), device=order.device)[:, None]
    padding = ~kept[task, order]
    part = support.map(lambda value: value[task, order])
    part.mask.masked_fill_(padding, False)
    return part.with_targets(part.targets.masked_fill(padding, 0))


def nearest(sizes: Sequence[int], own: Float[Tensor, " tasks"]) -> Int[Tensor, " tasks"]:
    """Return the position of the size whose ratio to each task's own is nearest to 1."""
    known = torch.tensor(sizes, dtype=own.dtype, device=own.device).log()
    return (own.log()[:, None] - known).abs().argmin(1)


def vouched_gain(gains: Float[Tensor, "tasks settings"], *, doubt: float) -> Float[Tensor, " settings"]:
    """Return the mean gain less its standard error, where `doubt` further tasks are taken to have gained nothing.

    One task vouches for nothing, whatever it gained: mean and standard error are then the same.

    Args:
        gains: of each earlier task by each setting, over none; one task or more.
        doubt: above 0; counts as so many tasks.
    """
    n = len(gains) + doubt
    mean = gains.sum(0) / n
    spread = (gains.square().sum(0) - n * mean.square()).clamp(min=0) / (n - 1)
    sure = mean - (spread / n).sqrt()
    return torch.where(sure > LEAST_GAIN, sure, sure.clamp(max=0.0))


def between_sizes(
    sizes: Sequence[int], judged: Float[Tensor, "sizes settings"], own: Float[Tensor, " tasks"]
) -> Float[Tensor, "tasks settings"]:
    """Return what is read off for each task's own size: linear in log size, 0 at one case a class, beyond the largest size as there.

    Args:
        sizes: ascending, above 1.
        judged: of each size.
        own: cases a class, 1 or more.
    """
    known = judged.new_tensor([0.0, *(math.log(size) for size in sizes)])
    values = torch.cat([torch.zeros_like(judged[:1]), judged])
    place = own.to(judged).log()
    after = torch.searchsorted(known, place).clamp(1, len(sizes))
    share = ((place - known[after - 1]) / (known[after] - known[after - 1])).clamp(0, 1)[:, None]
    return (1 - share) * values[after - 1] + share * values[after]
