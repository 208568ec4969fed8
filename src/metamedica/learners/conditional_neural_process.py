"""Conditional neural process: the mean of encoded labelled cases, decoded beside each query."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from metamedica.functional.deep_sets import beside, masked_mean, perceptron
from metamedica.functional.labelled_cases import CaseTokens, LawHead
from metamedica.types import CaseBatch, Encoder, LabelledBatch, Law, Learner, Paper, TaskKind


@dataclass(frozen=True)
class SupportMean:
    """The mean of each task's encoded support, one a view."""

    mean: Float[Tensor, "tasks views width"]
    kind: TaskKind


class ConditionalNeuralProcess(Learner[SupportMean]):
    """r = mean_i h(z_i, y_i), law = g(z, r) (Garnelo et al., section 2.2), z the embedded case, h and g perceptrons.

    Deviates: the paper joins the means of all classes in a fixed order; here each class of a multiclass task is scored from its own
    view of the support, so that its name is irrelevant (`functional/labelled_cases`). The least scale is 0.05, not 0.1.

    Args:
        encoder: learned.
        width: of every layer of h and g.
        depth: hidden layers of each.
    """

    paper: ClassVar[Paper] = Paper("Conditional neural processes", "Garnelo et al.", 2018, "arXiv:1807.01613")
    kinds: ClassVar[frozenset[TaskKind]] = frozenset({"binary", "multiclass", "regression"})

    def __init__(self, encoder: Encoder, *, width: int = 128, depth: int = 2) -> None:
        super().__init__()
        self.encoder = encoder
        self.tokens = CaseTokens(encoder.dim, width)
        self.encode = nn.Sequential(nn.GELU(), perceptron(*[width] * (depth + 1)))
        self.decode = nn.Sequential(perceptron(encoder.dim + width, *[width] * depth), nn.GELU())
        self.head = LawHead(width)

    def adapt(self, support: LabelledBatch) -> SupportMean:
        """Return the mean of each task's encoded support."""
        self.check_kind(support.kind)
        encoded = self.encode(self.tokens(self.encoder(support.features), support))
        return SupportMean(masked_mean(encoded, support.mask[:, None]), support.kind)

    def predict(self, state: SupportMean, query: CaseBatch) -> Law:
        """Return the law of each query case."""
        embedded = self.encoder(query.features)
        decoded = self.decode(beside(embedded[:, None], state.mean[:, :, None]))
        law: Law = self.head(decoded, state.kind)
        return law
