"""Domain adaptation: what a learner adds when cases of the new task that nobody has labelled teach it too. Ground floor."""

from abc import ABC, abstractmethod
from typing import Any

from metamedica.types import CaseBatch, LabelledBatch


class Unlabelled(ABC):
    """What a learner adds when it also learns from cases of the task that have no label."""

    @abstractmethod
    def adapt_with(self, support: LabelledBatch, unlabelled: CaseBatch) -> Any:
        """Return what the labelled and the unlabelled cases of each task teach, a state that `predict` takes; as pure as `adapt`.

        Without unlabelled cases it is what `adapt` returns. The order of the cases does not matter.

        Args:
            support: may hold no case of a task: its mask is false throughout, or it has no column.
            unlabelled: of the same tasks; may hold none of a task.
        """


class KeepsCases(ABC):
    """What a learner is when its weights hold feature rows of earlier tasks' cases: a saved model is then as personal as they are."""

    @abstractmethod
    def n_kept(self) -> int:
        """Return how many rows of earlier tasks' cases the weights hold."""
