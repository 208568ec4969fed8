"""MAML with the exact (second-order) meta-gradient."""

from typing import ClassVar

from metamedica.functional.inner_loop.learner import InnerLoopLearner
from metamedica.functional.inner_loop.loop import Constant, InnerLoop
from metamedica.types import Paper, TaskKind


class Maml(InnerLoopLearner):
    """A start from which a few gradient steps on the support's negative log-likelihood suffice (Finn et al., eq. 1 and 2).

    Deviates: heads read the embedding divided by sqrt(dim); the regression head learns a variance; several inner steps in
    meta-training as in use (the paper trains with 1 to 5).

    Args:
        encoder: learned; without batch statistics (they would couple tasks).
        max_classes: most classes of a multiclass task.
        rate: inner learning rate.
        steps: inner steps, in training and in use.
        chunk: tasks that are adapted at once where the encoder is no chain of layers (memory: each owns a copy); None for all.
    """

    paper: ClassVar[Paper] = Paper(
        "Model-agnostic meta-learning for fast adaptation of deep networks", "Finn, Abbeel and Levine", 2017, "arXiv:1703.03400"
    )  # fmt: skip

    def loop(self, kind: TaskKind) -> InnerLoop:
        """Return the same steps for every parameter."""
        return InnerLoop(self.steps, Constant(self.rate))
