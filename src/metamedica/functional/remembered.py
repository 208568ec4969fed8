"""Models of a pool that several learners fit alike, fitted once: whoever compares learners on the same earlier tasks says so.

A model is known by what it was fitted to: the values of the pool, the rows and the settings. So it is the very model that the learner would have
fitted itself. Nothing is remembered unless `remembering` is entered.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import torch
from torch import Tensor

from metamedica.functional.pooling import Pool

Settings = ParamSpec("Settings")
Model = TypeVar("Model")


class _Memory:
    """What was fitted within one `remembering`."""

    def __init__(self) -> None:
        self.models: dict[tuple[object, ...], Any] = {}
        self._pools: dict[int, tuple[Pool, bytes]] = {}

    def content(self, pool: Pool) -> bytes:
        """Return the hash of a pool's values; a pool that was hashed is kept, so that no other has its identity."""
        if id(pool) not in self._pools:
            digest = hashlib.blake2b(pool.kind.encode())
            for column in (pool.flat, pool.targets, pool.task):
                digest.update(repr((column.shape, column.dtype)).encode())
                digest.update(column.contiguous().numpy().tobytes())
            self._pools[id(pool)] = (pool, digest.digest())
        return self._pools[id(pool)][1]


_memory: ContextVar[_Memory | None] = ContextVar("_memory", default=None)


@contextmanager
def remembering() -> Iterator[None]:
    """Within it, and in this thread, functions under `remembered` return the same model for the same values; outside they fit anew.

    Whoever is within must change neither a pool nor a model. Pools and models are let go at its end.
    """
    token = _memory.set(_memory.get() or _Memory())
    try:
        yield
    finally:
        _memory.reset(token)


def remembered(
    fit: Callable[Concatenate[Pool, Tensor, Settings], Model],
) -> Callable[Concatenate[Pool, Tensor, Settings], Model]:
    """Return a function of a pool, its rows and settings that, within `remembering`, fits once for the same values.

    Args:
        fit: its model depends on `flat`, `targets`, `task` and `kind` of the pool, the rows and the settings (hashable) alone.
    """

    @wraps(fit)
    def once(pool: Pool, rows: Tensor, /, *more: Settings.args, **settings: Settings.kwargs) -> Model:
        memory = _memory.get()
        if memory is None:
            return fit(pool, rows, *more, **settings)
        chosen = rows.to(torch.uint8).numpy().tobytes()
        key = (fit, memory.content(pool), chosen, more, tuple(sorted(settings.items())))
        if key not in memory.models:
            memory.models[key] = fit(pool, rows, *more, **settings)
        found: Model = memory.models[key]
        return found

    return once
