"""ANIL: only the head adapts (almost no inner loop)."""

from typing import ClassVar

from metamedica.functional.embedded import EmbedsOnce
from metamedica.functional.inner_loop.learner import InnerLoopLearner
from metamedica.functional.inner_loop.loop import Constant, InnerLoop
from metamedica.functional.inner_loop.networks import ENCODER
from metamedica.types import Encoder, Paper, TaskKind


class Anil(EmbedsOnce, InnerLoopLearner):
    """MAML whose inner loop moves the head only; the encoder is learned by the outer loop alone (Raghu et al., section 5).

    The embedding of a support is computed once, so a step costs what a step of a linear model costs.

    Deviates: heads read the embedding divided by sqrt(dim); the regression head learns a variance, which adapts too.

    Args:
        encoder: learned; without batch statistics (they would couple tasks).
        max_classes: most classes of a multiclass task.
        rate: inner learning rate.
        steps: inner steps, in training and in use.
    """

    paper: ClassVar[Paper] = Paper(
        "Rapid learning or feature reuse? Towards understanding the effectiveness of MAML", "Raghu et al.", 2020, "arXiv:1909.09157"
    )  # fmt: skip

    def __init__(self, encoder: Encoder, *, max_classes: int = 10, rate: float = 0.3, steps: int = 5) -> None:
        super().__init__(encoder, max_classes=max_classes, rate=rate, steps=steps)

    def loop(self, kind: TaskKind) -> InnerLoop:
        """Return steps that move the head only."""
        return InnerLoop(self.steps, Constant(self.rate), moves=lambda name: not name.startswith(ENCODER))
