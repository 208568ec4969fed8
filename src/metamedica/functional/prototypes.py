"""Class means and class covariances of embedded supports, and distances to them; batched over tasks, masked."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from metamedica.functional.classes import check_two_classes, membership
from metamedica.types import LabelledBatch


@dataclass(frozen=True)
class Prototypes:
    """Class means of each task, and how many cases each is made of."""

    means: Float[Tensor, "tasks classes d"]
    counts: Float[Tensor, "tasks classes"]


class Gaussians(NamedTuple):
    """One Gaussian per task and class."""

    mean: Float[Tensor, "tasks classes d"]
    factor: Float[Tensor, "tasks classes d d"]
    """Lower Cholesky factor of the covariance."""


def class_means(
    embedded: Float[Tensor, "tasks n d"], members: Float[Tensor, "tasks n classes"]
) -> Float[Tensor, "tasks classes d"]:
    """Return the mean embedding of each class (Snell et al. 2017, eq. 1); 0 for a class without cases."""
    return members.mT @ embedded / members.sum(1).clamp(min=1)[..., None]


def prototypes_of(embedded: Float[Tensor, "tasks n d"], support: LabelledBatch) -> Prototypes:
    """Return the prototypes of an embedded support.

    Raises:
        TaskError: regression, or a support of one class.
    """
    members = membership(support, embedded.dtype)
    counts = check_two_classes(members)
    return Prototypes(class_means(embedded, members), counts)


def relative_squares(
    query: Float[Tensor, "tasks m d"], means: Float[Tensor, "tasks classes d"]
) -> Float[Tensor, "tasks m classes"]:
    """Return the squared Euclidean distance of each query to each class mean, less what it has in common for all classes.

    Softmax over classes does not see what is left out. With c the mean of the means, |z - m|^2 = |z - c|^2 + |m - c|^2 - 2 (z - c) . (m - c),
    of which the first term is left out: one product, and nothing cancels that the differences between classes need.
    """
    centre = means.mean(1, keepdim=True)
    own = means - centre
    return (query - centre) @ (-2 * own).mT + own.square().sum(-1)[:, None]


def regularised_gaussians(
    embedded: Float[Tensor, "tasks n d"],
    members: Float[Tensor, "tasks n classes"],
    *,
    most_share: float,
    ridge: float,
) -> Gaussians:
    """Return class means and covariances Q_k = l_k S_k + (1 - l_k) S + ridge I (Bateni et al. 2020, eq. 3).

    S_k is the class's and S the task's sample covariance (0 for a single case), l_k = n_k / (n_k + 1), at most `most_share`.
    """
    mean = class_means(embedded, members)
    count = members.sum(1)
    real = members.sum(2, keepdim=True)
    own = (embedded[:, None] - mean[:, :, None]) * members.mT[..., None]
    centre = (embedded * real).sum(1, keepdim=True) / real.sum(1, keepdim=True).clamp(min=1)
    whole = (embedded - centre) * real
    class_covariance = own.mT @ own / (count - 1).clamp(min=1)[..., None, None]
    task_covariance = whole.mT @ whole / (real.sum((1, 2)) - 1).clamp(min=1)[:, None, None]
    share = (count / (count + 1)).clamp(max=most_share)[..., None, None]
    eye = torch.eye(embedded.shape[-1], dtype=embedded.dtype, device=embedded.device)
    covariance = share * class_covariance + (1 - share) * task_covariance[:, None] + ridge * eye
    return Gaussians(mean, torch.linalg.cholesky(covariance))


def mahalanobis_squares(query: Float[Tensor, "tasks m d"], gaussians: Gaussians) -> Float[Tensor, "tasks m classes"]:
    """Return (x - mean_k)^T Q_k^-1 (x - mean_k) of each query and class (twice Bateni et al. 2020, eq. 2)."""
    difference = query[:, None] - gaussians.mean[:, :, None]
    white = torch.linalg.solve_triangular(gaussians.factor, difference.mT, upper=False)
    squares: Tensor = white.square().sum(-2)
    return squares.mT
