"""What an object holds, all the way down: to tell whether a call has changed it, and whether two objects share memory."""

from collections.abc import Collection, Iterator, Mapping
from functools import cached_property
from hashlib import blake2b
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

_PLAIN = (str, bytes, int, float, complex, bool, type(None), type)


def contents(root: object) -> dict[str, object]:
    """Return every plain value, array and tensor (by its bytes) that can be reached from an object, by the path to it.

    What a `cached_property` keeps is left out: it is made of the rest.
    """
    return {path: _value(each) for path, each in _reached(root)}


def changed(before: Mapping[str, object], after: Mapping[str, object]) -> list[str]:
    """Return the paths that differ between two `contents`."""
    return [path for path in {**before, **after} if before.get(path, _NOWHERE) != after.get(path, _NOWHERE)]


def tensors(root: object, *, but: Collection[int] = ()) -> dict[str, Tensor]:
    """Return the tensors with numbers that can be reached from an object, by path, but those in the memory `but`."""
    found = {path: each for path, each in _reached(root) if isinstance(each, Tensor) and each.numel()}
    return {path: each for path, each in found.items() if _memory(each) not in but}


def memory(root: object) -> set[int]:
    """Return the addresses of the memory of all tensors that can be reached from an object."""
    return {_memory(each) for _, each in _reached(root) if isinstance(each, Tensor)}


def shared_memory(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> list[str]:
    """Return the paths of the left tensors whose memory a right one has too."""
    theirs = {_memory(each) for each in right.values()}
    return [path for path, each in left.items() if _memory(each) in theirs]


_NOWHERE = object()


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _value(each: object) -> object:
    if isinstance(each, Tensor):
        plain = each.detach().contiguous()
        return str(each.dtype), tuple(each.shape), _digest(plain.reshape(-1).view(torch.uint8).numpy().tobytes())
    if isinstance(each, np.ndarray):
        return str(each.dtype), each.shape, _digest(each.tobytes())
    if isinstance(each, float) and each != each:
        return "nan"
    return each if isinstance(each, _PLAIN) else id(each)


def _digest(content: bytes) -> bytes:
    return blake2b(content, digest_size=16).digest()


def _reached(root: object) -> Iterator[tuple[str, object]]:
    """Yield path and object of everything that is plain, an array, a tensor, or of an unknown make; each object once."""
    seen: dict[int, object] = {}
    waiting: list[tuple[str, object]] = [("", root)]
    while waiting:
        path, each = waiting.pop()
        if isinstance(each, _PLAIN):
            yield path, each
            continue
        if id(each) in seen:
            continue
        seen[id(each)] = each
        inner = list(_members(each))
        waiting += [(f"{path}.{name}".lstrip("."), member) for name, member in reversed(inner)]
        if isinstance(each, Tensor) or not inner:
            yield path, each


def _members(each: object) -> Iterator[tuple[str, object]]:
    if isinstance(each, Tensor):
        if each.is_leaf and each.grad is not None:
            yield "grad", each.grad
    elif isinstance(each, np.ndarray):
        if each.dtype == object:
            yield "items", each.tolist()
    elif isinstance(each, pd.DataFrame | pd.Series | pd.Index):
        yield "table", each.to_numpy()
        if not isinstance(each, pd.Index):
            yield "index", each.index.to_numpy()
    elif isinstance(each, Mapping):
        yield "keys", list(each)
        yield from ((str(key), member) for key, member in each.items())
    elif isinstance(each, list | tuple | set | frozenset):
        yield "length", len(each)
        yield from ((str(number), member) for number, member in enumerate(each))
    else:
        kept = getattr(type(each), "__slots__", ())
        names = [*getattr(each, "__dict__", {}), *([kept] if isinstance(kept, str) else kept)]
        for name in names:
            if not isinstance(getattr(type(each), name, None), cached_property) and hasattr(each, name):
                yield name, _attribute(each, name)


def _attribute(each: object, name: str) -> Any:
    return vars(each)[name] if name in getattr(each, "__dict__", {}) else getattr(each, name)
