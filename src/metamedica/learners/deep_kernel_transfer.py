"""Deep kernel transfer: a Gaussian process on a learned embedding, everything shared between tasks and trained by marginal likelihood."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from metamedica.functional.gaussian_process import (
    MEAN_VARIANCE,
    Posterior,
    average_law,
    condition_on_covariance,
    log_marginal_likelihood,
    predict_from_covariance,
    signed_targets,
)
from metamedica.functional.kernels import rbf_kernel
from metamedica.functional.multitask import side_by_side
from metamedica.functional.process_learner import ProcessLearner
from metamedica.types import CaseBatch, Encoder, EpisodeBatch, LabelledBatch, Law, Paper

_LEAST_NOISE = 1e-3


@dataclass(frozen=True)
class DeepKernelTransferState:
    """Per task: the embedded support and the posterior given it."""

    embedded: Float[Tensor, "tasks n dim"]
    batch: LabelledBatch
    posterior: Posterior


class DeepKernelTransfer(ProcessLearner[DeepKernelTransferState]):
    """Exact Gaussian process with kernel scale * RBF(embedding / length), noise, and a constant of unknown height a task.

    Encoder, length, scale and noise are shared between tasks; meta-training minimises the negative log marginal likelihood of each
    task's targets, of support and query together (Patacchiola et al., section 3: the log-likelihood of all data of a task, summed over
    tasks). Nothing is fitted per task: adapting conditions on the support. Classes are learned by least squares on +1 / -1 targets,
    several classes one against the rest.

    Not to be taken for `deep_kernel`, our own variant: there the encoder is trained under linear heads, the raw similarity is part of the
    kernel, and shares and noise are averaged over a grid per task (decisions/0005). Here is the method as published.

    Deviates: the likelihood is divided by the number of targets of its task, so that a large task counts as much as a small one; the
    RBF kernel is used for every kind (the paper compares kernels and prefers cosine similarity for images); a constant with a Gaussian
    prior instead of a learned constant mean; one set of hyper-parameters for all one-against-the-rest outputs; class probabilities come
    from the predictive density at +1 and -1 instead of a sigmoid of the mean.

    Args:
        encoder: learned.
        length: of the kernel at the start, in root-mean-square columns of the embedding.
        scale: variance of the learned part at the start.
        noise: variance at the start.
    """

    paper: ClassVar[Paper] = Paper(
        "Bayesian meta-learning for the few-shot setting via deep kernels",
        "Patacchiola et al.",
        2020,
        "arXiv:1910.05199",
    )

    def __init__(self, encoder: Encoder, *, length: float = 1.0, scale: float = 0.7, noise: float = 0.3) -> None:
        super().__init__()
        self.encoder = encoder
        self.log_length = nn.Parameter(torch.tensor(math.log(length)))
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))
        self.log_noise = nn.Parameter(torch.tensor(math.log(noise)))

    @property
    def noise(self) -> Float[Tensor, ""]:
        """Variance of the noise, never below 1e-3: a target is not known better than that."""
        return torch.exp(self.log_noise) + _LEAST_NOISE

    def _signal(
        self, left: Float[Tensor, "tasks n dim"], right: Float[Tensor, "tasks m dim"]
    ) -> Float[Tensor, "tasks 1 n m"]:
        shrink = torch.exp(-self.log_length)
        kernel = torch.exp(self.log_scale) * rbf_kernel(left * shrink, right * shrink)
        return (kernel + MEAN_VARIANCE)[:, None]

    def _condition(self, embedded: Float[Tensor, "tasks n dim"], batch: LabelledBatch) -> Posterior:
        eye = torch.eye(embedded.shape[1], dtype=embedded.dtype, device=embedded.device)
        covariance = self._signal(embedded, embedded) + self.noise * eye
        return condition_on_covariance(
            covariance, signed_targets(batch, covariance.dtype), batch.mask, embedded.new_zeros(1)
        )

    def adapt(self, support: LabelledBatch) -> DeepKernelTransferState:
        """Return the posterior of each task given its support.

        Raises:
            TaskError: classes, and a support of one class only.
        """
        self.check_kind(support.kind)
        embedded = self.encoder(support.features)
        return DeepKernelTransferState(embedded, support, self._condition(embedded, support))

    def predict(self, state: DeepKernelTransferState, query: CaseBatch) -> Law:
        """Return the predictive law of each query case."""
        embedded = self.encoder(query.features)
        cross = self._signal(embedded, state.embedded).masked_fill(~state.batch.mask[:, None, None, :], 0)
        own = (torch.exp(self.log_scale) + MEAN_VARIANCE + self.noise).expand(cross.shape[:3])
        mean, variance = predict_from_covariance(state.posterior, cross, own)
        return average_law(mean, variance, state.posterior.log_weight, state.batch.kind)

    def meta_loss(self, episodes: EpisodeBatch) -> Float[Tensor, ""]:
        """Return the negative log marginal likelihood of support and query targets together, per target, mean over tasks."""
        both = side_by_side(episodes)
        self.check_kind(both.kind)
        posterior = self._condition(self.encoder(both.features), both)
        targets = both.counts() * posterior.whitened.shape[-1]
        return -(log_marginal_likelihood(posterior, both.mask)[:, 0] / targets).mean()
