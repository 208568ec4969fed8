"""Forms for encoders that are a chain of layers: gradients written out, all tasks at once, no autograd inside."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from metamedica.functional.embedded import embedding
from metamedica.functional.inner_loop.again import stretch_of
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
from metamedica.types import Encoder, Features, LabelledBatch

Found = TypeVar("Found")
_Standing: TypeAlias = tuple[Parameters, Front | None, Tensor | None]
"""Tasks after some steps: what they moved, and where the first layer is wide that layer and their supports' pre-activations there."""
_Stepped: TypeAlias = tuple[_Standing, Tensor]
"""Where tasks stand after a step, and the output for their supports before it."""


@dataclass(frozen=True)
class Course:
    """How the tasks of a batch go from step to step.

    Args:
        begun: where they stand before the first step.
        further: `(step, standing)` -> where they stand after that step, and the output for their supports before it.
        networks: of tasks that stand somewhere.
    """

    begun: _Standing
    further: Callable[[int, _Standing], _Stepped]
    networks: Callable[[_Standing], AdaptedNetworks]


class Chain(Form):
    """Batched arithmetic on a chain of layers; each task's parameters are laid out.

    Args:
        encoder: whose layers `chain.links_of` knows.
        loop: how a task adapts.
        links: the encoder's layers and the head.
        checkpoint: whether the backward pass computes inner steps again instead of keeping what it needs of them, at the cost of one more
            forward pass (Chen et al. 2016, arXiv:1604.06174, section 4: stretches of about sqrt(steps), so that the memory of K steps is that of
            2 sqrt(K); where each step's networks are asked for, one at a time). Changes no number.
    """

    def __init__(self, encoder: Encoder, loop: InnerLoop, links: list[Link], *, checkpoint: bool = False) -> None:
        super().__init__(encoder, loop)
        self.links = links
        self.checkpoint = checkpoint

    def _again(self, function: Callable[..., Found], *given: object) -> Found:
        """Return what some inner steps return, kept for the backward pass or computed again there."""
        if not (self.checkpoint and torch.is_grad_enabled()):
            return function(*given)
        found: Found = checkpoint(repeatable(function), *given, use_reentrant=False)
        return found

    def walk(self, start: Parameters, support: LabelledBatch) -> Iterator[AdaptedNetworks]:
        """Yield every task's network after 0, 1, ... steps."""
        course = self.course(start, support)
        standing = course.begun
        yield course.networks(standing)
        for step in range(self.loop.steps):
            standing, _ = self._again(course.further, step, standing)
            yield course.networks(standing)

    def adapt(self, start: Parameters, support: LabelledBatch) -> AdaptedNetworks:
        """Return every task's network after the last step."""
        course, steps = self.course(start, support), self.loop.steps
        several = stretch_of(steps)

        def stretch(first: int, standing: _Standing) -> _Standing:
            for step in range(first, min(first + several, steps)):
                standing, _ = course.further(step, standing)
            return standing

        standing = course.begun
        for first in range(0, steps, several):
            standing = self._again(stretch, first, standing)
        return course.networks(standing)

    def descend(self, start: Parameters, support: LabelledBatch) -> tuple[AdaptedNetworks, Float[Tensor, " tasks"]]:
        """Return every task's network after the last step, and the support's mean log-likelihood before that step."""
        if self.loop.steps == 0:
            return super().descend(start, support)
        course = self.course(start, support)
        after = course.begun
        for step in range(self.loop.steps):
            before = after
            after, output = course.further(step, before)
        law = law_of_output(output, course.networks(before).parameters, support.n_classes)
        return course.networks(after), support.log_likelihood(law)

    def inputs(self, features: Features) -> Float[Tensor, "tasks n width"]:
        """Return the cases as they enter the first layer."""
        assert isinstance(self.encoder, Layered)
        return self.encoder.inputs(features)

    def course(self, start: Parameters, support: LabelledBatch) -> "Course":
        """Return how the tasks go from step to step."""
        names, x = self.moved(start), self.inputs(support.features)
        factor, loop = self.loop.folded()
        goals, share = goals_of(support, x.dtype), -factor * shares(support.mask, x.dtype)

        def further(step: int, standing: _Standing) -> _Stepped:
            own, front, now = standing
            output, downhill = self._slopes(start | own, names, x, goals, share)
            return (loop.stepped(step, own, downhill, start), front, now), output

        def networks(standing: _Standing) -> AdaptedNetworks:
            return AdaptedNetworks(start | per_task(standing[0], start, len(x)), names, support.n_classes)

        return Course(({name: start[name] for name in names}, None, None), further, networks)

    def slopes(self, parameters: Parameters, moved: frozenset[str], support: LabelledBatch) -> Parameters:
        """Return the slope of each task's support loss in the parameters that tasks move."""
        x = self.inputs(support.features)
        goals, share = goals_of(support, x.dtype), shares(support.mask, x.dtype)
        return matrices(self._slopes(parameters, moved, x, goals, share)[1])

    def _slopes(
        self, parameters: Parameters, moved: frozenset[str], x: Tensor, goals: Tensor, share: Tensor
    ) -> tuple[Tensor, Downhill]:
        output, tape = run(self.links, parameters, x)
        slope, found = output_slopes(output, parameters, goals, share)
        more, _ = slopes(self.links, parameters, tape, slope, wanted=moved, to_input=False)
        return output, {name: value for name, value in (found | dict(more)).items() if name in moved}

    def output(self, adapted: AdaptedNetworks, features: Features) -> Float[Tensor, "tasks m outputs"]:
        """Return the head's output for each query case under its task's own network."""
        return run(self.links, adapted.parameters, self.inputs(features))[0]


class HeadOnly(Chain):
    """The head alone on any encoder's embedding, which is computed once."""

    def __init__(self, encoder: Encoder, loop: InnerLoop, *, checkpoint: bool = False) -> None:
        super().__init__(encoder, loop, head_links(encoder), checkpoint=checkpoint)

    def inputs(self, features: Features) -> Float[Tensor, "tasks n width"]:
        """Return the embedding."""
        return embedding(self.encoder, features)


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

    def course(self, start: Parameters, support: LabelledBatch) -> "Course":
        """Return how the tasks go from step to step."""
        names, rest = self.moved(start), self.links[1:]
        upper = names - set(self.first.names)
        pieces, base = self.shared(start, support.features)
        factor, loop = self.loop.folded()
        goals, share = goals_of(support, base.dtype), -factor * shares(support.mask, base.dtype)
        kernel = gram(pieces, pieces)

        def further(step: int, standing: _Standing) -> _Stepped:
            own, front, now = standing
            assert front is not None
            assert now is not None
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
            return (own, front, now), output

        def networks(standing: _Standing) -> AdaptedNetworks:
            own = per_task(standing[0], start, len(base))
            return AdaptedNetworks(start | own, names, support.n_classes, standing[1])

        return Course(({name: start[name] for name in upper}, Front(pieces, kernel, base), base), further, networks)

    def output(self, adapted: AdaptedNetworks, features: Features) -> Float[Tensor, "tasks m outputs"]:
        """Return the head's output for each query case under its task's own network."""
        assert adapted.front is not None
        pieces, base = self.shared(adapted.parameters, features)
        now = adapted.front.change(gram(pieces, adapted.front.inputs), base)
        return run(self.links[1:], adapted.parameters, now)[0]


def head_links(encoder: Encoder) -> list[Link]:
    """Return the head on the encoder's embedding, which it reads divided by sqrt(dim)."""
    return [Affine("weight", "bias", factor=encoder.dim**-0.5)]


def per_task(own: Parameters, start: Parameters, n_tasks: int) -> Parameters:
    """Return what tasks move with the tasks as leading axis, also before their first step, when all share it."""
    return {
        name: value if value.dim() > start[name].dim() else value.expand(n_tasks, *value.shape)
        for name, value in own.items()
    }


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
