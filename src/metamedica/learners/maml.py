"""MAML with the exact (second-order) meta-gradient."""

from typing import ClassVar

from metamedica.functional.inner_loop.forms import InnerLoop, constant, form_for, form_of
from metamedica.functional.inner_loop.networks import AdaptedNetworks, KindHeads, start_parameters
from metamedica.types import CaseBatch, Encoder, LabelledBatch, Law, Learner, Paper, TaskKind


class Maml(Learner[AdaptedNetworks]):
    """A start from which a few gradient steps on the support's negative log-likelihood suffice (Finn et al., eq. 1 and 2).

    All tasks adapt at once; `functional/inner_loop/forms` picks how.

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
    kinds: ClassVar[frozenset[TaskKind]] = frozenset({"binary", "multiclass", "regression"})

    def __init__(
        self, encoder: Encoder, *, max_classes: int = 10, rate: float = 0.1, steps: int = 5, chunk: int | None = None
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.heads = KindHeads(encoder.dim, max_classes=max_classes)
        self.loop = InnerLoop(steps, constant(rate))
        self.chunk = chunk

    def adapt(self, support: LabelledBatch) -> AdaptedNetworks:
        """Return each task's parameters after the inner steps; differentiable through the steps where gradients are enabled.

        Raises:
            TaskError: more classes than `max_classes`.
        """
        self.check_kind(support.kind)
        self.heads.check_classes(support.kind, support.n_classes)
        start = start_parameters(self.encoder, self.heads, support.kind)
        return form_for(self.encoder, self.loop, support, chunk=self.chunk).adapt(start, support)

    def predict(self, state: AdaptedNetworks, query: CaseBatch) -> Law:
        """Return the law of each query case under its task's own parameters."""
        return form_of(state, self.encoder, self.loop, chunk=self.chunk).law(state, query)
