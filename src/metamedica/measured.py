"""What was measured of each case, column by column, so that a task whose cases look unlike all earlier ones can be told. Ground floor."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

from jaxtyping import Bool, Float
from torch import Tensor

from metamedica.types import Features


class Measured(NamedTuple):
    """Values of cases that can be compared between tasks.

    Args:
        values: numbers, and levels as 0 or 1.
        there: where it was measured.
        names: of the columns of `values`, as a person would name them.
        sources: of what the case's owner gave, the part that each column of `values` comes from: levels of one category share it.
    """

    values: Float[Tensor, "cases columns"]
    there: Bool[Tensor, "cases columns"]
    names: Sequence[str]
    sources: Sequence[str]


class Measures(ABC):
    """What a modality adds when the cases of different tasks are measured alike."""

    @abstractmethod
    def measured(self, features: Features) -> Measured:
        """Return what was measured of each case.

        Args:
            features: the modality's blocks, `[cases, size]`.
        """
