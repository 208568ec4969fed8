"""MAML with the exact (second-order) meta-gradient."""

from typing import ClassVar

from metamedica.functional.inner_loop import AdaptedNetworks, KindHeads, adapt_tasks, law_of_tasks, start_parameters
from metamedica.functional.layer_norm import ElementaryLayerNorm
from metamedica.types import CaseBatch, Encoder, LabelledBatch, Law, Learner, Paper, TaskKind


class Maml(Learner[AdaptedNetworks]):
    """A start from which a few gradient steps on the support's negative log-likelihood suffice (Finn et al., eq. 1 and 2).

    All tasks adapt at once under `torch.func.vmap`, every task with its own copy of the whole network. With wide inputs (2,048
    counts) that copy is what costs: `chunk` bounds the memory.

    Deviates: heads read the embedding divided by sqrt(dim); the regression head learns a variance; several inner steps in
    meta-training as in use (the paper trains with 1 to 5).

    Args:
        encoder: learned; without batch statistics (they would couple tasks).
        max_classes: most classes of a multiclass task.
        rate: inner learning rate.
        steps: inner steps, in training and in use.
        chunk: tasks that are adapted at once; None for all.
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
        self.rate = rate
        self.steps = steps
        self.chunk = chunk

    def adapt(self, support: LabelledBatch) -> AdaptedNetworks:
        """Return each task's parameters after the inner steps; differentiable through the steps where gradients are enabled.

        Raises:
            TaskError: more classes than `max_classes`.
        """
        self.check_kind(support.kind)
        self.heads.check_classes(support.kind, support.n_classes)
        start = start_parameters(self.encoder, self.heads, support.kind)
        with ElementaryLayerNorm():
            adapted = adapt_tasks(self.encoder, start, support, rate=self.rate, steps=self.steps, chunk=self.chunk)
        return AdaptedNetworks(adapted, support.n_classes)

    def predict(self, state: AdaptedNetworks, query: CaseBatch) -> Law:
        """Return the law of each query case under its task's own parameters."""
        return law_of_tasks(self.encoder, state, query.features, chunk=self.chunk)
