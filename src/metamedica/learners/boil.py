"""BOIL: only the body adapts."""

from typing import ClassVar

from metamedica.functional.inner_loop.learner import InnerLoopLearner
from metamedica.functional.inner_loop.loop import Constant, InnerLoop
from metamedica.functional.inner_loop.networks import ENCODER
from metamedica.types import Paper, TaskKind


class Boil(InnerLoopLearner):
    """MAML whose inner loop moves the encoder only, so that representations must change and not the head (Oh et al., section 2.2).

    Deviates: the head is learned by the outer loop with the same rate as the encoder; it reads the embedding divided by sqrt(dim).

    Args:
        encoder: learned; without batch statistics (they would couple tasks).
        max_classes: most classes of a multiclass task.
        rate: inner learning rate.
        steps: inner steps, in training and in use.
        chunk: tasks that are adapted at once where the encoder is no chain of layers (memory: each owns a copy); None for all.
    """

    paper: ClassVar[Paper] = Paper(
        "BOIL: towards representation change for few-shot learning", "Oh et al.", 2021, "arXiv:2008.08882"
    )

    def loop(self, kind: TaskKind) -> InnerLoop:
        """Return steps that move the encoder only."""
        return InnerLoop(self.steps, Constant(self.rate), moves=lambda name: name.startswith(ENCODER))
