"""Forms for encoders that are a chain of layers: gradients written out, all tasks at once, no autograd inside."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TypeAlias, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from metamedica.functional.inner_loop.chain import Affine, Downhill, Link, Parameters, matrices, run, slopes
from metamedica.functional.inner_loop.forms import Form
from metamedica.functional.inner_loop.loop import InnerLoop
from metamedica.functional.inner_loop.networks import (
    ENCODER,
    AdaptedNetworks,
    Front,
    goals_of,
    law_of_output,
    output_slopes,
    shares,
)
from metamedica.functional.layered import Layered
from metamedica.functional.sparse import Piece, affine, gram, laid_out
from metamedica.functional.task_random import repeatable
from metamedica.types import Encoder, Features, LabelledBatch, Law

Found = TypeVar("Found")
_Standing: TypeAlias = tuple[Parameters, Front, Tensor]
"""A task after some steps: its upper layers, its first one, and its support's pre-activations there. (Named, since graphs do not build types.)"""


class Chain(Form):
    """Batched arithmetic on a chain of layers; each task's parameters are laid out.

    Args:
        encoder: whose layers `chain.links_of` knows.
        loop: how a task adapts.
        links: the encoder's layers and the head.
        checkpoint: whether the backward pass computes each inner step again instead of keeping what it needs of it (Chen et al. 2016,
            arXiv:1604.06174): memory grows by a step's end instead of a step, at the cost of one more forward pass. Changes no number.
    """

    def __init__(self, encoder: Encoder, loop: InnerLoop, links: list[Link], *, checkpoint: bool = False) -> None:
        super().__init__(encoder, loop)
        self.links = links
        self.checkpoint = checkpoint

    def _step(self, function: Callable[..., Found], *given: object) -> Found:
        """Return what one inner step returns, kept for the backward pass or computed again there."""
        if not (self.checkpoint and torch.is_grad_enabled()):
            return function(*given)
        found: Found = checkpoint(repeatable(function), *given, use_reentrant=False)
        return found

    def inputs(self, features: Features) -> Float[Tensor, "tasks n width"]:
        """Return the cases as they enter the first layer."""
        assert isinstance(self.encoder, Layered)
        return self.encoder.inputs(features)

    def walk(self, start: Parameters, support: LabelledBatch) -> Iterator[AdaptedNetworks]:
        """Yield every task's network after 0, 1, ... steps."""
        names, parameters, x = self.moved(start), start, self.inputs(support.features)
        factor, loop = self.loop.folded()
        goals, share = goals_of(support, x.dtype), -factor * shares(support.mask, x.dtype)
        yield AdaptedNetworks(per_task(start, names, len(x)), names, support.n_classes)

        def further(step: int, own: Parameters) -> Parameters:
            return loop.stepped(step, own, self._slopes(start | own, names, x, goals, share), start)

        for step in range(loop.steps):
            parameters = start | self._step(further, step, {name: parameters[name] for name in names})
            yield AdaptedNetworks(parameters, names, support.n_classes)

    def slopes(self, parameters: Parameters, moved: frozenset[str], support: LabelledBatch) -> Parameters:
        """Return the slope of each task's support loss in the parameters that tasks move."""
        x = self.inputs(support.features)
        return matrices(self._slopes(parameters, moved, x, goals_of(support, x.dtype), shares(support.mask, x.dtype)))

    def _slopes(
        self, parameters: Parameters, moved: frozenset[str], x: Tensor, goals: Tensor, share: Tensor
    ) -> Downhill:
        output, tape = run(self.links, parameters, x)
        slope, found = output_slopes(output, parameters, goals, share)
        more, _ = slopes(self.links, parameters, tape, slope, wanted=moved, to_input=False)
        return {name: value for name, value in (found | dict(more)).items() if name in moved}

    def output(self, adapted: AdaptedNetworks, features: Features) -> Float[Tensor, "tasks m outputs"]:
        """Return the head's output for each query case under its task's own network."""
        return run(self.links, adapted.parameters, self.inputs(features))[0]


class HeadOnly(Chain):
    """The head alone on any encoder's embedding, which is computed once."""

    def __init__(self, encoder: Encoder, loop: InnerLoop, *, checkpoint: bool = False) -> None:
        super().__init__(encoder, loop, head_links(encoder), checkpoint=checkpoint)

    def inputs(self, features: Features) -> Float[Tensor, "tasks n width"]:
        """Return the embedding."""
        embedded: Tensor = self.encoder(features)
        return embedded


class WideChain(Chain):
    """A chain whose first layer is never laid out per task: its change is a combination of the support's own inputs.

    After k steps the pre-activation of a case x is x W^T + b + (x X^T + 1) S_k, with X the support's inputs and S_k the sum of rate times
    minus the slopes of the first pre-activations. So the Gram matrix X X^T is computed once, x W^T once for all tasks together, and a
    task owns n x out numbers instead of width x out. Exact, to any order; pays where the width is well above n. It is the dual
    form of gradient descent on a linear layer.
    """

    @property
    def first(self) -> Affine:
        """The wide layer."""
        found = self.links[0]
        assert isinstance(found, Affine)
        return found

    def shared(self, start: Parameters, features: Features) -> tuple[Sequence[Piece], Float[Tensor, "tasks n out"]]:
        """Return the cases as they enter the first layer and their pre-activations as `start` has them."""
        assert isinstance(self.encoder, Layered)
        pieces = self.encoder.pieces(features)
        return pieces, affine(pieces, start[self.first.weight].mT, start[self.first.bias])

    def walk(self, start: Parameters, support: LabelledBatch) -> Iterator[AdaptedNetworks]:
        """Yield every task's network after 0, 1, ... steps."""
        names, rest = self.moved(start), self.links[1:]
        upper = names - set(self.first.names)
        pieces, base = self.shared(start, support.features)
        factor, loop = self.loop.folded()
        goals, share = goals_of(support, base.dtype), -factor * shares(support.mask, base.dtype)
        kernel = gram(pieces, pieces)
        front, now, parameters = Front(pieces, kernel, base), base, start
        yield AdaptedNetworks(per_task(start, upper, len(base)), names, support.n_classes, front)

        def further(step: int, own: Parameters, front: Front, now: Tensor) -> _Standing:
            output, tape = run(rest, start | own, now)
            slope, found = output_slopes(output, start | own, goals, share)
            more, below = slopes(rest, start | own, tape, slope, wanted=upper, to_input=True)
            assert below is not None
            downhill = {name: value for name, value in (found | dict(more)).items() if name in upper}
            own = loop.stepped(step, own, downhill, start)
            rates = loop.rate(step, self.first.weight), loop.rate(step, self.first.bias)
            front = front.further(below, *rates, pull=loop.pull)
            if step + 1 < loop.steps:
                now = (
                    front.change(kernel, base) if loop.pull else torch.baddbmm(now, rates[0] * kernel + rates[1], below)
                )
            return own, front, now

        for step in range(loop.steps):
            own, front, now = self._step(further, step, {name: parameters[name] for name in upper}, front, now)
            parameters = start | own
            yield AdaptedNetworks(parameters, names, support.n_classes, front)

    def reached(self, adapted: AdaptedNetworks, support: LabelledBatch) -> Law:
        """Return the law of each case of the support that the tasks adapted on, under its task's own network."""
        front = adapted.front
        assert front is not None
        output = run(self.links[1:], adapted.parameters, front.change(front.kernel, front.base))[0]
        return law_of_output(output, adapted.parameters, adapted.n_classes)

    def output(self, adapted: AdaptedNetworks, features: Features) -> Float[Tensor, "tasks m outputs"]:
        """Return the head's output for each query case under its task's own network."""
        assert adapted.front is not None
        pieces, base = self.shared(adapted.parameters, features)
        now = adapted.front.change(gram(pieces, adapted.front.inputs), base)
        return run(self.links[1:], adapted.parameters, now)[0]


def head_links(encoder: Encoder) -> list[Link]:
    """Return the head on the encoder's embedding, which it reads divided by sqrt(dim)."""
    return [Affine("weight", "bias", factor=encoder.dim**-0.5)]


def per_task(start: Parameters, names: frozenset[str], n_tasks: int) -> Parameters:
    """Return the start with the tasks as leading axis of the parameters that they will move."""
    return {name: value.expand(n_tasks, *value.shape) if name in names else value for name, value in start.items()}


def all_laid_out(adapted: AdaptedNetworks, first: str = ENCODER + "layers.0.") -> AdaptedNetworks:
    """Return the same networks with each task's parameters of a wide first layer laid out too (`[tasks, out, width]`: memory)."""
    front = adapted.front
    if front is None or front.weight_step is None or front.bias_step is None:
        return replace(adapted, front=None)
    weight, bias = adapted.parameters[first + "weight"], adapted.parameters[first + "bias"]
    own = {
        first + "weight": weight + front.weight_step.mT @ laid_out(front.inputs),
        first + "bias": bias + front.bias_step.sum(1),
    }
    return replace(adapted, parameters=adapted.parameters | own, front=None)
