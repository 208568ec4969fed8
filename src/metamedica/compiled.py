"""One graph for a meta-step: loss and gradient compiled whole, so that neither Python nor autograd runs in it.

`torch.compile` of `torch.func.grad_and_value`: a graph with autograd inside autograd is refused by it, one whose gradient is taken by
`torch.func` is not. A graph serves one shape, so that sizes are rounded up (padding changes nothing), but for those that come first, as most
trainings have no other; each takes seconds to minutes once, and PyTorch keeps it on disk for the next run.
"""

import logging
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from metamedica.blocks import rows_of_table
from metamedica.errors import MetamedicaError
from metamedica.functional.task_random import drops
from metamedica.oriented import graph_pass
from metamedica.types import EpisodeBatch, Features, LabelledBatch, Learner

MOST_GRAPHS = 64
_FAR = 1e-3
"""Share of the largest slope by which a compiled gradient may differ: far above rounding, far below a fault."""
_SETTING = (int, float, str)
_log = logging.getLogger(__name__)
_Shape: TypeAlias = tuple[object, ...]


def rounded_up(n: int) -> int:
    """Return the size that a graph is made for: even, and from 8 on four to eight of them to a doubling."""
    step = max(2, 1 << max(0, (n - 1).bit_length() - 3))
    return -(-n // step) * step


def with_room(batch: LabelledBatch, size: int) -> LabelledBatch:
    """Return the batch padded with hidden zeros to so many cases a task; rows of a table with its empty row."""
    more = size - batch.cases.n_cases

    def longer(value: Tensor) -> Tensor:
        return functional.pad(value, (0, 0) * (value.dim() - 2) + (0, more))

    return batch.map(longer) if more else batch


class CompiledGradient:
    """The gradient of a learner's `meta_loss` as one compiled graph for each shape of its episodes.

    What cannot be compiled (a learner whose steps depend on numbers, dropout, no C++ compiler), or would be compiled wrongly, is not served, and a
    warning says so and why, once for each shape. Loss and gradient are those of `meta_loss` up to rounding.

    Args:
        learner: on its device; its parameters are read at each call, so that it may learn in between. What it is set to besides (its steps, its mode)
            belongs to the graph: with other settings a learner is another shape.

    Attributes:
        not_compiled: shape -> why.
    """

    def __init__(self, learner: Learner[Any]) -> None:
        self.learner = learner
        self.not_compiled: dict[_Shape, str] = {}
        self._taught: dict[_Shape, frozenset[str]] = {}
        self._first: tuple[int, int] | None = None
        self._whole = _Loss(learner)
        self._own = {name: value for name, value in self._whole.named_parameters() if value.requires_grad}
        self._graph: Callable[..., tuple[dict[str, Tensor], Tensor]] | None = None

    def serves(self, episodes: EpisodeBatch) -> bool:
        """Return whether there is a graph for the shape of these episodes; made and compared with `meta_loss` when it is first asked for.

        Args:
            episodes: standardised.
        """
        shape = self._shape_of(episodes)
        if shape not in self._taught and shape not in self.not_compiled:
            why = self._fault(episodes, shape)
            if why is not None:
                self.not_compiled[shape] = why
                name = type(self.learner).__name__
                _log.warning("steps of %s are taken without compiling, at the usual speed: %s", name, why)
        return shape in self._taught

    def __call__(self, episodes: EpisodeBatch, *, share: float = 1.0) -> Tensor:
        """Add a share of the gradient to each parameter's `.grad` and return that share of the loss, which carries no gradient.

        Args:
            episodes: standardised, of a shape that `serves` allows.
            share: of the whole batch's tasks that these are.
        """
        slopes, loss = self._compiled(episodes)
        own = self._own
        for name in self._taught[self._shape_of(episodes)]:
            slope, before = slopes[name] if share == 1 else share * slopes[name], own[name].grad
            own[name].grad = slope if before is None else before + slope
        return loss if share == 1 else share * loss

    def _fault(self, episodes: EpisodeBatch, shape: _Shape) -> str | None:
        """Return why this shape is not served; None where it is."""
        if drops(self.learner):
            return "dropout draws from each task's own seed; give the encoder dropout 0 to compile"
        from torch._dynamo import config  # here: importing it takes a second and changes global settings

        slopes = self._plain(episodes)
        try:
            with config.patch(recompile_limit=MOST_GRAPHS, accumulated_recompile_limit=4 * MOST_GRAPHS):
                found, _ = self._compiled(episodes)
        except (RuntimeError, MetamedicaError) as error:
            return str(error).strip().partition("\n")[0]
        near = _FAR * max(float(slope.abs().max()) for slope in slopes.values())
        far = [name for name, slope in slopes.items() if not float((found[name] - slope).abs().max()) <= near]
        if far:
            return f"the compiled gradient of {', '.join(far[:3])} is another one"
        self._taught[shape] = frozenset(slopes)
        return None

    def _plain(self, episodes: EpisodeBatch) -> dict[str, Tensor]:
        slopes = torch.autograd.grad(self._whole(episodes), list(self._own.values()), allow_unused=True)
        return {name: slope for name, slope in zip(self._own, slopes, strict=True) if slope is not None}

    def _compiled(self, episodes: EpisodeBatch) -> tuple[dict[str, Tensor], Tensor]:
        own = {name: value.detach() for name, value in self._own.items()}
        own_size, asked_size = self._sizes(episodes)
        room = EpisodeBatch(
            with_room(episodes.support, own_size), with_room(episodes.query, asked_size), episodes.task_index
        )
        if self._graph is None:
            on_cpu = all(value.device.type == "cpu" for value in own.values())
            options = _options_on_a_cpu() if on_cpu else None
            self._graph = torch.compile(self._gradient, fullgraph=True, dynamic=False, options=options)
        return self._graph(own, room)

    def _sizes(self, episodes: EpisodeBatch) -> tuple[int, int]:
        """Return the cases a task, of support and query, of the graph for these episodes."""
        sizes = episodes.support.cases.n_cases, episodes.query.cases.n_cases
        self._first = self._first or sizes
        return sizes if sizes == self._first else (rounded_up(sizes[0]), rounded_up(sizes[1]))

    def _shape_of(self, episodes: EpisodeBatch) -> _Shape:
        def names(features: Features) -> _Shape:
            return (*features, *(name for name, block in features.items() if rows_of_table(block) is not None))

        support, query, settings = episodes.support, episodes.query, vars(self.learner).items()
        return (
            support.kind,
            support.n_classes,
            len(episodes.task_index),
            self._sizes(episodes),
            names(support.features),
            names(query.features),
            *((name, value) for name, value in settings if isinstance(value, _SETTING)),
        )

    def _gradient(self, parameters: dict[str, Tensor], episodes: EpisodeBatch) -> tuple[dict[str, Tensor], Tensor]:
        def loss(own: dict[str, Tensor]) -> Tensor:
            found: Tensor = torch.func.functional_call(self._whole, own, (episodes,))
            return found

        taken: Callable[..., tuple[dict[str, Tensor], Tensor]] = torch.func.grad_and_value(loss)
        return taken(parameters)


def _options_on_a_cpu() -> dict[str, Any]:
    """Return options of torch's inductor: a graph is called from C++, its products are turned the fast way round, and whether it serves is asked of
    shapes and global state only (the learner's settings are in the shape that is asked for)."""
    return {
        "cpp_wrapper": True,
        "post_grad_custom_post_pass": graph_pass(),
        "guard_filter_fn": torch.compiler.keep_portable_guards_unsafe,
    }


class _Loss(nn.Module):
    """`meta_loss` as a module's call, as `torch.func.functional_call` takes it."""

    def __init__(self, learner: Learner[Any]) -> None:
        super().__init__()
        self.learner = learner

    def forward(self, episodes: EpisodeBatch) -> Tensor:
        return self.learner.meta_loss(episodes)
