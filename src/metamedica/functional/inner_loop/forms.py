"""The inner loop, in forms that agree: any network by autograd, a chain of layers as batched arithmetic, a wide chain by its Gram matrix.

Finn et al. 2017 (arXiv:1703.03400), eq. 1: theta_i' = theta - rate * d loss_i / d theta, several times. All forms are differentiable
in the start, to any order, and work under `torch.no_grad`. Which one runs changes speed and memory only.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from metamedica.functional.inner_loop.chain import Affine, Link, Parameters, Scale, links_of, run, slopes
from metamedica.functional.inner_loop.networks import (
    ENCODER,
    AdaptedNetworks,
    Front,
    goals_of,
    head_output,
    law_of_output,
    output_loss,
    output_slopes,
)
from metamedica.functional.layer_norm import ElementaryLayerNorm
from metamedica.functional.task_random import over_tasks
from metamedica.types import CaseBatch, Encoder, Features, LabelledBatch, Law, Layered

Rates: TypeAlias = Callable[[int, str], float | Tensor]
"""`rate(step, name)`: a number, or a tensor that multiplies the parameter's slope."""

WIDE = 4
"""A first layer of so many times more columns than the support has cases is adapted by its Gram matrix."""


@dataclass(frozen=True)
class InnerLoop:
    """How a task adapts.

    Args:
        steps: gradient steps.
        rate: learning rate per step and parameter.
        moves: whether tasks move the parameter of this name; all by default.
        scalar_front: whether the rate of the first layer's parameters is one number, as the Gram form needs.
        pull: strength of the pull back to the start, pull / 2 |theta - start|^2 in the loss (Rajeswaran et al. 2019, eq. 3).
    """

    steps: int
    rate: Rates
    moves: Callable[[str], bool] = lambda name: True
    scalar_front: bool = True
    pull: float = 0.0

    def stepped(self, step: int, own: Parameters, slopes: Parameters, start: Parameters) -> Parameters:
        """Return the tasks' parameters one step further."""
        if self.pull:
            slopes = {name: value + self.pull * (own[name] - start[name]) for name, value in slopes.items()}
        return {name: own[name] - self.rate(step, name) * value for name, value in slopes.items()}


def constant(rate: float | Tensor) -> Rates:
    """Return the same rate for every step and parameter."""
    return lambda step, name: rate


class Form(ABC):
    """One way to adapt the networks of a batch of tasks."""

    def __init__(self, encoder: Encoder, loop: InnerLoop) -> None:
        self.encoder = encoder
        self.loop = loop

    @abstractmethod
    def walk(self, start: Parameters, support: LabelledBatch) -> Iterator[AdaptedNetworks]:
        """Yield every task's network after 0, 1, ... steps."""

    @abstractmethod
    def slopes(self, parameters: Parameters, moved: frozenset[str], support: LabelledBatch) -> Parameters:
        """Return the slope of each task's support loss in the parameters that tasks move, each `[tasks, ...]`.

        Args:
            parameters: moved ones with the tasks as leading axis (or as all tasks share them, before the first step).
            moved: their names.
            support: of every task.
        """

    @abstractmethod
    def output(self, adapted: AdaptedNetworks, features: Features) -> Float[Tensor, "tasks m outputs"]:
        """Return the head's output for each query case under its task's own network."""

    def adapt(self, start: Parameters, support: LabelledBatch) -> AdaptedNetworks:
        """Return every task's network after the last step."""
        *_, last = self.walk(start, support)
        return last

    def law(self, adapted: AdaptedNetworks, query: CaseBatch) -> Law:
        """Return the law of each query case under its task's own network."""
        return law_of_output(self.output(adapted, query.features), adapted)

    def moved(self, start: Parameters) -> frozenset[str]:
        """Return the names of the parameters that tasks move."""
        return frozenset(name for name in start if self.loop.moves(name))


class AnyNetwork(Form):
    """Autograd on any `nn.Module`: all tasks at once under `torch.func.vmap`.

    Args:
        encoder: without batch statistics.
        loop: how a task adapts.
        chunk: tasks at once, which bounds the memory (every task owns a copy of what it moves); None for all.
    """

    def __init__(self, encoder: Encoder, loop: InnerLoop, *, chunk: int | None = None) -> None:
        super().__init__(encoder, loop)
        self.chunk = chunk

    def walk(self, start: Parameters, support: LabelledBatch) -> Iterator[AdaptedNetworks]:
        """Yield every task's network after 0, 1, ... steps."""
        names = self.moved(start)
        own = {name: start[name].expand(len(support.mask), *start[name].shape) for name in names}
        yield AdaptedNetworks(start | own, names, support.n_classes)
        for step in range(self.loop.steps):
            own = self.loop.stepped(step, own, self.slopes(start | own, names, support), start)
            yield AdaptedNetworks(start | own, names, support.n_classes)

    def slopes(self, parameters: Parameters, moved: frozenset[str], support: LabelledBatch) -> Parameters:
        """Return the slope of each task's support loss in its own parameters."""
        goals = goals_of(support, next(iter(parameters.values())).dtype)
        shared = {name: value for name, value in parameters.items() if name not in moved}

        def slope(own: Parameters, features: Features, goals: Tensor, mask: Tensor) -> Parameters:
            def loss(own: Parameters) -> Tensor:
                both = shared | own
                return output_loss(head_output(self.encoder, both, features), both, goals, mask)

            found: Parameters = torch.func.grad(loss)(own)
            return found

        batched = over_tasks(slope, in_dims=(0, 0, 0, 0), chunk=self.chunk)
        with ElementaryLayerNorm():
            found: Parameters = batched({n: parameters[n] for n in moved}, support.features, goals, support.mask)
        return found

    def output(self, adapted: AdaptedNetworks, features: Features) -> Float[Tensor, "tasks m outputs"]:
        """Return the head's output for each query case under its task's own network."""
        axes = {name: 0 if name in adapted.moved else None for name in adapted.parameters}

        def one(parameters: Parameters, features: Features) -> Tensor:
            return head_output(self.encoder, parameters, features)

        return over_tasks(one, in_dims=(axes, 0), chunk=self.chunk)(adapted.parameters, features)


class Chain(Form):
    """Batched arithmetic on a chain of layers; each task's parameters are laid out.

    Args:
        encoder: whose layers `chain.links_of` knows.
        loop: how a task adapts.
        links: the encoder's layers and the head.
    """

    def __init__(self, encoder: Encoder, loop: InnerLoop, links: list[Link]) -> None:
        super().__init__(encoder, loop)
        self.links = links

    def inputs(self, features: Features) -> Float[Tensor, "tasks n width"]:
        """Return the cases as they enter the first layer."""
        assert isinstance(self.encoder, Layered)
        return self.encoder.inputs(features)

    def walk(self, start: Parameters, support: LabelledBatch) -> Iterator[AdaptedNetworks]:
        """Yield every task's network after 0, 1, ... steps."""
        names, parameters, x = self.moved(start), start, self.inputs(support.features)
        yield AdaptedNetworks(self._laid_out(start, names, len(support.mask)), names, support.n_classes)
        for step in range(self.loop.steps):
            own = {name: parameters[name] for name in names}
            parameters = start | self.loop.stepped(step, own, self._slopes(parameters, names, support, x), start)
            yield AdaptedNetworks(parameters, names, support.n_classes)

    def slopes(self, parameters: Parameters, moved: frozenset[str], support: LabelledBatch) -> Parameters:
        """Return the slope of each task's support loss in the parameters that tasks move."""
        return self._slopes(parameters, moved, support, self.inputs(support.features))

    def _slopes(self, parameters: Parameters, moved: frozenset[str], support: LabelledBatch, x: Tensor) -> Parameters:
        output, tape = run(self.links, parameters, x)
        slope, found = output_slopes(output, parameters, goals_of(support, x.dtype), support.mask)
        more, _ = slopes(self.links, parameters, tape, slope, wanted=moved, to_input=False)
        return {name: value for name, value in (found | more).items() if name in moved}

    @staticmethod
    def _laid_out(start: Parameters, names: frozenset[str], n_tasks: int) -> Parameters:
        return {name: value.expand(n_tasks, *value.shape) if name in names else value for name, value in start.items()}

    def output(self, adapted: AdaptedNetworks, features: Features) -> Float[Tensor, "tasks m outputs"]:
        """Return the head's output for each query case under its task's own network."""
        return run(self.links, adapted.parameters, self.inputs(features))[0]


class HeadOnly(Chain):
    """The head alone on any encoder's embedding, which is computed once."""

    def __init__(self, encoder: Encoder, loop: InnerLoop) -> None:
        super().__init__(encoder, loop, _head(encoder))

    def inputs(self, features: Features) -> Float[Tensor, "tasks n width"]:
        """Return the embedding."""
        embedded: Tensor = self.encoder(features)
        return embedded


class WideChain(Chain):
    """A chain whose first layer is never laid out per task: its change is a combination of the support's own inputs.

    After k steps the pre-activation of a case x is x W^T + b - (x X^T) S_k - s_k, with X the support's inputs, S_k the sum of rate times the
    slopes of the first pre-activations and s_k that of their sums over cases. So the Gram matrix X X^T is computed once, x W^T once
    for all tasks together, and a task owns n x out numbers instead of width x out. Exact, to any order; pays where the width is
    well above n. It is the dual form of gradient descent on a linear layer.
    """

    @property
    def first(self) -> Affine:
        """The wide layer."""
        found = self.links[0]
        assert isinstance(found, Affine)
        return found

    def walk(self, start: Parameters, support: LabelledBatch) -> Iterator[AdaptedNetworks]:
        """Yield every task's network after 0, 1, ... steps."""
        names, x, rest = self.moved(start), self.inputs(support.features), self.links[1:]
        goals, rate = goals_of(support, x.dtype), self.loop.rate
        upper = names - set(self.first.names)
        base, _ = self.first.forward(start, x)
        gram = x @ x.mT
        front = Front(x, torch.zeros_like(base), torch.zeros_like(base[:, :1]))
        parameters = start
        yield AdaptedNetworks(self._laid_out(start, upper, len(x)), names, support.n_classes, front)
        for step in range(self.loop.steps):
            output, tape = run(rest, parameters, base - gram @ front.weight_step - front.bias_step)
            slope, found = output_slopes(output, parameters, goals, support.mask)
            more, below = slopes(rest, parameters, tape, slope, wanted=upper, to_input=True)
            assert below is not None
            found = {name: value for name, value in (found | more).items() if name in upper}
            parameters = start | self.loop.stepped(step, {name: parameters[name] for name in upper}, found, start)
            of_weight, of_bias = rate(step, self.first.weight), rate(step, self.first.bias)
            front = Front(
                x,
                front.weight_step * (1 - of_weight * self.loop.pull) + of_weight * below,
                front.bias_step * (1 - of_bias * self.loop.pull) + of_bias * below.sum(1, keepdim=True),
            )
            yield AdaptedNetworks(parameters, names, support.n_classes, front)

    def output(self, adapted: AdaptedNetworks, features: Features) -> Float[Tensor, "tasks m outputs"]:
        """Return the head's output for each query case under its task's own network."""
        x, front = self.inputs(features), adapted.front
        assert front is not None
        base, _ = self.first.forward(adapted.parameters, x)
        return run(
            self.links[1:], adapted.parameters, base - (x @ front.inputs.mT) @ front.weight_step - front.bias_step
        )[0]


def laid_out(adapted: AdaptedNetworks, first: str = ENCODER + "layers.0.") -> Parameters:
    """Return each task's parameters, those of a wide first layer laid out too (`[tasks, out, width]`: memory)."""
    front = adapted.front
    if front is None:
        return adapted.parameters
    weight, bias = adapted.parameters[first + "weight"], adapted.parameters[first + "bias"]
    return adapted.parameters | {
        first + "weight": weight - front.weight_step.mT @ front.inputs,
        first + "bias": bias - front.bias_step[:, 0],
    }


def form_for(encoder: Encoder, loop: InnerLoop, support: LabelledBatch, *, chunk: int | None = None) -> Form:
    """Return the fastest exact form to adapt this network on this support."""
    links = chain_of(encoder)
    if not any(loop.moves(ENCODER + name) for name, _ in encoder.named_parameters()):
        return HeadOnly(encoder, loop)
    if links is None:
        return AnyNetwork(encoder, loop, chunk=chunk)
    first, width = links[0], sum(block.shape[-1] for block in support.features.values())
    wide = width >= WIDE * support.mask.shape[1] and loop.scalar_front and isinstance(first, Affine)
    return (WideChain if wide and all(map(loop.moves, first.names)) else Chain)(encoder, loop, links)


def form_of(adapted: AdaptedNetworks, encoder: Encoder, loop: InnerLoop, *, chunk: int | None = None) -> Form:
    """Return the form to predict with what `form_for` adapted."""
    links = chain_of(encoder)
    if not any(name.startswith(ENCODER) for name in adapted.moved):
        return HeadOnly(encoder, loop)
    if links is None:
        return AnyNetwork(encoder, loop, chunk=chunk)
    return (Chain if adapted.front is None else WideChain)(encoder, loop, links)


def chain_of(encoder: Encoder) -> list[Link] | None:
    """Return the encoder and the head as one chain, or None where a layer of the encoder is unknown."""
    found = links_of(encoder.layers, ENCODER + "layers.") if isinstance(encoder, Layered) else None
    return None if found is None else found + _head(encoder)


def _head(encoder: Encoder) -> list[Link]:
    return [Scale(encoder.dim**-0.5), Affine("weight", "bias")]


def first_order(adapted: AdaptedNetworks, start: Parameters) -> AdaptedNetworks:
    """Return the same networks with the gradient of the start passed on unchanged: the first-order approximation (Finn et al. 2017, section 5.2).

    Args:
        adapted: made under `torch.no_grad`.
        start: what they started from.
    """
    own = {
        name: value if value is start[name] else value.detach() + (start[name] - start[name].detach())
        for name, value in adapted.parameters.items()
    }
    return replace(adapted, parameters=own)
