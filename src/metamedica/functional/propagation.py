"""Labels spread over a graph of neighbours, and Gaussian processes whose cases count in part.

Zhu, Ghahramani and Lafferty 2003, Semi-supervised learning using Gaussian fields and harmonic functions; Zhou et al. 2004, Learning with local and
global consistency. No step asks how large a class is.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from metamedica.functional.gaussian_process import MEAN_VARIANCE
from metamedica.types import TaskKind

_LEAST = 1e-6


class Centring(NamedTuple):
    """What kernels are centred and scaled by: the mean of the task's cases becomes 0, their mean variance 1."""

    share: Float[Tensor, "tasks n"]
    """Of each case in the mean."""
    columns: Float[Tensor, "tasks kernels n"]
    """Mean similarity of each case to all of them."""
    whole: Float[Tensor, "tasks kernels"]
    scale: Float[Tensor, "tasks kernels"]


def centring_of(kernels: Float[Tensor, "tasks kernels n n"], weight: Float[Tensor, "tasks n"]) -> Centring:
    """Return the centring of each task's cases, each of which counts for its weight, 0 where padded."""
    share = weight / weight.sum(1, keepdim=True).clamp(min=_LEAST)
    columns = torch.einsum("tcij,tj->tci", kernels, share)
    whole = torch.einsum("tci,ti->tc", columns, share)
    own = torch.einsum("tcii,ti->tc", kernels, share) - whole
    return Centring(share, columns, whole, own.clamp(min=_LEAST))


def even_weights(
    members: Float[Tensor, "tasks n classes"], shown: Bool[Tensor, "tasks classes"]
) -> Float[Tensor, "tasks n"]:
    """Return weights by which the weighted mean of cases is the plain mean of the means of the classes, however large each is.

    Args:
        members: how far a case belongs to each class, 0 where padded.
        shown: classes that have a mean; where none is, all have.
    """
    shown = shown | ~shown.any(1, keepdim=True)
    return (members * shown[:, None] / members.sum(1, keepdim=True).clamp(min=_LEAST)).sum(-1)


def centred(cross: Float[Tensor, "tasks kernels m n"], centring: Centring) -> Float[Tensor, "tasks kernels m n"]:
    """Return kernels between any cases and those of the task, centred and scaled."""
    near = _near(cross, centring)
    whole = centring.whole[..., None, None]
    return (cross - near[..., None] - centring.columns[:, :, None] + whole) / centring.scale[..., None, None]


def centred_variance(
    own: Float[Tensor, "tasks kernels m"],
    cross: Float[Tensor, "tasks kernels m n"],
    centring: Centring,
) -> Float[Tensor, "tasks kernels m"]:
    """Return what the centred kernels say of a case and itself."""
    return (own - 2 * _near(cross, centring) + centring.whole[..., None]) / centring.scale[..., None]


def _near(cross: Tensor, centring: Centring) -> Tensor:
    return torch.einsum("tcmn,tn->tcm", cross, centring.share)


def laplacian(
    kernel: Float[Tensor, "tasks n n"], mask: Bool[Tensor, "tasks n"], *, neighbours: int
) -> Float[Tensor, "tasks n n"]:
    """Return the normalised Laplacian of the graph of nearest neighbours; 0 where padded.

    Two cases are joined where one is among the nearest of the other, by exp(-d^2 / (s_i s_j)), s the distance to the last of a case's neighbours
    (Zelnik-Manor and Perona 2004, Self-tuning spectral clustering).

    Args:
        kernel: positive semi-definite; d^2 = k(x, x) + k(z, z) - 2 k(x, z).
        mask: real cases.
        neighbours: of each case, at least 1; all others where there are fewer.
    """
    own = kernel.diagonal(dim1=-2, dim2=-1)
    eye = torch.eye(kernel.shape[-1], dtype=torch.bool, device=kernel.device)
    pairs = mask[:, :, None] & mask[:, None, :] & ~eye
    squares = (own[:, :, None] + own[:, None, :] - 2 * kernel).clamp(min=0).masked_fill(~pairs, torch.inf)
    last = (mask.sum(1) - 1).clamp(min=1, max=neighbours) - 1
    ordered = squares.sort(dim=-1).values
    reach = ordered.gather(-1, last[:, None, None].expand(-1, ordered.shape[1], 1))
    length = torch.where(reach.isfinite(), reach, 1.0).clamp(min=_LEAST).sqrt()
    joined = (squares <= reach) & pairs
    weight = torch.where(joined | joined.mT, torch.exp(-squares / (length * length.mT)), 0.0)
    degree = weight.sum(-1)
    root = torch.where(degree > 0, degree.clamp(min=_LEAST**2) ** -0.5, 0.0)
    alone = torch.diag_embed((degree > 0).to(weight.dtype))
    return alone - root[:, :, None] * weight * root[:, None, :]


def spread(graph: Float[Tensor, "tasks n n"], *, smoothing: float, sharpness: float) -> "Spread":
    """Return how probabilities spread over a graph: (I + smoothing L)^-1, then to the power of `sharpness`."""
    eye = torch.eye(graph.shape[-1], dtype=graph.dtype, device=graph.device)
    return Spread(torch.linalg.inv(eye + smoothing * graph), sharpness)


class Spread(NamedTuple):
    """How probabilities spread over the cases of each task."""

    operator: Float[Tensor, "tasks n n"]
    sharpness: float

    def __call__(self, probabilities: Float[Tensor, "tasks *more n classes"]) -> Float[Tensor, "tasks *more n classes"]:
        """Return the probabilities of every case after they have spread; they sum to 1."""
        more = probabilities.dim() - 3
        found = self.operator.reshape(len(self.operator), *(1,) * more, *self.operator.shape[1:]) @ probabilities
        return torch.softmax(self.sharpness * found.clamp(min=_LEAST).log(), dim=-1)


def signed(probabilities: Float[Tensor, "*batch classes"], kind: TaskKind) -> Float[Tensor, "*batch outputs"]:
    """Return 2 p - 1, one output for binary and one a class otherwise, as `signed_targets` of the Gaussian process."""
    values = 2 * probabilities - 1
    return values[..., 1:] if kind == "binary" else values


def log_probabilities(
    mean: Float[Tensor, "tasks cells *more outputs"],
    variance: Float[Tensor, "tasks cells *more"],
    kind: TaskKind,
    *,
    sureness: Float[Tensor, " factors"],
) -> Float[Tensor, "tasks factored *more classes"]:
    """Return the log-probabilities of the classes given mean and variance (noise included) of the signed targets.

    Args:
        mean: of the signed targets.
        variance: of the signed targets.
        kind: of the tasks.
        sureness: factors of the log-odds; a cell becomes as many cells, one after the other.
    """
    odds = 2 * mean / variance[..., None]
    if kind == "binary":
        odds = torch.cat([torch.zeros_like(odds), odds], dim=-1)
    factors = sureness.reshape(-1, *(1,) * (odds.dim() - 2))
    return torch.log_softmax((odds[:, :, None] * factors).flatten(1, 2), dim=-1)


class Counted(NamedTuple):
    """A Gaussian process in each cell whose cases count in part: the noise of one has the variance noise / weight, and weight 0 leaves it out."""

    root: Float[Tensor, "tasks cells n"]
    """Square roots of the weights."""
    precision: Float[Tensor, "tasks cells n n"]
    """Inverse of  root k root + noise I."""

    def solved(self, targets: Float[Tensor, "tasks #cells n outputs"]) -> Float[Tensor, "tasks cells n outputs"]:
        """Return what the covariance with a case is multiplied by to give its mean."""
        return self.root[..., None] * (self.precision @ (self.root[..., None] * targets))

    def variance(
        self, cross: Float[Tensor, "tasks cells m n"], prior: Float[Tensor, "tasks cells m"]
    ) -> Float[Tensor, "tasks cells m"]:
        """Return the variance of the targets of other cases, noise included."""
        near = cross * self.root[:, :, None]
        return prior - ((near @ self.precision) * near).sum(-1)

    def hidden(
        self, targets: Float[Tensor, "tasks k n outputs"], k: int
    ) -> tuple[Float[Tensor, "tasks cells k outputs"], Float[Tensor, "tasks cells k"]]:
        """Return mean and variance of the target of each of the first `k` cases, of weight 1, while it is hidden.

        Args:
            targets: of all cases while case i is hidden, in row i; its own is not read (Rasmussen and Williams 2006, eq. 5.12).
            k: those first cases.
        """
        left = self.precision[:, :, :k]
        own = left.diagonal(dim1=-2, dim2=-1)
        others = (left * self.root[:, :, None]).clone()
        others.diagonal(dim1=-2, dim2=-1).zero_()
        mean = -torch.einsum("tgkn,tkno->tgko", others, targets) / own[..., None]
        return mean, 1 / own


def counted(
    signal: Float[Tensor, "tasks cells n n"], weight: Float[Tensor, "tasks cells n"], noise: Float[Tensor, " cells"]
) -> Counted:
    """Return the process of each cell.

    Args:
        signal: covariance of the targets without noise.
        weight: 1 for a labelled case, 0 for one that is left out or padded.
        noise: variance of the noise of a case of weight 1.
    """
    root = weight.sqrt()
    eye = torch.eye(weight.shape[-1], dtype=signal.dtype, device=signal.device)
    whole = root[..., :, None] * signal * root[..., None, :] + noise[:, None, None] * eye
    return Counted(root, torch.cholesky_inverse(torch.linalg.cholesky(whole)))


def cells_of(
    kernels: Float[Tensor, "tasks kernels *more"], noises: Float[Tensor, " noises"]
) -> Float[Tensor, "tasks cells *more"]:
    """Return the covariance of the targets in each cell, a kernel and a share of noise: (1 - noise) k + b, with b the variance of the task's mean."""
    share = (1 - noises).reshape(-1, *(1,) * (kernels.dim() - 2))
    return (share * kernels[:, :, None] + MEAN_VARIANCE).flatten(1, 2)
