"""What several methods ask of the same tensors, computed once: a mixture's candidates compare the same cases by the same kernels."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import TypeVar

from torch import Tensor

Found = TypeVar("Found")
_found: ContextVar[dict[tuple[object, ...], tuple[object, tuple[Tensor, ...]]] | None] = ContextVar(
    "_found", default=None
)


@contextmanager
def sharing() -> Iterator[None]:
    """Within it, and in this thread, a function under `shared` remembers its results; outside it remembers nothing.

    Whoever is within must change neither the tensors given nor those returned.
    """
    known = _found.get()
    token = _found.set({} if known is None else known)
    try:
        yield
    finally:
        _found.reset(token)


def shared(function: Callable[[Tensor, Tensor], Found]) -> Callable[[Tensor, Tensor], Found]:
    """Return a function of two tensors that, within `sharing`, is computed once for the same two tensors (not equal ones)."""

    @wraps(function)
    def once(left: Tensor, right: Tensor) -> Found:
        known = _found.get()
        if known is None:
            return function(left, right)
        key = (function, id(left), id(right))
        if key not in known:
            known[key] = (function(left, right), (left, right))  # kept, so that no other tensor has its identity
        return known[key][0]  # type: ignore[return-value]

    return once
