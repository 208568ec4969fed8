"""Dropout that belongs to the task: each task's own seed decides its masks, whatever else is in the batch.

A mask is a pure function of the task's seed, of which dropout call it is, and of the element's place in the task's own block. So the
other tasks, their padding, the tasks at once under `torch.func.vmap`, the number of processes and accumulation change nothing.
Counter-based random numbers (Salmon, Moraes, Dror and Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3"): element i of a stream
is a hash of the stream's key and i, here splitmix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators"),
in wrapping int64 arithmetic, 16 bits an element.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar, Token
from typing import Any, ParamSpec, TypeVar

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import _broadcast_to_and_flatten, tree_flatten, tree_unflatten

from metamedica.errors import TrainingError

Given = ParamSpec("Given")
Found = TypeVar("Found")


def _signed(value: int) -> int:
    """Return the number modulo 2^64 as an int64 holds it."""
    return (value + 2**63) % 2**64 - 2**63


_STEP, _FIRST, _SECOND = map(_signed, (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
_LEVELS = 2**16
_PER_WORD = 4
_REFUSED = (
    functional.dropout1d,
    functional.dropout2d,
    functional.dropout3d,
    functional.alpha_dropout,
    functional.feature_alpha_dropout,
)


def hashed(value: Int[Tensor, "*any"]) -> Int[Tensor, "*any"]:
    """Return splitmix64's finaliser of each int64: a bijection in which every bit of the input moves half the bits of the output."""
    value = value.clone()
    for shift, factor in ((30, _FIRST), (27, _SECOND)):
        value.bitwise_xor_((value >> shift).bitwise_and_(2 ** (64 - shift) - 1)).mul_(factor)
    return value.bitwise_xor_((value >> 31).bitwise_and_(2**33 - 1))


def drops(module: nn.Module) -> bool:
    """Return whether a module draws dropout as it is now."""
    return any(isinstance(each, nn.Dropout) and each.training and each.p > 0 for each in module.modules())


class TaskSeeds(TorchFunctionMode):
    """Inside this context every `torch.nn.functional.dropout`, whoever calls it, draws from its task's own seed.

    Tensors have the tasks as leading axis; the next axis holds the cases, and its length does not change the mask of an element. Calls are
    numbered from 0 when the context is entered, so that the same computation under the same seeds has the same masks. The rate is
    rounded to a multiple of 2^-16, and what is kept is scaled by one over the rounded share.

    Args:
        seeds: `[tasks]`, int64; or one number `[]`, where the task axis is hidden (`over_tasks`).

    Raises:
        TrainingError: within, where a dropout has other leading axes than the seeds, or is of another kind (of whole channels, alpha
            dropout, inside PyTorch's attention), which would draw from the one global generator.
    """

    def __init__(self, seeds: Shaped[Tensor, "*tasks"]) -> None:
        super().__init__()
        if seeds.dtype != torch.int64:
            raise TrainingError(f"got seeds of type {seeds.dtype}; give one int64 seed per task")
        self._seeds = hashed(seeds)
        self._calls = 0
        self._token: Token[TaskSeeds | None] | None = None

    def __enter__(self) -> "TaskSeeds":
        self._calls = 0
        self._token = _current.set(self)
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *stopped_by: Any) -> None:
        super().__exit__(*stopped_by)  # type: ignore[no-untyped-call]
        assert self._token is not None
        _current.reset(self._token)

    def next_seeds(self) -> Int[Tensor, "*tasks"]:
        """Return a new seed per task, one further each time: the key of a call, or the seeds of a part of the computation."""
        self._calls += 1
        return hashed(self._seeds + _signed(self._calls * _STEP))

    def _keep(self, x: Float[Tensor, "..."], rate: float) -> Float[Tensor, "..."]:
        """Return 0 for each element that is left out, else one over the share that is kept."""
        tasks, block = x.shape[: self._seeds.dim()], x.shape[self._seeds.dim() :]
        if tasks != self._seeds.shape:
            raise TrainingError(
                f"got a dropout of shape {tuple(x.shape)} among {self._seeds.numel()} tasks with a seed each; keep the tasks as its "
                "leading axis"
            )
        cases, width = (block[0], math.prod(block[1:])) if len(block) > 1 else (1, math.prod(block))
        words = -(-width // _PER_WORD)
        counter = torch.arange(cases * words, device=x.device) * _STEP
        bits = hashed(self.next_seeds()[..., None] + counter).view(torch.int16)
        bits = bits.view(*tasks, cases, words * _PER_WORD)[..., :width]
        left_out = min(round(rate * _LEVELS), _LEVELS - 1)
        keep = (bits >= left_out - _LEVELS // 2).to(x.dtype)
        return keep.mul_(_LEVELS / (_LEVELS - left_out)).reshape(x.shape)

    def _dropout(self, x: Float[Tensor, "..."], p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        if not training or not 0 < p < 1:  # nothing random, or a rate that PyTorch refuses
            return functional.dropout(x, p, training, inplace)
        keep = self._keep(x, p)
        return x.mul_(keep) if inplace else x * keep

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named = dict(kwargs or {})
        if func is functional.dropout:
            return self._dropout(*args, **named)
        if func in _REFUSED and (named.get("training", args[2] if len(args) > 2 else False)):
            raise TrainingError(f"got {func.__name__} among tasks with a seed each; use torch.nn.Dropout")
        if func is functional.scaled_dot_product_attention and named.get("dropout_p", args[4] if len(args) > 4 else 0):
            raise TrainingError(
                "got dropout inside attention among tasks with a seed each; give it dropout 0 and use torch.nn.Dropout after it"
            )
        return func(*args, **named)


_current: ContextVar[TaskSeeds | None] = ContextVar("the innermost context", default=None)


def repeatable(function: Callable[Given, Found]) -> Callable[Given, Found]:
    """Return `function` with the same masks each time it is called, inside a context of `TaskSeeds` or after it.

    For what is computed again to save memory (checkpointing): in the backward pass calls would have other numbers. Two functions
    made repeatable have masks of their own. Outside of a context the function itself is returned.
    """
    context = _current.get()
    if context is None:
        return function
    seeds = context.next_seeds()

    def again(*args: Given.args, **kwargs: Given.kwargs) -> Found:
        with TaskSeeds(seeds):
            return function(*args, **kwargs)

    return again


def over_tasks(
    function: Callable[..., Found], *, in_dims: tuple[Any, ...], chunk: int | None = None
) -> Callable[..., Found]:
    """Return `torch.func.vmap` of `function`, in which each task keeps its own seed; its masks are those without vmap.

    Args:
        function: of one task.
        in_dims: as `torch.func.vmap` takes them, one per argument.
        chunk: tasks at once; None for all; 1 for one after another without vmap, which suits convolutions on a CPU. Changes speed and
            memory only.
    """
    context = _current.get()
    seeds = () if context is None else (context.next_seeds(),)

    def one(seeds: tuple[Tensor, ...], *args: Any) -> Found:
        if not seeds:
            return function(*args)
        with TaskSeeds(*seeds):
            return function(*args)

    if chunk == 1:
        return lambda *args: _one_by_one(one, (0, *in_dims), (seeds, *args))
    mapped = torch.func.vmap(one, in_dims=(0, *in_dims), randomness="different", chunk_size=chunk)
    return lambda *args: mapped(seeds, *args)


def _one_by_one(function: Callable[..., Any], in_dims: tuple[Any, ...], args: tuple[Any, ...]) -> Any:
    """Return what vmap returns: arguments with axis 0 are taken apart, results put together."""
    leaves, spec = tree_flatten(args)
    axes = _broadcast_to_and_flatten(in_dims, spec)
    assert axes is not None
    n = next(len(leaf) for leaf, axis in zip(leaves, axes, strict=True) if axis == 0)
    parts = [leaf.unbind() if axis == 0 else [leaf] * n for leaf, axis in zip(leaves, axes, strict=True)]
    found = [tree_flatten(function(*tree_unflatten(list(task), spec))) for task in zip(*parts, strict=True)]
    return tree_unflatten([torch.stack(each) for each in zip(*(own for own, _ in found), strict=True)], found[0][1])
