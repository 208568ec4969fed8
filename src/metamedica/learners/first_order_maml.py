"""First-order MAML: the meta-gradient is the query gradient at the adapted parameters."""

from typing import ClassVar

from metamedica.functional.inner_loop.learner import InnerLoopLearner
from metamedica.functional.inner_loop.loop import Constant, InnerLoop
from metamedica.functional.inner_loop.networks import AdaptedNetworks
from metamedica.types import LabelledBatch, Paper, TaskKind


class FirstOrderMaml(InnerLoopLearner):
    """MAML without second derivatives (Finn et al., section 5.2): the inner steps are a constant for the meta-gradient.

    Adapts exactly as `maml` does; only meta-training differs, at about half its cost and a fraction of its memory.

    Deviates: heads read the embedding divided by sqrt(dim); the regression head learns a variance.

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

    def adapt(self, support: LabelledBatch) -> AdaptedNetworks:
        """Return each task's network after the inner steps; its gradient is passed to the start unchanged.

        Raises:
            TaskError: more classes than `max_classes`.
        """
        return self.adapt_first_order(support)
