"""R2-D2: ridge regression in closed form as the adapted head, the encoder trained through it."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from metamedica.functional.classes import check_two_classes, law_of_shown, membership
from metamedica.functional.embedded import EmbedsOnce, embedding
from metamedica.functional.ridge import (
    RidgeFit,
    by_root_width,
    centred,
    dual_factor,
    fit_ridge_at,
    penalty_at_least,
    ridge_law,
)
from metamedica.types import CaseBatch, Encoder, LabelledBatch, Law, Learner, Paper, TaskKind

LEAST_SHARE = 1e-4
"""Of the mean squared distance of a case from the centre: the penalty is no less, so that single precision solves for the head."""


@dataclass(frozen=True)
class ClassRidge:
    """Ridge regression of one-hot classes: predicted share of class k = (z - centre) weight_k + frequency_k."""

    weight: Float[Tensor, "tasks dim classes"]
    centre: Float[Tensor, "tasks dim"]
    counts: Float[Tensor, "tasks classes"]


class RidgeHead(EmbedsOnce, Learner[RidgeFit | ClassRidge]):
    """W = Z^T (Z Z^T + penalty I)^-1 Y on the embedded support (Bertinetto et al., section 3.2), differentiable in encoder and penalty.

    The dual (Woodbury) form costs n x n for any width of the embedding. Classes: Y is one-hot and the predicted shares become logits
    by a learned scale; in binary tasks a learned bias is added to the log-odds of class 1. Regression: the predictive law of
    Bayesian linear regression with that penalty, its noise from the leave-one-out residuals.

    Deviates: the intercept is free, everything being centred on the support (in the authors' code it is a penalised column of ones);
    the embedding is divided by sqrt(dim), so that one penalty at the start serves any width; the penalty is at least `LEAST_SHARE`
    of the support's spread; the paper's bias, one for all classes, cancels in the softmax and is used where it does not; the paper
    learns classes only; a class without support cases has probability (1/2) / (n + C/2).

    Args:
        encoder: learned.
        penalty: at the start.
        scale: of class logits at the start.
    """

    paper: ClassVar[Paper] = Paper(
        "Meta-learning with differentiable closed-form solvers", "Bertinetto et al.", 2019, "arXiv:1805.08136"
    )
    kinds: ClassVar[frozenset[TaskKind]] = frozenset({"binary", "multiclass", "regression"})

    def __init__(self, encoder: Encoder, *, penalty: float = 1.0, scale: float = 4.0) -> None:
        super().__init__()
        self.encoder = encoder
        self.log_penalty = nn.Parameter(torch.tensor(float(penalty)).log())
        self.log_scale = nn.Parameter(torch.tensor(float(scale)).log())
        self.bias = nn.Parameter(torch.zeros(()))

    def adapt(self, support: LabelledBatch) -> RidgeFit | ClassRidge:
        """Return the linear head of each task.

        Raises:
            TaskError: a support of one class.
        """
        self.check_kind(support.kind)
        embedded = by_root_width(embedding(self.encoder, support.features))
        penalty = penalty_at_least(torch.exp(self.log_penalty), LEAST_SHARE, embedded, support.mask)
        if support.kind == "regression":
            return fit_ridge_at(embedded, support.targets, support.mask, penalty)
        members = membership(support, embedded.dtype)
        counts = check_two_classes(members)
        inputs, centre = centred(embedded, support.mask)
        goals, _ = centred(members, support.mask)
        alpha = torch.cholesky_solve(goals, dual_factor(inputs @ inputs.mT, penalty))
        return ClassRidge(inputs.mT @ alpha, centre, counts)

    def predict(self, state: RidgeFit | ClassRidge, query: CaseBatch) -> Law:
        """Return the predictive law of each query case."""
        embedded = by_root_width(embedding(self.encoder, query.features))
        if isinstance(state, RidgeFit):
            return ridge_law(state, embedded)
        frequency = state.counts / state.counts.sum(-1, keepdim=True)
        share = (embedded - state.centre[:, None]) @ state.weight + frequency[:, None]
        logits = torch.exp(self.log_scale) * share
        if state.counts.shape[-1] == 2:
            logits = logits + torch.stack([torch.zeros_like(self.bias), self.bias])
        return law_of_shown(logits, state.counts)
