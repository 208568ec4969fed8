"""Gaussian processes averaged over kernels and noise by how well each tells labelled cases that it has not seen, in closed form."""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor

from metamedica.functional.gaussian_process import Posterior, average_law, hidden_moments, signed_targets
from metamedica.functional.process_learner import AveragedProcess, AveragedState
from metamedica.types import Features, LabelledBatch, RawEncoder, TaskKind

NOISES = (0.05, 0.15, 0.3, 0.5, 0.75, 0.9)


class HiddenLabelProcess(AveragedProcess, ABC):
    """Exact Gaussian process averaged over every pair of a raw kernel and a noise share by leave-one-out probability.

    The weight of a pair is its prior times its pseudo-likelihood: the product over labelled cases of the probability that it gives to the case's
    target while that is hidden (Sundararajan and Keerthi 2001, eq. 4; Rasmussen and Williams 2006, section 5.4.2). Classes are learned as +1 and -1,
    which a marginal likelihood takes for numbers; the probability of a hidden class is what is wanted of them (decisions/0015 has the figures on
    images).

    Args:
        rich: its `kernels`, 1 on the diagonal, compare cases.
        noises: shares of noise in a standardised target's variance, in (0, 1).
    """

    def __init__(self, rich: RawEncoder, *, noises: tuple[float, ...] = NOISES) -> None:
        super().__init__(rich, noises=noises)

    @abstractmethod
    def cell_prior(self, kind: TaskKind, like: Float[Tensor, "tasks cells"]) -> Float[Tensor, " cells"]:
        """Return the log prior of the pairs for tasks of a kind."""

    def kernels(self, left: Features, right: Features) -> Float[Tensor, "tasks kernels n m"]:
        """Return what the modality compares by."""
        return self.raw.kernels(left, right)

    def adapt(self, support: LabelledBatch) -> AveragedState:
        """Return the posterior of each task given its support.

        Raises:
            TaskError: classes, and a support of one class only.
        """
        state = super().adapt(support)
        each = self.evidence(support, state.posterior)
        weight = torch.log_softmax(each + self.cell_prior(support.kind, each), dim=1)
        return AveragedState(support, state.grid, state.posterior._replace(log_weight=weight))

    def leave_one_out(self, support: LabelledBatch, state: AveragedState | None = None) -> Float[Tensor, "tasks cases"]:
        """Return the log-likelihood of each support case when it is hidden, in closed form; it has no say in the weights that judge it.

        Raises:
            TaskError: classes, and a support of one class only.
        """
        posterior = (state or self.adapt(support)).posterior
        targets = signed_targets(support, posterior.whitened.dtype)
        precision = torch.cholesky_inverse(posterior.cholesky)
        share = torch.cholesky_solve(targets[:, None].expand_as(posterior.whitened), posterior.cholesky)
        scores = torch.stack(
            [_of_others(support, targets, precision[:, cell], share[:, cell]) for cell in range(precision.shape[1])],
            dim=1,
        )
        prior = self.cell_prior(support.kind, scores[..., 0])
        without = torch.log_softmax(scores + prior[:, None], dim=1)
        mean, variance = hidden_moments(posterior, targets)
        cases, cells = mean.shape[2], mean.shape[1]

        def each(value: Tensor) -> Tensor:
            """Cases as tasks: `[tasks, cells, n, ...]` -> `[tasks * n, cells, ...]`."""
            return value.transpose(1, 2).reshape(len(mean) * cases, cells, *value.shape[3:])

        law = average_law(each(mean)[:, :, None], each(variance)[:, :, None], each(without), support.kind)
        return law.log_prob(support.targets.reshape(-1, 1)).reshape(len(mean), cases)

    def evidence(self, support: LabelledBatch, posterior: Posterior) -> Float[Tensor, "tasks cells"]:
        """Return the log pseudo-likelihood of each pair: the sum of what each support case has while it is hidden."""
        mean, variance = hidden_moments(posterior, signed_targets(support, posterior.whitened.dtype))
        one = torch.zeros_like(posterior.log_weight[:, :1])
        cells = [
            average_law(mean[:, cell : cell + 1], variance[:, cell : cell + 1], one, support.kind).log_prob(
                support.targets
            )
            for cell in range(mean.shape[1])
        ]
        return torch.stack(cells, dim=1).masked_fill(~support.mask[:, None], 0.0).sum(-1)


def _of_others(
    support: LabelledBatch,
    targets: Float[Tensor, "tasks n outputs"],
    precision: Float[Tensor, "tasks n n"],
    share: Float[Tensor, "tasks n outputs"],
) -> Float[Tensor, "tasks n"]:
    """Return, for each case left out, the log pseudo-likelihood of the others in one cell.

    What is left of a precision matrix P without case i is P - P_i P_i^T / P_ii, so leaving out two costs no more than one.
    """
    own = precision.diagonal(dim1=-2, dim2=-1)
    ratio = precision / own[..., None]  # [tasks, left out, hidden]
    left = own[:, None] - ratio * precision
    eye = torch.eye(left.shape[-1], dtype=torch.bool)
    left = left.masked_fill(eye, 1.0)
    mean = targets[:, None] - (share[:, None] - ratio[..., None] * share[:, :, None]) / left[..., None]
    one = torch.zeros_like(own[:, :1])
    flat = mean.flatten(1, 2)[:, None], (1 / left).flatten(1)[:, None]
    law = average_law(*flat, one, support.kind)
    given = support.targets[:, None].expand(-1, own.shape[1], -1)
    counted = support.mask[:, None] & ~eye
    each: Tensor = law.log_prob(given.flatten(1)).reshape(counted.shape)
    return each.masked_fill(~counted, 0.0).sum(-1)
