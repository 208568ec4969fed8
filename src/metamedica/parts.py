"""Explanation: what a modality adds that can say what a case is made of, and what it would be without some of it. Ground floor."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Bool
from torch import Tensor

from metamedica.types import Features


@dataclass(frozen=True)
class CaseParts:
    """What one case is made of.

    Args:
        names: of the parts, in the case's own order, as a person would name them.
        shown: what stands there, a text a part ("63 years"); empty where the name says it all.
        without: takes which parts are there `[coalitions, parts]` and returns the blocks `[coalitions * versions, size]` of the cases that are
            left; the `versions` of a coalition stand one after another. All parts there: the case itself, `versions` times.
        versions: how many cases stand for one with parts away, as each may be replaced by what several other cases have.
        separate: whether every column of every block is of one part alone; what is additive over columns is then additive over parts.
        coalitions: most that are asked where nobody says how many; None: as many as take about 4,000 answers. Fewer where an answer is dear.
    """

    names: tuple[str, ...]
    shown: tuple[str, ...]
    without: Callable[[Bool[Tensor, "coalitions parts"]], Features]
    versions: int
    separate: bool
    coalitions: int | None = None


class NamesParts(ABC):
    """What a modality adds that names units of explanation (atoms, columns), each of which may be taken away."""

    same_parts: ClassVar[bool]
    """Whether all cases of a task have the same parts (columns of a table), so that a mean over cases says something of a part."""

    @abstractmethod
    def parts(self, canonical: Sequence[str], features: Features, background: Features) -> list[CaseParts]:
        """Return the parts of each case.

        Args:
            canonical: texts that `prepare` returned.
            features: the blocks of the same cases, `[cases, size]`, those beyond `prepare` included.
            background: blocks `[others, size]` of other cases of the task, which stand for what is away; there may be none.

        Raises:
            CaseError: a text is no usable case.
        """

    @abstractmethod
    def draw_parts(self, canonical: str, contributions: Sequence[float], *, width: int = 320, height: int = 240) -> str:
        """Return the case as an SVG or HTML fragment with every part shaded by what it contributes.

        Args:
            canonical: a text that `prepare` returned.
            contributions: one a part, in the order of `parts`; orange above 0 and blue below, strongest at the largest size.
            width: in CSS pixels.
            height: in CSS pixels.

        Raises:
            InputError: as many contributions as parts were wanted.
        """
