"""What earlier tasks say of a new one before any of its labels: the answer that a learner starts from."""

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any

import torch

from metamedica.types import LabelledBatch


class HasPopulation(ABC):
    """What a learner adds that answers for a task without any label: its support may hold no case.

    Where a learner cannot adapt to a support without a case, it says `population` in its own way.
    """

    def population(self, support: LabelledBatch) -> Any:
        """Return the state, as `predict` takes it, of tasks of which no label is known.

        Args:
            support: of the tasks, for their number, kind and blocks; neither its cases nor its labels are read.
        """
        return self.adapt(without_labels(support))

    @abstractmethod
    def adapt(self, support: LabelledBatch) -> Any:
        """Return what the support teaches, as that of a `Learner`."""


def without_labels(support: LabelledBatch) -> LabelledBatch:
    """Return a support of the same shape that holds no case."""
    cases = type(support.cases)(support.features, torch.zeros_like(support.mask))
    return replace(support, cases=cases, targets=torch.zeros_like(support.targets))
