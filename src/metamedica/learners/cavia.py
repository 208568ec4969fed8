"""CAVIA: only a small context vector adapts to the task."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from metamedica.functional.inner_loop.chain import Affine, Gelu, Parameters, run, slopes
from metamedica.functional.inner_loop.networks import KindHeads, goals_of, law_of_output, output_slopes, shares
from metamedica.types import CaseBatch, Encoder, LabelledBatch, Law, Learner, Paper, Ranges, TaskKind


@dataclass(frozen=True)
class Contexts:
    """Each task's context vector, and the kind that the tasks are of."""

    context: Float[Tensor, "tasks context"]
    kind: TaskKind
    n_classes: int | None


class Cavia(Learner[Contexts]):
    """A network on [embedding, context]; the context starts at 0 and takes the inner steps alone, everything else is shared.

    Zintgraf et al., eq. 1 to 4: the inner loop moves `context_size` numbers of a task, so it cannot overfit much, a task is as
    small as its context, and the meta-gradient is exact.

    Deviates: the context enters behind the encoder (one hidden layer on both), so that any encoder serves; the regression head's
    variance is shared by all tasks.

    Args:
        encoder: learned.
        max_classes: most classes of a multiclass task.
        context_size: numbers that adapt.
        width: of the hidden layer.
        rate: inner learning rate (the paper's is 1: few numbers move).
        steps: inner steps, in training and in use.
    """

    paper: ClassVar[Paper] = Paper(
        "Fast context adaptation via meta-learning", "Zintgraf et al.", 2019, "arXiv:1810.03642"
    )
    kinds: ClassVar[frozenset[TaskKind]] = frozenset({"binary", "multiclass", "regression"})
    ranges: ClassVar[Ranges] = {"max_classes": None}

    def __init__(
        self,
        encoder: Encoder,
        *,
        max_classes: int = 10,
        context_size: int = 8,
        width: int = 64,
        rate: float = 1.0,
        steps: int = 5,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.of_case = nn.Linear(encoder.dim, width)
        self.of_context = nn.Linear(context_size, width, bias=False)
        self.heads = KindHeads(width, max_classes=max_classes)
        self.links = (Gelu(), Affine("weight", "bias", factor=width**-0.5))
        self.rate = rate
        self.steps = steps

    def _head(self, kind: TaskKind) -> Parameters:
        head: nn.Linear = getattr(self.heads, kind)
        own: Parameters = {"weight": head.weight, "bias": head.bias}
        return own | ({"log_variance": self.heads.log_variance} if kind == "regression" else {})

    def _entering(self, embedded: Tensor, context: Tensor) -> Float[Tensor, "tasks n width"]:
        entering: Tensor = self.of_case(embedded) + self.of_context(context)[:, None]
        return entering

    def adapt(self, support: LabelledBatch) -> Contexts:
        """Return each task's context after the inner steps.

        Raises:
            TaskError: more classes than `max_classes`.
        """
        self.check_kind(support.kind)
        self.heads.check_classes(support.kind, support.n_classes)
        embedded, head = self.encoder(support.features), self._head(support.kind)
        goals, share = goals_of(support, embedded.dtype), shares(support.mask, embedded.dtype)
        context = embedded.new_zeros(len(support.mask), self.of_context.in_features)
        for _ in range(self.steps):
            output, tape = run(self.links, head, self._entering(embedded, context))
            slope, _ = output_slopes(output, head, goals, share)
            _, below = slopes(self.links, head, tape, slope, wanted=(), to_input=True)
            assert below is not None
            context = context - self.rate * below.sum(1) @ self.of_context.weight
        return Contexts(context, support.kind, support.n_classes)

    def predict(self, state: Contexts, query: CaseBatch) -> Law:
        """Return the law of each query case given its task's context."""
        head = self._head(state.kind)
        output, _ = run(self.links, head, self._entering(self.encoder(query.features), state.context))
        return law_of_output(output, head, state.n_classes)
