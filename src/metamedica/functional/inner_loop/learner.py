"""What every learner that adapts by gradient steps has in common: an encoder, a head per kind, and an inner loop."""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch

from metamedica.functional.in_turn import tasks_at_once
from metamedica.functional.inner_loop.chain import Parameters
from metamedica.functional.inner_loop.choice import first_order, form_for, form_of, one_graph_for_all
from metamedica.functional.inner_loop.forms import Form
from metamedica.functional.inner_loop.loop import InnerLoop
from metamedica.functional.inner_loop.networks import AdaptedNetworks, KindHeads, start_parameters
from metamedica.types import CaseBatch, Encoder, LabelledBatch, Law, Learner, Ranges, TaskKind


class InnerLoopLearner(Learner[AdaptedNetworks], ABC):
    """Adapts a network by the gradient steps that `loop` describes, and predicts with each task's own network.

    Args:
        encoder: learned; without batch statistics (they would couple tasks).
        max_classes: most classes of a multiclass task.
        rate: inner learning rate; where rates are learned, what they start from.
        steps: inner steps, in training and in use.
        chunk: tasks that are adapted at once where the encoder is no chain of layers (memory: each owns a copy); None for all, but for
            convolutions on a CPU one after another without vmap, as 1 is (`in_turn.tasks_at_once`).
        checkpoint: whether the backward pass computes inner steps again instead of keeping them: less memory where steps are many, more
            time, the same numbers.
    """

    kinds: ClassVar[frozenset[TaskKind]] = frozenset({"binary", "multiclass", "regression"})
    ranges: ClassVar[Ranges] = {"max_classes": None}

    def __init__(
        self,
        encoder: Encoder,
        *,
        max_classes: int = 10,
        rate: float = 0.1,
        steps: int = 5,
        chunk: int | None = None,
        checkpoint: bool = False,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.heads = KindHeads(encoder.dim, max_classes=max_classes)
        self.rate = rate
        self.steps = steps
        self.chunk = chunk
        self.checkpoint = checkpoint

    @abstractmethod
    def loop(self, kind: TaskKind) -> InnerLoop:
        """Return how a task of this kind adapts."""

    def begin(self, support: LabelledBatch) -> tuple[Form, Parameters]:
        """Return the form that runs the inner loop and the parameters that it starts from.

        Raises:
            TaskError: a kind that the learner does not allow, or more classes than `max_classes`.
        """
        self.check_kind(support.kind)
        self.heads.check_classes(support.kind, support.n_classes)
        start = start_parameters(self.encoder, self.heads, support.kind)
        loop = self.loop(support.kind)
        return form_for(self.encoder, loop, support, chunk=self.chunk, checkpoint=self.checkpoint), start

    def tasks_at_once(self, kind: TaskKind) -> int | None:
        """Return how many tasks adapt at a time."""
        together = one_graph_for_all(self.encoder, self.loop(kind))
        return None if together else tasks_at_once(self.encoder, self.chunk)

    def adapt(self, support: LabelledBatch) -> AdaptedNetworks:
        """Return each task's network after the inner steps; differentiable through the steps where gradients are enabled.

        Raises:
            TaskError: more classes than `max_classes`.
        """
        form, start = self.begin(support)
        return form.adapt(start, support)

    def adapt_first_order(self, support: LabelledBatch) -> AdaptedNetworks:
        """Return each task's network after the inner steps; its gradient is passed to the start unchanged.

        Raises:
            TaskError: more classes than `max_classes`.
        """
        form, start = self.begin(support)
        with torch.no_grad():
            adapted = form.adapt(start, support)
        return first_order(adapted, start)

    def predict(self, state: AdaptedNetworks, query: CaseBatch) -> Law:
        """Return the law of each query case under its task's own network."""
        kind: TaskKind = "regression" if state.n_classes is None else "multiclass"
        return form_of(state, self.encoder, self.loop(kind), chunk=self.chunk).law(state, query)
