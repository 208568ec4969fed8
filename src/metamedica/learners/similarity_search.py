"""Similarity search from scratch: a case is what the most similar known cases are."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.distributions import Categorical, Normal

from metamedica.functional.classes import HALF, membership
from metamedica.types import CaseBatch, LabelledBatch, Law, Learner, Paper, RawEncoder, TaskKind

SHARPNESS = (2.0, 5.0, 10.0, 20.0, 40.0)
PRIOR_SHARES = (0.02, 0.1, 0.3, 0.6, 0.9)
_PRIOR_CASES = 2.0


@dataclass(frozen=True)
class KnownCases:
    """The support of each task, and how far to trust each way of weighing it."""

    rows: Float[Tensor, "tasks n dim"]
    mask: Bool[Tensor, "tasks n"]
    goals: Float[Tensor, "tasks n outputs"]
    """One-hot classes, or the regression target."""
    prior: Float[Tensor, "tasks outputs"]
    """What to say without any similar case: smoothed class frequencies, or the mean."""
    weight: Float[Tensor, "tasks sharpness share"]
    noise: Float[Tensor, "tasks sharpness share"]
    """Leave-one-out residual variance (regression; 0 for classes)."""
    regression: bool


class SimilaritySearch(Learner[KnownCases]):
    """Votes of the support weighted by exp(sharpness x similarity), mixed with the class frequencies (or the mean).

    With two classes the score rises with the similarity to known actives minus that to known inactives. Sharpness and share of the prior are
    averaged over a grid, each cell weighted by the leave-one-out likelihood of the support, so that the law is calibrated by the
    task's own cases. Regression: the weighted mean of neighbours (Nadaraya 1964, Watson 1964) with leave-one-out variance.
    Learns nothing from tasks; a support of one class is allowed.

    Deviates: Willett et al. rank by the greatest similarity, Formont et al. (arXiv:2404.02314) vote with one fixed sharpness; neither gives a
    calibrated law.

    Args:
        raw: its `similarity`, between 0 and 1, compares cases.
        sharpness: grid of sharpness; large is nearest neighbour.
        prior_shares: grid of shares of the prior, in (0, 1).
    """

    paper: ClassVar[Paper] = Paper(
        "Chemical similarity searching", "Willett, Barnard and Downs", 1998, "doi:10.1021/ci9800211"
    )
    kinds: ClassVar[frozenset[TaskKind]] = frozenset({"binary", "multiclass", "regression"})

    def __init__(
        self,
        raw: RawEncoder,
        *,
        sharpness: tuple[float, ...] = SHARPNESS,
        prior_shares: tuple[float, ...] = PRIOR_SHARES,
    ) -> None:
        super().__init__()
        self.raw = raw
        self.sharpness = tuple(sharpness)
        self.prior_shares = tuple(prior_shares)

    def _votes(
        self,
        similarity: Float[Tensor, "tasks m n"],
        usable: Bool[Tensor, "tasks m n"],
        goals: Float[Tensor, "tasks n k"],
    ) -> Float[Tensor, "tasks sharpness m k"]:
        sharpness = similarity.new_tensor(self.sharpness)[:, None, None]
        weight = torch.exp(sharpness * (similarity[:, None] - 1)).masked_fill(~usable[:, None], 0)
        return weight @ goals[:, None] / weight.sum(-1, keepdim=True).clamp(min=torch.finfo(weight.dtype).tiny)

    def _mix(
        self, votes: Float[Tensor, "tasks sharpness m k"], prior: Float[Tensor, "tasks #m k"]
    ) -> Float[Tensor, "tasks sharpness share m k"]:
        share = votes.new_tensor(self.prior_shares)[:, None, None]
        return (1 - share) * votes[:, :, None] + share * prior[:, None, None]

    def adapt(self, support: LabelledBatch) -> KnownCases:
        """Return the support and the weight of each grid cell."""
        self.check_kind(support.kind)
        rows, mask = self.raw(support.features), support.mask
        regression = support.kind == "regression"
        goals = (
            support.targets[..., None].masked_fill(~mask[..., None], 0)
            if regression
            else membership(support, rows.dtype)
        )
        total, count = goals.sum(1), mask.sum(1)[:, None]
        pseudo = 0.0 if regression else HALF
        prior = (total + pseudo) / (count + pseudo * goals.shape[-1]).clamp(min=1)
        left = (count - 1)[:, None]
        prior_of_others = (total[:, None] - goals + pseudo) / (left + pseudo * goals.shape[-1]).clamp(min=HALF)
        others = mask[:, None, :] & ~torch.eye(mask.shape[1], dtype=torch.bool, device=mask.device)
        votes = self._votes(self.raw.similarity(rows, rows), others, goals)
        votes = torch.where(left[:, None] > 0, votes, prior_of_others[:, None])  # a single case has no others to vote
        left_out = self._mix(votes, prior_of_others)
        if regression:
            squares = (left_out - goals[:, None, None]).square().sum(-1).masked_fill(~mask[:, None, None], 0)
            worth = _PRIOR_CASES + count[..., None].to(squares.dtype)
            noise = (_PRIOR_CASES + squares.sum(-1)) / worth
            likelihood = -0.5 * worth * noise.log()
        else:
            noise = left_out.new_zeros(left_out.shape[:3])
            own = (left_out * goals[:, None, None]).sum(-1)
            likelihood = torch.where(mask[:, None, None], own, 1).log().sum(-1)
        weight = torch.softmax(likelihood.flatten(1), dim=1).view_as(likelihood)
        return KnownCases(rows, mask, goals, prior, weight, noise, regression)

    def predict(self, state: KnownCases, query: CaseBatch) -> Law:
        """Return the law of each query case, averaged over the grid."""
        similarity = self.raw.similarity(self.raw(query.features), state.rows)
        votes = self._votes(similarity, state.mask[:, None].expand_as(similarity), state.goals)
        mixed = self._mix(votes, state.prior[:, None])
        weight = state.weight[..., None]
        if not state.regression:
            return Categorical(probs=(weight[..., None] * mixed).sum((1, 2)), validate_args=False)
        each = mixed[..., 0]
        mean = (weight * each).sum((1, 2))
        variance = (weight * (state.noise[..., None] + (each - mean[:, None, None]).square())).sum((1, 2))
        return Normal(mean, variance.sqrt(), validate_args=False)
