"""A learner as a *method*: support and query in the task's own units in, a law in those units out."""

from typing import Any, Protocol, cast, runtime_checkable

import torch

from metamedica import registry
from metamedica.errors import InputError
from metamedica.functional.descriptions import ReadsDescriptions
from metamedica.functional.targets import TargetScale, law_in_units, scale_of, standardise
from metamedica.types import CaseBatch, ClosedForm, LabelledBatch, Law, Learner
from metamedica.unlabelled import Unlabelled


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


class MethodWithUnlabelled(Method, Protocol):
    """A method that may be given further cases without label."""

    def adapt(self, support: LabelledBatch, unlabelled: CaseBatch | None = None) -> Adapted:
        """Return what the support and the further cases teach."""


def least_classes_of(method: Method) -> int:
    """Return how many classes a support must show for the method to learn from it: 1 where a level can be learned from one, else 2, as for a mixture,
    which holds methods from scratch."""
    learner = method.learner if isinstance(method, LearnerMethod) else None
    return learner.least_classes if isinstance(learner, ClosedForm) else 2


def adapted(method: Method, support: LabelledBatch, unlabelled: CaseBatch | None) -> Adapted:
    """Return what a method learns from a support, and from unlabelled cases where there are any; only then it must take such."""
    if unlabelled is None:
        return method.adapt(support)
    return cast(MethodWithUnlabelled, method).adapt(support, unlabelled)


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


def state_of(learner: Learner[Any], support: LabelledBatch, unlabelled: CaseBatch | None) -> Any:
    """Return what a learner learns from a support, and from unlabelled cases of the same tasks where there are any.

    Raises:
        InputError: unlabelled cases came and the learner does not use such.
    """
    if unlabelled is None:
        return learner.adapt(support)
    check_uses_unlabelled(learner)
    assert isinstance(learner, Unlabelled)
    return learner.adapt_with(support, unlabelled)


def check_uses_unlabelled(learner: Learner[Any]) -> None:
    """Refuse a learner that does not learn from unlabelled cases.

    Raises:
        InputError: it does not.
    """
    if not isinstance(learner, Unlabelled):
        able = registry.learners_that(Unlabelled)
        raise InputError(
            f"unlabelled cases came, and {type(learner).__name__} does not learn from such; leave them out, or fit one of: {', '.join(able)}"
        )


def check_reads_descriptions(learner: Learner[Any]) -> None:
    """Refuse a learner that does not compare tasks by descriptions.

    Raises:
        InputError: it does not.
    """
    if not isinstance(learner, ReadsDescriptions):
        able = registry.learners_that(ReadsDescriptions)
        raise InputError(
            f"a description of tasks came, and {type(learner).__name__} does not compare tasks by such; leave it out, or fit {', '.join(able)}"
        )


def check_compares_tasks(learner: Learner[Any]) -> None:
    """Refuse a fitted learner that does not compare a new task with its earlier ones by descriptions.

    Raises:
        InputError: it reads none, or its earlier tasks gave no reason to.
    """
    check_reads_descriptions(learner)
    if isinstance(learner, ReadsDescriptions) and not learner.compares_tasks():
        raise InputError(
            "a description of the task came, and the earlier tasks of this model have none, or theirs do not tell which vary alike; leave it out, "
            "or fit a model on tasks that are described (metamedica fit --about)"
        )


class LearnerMethod:
    """Adapt a frozen learner to each task of a batch.

    Args:
        learner: trained, or from scratch; put into evaluation mode.
        usual_scale: standard deviation that regression tasks with this unit usually have, in that unit; None where unknown.
    """

    def __init__(self, learner: Learner[Any], *, usual_scale: float | None = None) -> None:
        self.learner = learner.eval()
        self.usual_scale = usual_scale

    def adapt(self, support: LabelledBatch, unlabelled: CaseBatch | None = None) -> AdaptedLearner:
        """Return the learner adapted to each task.

        Args:
            support: of every task, in its unit.
            unlabelled: further cases of the same tasks, without label; None: there are none.

        Raises:
            InputError: unlabelled cases came and the learner does not use such.
            TaskError: the learner does not allow tasks of this kind, or cannot learn from this support.
        """
        self.learner.check_kind(support.kind)
        scale = scale_of(support, usual_scale=self.usual_scale)
        with torch.no_grad():
            return AdaptedLearner(self.learner, state_of(self.learner, standardise(support, scale), unlabelled), scale)

    def __call__(self, support: LabelledBatch, query: CaseBatch) -> Law:
        """Return the law of each query case, in the units of the support's targets."""
        return self.adapt(support).predict(query)
