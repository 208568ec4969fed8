"""Matching network: the labels of the support, weighed by attention over cosine similarities."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.distributions import Normal
from torch.nn.functional import normalize

from metamedica.functional.classes import check_two_classes, law_of_shown, membership
from metamedica.functional.embedded import EmbedsOnce, embedding
from metamedica.functional.ridge import PRIOR_CASES
from metamedica.types import CaseBatch, Encoder, Features, LabelledBatch, Law, Learner, Paper, TaskKind


@dataclass(frozen=True)
class KnownLabels:
    """The support of each task, embedded at length 1, with its labels."""

    embedded: Float[Tensor, "tasks n dim"]
    mask: Bool[Tensor, "tasks n"]
    labels: Float[Tensor, "tasks n outputs"]
    """One-hot classes, or the regression target; 0 where padded."""
    variance: Float[Tensor, " tasks"] | None
    """Of a regression target about the attended mean; None for classes."""


class Matching(EmbedsOnce, Learner[KnownLabels]):
    """Label of a query = sum_i a_i label_i with a = softmax_i(cosine(query, case i) / temperature) (Vinyals et al., eq. 1, section 2.1.1).

    For classes the sum is the law itself. For regression it is the mean of a Normal (Nadaraya 1964, Watson 1964), whose variance is
    that of the support's leave-one-out residuals, pulled towards a learned variance with the weight of two cases.

    Deviates: the temperature is learned (the paper has none: 1); one encoder for support and query, without full-context embeddings
    (the paper reads the support with a recurrent network, so that its order counts); regression is ours; a class without support
    cases has probability (1/2) / (n + C/2) instead of none.

    Args:
        encoder: learned.
        temperature: at the start. Cosines span 2 at most, so 1 can hardly tell cases apart.
    """

    paper: ClassVar[Paper] = Paper(
        "Matching networks for one shot learning", "Vinyals et al.", 2016, "arXiv:1606.04080"
    )
    kinds: ClassVar[frozenset[TaskKind]] = frozenset({"binary", "multiclass", "regression"})

    def __init__(self, encoder: Encoder, *, temperature: float = 0.1) -> None:
        super().__init__()
        self.encoder = encoder
        self.log_temperature = nn.Parameter(torch.tensor(float(temperature)).log())
        self.log_variance = nn.Parameter(torch.zeros(()))

    def _embed(self, features: Features) -> Float[Tensor, "tasks cases dim"]:
        return normalize(embedding(self.encoder, features), dim=-1)

    def _log_attention(
        self,
        query: Float[Tensor, "tasks m dim"],
        known: Float[Tensor, "tasks n dim"],
        usable: Bool[Tensor, "tasks #m n"],
    ) -> Float[Tensor, "tasks m n"]:
        """Return log a; the least finite number, not minus infinity, where a case may not be used, so that gradients stay finite."""
        scores = query @ known.mT * torch.exp(-self.log_temperature)
        return torch.log_softmax(scores.masked_fill(~usable, torch.finfo(scores.dtype).min), dim=-1)

    def adapt(self, support: LabelledBatch) -> KnownLabels:
        """Return the embedded support of each task with its labels.

        Raises:
            TaskError: a support of one class.
        """
        self.check_kind(support.kind)
        embedded, mask = self._embed(support.features), support.mask
        if support.kind != "regression":
            members = membership(support, embedded.dtype)
            check_two_classes(members)
            return KnownLabels(embedded, mask, members, None)
        labels = support.targets.masked_fill(~mask, 0)[..., None]
        others = mask[:, None] & ~torch.eye(mask.shape[1], dtype=torch.bool, device=mask.device)
        left_out = (self._log_attention(embedded, embedded, others).exp() @ labels - labels)[..., 0]
        judged = mask & others.any(-1)  # a single case has no others to be predicted from
        squares = left_out.square().masked_fill(~judged, 0).sum(1)
        variance = (PRIOR_CASES * torch.exp(self.log_variance) + squares) / (PRIOR_CASES + judged.sum(1))
        return KnownLabels(embedded, mask, labels, variance)

    def predict(self, state: KnownLabels, query: CaseBatch) -> Law:
        """Return the law of each query case."""
        attention = self._log_attention(self._embed(query.features), state.embedded, state.mask[:, None])
        if state.variance is not None:
            mean = (attention.exp() @ state.labels)[..., 0]
            return Normal(mean, state.variance.sqrt()[:, None].expand_as(mean), validate_args=False)
        other_class = state.labels.mT[:, None] == 0
        each = attention[:, :, None].masked_fill(other_class, torch.finfo(attention.dtype).min)
        return law_of_shown(torch.logsumexp(each, dim=-1), state.labels.sum(1))
