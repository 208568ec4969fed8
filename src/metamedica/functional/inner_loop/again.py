"""Steps that the backward pass computes again instead of keeping what it needs of them, also where autograd runs inside of them.

PyTorch's own checkpointing works by hooks on saved tensors, which `torch.func` does not allow inside; here the steps are a function of tensors, run
without a graph in the forward pass and once more, with one, in the backward pass (Chen et al. 2016, arXiv:1604.06174, section 4).
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from metamedica.functional.task_random import repeatable

Steps: TypeAlias = Callable[[Sequence[Tensor]], Sequence[Tensor]]


def stretch_of(steps: int) -> int:
    """Return how many steps to compute again together: about sqrt(steps), so that the memory of K steps is that of 2 sqrt(K)."""
    return math.isqrt(max(steps - 1, 0)) + 1


class _Again(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, steps: Steps, *given: Tensor) -> tuple[Tensor, ...]:
        ctx.steps = steps
        kind = given[0].device.type
        ctx.rounded = kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind)
        ctx.save_for_backward(*given)
        return tuple(steps(given))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        given = [value.detach().requires_grad_(value.requires_grad) for value in ctx.saved_tensors]
        kind, dtype, rounded = ctx.rounded
        with torch.enable_grad(), torch.autocast(kind, dtype=dtype, enabled=rounded):
            found = ctx.steps(given)
        reached = [(value, slope) for value, slope in zip(found, slopes, strict=True) if value.requires_grad]
        asked = [value for value in given if value.requires_grad]
        values, there = zip(*reached, strict=True)
        back = iter(torch.autograd.grad(values, asked, there, allow_unused=True))
        return None, *(next(back) if value.requires_grad else None for value in given)


def again(steps: Steps, given: Sequence[Tensor]) -> Sequence[Tensor]:
    """Return `steps(given)`, computed once more in the backward pass; differentiable once.

    Args:
        steps: of tensors alone: what else it reads gets no gradient. It gives tasks the same random numbers both times.
        given: tensors of one device.
    """
    return cast(Sequence[Tensor], _Again.apply(repeatable(steps), *given))  # type: ignore[no-untyped-call]
