"""Multitask pre-training, then a quadratic (Mahalanobis) head on the frozen embedding, by block-coordinate descent."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from metamedica.functional.classes import check_two_classes, law_of_shown, membership
from metamedica.functional.multitask import TaskHeads, pooled, unit_size
from metamedica.types import (
    Between,
    CaseBatch,
    Encoder,
    EpisodeBatch,
    Features,
    LabelledBatch,
    Law,
    Learner,
    Paper,
    Ranges,
    TaskKind,
)


@dataclass(frozen=True)
class QuadraticHead:
    """One quadratic form per task and class, in the dual: prototype w_k = sum_i position_ki z_i, covariance about w_k of its cases."""

    support: Float[Tensor, "tasks n dim"]
    position: Float[Tensor, "tasks classes n"]
    members: Float[Tensor, "tasks n classes"]


class QuadraticProbe(Learner[QuadraticHead]):
    """p(class k) = softmax of -temperature (z - w_k)^T M_k (z - w_k) on embeddings z of length 1, encoder frozen.

    Two blocks in turn (Formont et al.): M_k = [(1 - shrinkage) S_k(w_k) + shrinkage I]^-1 in closed form, with S_k(w_k) the
    second moment of class k's support about w_k; then the prototypes w_k move down the support's cross-entropy with M_k fixed.
    Shrinkage keeps M_k from growing without bound, which is the degenerate solution. Everything happens in the span of the
    support, with n x n matrices.
    Classification only: the head has no honest form for a continuous target.

    Deviates: S_k divides by n_k (the authors' code by n_k - 1, which fails for one case); prototypes move by `rate` times the
    gradient preconditioned with M_k^-1 and 1/n_k (the factor 2 x temperature is part of `rate`), where the authors run Adam; a class
    without cases has probability (1/2) / (n + C/2).

    Args:
        encoder: learned.
        n_tasks: number of meta-training tasks.
        shrinkage: weight of the identity in the covariance, in (0, 1).
        temperature: of the softmax.
        rate: step of the prototypes.
        steps: rounds over the two blocks.
    """

    paper: ClassVar[Paper] = Paper(
        "A strong baseline for molecular few-shot learning", "Formont et al.", 2024, "arXiv:2404.02314"
    )
    kinds: ClassVar[frozenset[TaskKind]] = frozenset({"binary", "multiclass"})
    ranges: ClassVar[Ranges] = {"shrinkage": Between(0.02, 0.9)}

    def __init__(
        self,
        encoder: Encoder,
        n_tasks: int,
        *,
        shrinkage: float = 0.2,
        temperature: float = 1.0,
        rate: float = 0.2,
        steps: int = 20,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.heads = TaskHeads(encoder.dim, n_tasks)
        self.shrinkage = shrinkage
        self.temperature = temperature
        self.rate = rate
        self.steps = steps

    def _embed(self, features: Features) -> Float[Tensor, "tasks cases dim"]:
        embedded: Tensor = self.encoder(features)
        length: float = embedded.shape[-1] ** 0.5
        return unit_size(embedded) / length

    def _logits(self, query: Float[Tensor, "tasks m dim"], head: QuadraticHead) -> Float[Tensor, "tasks m classes"]:
        """Return -temperature x (squared Mahalanobis distance, less the part that all classes share)."""
        return -self.temperature * quadratic_distances(query, head, self.shrinkage)

    def adapt(self, support: LabelledBatch) -> QuadraticHead:
        """Return the quadratic head of each task; the embedding is frozen, so no gradient reaches the encoder from here.

        Raises:
            TaskError: regression, or a support of one class.
        """
        self.check_kind(support.kind)
        embedded = self._embed(support.features).detach().masked_fill(~support.mask[..., None], 0)
        members = membership(support, embedded.dtype)
        counts = check_two_classes(members)
        size = counts.clamp(min=1)[..., None]
        mean = members.mT / size
        length = (mean @ embedded).norm(dim=-1, keepdim=True)
        head = QuadraticHead(embedded, mean / length.clamp(min=1e-6), members)
        absent = (counts == 0)[:, None]
        for _ in range(self.steps):
            logits = self._logits(embedded, head).masked_fill(absent, -torch.inf)
            pull = (members - torch.softmax(logits, dim=-1) * support.mask[..., None]).mT / size
            position = head.position + self.rate * (pull - pull.sum(-1, keepdim=True) * head.position)
            head = QuadraticHead(embedded, position, members)
        return head

    def predict(self, state: QuadraticHead, query: CaseBatch) -> Law:
        """Return the class probabilities of each query case."""
        return law_of_shown(self._logits(self._embed(query.features), state), state.members.sum(1))

    def meta_loss(self, episodes: EpisodeBatch) -> Float[Tensor, ""]:
        """Return the multitask negative log-likelihood of support and query cases together.

        Raises:
            TaskError: multiclass tasks, or more tasks than heads.
        """
        cases = pooled(episodes)
        return self.heads.loss(self._embed(cases.features) * self.encoder.dim**0.5, cases, episodes.task_index)


def quadratic_distances(
    query: Float[Tensor, "tasks m dim"], head: QuadraticHead, shrinkage: float
) -> Float[Tensor, "tasks m classes"]:
    """Return (x - w_k)^T M_k (x - w_k) per query and class, by the Woodbury identity on class k's support about w_k.

    With rows v_i = z_i - w_k of class k: M_k = (I - V^T (kappa I + V V^T)^-1 V) / shrinkage, kappa = shrinkage n_k / (1 - shrinkage).
    """
    prototypes = head.position @ head.support
    about = (head.support[:, None] - prototypes[:, :, None]) * head.members.mT[..., None]
    kappa = shrinkage / (1 - shrinkage) * head.members.sum(1).clamp(min=1)
    eye = torch.eye(about.shape[2], dtype=about.dtype, device=about.device)
    factor = torch.linalg.cholesky(about @ about.mT + kappa[..., None, None] * eye)
    difference = query[:, None] - prototypes[:, :, None]
    half = torch.linalg.solve_triangular(factor, about @ difference.mT, upper=False)
    squares: Tensor = difference.square().sum(-1) - half.square().sum(2)
    return (squares / shrinkage).mT
