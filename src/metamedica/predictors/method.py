"""A learner as a *method*: support and query in the task's own units in, a law in those units out."""

from typing import Any, Protocol, runtime_checkable

import torch

from metamedica.functional.targets import TargetScale, law_in_units, scale_of, standardise
from metamedica.types import CaseBatch, LabelledBatch, Law, Learner


@runtime_checkable
class Adapted(Protocol):
    """What a method knows after the support of a batch of tasks."""

    def predict(self, query: CaseBatch) -> Law:
        """Return the law of each query case, in the task's units."""


@runtime_checkable
class Method(Protocol):
    """Anything that adapts to the support of a batch of tasks; evaluation compares methods."""

    def adapt(self, support: LabelledBatch) -> Adapted:
        """Return what the support teaches; the method stays as it was."""

    def __call__(self, support: LabelledBatch, query: CaseBatch) -> Law:
        """Return `adapt(support).predict(query)`."""


class AdaptedLearner:
    """A learner's state for a batch of tasks, with the scale of each task's targets."""

    def __init__(self, learner: Learner[Any], state: Any, scale: TargetScale) -> None:
        self.learner = learner
        self.state = state
        self.scale = scale

    def predict(self, query: CaseBatch) -> Law:
        """Return the law of each query case, in the task's units."""
        with torch.no_grad():
            return law_in_units(self.learner.predict(self.state, query), self.scale)


class LearnerMethod:
    """Adapt a frozen learner to each task of a batch.

    Args:
        learner: trained, or from scratch; put into evaluation mode.
        usual_scale: standard deviation that regression tasks with this unit usually have, in that unit; None where unknown.
    """

    def __init__(self, learner: Learner[Any], *, usual_scale: float | None = None) -> None:
        self.learner = learner.eval()
        self.usual_scale = usual_scale

    def adapt(self, support: LabelledBatch) -> AdaptedLearner:
        """Return the learner adapted to each task.

        Raises:
            TaskError: the learner does not allow tasks of this kind, or cannot learn from this support.
        """
        self.learner.check_kind(support.kind)
        scale = scale_of(support, usual_scale=self.usual_scale)
        with torch.no_grad():
            return AdaptedLearner(self.learner, self.learner.adapt(standardise(support, scale)), scale)

    def __call__(self, support: LabelledBatch, query: CaseBatch) -> Law:
        """Return the law of each query case, in the units of the support's targets."""
        return self.adapt(support).predict(query)
