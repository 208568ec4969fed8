"""LR-D2: logistic regression by Newton's method as the adapted head, the encoder trained through its optimum."""

from typing import ClassVar

import torch
from torch import nn

from metamedica.functional.classes import membership
from metamedica.functional.embedded import EmbedsOnce, embedding
from metamedica.functional.logistic import LogisticFit, fit_logistic_at, logistic_law
from metamedica.functional.ridge import by_root_width, penalty_at_least
from metamedica.types import CaseBatch, Encoder, LabelledBatch, Law, Learner, Paper, TaskKind

LEAST_SHARE = 0.0025
"""Of the mean squared distance of a case from the centre: the penalty is no less, a prior standard deviation of 20 for a usual score."""


class LogisticHead(EmbedsOnce, Learner[LogisticFit]):
    """Softmax regression on the embedded support with penalty x |w_k|^2 / 2 for each class, by iteratively reweighted least squares.

    Every step is a weighted ridge regression in the dual, n x n (Bertinetto et al., section 3.3). Steps go on to the optimum, and
    the gradient to encoder and penalty is the implicit one there, so that no step has to be kept. The bias of a class has a prior
    variance of its own, so a support of one class has a finite answer too: a probability below 1.

    Deviates: the paper takes a fixed number of steps and backpropagates through them; several classes share one softmax where the
    authors' code fits each against the rest; the bias is not penalised like a weight; the embedding is centred on the support and
    divided by sqrt(dim), so that one penalty at the start serves any width; the penalty is at least `LEAST_SHARE` of the
    support's spread.

    Args:
        encoder: learned.
        penalty: at the start.
    """

    paper: ClassVar[Paper] = Paper(
        "Meta-learning with differentiable closed-form solvers", "Bertinetto et al.", 2019, "arXiv:1805.08136"
    )
    kinds: ClassVar[frozenset[TaskKind]] = frozenset({"binary", "multiclass"})

    def __init__(self, encoder: Encoder, *, penalty: float = 0.5) -> None:
        super().__init__()
        self.encoder = encoder
        self.log_penalty = nn.Parameter(torch.tensor(float(penalty)).log())

    def adapt(self, support: LabelledBatch) -> LogisticFit:
        """Return the linear head of each task at its optimum.

        Raises:
            TaskError: regression.
        """
        self.check_kind(support.kind)
        embedded = by_root_width(embedding(self.encoder, support.features))
        penalty = penalty_at_least(torch.exp(self.log_penalty), LEAST_SHARE, embedded, support.mask)
        return fit_logistic_at(embedded, membership(support, embedded.dtype), support.mask, 1 / penalty)

    def predict(self, state: LogisticFit, query: CaseBatch) -> Law:
        """Return the class probabilities of each query case."""
        return logistic_law(state, by_root_width(embedding(self.encoder, query.features)))
