"""What a function of a batch of cases computes, written down as it runs: operators in order, everything else a constant.

The function runs twice, on other cases and another number of them. What is the same in both runs is a constant; numbers that differ
are sizes, `growth * cases + fixed`; anything else that differs means that the function looked at values, which no list of operators
can follow. So whatever depends on a task's support alone (prototypes, Cholesky factors, fitted weights) is a number in the end.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from metamedica.errors import InputError
from metamedica.functional.case_effects import content_hash, recalled
from metamedica.functional.kernels import minmax_and_tanimoto, minmax_kernel
from metamedica.functional.profiles import profile_products
from metamedica.types import Features

WHOLE: tuple[Callable[..., Any], ...] = (
    minmax_kernel,
    minmax_and_tanimoto,
    content_hash,
    recalled,
    profile_products,
)
"""Functions of ours that a trace has as one operator: inside they choose their way by the values."""
_SAME = {"aten.detach.default", "aten.alias.default", "aten.clone.default", "aten.lift_fresh.default"}
"""Operators whose result is their input."""


@dataclass(frozen=True)
class Size:
    """A whole number that follows the number of cases: `growth * cases + fixed`."""

    growth: int
    fixed: int


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor that depends on the cases, or on how many there are.

    Args:
        shape: of it.
        dtype: of its numbers.
    """

    shape: tuple[int | Size, ...]
    dtype: torch.dtype


@dataclass(frozen=True, eq=False)
class Step:
    """One operator.

    Args:
        operator: its name, such as `aten.mul.Tensor`, or that of one of `WHOLE`.
        given: argument name -> what came in; a plain tensor is a constant.
        results: what comes out.
    """

    operator: str
    given: Mapping[str, Any]
    results: tuple[Value, ...]


@dataclass(frozen=True)
class Trace:
    """A function as a list of operators: block name -> input, the steps that its outputs need, output name -> output."""

    inputs: dict[str, Value]
    steps: list[Step]
    outputs: dict[str, Value]


@dataclass(frozen=True)
class _Call:
    operator: str
    names: list[str]
    given: list[Any]
    results: list[Any]
    writes: bool


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Writes down every operator with its tensors, which it keeps alive, so that no two have one identity."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[_Call] = []
        self.paused = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        if not self.paused:
            schema = func._schema
            given = {
                argument.name: argument.default_value for argument in schema.arguments if argument.has_default_value()
            }
            given |= dict(zip([argument.name for argument in schema.arguments], args, strict=False)) | dict(
                kwargs or {}
            )
            results = list(found) if isinstance(found, tuple | list) else [found]
            self.calls.append(_Call(str(func), list(given), list(given.values()), results, schema.is_mutable))
        return found


class _Whole(TorchFunctionMode):
    """Writes down the functions of `WHOLE` as one operator each."""

    def __init__(self, recorder: _Recorder) -> None:
        super().__init__()
        self.recorder = recorder

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func not in WHOLE:
            return func(*args, **(kwargs or {}))
        self.recorder.paused = True
        try:
            found = func(*args, **(kwargs or {}))
        finally:
            self.recorder.paused = False
        results = list(found) if isinstance(found, tuple) else [found]
        names = list(inspect.signature(func).parameters)
        self.recorder.calls.append(_Call(func.__name__, names, list(args), results, False))
        return found


def _run(
    function: Callable[[Features], dict[str, Tensor]], features: Features
) -> tuple[list[_Call], dict[str, Tensor]]:
    recorder = _Recorder()
    with torch.no_grad(), recorder, _Whole(recorder):
        outputs = function(features)
    return recorder.calls, outputs


class _Merge:
    """Two runs of one function, call by call, as one trace."""

    def __init__(self, cases: tuple[int, int]) -> None:
        self.cases = cases
        self.live: dict[int, Value] = {}

    def number(self, first: int, second: int) -> int | Size:
        if first == second:
            return first
        growth, rest = divmod(second - first, self.cases[1] - self.cases[0])
        if rest:
            raise _looks("a size is no multiple of the number of cases")
        return Size(growth, first - growth * self.cases[0])

    def value(self, first: Tensor, second: Tensor) -> Value:
        shape = tuple(self.number(a, b) for a, b in zip(first.shape, second.shape, strict=True))
        made = Value(shape, first.dtype)
        self.live[id(first)] = made
        return made

    def both(self, first: Any, second: Any) -> Any:
        """Return what two runs gave as one argument."""
        if isinstance(first, Tensor):
            if id(first) in self.live:
                return self.live[id(first)]
            if first is not second and not _equal(first, second):
                raise _looks("a constant differs between two runs")
            return first
        if isinstance(first, list | tuple):
            if len(first) != len(second):
                raise _looks(f"the lengths {len(first)} and {len(second)} of two lists differ")
            return [self.both(a, b) for a, b in zip(first, second, strict=True)]
        if isinstance(first, int) and isinstance(second, int) and not isinstance(first, bool):
            return self.number(first, second)
        if first != second:
            raise _looks(f"got {first} and {second}")
        return first

    def step(self, first: _Call, second: _Call) -> Step | None:
        """Return the step of two calls, or None where it depends on constants only."""
        if first.operator != second.operator:
            raise _looks(f"{first.operator} in one run is {second.operator} in another")
        given = {name: self.both(a, b) for name, a, b in zip(first.names, first.given, second.given, strict=True)}
        if not any(isinstance(leaf, Value | Size) for leaf in _leaves(list(given.values()))):
            return None
        if first.writes:
            raise _looks(f"{first.operator} writes in place")
        if not all(isinstance(result, Tensor) for result in first.results):
            raise _looks(f"{first.operator} reads a value")
        if first.operator in _SAME:
            self.live[id(first.results[0])] = given["self"]
            return None
        pairs = zip(first.results, second.results, strict=True)
        return Step(first.operator, given, tuple(self.value(a, b) for a, b in pairs))


def trace(
    function: Callable[[Features], dict[str, Tensor]], first: Features, second: Features, *, axis: int = 0
) -> Trace:
    """Return the operators of `function`, from runs on two batches that differ in values and number of cases.

    Args:
        function: of blocks to named outputs; must not read a value of them.
        first: blocks with the cases on `axis`.
        second: the same blocks with another number of cases.
        axis: of the cases.

    Raises:
        InputError: the function's way depends on the values of the cases.
    """
    sizes = [next(iter(features.values())).shape[axis] for features in (first, second)]
    merge = _Merge((sizes[0], sizes[1]))
    calls, outputs = _run(function, first)
    again, others = _run(function, second)
    inputs = {name: merge.value(first[name], second[name]) for name in first}
    if len(calls) != len(again):
        raise _looks(f"{len(calls)} operators in one run are {len(again)} in another")
    steps = [step for a, b in zip(calls, again, strict=True) if (step := merge.step(a, b)) is not None]
    named = {name: merge.both(outputs[name], others[name]) for name in outputs}
    fixed = [name for name, value in named.items() if not isinstance(value, Value)]
    if fixed:
        raise InputError(f"the output {fixed[0]!r} does not depend on the cases; there is nothing to export")
    return Trace(inputs, _needed(steps, named.values()), named)


def _needed(steps: Sequence[Step], outputs: Any) -> list[Step]:
    """Return the steps that the outputs depend on."""
    wanted, kept = set(map(id, outputs)), []
    for step in reversed(steps):
        if any(id(result) in wanted for result in step.results):
            kept.append(step)
            wanted |= {id(leaf) for leaf in _leaves(list(step.given.values())) if isinstance(leaf, Value)}
    return kept[::-1]


def _leaves(given: Any) -> Iterator[Any]:
    if isinstance(given, list | tuple):
        for each in given:
            yield from _leaves(each)
    else:
        yield given


def _equal(first: Tensor, second: Tensor) -> bool:
    return (
        first.shape == second.shape
        and first.dtype == second.dtype
        and bool(
            torch.allclose(first, second, rtol=0, atol=0, equal_nan=True)
            if first.is_floating_point()
            else torch.equal(first, second)
        )
    )


def _looks(how: str) -> InputError:
    return InputError(
        f"the predictor cannot be written as a fixed list of operators ({how}): its way depends on the cases it is asked about; "
        "predict with Metamedica itself, or adapt a model of another learner"
    )
