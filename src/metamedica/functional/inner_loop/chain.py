"""A chain of layers with its gradient written out: many tasks at once, each with parameters of its own, and no autograd in the inner loop.

Autograd through autograd costs a meta-step most of its time. Here the gradient of the support's loss is plain tensor arithmetic, so
the meta-gradient is one reverse sweep. Layers read their parameters from a dictionary by name; a value is shared by all tasks
(as the module has it) or has the tasks as leading axis.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

Parameters: TypeAlias = dict[str, Tensor]
Cases: TypeAlias = Float[Tensor, "tasks n _"]
Saved: TypeAlias = Any


@dataclass(frozen=True)
class Outer:
    """The slope of a task's weight matrix, not yet summed over its cases: slope^T inputs."""

    slope: Float[Tensor, "tasks n out"]
    inputs: Float[Tensor, "tasks n width"]

    def dense(self) -> Float[Tensor, "tasks out width"]:
        """Return the matrix of each task."""
        return self.slope.mT @ self.inputs


Downhill: TypeAlias = Mapping[str, Tensor | Outer]
"""Slopes (or minus them) by the parameter's name, weights as `Outer` where that saves a product."""


def matrices(downhill: Downhill) -> Parameters:
    """Return every slope as a tensor of the parameter's shape, `[tasks, ...]`."""
    return {name: value.dense() if isinstance(value, Outer) else value for name, value in downhill.items()}


class Link(ABC):
    """One layer of a chain, without parameters of its own."""

    names: tuple[str, ...] = ()
    """Names of its parameters."""

    @abstractmethod
    def forward(self, parameters: Mapping[str, Tensor], x: Cases) -> tuple[Cases, Saved]:
        """Return the layer's output and what `backward` needs of it."""

    @abstractmethod
    def backward(self, parameters: Mapping[str, Tensor], saved: Saved, slope: Cases) -> tuple[Cases, Downhill]:
        """Return the slope of the input and of each parameter (leading axis: tasks), given the slope of the output."""


def _over_cases(value: Tensor, shared: int) -> Tensor:
    """Return a parameter ready to meet `[tasks, n, width]`, where `shared` is its number of axes when all tasks share it."""
    return value if value.dim() == shared else value.unsqueeze(-2)


@dataclass(frozen=True)
class Affine(Link):
    """factor * x W^T + b."""

    weight: str
    bias: str
    factor: float = 1.0

    @property
    def names(self) -> tuple[str, ...]:  # type: ignore[override]
        return (self.weight, self.bias)

    def forward(self, parameters: Mapping[str, Tensor], x: Cases) -> tuple[Cases, Saved]:
        weight, bias = parameters[self.weight], parameters[self.bias]
        if self.factor != 1:  # on the weight, which is smaller than the cases
            weight = weight * self.factor
        if weight.dim() == bias.dim() + 1 == 2:
            return functional.linear(x, weight, bias), (x, weight)
        if weight.dim() == 3 == x.dim():
            return torch.baddbmm(_over_cases(bias, 1), x, weight.mT), (x, weight)
        return x @ weight.mT + _over_cases(bias, 1), (x, weight)

    def backward(self, parameters: Mapping[str, Tensor], saved: Saved, slope: Cases) -> tuple[Cases, Downhill]:
        return slope @ saved[1], self.own_slopes(saved, slope)

    def own_slopes(self, saved: Saved, slope: Cases) -> Downhill:
        """Return the slopes of weight and bias."""
        scaled = slope if self.factor == 1 else slope * self.factor
        return {self.weight: Outer(scaled, saved[0]), self.bias: slope.sum(-2)}


@dataclass(frozen=True)
class Norm(Link):
    """Layer norm over the width of each case."""

    weight: str
    bias: str
    eps: float

    @property
    def names(self) -> tuple[str, ...]:  # type: ignore[override]
        return (self.weight, self.bias)

    def forward(self, parameters: Mapping[str, Tensor], x: Cases) -> tuple[Cases, Saved]:
        centred = x - x.mean(-1, keepdim=True)
        scale = (centred.square().mean(-1, keepdim=True) + self.eps).rsqrt()
        unit = centred * scale
        return unit * _over_cases(parameters[self.weight], 1) + _over_cases(parameters[self.bias], 1), (unit, scale)

    def backward(self, parameters: Mapping[str, Tensor], saved: Saved, slope: Cases) -> tuple[Cases, Downhill]:
        unit, scale = saved
        own = {self.weight: (slope * unit).sum(-2), self.bias: slope.sum(-2)}
        inner = slope * _over_cases(parameters[self.weight], 1)
        along = (inner * unit).mean(-1, keepdim=True)
        return scale * (inner - inner.mean(-1, keepdim=True) - unit * along), own


@dataclass(frozen=True)
class Relu(Link):
    """max(x, 0)."""

    def forward(self, parameters: Mapping[str, Tensor], x: Cases) -> tuple[Cases, Saved]:
        y = x.relu()
        return y, y.detach()  # its sign alone counts, and has no slope

    def backward(self, parameters: Mapping[str, Tensor], saved: Saved, slope: Cases) -> tuple[Cases, Downhill]:
        return torch.ops.aten.threshold_backward(slope, saved, 0.0), {}


@dataclass(frozen=True)
class Tanh(Link):
    """tanh x."""

    def forward(self, parameters: Mapping[str, Tensor], x: Cases) -> tuple[Cases, Saved]:
        y = x.tanh()
        return y, y

    def backward(self, parameters: Mapping[str, Tensor], saved: Saved, slope: Cases) -> tuple[Cases, Downhill]:
        return slope * (1 - saved.square()), {}


@dataclass(frozen=True)
class Gelu(Link):
    """x Phi(x), exact."""

    def forward(self, parameters: Mapping[str, Tensor], x: Cases) -> tuple[Cases, Saved]:
        below = 0.5 * (1 + torch.erf(x * math.sqrt(0.5)))
        return x * below, (x, below)

    def backward(self, parameters: Mapping[str, Tensor], saved: Saved, slope: Cases) -> tuple[Cases, Downhill]:
        x, below = saved
        return slope * (below + x * torch.exp(-0.5 * x.square()) / math.sqrt(2 * math.pi)), {}


@dataclass(frozen=True)
class Drop(Link):
    """Dropout in training: a fresh mask for every call, of the task's own seed within `task_random.TaskSeeds`."""

    rate: float

    def forward(self, parameters: Mapping[str, Tensor], x: Cases) -> tuple[Cases, Saved]:
        kept = functional.dropout(torch.ones_like(x), self.rate)
        return x * kept, kept

    def backward(self, parameters: Mapping[str, Tensor], saved: Saved, slope: Cases) -> tuple[Cases, Downhill]:
        return slope * saved, {}


def links_of(layers: nn.Sequential, prefix: str) -> list[Link] | None:
    """Return the layers as links, their parameters named as in the module under `prefix`; None where one of them is unknown."""
    found: list[Link] = []
    for name, layer in layers.named_children():
        weight, bias = f"{prefix}{name}.weight", f"{prefix}{name}.bias"
        if type(layer) is nn.Linear and layer.bias is not None:
            found.append(Affine(weight, bias))
        elif type(layer) is nn.LayerNorm and layer.elementwise_affine and len(layer.normalized_shape) == 1:
            found.append(Norm(weight, bias, layer.eps))
        elif type(layer) is nn.GELU and layer.approximate == "none":
            found.append(Gelu())
        elif type(layer) is nn.ReLU:
            found.append(Relu())
        elif type(layer) is nn.Tanh:
            found.append(Tanh())
        elif type(layer) is nn.Dropout:
            found += [Drop(layer.p)] if layer.training and layer.p > 0 else []
        elif type(layer) is not nn.Identity:
            return None
    return found


def run(links: Iterable[Link], parameters: Mapping[str, Tensor], x: Cases) -> tuple[Cases, list[Saved]]:
    """Return the output of a chain and what each link saved."""
    tape = []
    for link in links:
        x, saved = link.forward(parameters, x)
        tape.append(saved)
    return x, tape


def slopes(
    links: Iterable[Link],
    parameters: Mapping[str, Tensor],
    tape: Iterable[Saved],
    slope: Cases,
    *,
    wanted: Collection[str],
    to_input: bool,
) -> tuple[Downhill, Cases | None]:
    """Return the slope of each wanted parameter, and of the input where that is asked for; goes back no further than needed.

    Args:
        links: of the chain.
        parameters: by name.
        tape: what `run` saved.
        slope: of the output.
        wanted: names of the parameters whose slope is wanted.
        to_input: whether the slope of the input is wanted.
    """
    chain, saves = list(links), list(tape)
    found: dict[str, Tensor | Outer] = {}
    first = (
        0
        if to_input
        else next((i for i, link in enumerate(chain) if not set(link.names).isdisjoint(wanted)), len(chain))
    )
    for index in range(len(chain) - 1, first - 1, -1):
        link, saved = chain[index], saves[index]
        if index == first and not to_input and isinstance(link, Affine):
            own = link.own_slopes(saved, slope)
        else:
            slope, own = link.backward(parameters, saved, slope)
        found |= {name: value for name, value in own.items() if name in wanted}
    return found, slope if to_input else None
