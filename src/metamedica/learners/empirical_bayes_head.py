"""A Bayesian linear head on a learned embedding, its prior learned over tasks (ALPaCA)."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Normal

from metamedica.functional.classes import membership
from metamedica.functional.gaussian_process import Posterior, condition_on_covariance, predict_from_covariance
from metamedica.functional.logistic import LaplaceFit, fit_laplace, laplace_scores, moderated
from metamedica.types import CaseBatch, Encoder, LabelledBatch, Law, Learner, Paper, TaskKind

_LEAST_NOISE = 1e-3


class WeightPrior(nn.Module):
    """Normal prior N(mean, factor factor^T) of the weights of a linear head: of each embedding column and, last, of the intercept.

    Args:
        dim: length of the embedding.
        signal: prior variance of a score where the embedding's columns have mean square 1, at the start.
        intercept: prior variance of the intercept, at the start.
    """

    def __init__(self, dim: int, *, signal: float, intercept: float) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(dim + 1))
        each = torch.tensor([signal / dim] * dim + [intercept])
        self.factor = nn.Parameter(each.sqrt().diag())

    def forward(
        self, embedded: Float[Tensor, "tasks n dim"]
    ) -> tuple[Float[Tensor, "tasks n"], Float[Tensor, "tasks n rank"]]:
        """Return the prior mean of each case's score, and rows whose inner products are the prior covariance."""
        inputs = torch.cat([embedded, torch.ones_like(embedded[..., :1])], dim=-1)
        return inputs @ self.mean, inputs @ self.factor


@dataclass(frozen=True)
class EmpiricalBayesState:
    """Per task: the support's rows (0 where padded) and the posterior given it, exact for regression, Laplace's for classes."""

    rows: Float[Tensor, "tasks n rank"]
    fit: Posterior | LaplaceFit
    sides: Float[Tensor, " classes"]
    """What each class's score takes of the prior mean of a difference; empty for regression."""


class EmpiricalBayesHead(Learner[EmpiricalBayesState]):
    """Bayesian linear regression on a learned embedding; prior mean and covariance of the weights are meta-parameters.

    Regression is exact (Harrison et al., section 3): with prior K_0, noise * Lambda_0^-1 the support gives Lambda = Phi^T Phi + Lambda_0,
    K = Lambda^-1 (Phi^T y + Lambda_0 K_0), and a query phi the Normal with mean phi^T K and variance noise (1 + phi^T Lambda^-1 phi). It
    is computed over cases instead of weights (the matrix inversion lemma), cheaper for few cases. Meta-training maximises the
    query likelihood, so prior, noise and encoder are fitted together: empirical Bayes.

    Classes have a softmax head under Laplace's approximation and moderated outputs (MacKay 1992); its prior is its own. The
    difference of two classes' scores has the prior covariance; in binary tasks, where class 1 means the same in every task, also the
    prior mean. A class without support cases, or a support of one class, is answered by the prior.

    Deviates: the factor of Lambda_0^-1 is learned, not of Lambda_0; the noise is learned; the head has an intercept; classes are ours.

    Args:
        encoder: learned.
        signal: prior variance of a regression score where the embedding's columns have mean square 1, at the start.
        class_signal: prior variance of a difference of two class scores there, at the start.
        noise: variance at the start.
    """

    paper: ClassVar[Paper] = Paper(
        "Meta-learning priors for efficient online Bayesian regression", "Harrison, Sharma and Pavone", 2018, "arXiv:1807.08912"
    )  # fmt: skip
    kinds: ClassVar[frozenset[TaskKind]] = frozenset({"binary", "multiclass", "regression"})

    def __init__(self, encoder: Encoder, *, signal: float = 1.0, class_signal: float = 4.0, noise: float = 0.3) -> None:
        super().__init__()
        self.encoder = encoder
        self.regression = WeightPrior(encoder.dim, signal=signal / noise, intercept=0.3 / noise)
        self.classes = WeightPrior(encoder.dim, signal=class_signal, intercept=class_signal)
        self.log_noise = nn.Parameter(torch.tensor(math.log(noise)))

    @property
    def noise(self) -> Float[Tensor, ""]:
        """Variance of a regression target about its line, never below 1e-3."""
        return torch.exp(self.log_noise) + _LEAST_NOISE

    def adapt(self, support: LabelledBatch) -> EmpiricalBayesState:
        """Return the posterior of each task's head."""
        self.check_kind(support.kind)
        embedded = self.encoder(support.features)
        if support.n_classes is None:
            mean, rows = self.regression(embedded)
            rows = rows.masked_fill(~support.mask[..., None], 0)
            eye = torch.eye(rows.shape[1], dtype=rows.dtype, device=rows.device)
            misses = (support.targets - mean).masked_fill(~support.mask, 0)[..., None]
            covariance = self.noise * (rows @ rows.mT + eye)[:, None]
            exact = condition_on_covariance(covariance, misses, support.mask, rows.new_zeros(1))
            return EmpiricalBayesState(rows, exact, rows.new_zeros(0))
        sides = [-0.5, 0.5] if support.kind == "binary" else [0.0] * support.n_classes
        share = embedded.new_tensor(sides)
        offset, rows = self._class_scores(embedded, share)
        rows = rows.masked_fill(~support.mask[..., None], 0)
        laplace = fit_laplace(rows @ rows.mT, membership(support, rows.dtype), support.mask, offset)
        return EmpiricalBayesState(rows, laplace, share)

    def _class_scores(
        self, embedded: Float[Tensor, "tasks n dim"], sides: Float[Tensor, " classes"]
    ) -> tuple[Float[Tensor, "tasks n classes"], Float[Tensor, "tasks n rank"]]:
        """Return prior mean and rows of one class's score; half of the difference's covariance is its own."""
        mean, rows = self.classes(embedded)
        return mean[..., None] * sides, rows / math.sqrt(2)

    def predict(self, state: EmpiricalBayesState, query: CaseBatch) -> Law:
        """Return the predictive law of each query case."""
        embedded = self.encoder(query.features)
        if isinstance(state.fit, LaplaceFit):
            offset, rows = self._class_scores(embedded, state.sides)
            return moderated(*laplace_scores(state.fit, rows @ state.rows.mT, rows.square().sum(-1), offset))
        mean, rows = self.regression(embedded)
        cross = self.noise * (rows @ state.rows.mT)[:, None]
        own = self.noise * (rows.square().sum(-1) + 1)[:, None]
        shift, variance = predict_from_covariance(state.fit, cross, own)
        return Normal(mean + shift[:, 0, :, 0], variance[:, 0].sqrt(), validate_args=False)
