"""One way to adapt the networks of a batch of tasks: the base, and the form that serves any network.

Finn et al. 2017 (arXiv:1703.03400), eq. 1: theta_i' = theta - rate * d loss_i / d theta, several times. All forms are differentiable
in the start, to any order, and work under `torch.no_grad`. Which one runs changes speed and memory only (`choice.form_for` picks it).
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from metamedica.functional.inner_loop.again import again, stretch_of
from metamedica.functional.inner_loop.chain import Parameters
from metamedica.functional.inner_loop.loop import InnerLoop
from metamedica.functional.inner_loop.networks import (
    AdaptedNetworks,
    goals_of,
    head_output,
    law_of_output,
    output_loss,
)
from metamedica.functional.layer_norm import ElementaryLayerNorm
from metamedica.functional.task_random import over_tasks
from metamedica.types import CaseBatch, Encoder, Features, LabelledBatch, Law

_LOG_ROOT = 0.5 * math.log(2 * math.pi)
"""What the loss of regression leaves out of the negative log-likelihood."""
_Slopes: TypeAlias = tuple[Parameters, Tensor]
"""Slopes of a loss, and the loss."""


class Form(ABC):
    """One way to adapt the networks of a batch of tasks.

    Args:
        encoder: of the network.
        loop: how a task adapts.
    """

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
        return _last(self.walk(start, support))

    def descend(self, start: Parameters, support: LabelledBatch) -> tuple[AdaptedNetworks, Float[Tensor, " tasks"]]:
        """Return every task's network after the last step, and the support's mean log-likelihood before that step, which the step comes by."""
        walk = self.walk(start, support)
        before = after = next(walk)
        for adapted in walk:
            before, after = after, adapted
        return after, support.log_likelihood(self.law(before, support.cases))

    def law(self, adapted: AdaptedNetworks, query: CaseBatch) -> Law:
        """Return the law of each query case under its task's own network."""
        return law_of_output(self.output(adapted, query.features), adapted.parameters, adapted.n_classes)

    def moved(self, start: Parameters) -> frozenset[str]:
        """Return the names of the parameters that tasks move."""
        return frozenset(name for name in start if self.loop.moves(name))


def _last(walk: Iterator[AdaptedNetworks]) -> AdaptedNetworks:
    """Return the network after the last step; the copies of earlier steps are let go."""
    for adapted in walk:
        last = adapted
    return last


def _autograd(loss: Callable[[Parameters], Tensor]) -> Callable[[Parameters], _Slopes]:
    """Return `torch.func.grad_and_value(loss)` by plain autograd, differentiable where gradients are enabled."""

    def slopes(own: Parameters) -> _Slopes:
        exact = torch.is_grad_enabled()
        with torch.enable_grad():
            here = {
                name: value if exact and value.requires_grad else value.detach().requires_grad_()
                for name, value in own.items()
            }
            inputs, value = list(here.values()), loss(here)
            found = torch.autograd.grad(value, inputs, create_graph=exact, materialize_grads=True)
        return dict(zip(here, found, strict=True)), value if exact else value.detach()

    return slopes


class AnyNetwork(Form):
    """Autograd on any `nn.Module`: all tasks at once under `torch.func.vmap`, or one after another.

    Args:
        encoder: without batch statistics.
        loop: how a task adapts.
        chunk: tasks at once, which bounds the memory (every task owns a copy of what it moves); None for all, 1 without vmap.
        checkpoint: whether the backward pass computes inner steps again, in stretches of about sqrt(steps) (`again`).
    """

    def __init__(
        self, encoder: Encoder, loop: InnerLoop, *, chunk: int | None = None, checkpoint: bool = False
    ) -> None:
        super().__init__(encoder, loop)
        self.chunk = chunk
        self.checkpoint = checkpoint

    def walk(self, start: Parameters, support: LabelledBatch) -> Iterator[AdaptedNetworks]:
        """Yield every task's network after 0, 1, ... steps."""
        return self._walk(start, support, 1)

    def adapt(self, start: Parameters, support: LabelledBatch) -> AdaptedNetworks:
        """Return every task's network after the last step."""
        return _last(self._walk(start, support, stretch_of(self.loop.steps)))

    def _walk(self, start: Parameters, support: LabelledBatch, several: int) -> Iterator[AdaptedNetworks]:
        """Yield every task's network at the start and after so many steps each time."""
        names = self.moved(start)
        own = {name: start[name].expand(len(support.mask), *start[name].shape) for name in names}
        yield AdaptedNetworks(start | own, names, support.n_classes)
        for first in range(0, self.loop.steps, several):
            stretch = range(first, min(first + several, self.loop.steps))
            own = self._further(stretch, start, own, support)
            yield AdaptedNetworks(start | own, names, support.n_classes)

    def _further(self, stretch: range, start: Parameters, own: Parameters, support: LabelledBatch) -> Parameters:
        names = frozenset(own)

        def taken(loop: InnerLoop, start: Parameters, own: Parameters) -> Parameters:
            for step in stretch:
                slopes = self.slopes(start | own, names, support)
                own = loop.stepped(step, own, {name: -value for name, value in slopes.items()}, start)
            return own

        if not (self.checkpoint and torch.is_grad_enabled()):
            return taken(self.loop, start, own)
        rates = self.loop.table(stretch, own)

        def steps(given: Sequence[Tensor]) -> Sequence[Tensor]:
            tensors = iter(given)
            each = [dict(zip(block, tensors, strict=False)) for block in (own, start)]
            found = taken(self.loop.with_rates(rates, list(tensors)), each[1], each[0])
            return [found[name] for name in own]

        found = again(steps, [*own.values(), *start.values(), *rates.tensors])
        return dict(zip(own, found, strict=True))

    def descend(self, start: Parameters, support: LabelledBatch) -> tuple[AdaptedNetworks, Float[Tensor, " tasks"]]:
        """Return every task's network after the last step, and the support's mean log-likelihood before that step."""
        if self.loop.steps == 0:
            return super().descend(start, support)
        names = self.moved(start)
        own = {name: start[name].expand(len(support.mask), *start[name].shape) for name in names}
        for step in range(self.loop.steps):
            slopes, loss = self._slopes(start | own, names, support)
            own = self.loop.stepped(step, own, {name: -value for name, value in slopes.items()}, start)
        left_out = _LOG_ROOT if support.n_classes is None else 0.0
        return AdaptedNetworks(start | own, names, support.n_classes), -loss - left_out

    def slopes(self, parameters: Parameters, moved: frozenset[str], support: LabelledBatch) -> Parameters:
        """Return the slope of each task's support loss in its own parameters."""
        return self._slopes(parameters, moved, support)[0]

    def _slopes(self, parameters: Parameters, moved: frozenset[str], support: LabelledBatch) -> _Slopes:
        """Return the slopes and the losses."""
        goals = goals_of(support, next(iter(parameters.values())).dtype)
        shared = {name: value for name, value in parameters.items() if name not in moved}

        def slope(own: Parameters, features: Features, goals: Tensor, mask: Tensor) -> _Slopes:
            def loss(own: Parameters) -> Tensor:
                both = shared | own
                return output_loss(head_output(self.encoder, both, features), both, goals, mask)

            # autograd knows no vmap, and is a quarter faster than torch.func where tasks come one after another
            gradient = _autograd if self.chunk == 1 else torch.func.grad_and_value
            found: _Slopes = gradient(loss)(own)
            return found

        batched = over_tasks(slope, in_dims=(0, 0, 0, 0), chunk=self.chunk)
        with ElementaryLayerNorm():
            found: _Slopes = batched({n: parameters[n] for n in moved}, support.features, goals, support.mask)
        return found

    def output(self, adapted: AdaptedNetworks, features: Features) -> Float[Tensor, "tasks m outputs"]:
        """Return the head's output for each query case under its task's own network."""
        axes = {name: 0 if name in adapted.moved else None for name in adapted.parameters}

        def one(parameters: Parameters, features: Features) -> Tensor:
            return head_output(self.encoder, parameters, features)

        return over_tasks(one, in_dims=(axes, 0), chunk=self.chunk)(adapted.parameters, features)
