"""Adaptive deep kernel fitting: a Gaussian process on a learned embedding whose kernel is fitted per task, trained through that fit."""

import math
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from metamedica.functional.gaussian_process import (
    MEAN_VARIANCE,
    Posterior,
    average_law,
    condition_on_covariance,
    predict_from_covariance,
    signed_targets,
)
from metamedica.functional.kernel_fit import KernelPrior, fit_kernel, target_covariance, usual_distance
from metamedica.functional.kernels import matern_kernel, squares_between
from metamedica.types import CaseBatch, Encoder, LabelledBatch, Law, Learner, Paper, TaskKind


@dataclass(frozen=True)
class AdaptiveDeepKernelState:
    """Per task: the embedded support, its usual distance, the fitted hyper-parameters and the posterior under them."""

    embedded: Float[Tensor, "tasks n dim"]
    distance: Float[Tensor, " tasks"]
    hyper: Float[Tensor, "tasks 3"]
    """Logarithms of length (in usual distances), scale and noise."""
    batch: LabelledBatch
    posterior: Posterior


class AdaptiveDeepKernel(Learner[AdaptiveDeepKernelState]):
    """ADKF-IFT: Gaussian process with kernel scale * Matern-5/2(embedding / length), noise, and a constant of unknown height a task.

    Length, scale and noise are fitted per task by the support's marginal likelihood (the inner problem of Chen et al.); only the
    encoder is shared, trained by the query likelihood under the fitted kernel (the outer problem). The gradient follows the
    fitted kernel by the implicit function theorem: dF/d encoder = partial F/d encoder - partial F/d psi H^-1 d2 S/(d psi d encoder), with
    F the query loss, S the support loss, psi the three hyper-parameters and H the 3 x 3 Hessian of S in psi, exact (their section 3).
    The kernel sees the embedding only, as published: the raw similarity is not a summand. Classes are learned by least squares on
    +1 / -1 targets, several classes one against the rest under one psi.

    Deviates: Newton's method in double precision instead of L-BFGS; psi has a log-normal prior in all three (in the paper length,
    optionally, and noise, of spread 0.25); the length's prior is centred at the root of half the mean squared distance of two support
    cases instead of half the median, and the gradient follows that too; a constant with a Gaussian prior; the query
    loss is the sum over single query cases, for classes that of the class, instead of the joint density of their targets.

    Args:
        encoder: learned.
        scale: prior mode of the variance of the learned part.
        noise: prior mode of the noise variance.
        spread: prior standard deviation of each hyper-parameter's logarithm.
    """

    paper: ClassVar[Paper] = Paper(
        "Meta-learning adaptive deep kernel Gaussian processes for molecular property prediction",
        "Chen, Tripp and Hernandez-Lobato",
        2023,
        "arXiv:2205.02708",
    )
    kinds: ClassVar[frozenset[TaskKind]] = frozenset({"binary", "multiclass", "regression"})

    def __init__(self, encoder: Encoder, *, scale: float = 0.7, noise: float = 0.1, spread: float = 0.5) -> None:
        super().__init__()
        self.encoder = encoder
        self.prior = KernelPrior((0.0, math.log(scale), math.log(noise)), spread)

    def adapt(self, support: LabelledBatch) -> AdaptiveDeepKernelState:
        """Return the fitted kernel and the posterior of each task; differentiable in the encoder by the implicit function theorem.

        Raises:
            TaskError: classes, and a support of one class only.
        """
        self.check_kind(support.kind)
        embedded = self.encoder(support.features)
        targets = signed_targets(support, embedded.dtype)
        squares = squares_between(embedded, embedded)
        distance = usual_distance(squares, support.mask)
        squares = squares / distance[:, None, None]
        hyper = fit_kernel(squares, targets, support.mask, self.prior).to(embedded.dtype)
        covariance = target_covariance(squares, hyper)[:, None]
        posterior = condition_on_covariance(covariance, targets, support.mask, embedded.new_zeros(1))
        return AdaptiveDeepKernelState(embedded, distance, hyper, support, posterior)

    def predict(self, state: AdaptiveDeepKernelState, query: CaseBatch) -> Law:
        """Return the predictive law of each query case under its task's kernel."""
        length, scale, noise = state.hyper.exp().unbind(-1)
        squares = squares_between(self.encoder(query.features), state.embedded)
        unit = (state.distance * length**2)[:, None, None]
        cross = scale[:, None, None] * matern_kernel(squares / unit) + MEAN_VARIANCE
        cross = cross.masked_fill(~state.batch.mask[:, None, :], 0)[:, None]
        own = (scale + MEAN_VARIANCE + noise)[:, None, None].expand(cross.shape[:3])
        mean, variance = predict_from_covariance(state.posterior, cross, own)
        return average_law(mean, variance, state.posterior.log_weight, state.batch.kind)
