"""Relation network: a learned comparison of a query with each class."""

from typing import ClassVar

from torch import nn
from torch.nn.functional import relu

from metamedica.functional.classes import law_of_shown
from metamedica.functional.embedded import EmbedsOnce, embedding
from metamedica.functional.prototypes import Prototypes, prototypes_of
from metamedica.types import CaseBatch, Encoder, LabelledBatch, Law, Learner, Paper, TaskKind


class Relation(EmbedsOnce, Learner[Prototypes]):
    """p(class k) = softmax_k of g([mean embedding of class k, embedding of the query]), g a perceptron with one hidden layer.

    Encoder and comparison g are learned together (Sung et al., eq. 1), so that the measure of likeness need not be a distance.

    Deviates: trained with the cross-entropy of the softmax over classes, not with the squared error of a sigmoid per class (the
    paper's eq. 2), which gives scores and no law; a class is the mean of its embeddings, not their sum, because sizes of classes
    differ; g is a perceptron on vectors, the paper's has convolutions before it; a class without support cases has probability
    (1/2) / (n + C/2).

    Args:
        encoder: learned.
        hidden: width of the hidden layer of g.
    """

    paper: ClassVar[Paper] = Paper(
        "Learning to compare: relation network for few-shot learning", "Sung et al.", 2018, "arXiv:1711.06025"
    )
    kinds: ClassVar[frozenset[TaskKind]] = frozenset({"binary", "multiclass"})

    def __init__(self, encoder: Encoder, *, hidden: int = 64) -> None:
        super().__init__()
        self.encoder = encoder
        # One layer on the concatenation is the sum of a layer on each part, and far smaller than every pair side by side.
        self.of_class = nn.Linear(encoder.dim, hidden)
        self.of_query = nn.Linear(encoder.dim, hidden, bias=False)
        self.score = nn.Linear(hidden, 1, bias=False)  # a bias would be the same for every class and cancel

    def adapt(self, support: LabelledBatch) -> Prototypes:
        """Return the mean embedding of each class of each task.

        Raises:
            TaskError: regression, or a support of one class.
        """
        self.check_kind(support.kind)
        return prototypes_of(embedding(self.encoder, support.features), support)

    def predict(self, state: Prototypes, query: CaseBatch) -> Law:
        """Return the class probabilities of each query case."""
        asked = self.of_query(embedding(self.encoder, query.features))
        hidden = relu(self.of_class(state.means)[:, None] + asked[:, :, None])
        return law_of_shown(self.score(hidden)[..., 0], state.counts)
