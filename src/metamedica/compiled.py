"""One graph for a meta-step: loss and gradient compiled whole, so that neither Python nor autograd runs in it.

`torch.compile` of `torch.func.grad_and_value`: a graph with autograd inside autograd is refused by it, one whose gradient is taken by
`torch.func` is not. A graph serves one shape, so that sizes are rounded up (padding changes nothing); each takes seconds to minutes once, and
PyTorch keeps it on disk for the next run.
"""

import logging
from collections.abc import Callable
from typing import Any, TypeAlias, cast

import torch
import torch._dynamo
from torch import Tensor, nn
from torch.nn import functional

from metamedica.types import CaseBatch, EpisodeBatch, LabelledBatch, Learner

MOST_GRAPHS = 64
_log = logging.getLogger(__name__)
_Shape: TypeAlias = tuple[object, ...]


def rounded_up(n: int) -> int:
    """Return the size that a graph is made for: 8, then four steps to every power of two."""
    step = max(8, 2 ** max(0, (n - 1).bit_length() - 3))
    return -(-n // step) * step


def with_room(batch: LabelledBatch) -> LabelledBatch:
    """Return the batch padded with hidden zeros to a size that graphs are made for."""
    more = rounded_up(batch.cases.n_cases) - batch.cases.n_cases

    def longer(value: Tensor) -> Tensor:
        return functional.pad(value, (0, 0) * (value.dim() - 2) + (0, more))

    return batch.map(longer) if more else batch


class CompiledGradient:
    """The gradient of a learner's `meta_loss` as one compiled graph for each shape of its episodes.

    What cannot be compiled (a learner whose steps depend on numbers, no C++ compiler) is computed as it is without, and a warning says so once
    and why. Loss and gradient are those of `meta_loss` up to rounding.

    Args:
        learner: its own parameters are read at each call, so that it may learn in between.
    """

    def __init__(self, learner: Learner[Any]) -> None:
        self.learner = learner
        self.not_compiled: dict[_Shape, str] = {}
        self._whole = _Loss(learner)
        self._graph = torch.compile(self._gradient, fullgraph=True, dynamic=False)

    def __call__(self, episodes: EpisodeBatch) -> Tensor:
        """Add the gradient to each parameter's `.grad` and return the loss, which carries no gradient.

        Args:
            episodes: standardised; a task's cases in any order.
        """
        shape = _shape_of(episodes)
        if shape not in self.not_compiled:
            try:
                return self._compiled(
                    EpisodeBatch(with_room(episodes.support), with_room(episodes.query), episodes.task_index)
                )
            except (
                Exception
            ) as error:  # whatever it is: what is wrong with the episodes is raised again by the plain step
                why = str(error).strip().partition("\n")[0]
                self.not_compiled[shape] = why
                _log.warning(
                    "the steps of %s could not be compiled (%s); they are taken without, at the usual speed",
                    type(self.learner).__name__,
                    why,
                )
        loss = self.learner.meta_loss(episodes)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def _compiled(self, episodes: EpisodeBatch) -> Tensor:
        parameters = {name: value for name, value in self._whole.named_parameters() if value.requires_grad}
        own = {name: value.detach() for name, value in parameters.items()}
        with torch._dynamo.config.patch(recompile_limit=MOST_GRAPHS, accumulated_recompile_limit=4 * MOST_GRAPHS):
            slopes, loss = self._graph(own, episodes)
        for name, parameter in parameters.items():
            slope = slopes[name]
            parameter.grad = slope if parameter.grad is None else parameter.grad + slope
        return cast(Tensor, loss)

    def _gradient(self, parameters: dict[str, Tensor], episodes: EpisodeBatch) -> tuple[dict[str, Tensor], Tensor]:
        def loss(own: dict[str, Tensor]) -> Tensor:
            found: Tensor = torch.func.functional_call(self._whole, own, (episodes,))
            return found

        taken: Callable[..., tuple[dict[str, Tensor], Tensor]] = torch.func.grad_and_value(loss)
        return taken(parameters)


class _Loss(nn.Module):
    """`meta_loss` as a module's call, as `torch.func.functional_call` takes it."""

    def __init__(self, learner: Learner[Any]) -> None:
        super().__init__()
        self.learner = learner

    def forward(self, episodes: EpisodeBatch) -> Tensor:
        return self.learner.meta_loss(episodes)


def _shape_of(episodes: EpisodeBatch) -> _Shape:
    def cases(batch: CaseBatch) -> _Shape:
        return (batch.mask.shape[0], rounded_up(batch.n_cases), *batch.features)

    return (
        episodes.support.kind,
        episodes.support.n_classes,
        cases(episodes.support.cases),
        cases(episodes.query.cases),
    )
