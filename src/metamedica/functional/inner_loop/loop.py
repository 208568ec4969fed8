"""How a task adapts: steps, rates, what moves, and one step of gradient descent."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from metamedica.functional.inner_loop.chain import Downhill, Outer, Parameters
from metamedica.functional.inner_loop.products import outer_step

Rates: TypeAlias = Callable[[int, str], float | Tensor]
"""`rate(step, name)`: a number, or a tensor that multiplies the parameter's slope."""


@dataclass(frozen=True)
class Constant:
    """The same rate for every step and parameter."""

    rate: float | Tensor

    def __call__(self, step: int, name: str) -> float | Tensor:
        """Return the rate."""
        return self.rate


class RateTable(NamedTuple):
    """Rates of some steps and parameters.

    Args:
        numbers: those that are numbers.
        places: of the others, where in `tensors` they stand.
        tensors: each once.
    """

    numbers: dict[tuple[int, str], float]
    places: dict[tuple[int, str], int]
    tensors: list[Tensor]


@dataclass(frozen=True)
class InnerLoop:
    """How a task adapts.

    Args:
        steps: gradient steps.
        rate: learning rate per step and parameter.
        moves: whether tasks move the parameter of this name; all by default.
        pull: strength of the pull back to the start, pull / 2 |theta - start|^2 in the loss (Rajeswaran et al. 2019, eq. 3).
    """

    steps: int
    rate: Rates
    moves: Callable[[str], bool] = lambda name: True
    pull: float = 0.0

    def stepped(self, step: int, own: Parameters, downhill: Downhill, start: Parameters) -> Parameters:
        """Return the tasks' parameters one step further, given minus their slopes."""
        found = {}
        for name, way in downhill.items():
            rate, here = self.rate(step, name), own[name]
            # A product and its sum are one operation, but where products are rounded (autocast) the sum must not be.
            joined = not (self.pull or torch.is_autocast_enabled(here.device.type))
            if isinstance(way, Outer) and joined and not isinstance(rate, Tensor):
                found[name] = outer_step(here, way.slope, way.inputs, rate)
                continue
            move = way.dense() if isinstance(way, Outer) else way
            if self.pull:
                move = move - self.pull * (here - start[name])
            found[name] = here + rate * move if isinstance(rate, Tensor) else torch.add(here, move, alpha=rate)
        return found

    def table(self, steps: Iterable[int], names: Iterable[str]) -> "RateTable":
        """Return the rates of these steps and parameters, those that are tensors apart from where they stand."""
        tensors: list[Tensor] = []
        places: dict[tuple[int, str], int] = {}
        numbers: dict[tuple[int, str], float] = {}
        for step, name in product(steps, names):
            rate = self.rate(step, name)
            if isinstance(rate, Tensor):
                known = [at for at, tensor in enumerate(tensors) if tensor is rate]
                places[step, name] = known[0] if known else len(tensors)
                tensors += [] if known else [rate]
            else:
                numbers[step, name] = rate
        return RateTable(numbers, places, tensors)

    def with_rates(self, table: "RateTable", tensors: Sequence[Tensor]) -> "InnerLoop":
        """Return the same loop with other tensors in the places of those of the table."""

        def rate(step: int, name: str) -> float | Tensor:
            at = step, name
            return table.numbers[at] if at in table.numbers else tensors[table.places[at]]

        return replace(self, rate=rate)

    def folded(self) -> tuple[float | Tensor, "InnerLoop"]:
        """Return a factor of the loss and a loop that takes the same steps on it, with rate 1 wherever that can be.

        One rate for all is cheaper on the few slopes of the output than on those of every parameter.
        """
        if isinstance(self.rate, Constant) and not self.pull:
            return self.rate.rate, replace(self, rate=Constant(1.0))
        return 1.0, self

    def rates_are_numbers(self, names: Collection[str]) -> bool:
        """Return whether the rate of each of these parameters is one number at every step."""
        rates = [self.rate(step, name) for step in range(self.steps) for name in names]
        return all(not isinstance(rate, Tensor) or rate.dim() == 0 for rate in rates)
