"""Prototypes with a regularised covariance per class: the head of Simple CNAPS, as FS-Mol's prototypical network uses it."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from metamedica.functional.classes import check_two_classes, law_of_shown, membership
from metamedica.functional.embedded import EmbedsOnce, embedding
from metamedica.functional.prototypes import Gaussians, mahalanobis_squares, regularised_gaussians
from metamedica.types import Between, CaseBatch, Encoder, LabelledBatch, Law, Learner, Paper, Ranges, TaskKind


@dataclass(frozen=True)
class ClassGaussians:
    """Mean and covariance of each class of each task, and how many cases each is made of."""

    gaussians: Gaussians
    counts: Float[Tensor, "tasks classes"]


class MahalanobisPrototypes(EmbedsOnce, Learner[ClassGaussians]):
    """p(class k) = softmax of -1/2 (z - mean_k)^T Q_k^-1 (z - mean_k), Q_k = l_k S_k + (1 - l_k) S + ridge I (Bateni et al., eq. 2, 3).

    With the defaults this is the paper's head: l_k = n_k / (n_k + 1) and ridge 1. FS-Mol's code takes `most_share=0.1, ridge=0.1`.

    Deviates: no feature-wise adaptation network (the encoder is the same for every task); a class without support cases has
    probability (1/2) / (n + C/2) instead of none.

    Args:
        encoder: learned.
        most_share: largest l_k; below 1 a class leans more on the task's shared covariance.
        ridge: added to the diagonal.
    """

    paper: ClassVar[Paper] = Paper("Improved few-shot visual classification", "Bateni et al.", 2020, "arXiv:1912.03432")
    kinds: ClassVar[frozenset[TaskKind]] = frozenset({"binary", "multiclass"})
    ranges: ClassVar[Ranges] = {"most_share": Between(0.1, 1.0)}

    def __init__(self, encoder: Encoder, *, most_share: float = 1.0, ridge: float = 1.0) -> None:
        super().__init__()
        self.encoder = encoder
        self.most_share = most_share
        self.ridge = ridge

    def adapt(self, support: LabelledBatch) -> ClassGaussians:
        """Return mean and covariance of each class of each task.

        Raises:
            TaskError: regression, or a support of one class.
        """
        self.check_kind(support.kind)
        embedded = embedding(self.encoder, support.features)
        members = membership(support, embedded.dtype)
        counts = check_two_classes(members)
        gaussians = regularised_gaussians(embedded, members, most_share=self.most_share, ridge=self.ridge)
        return ClassGaussians(gaussians, counts)

    def predict(self, state: ClassGaussians, query: CaseBatch) -> Law:
        """Return the class probabilities of each query case."""
        squares = mahalanobis_squares(embedding(self.encoder, query.features), state.gaussians)
        return law_of_shown(-0.5 * squares, state.counts)
