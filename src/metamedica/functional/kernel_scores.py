"""Kernel ridge regressions of a few labelled cases, several kernels and penalties at once, with every leave-one-out score in closed form.

For labels y = +1 / -1 and the kernel K of the cases, alpha = (K + penalty I)^-1 y; a new case scores k^T alpha, and case i without itself
y_i - alpha_i / [(K + penalty I)^-1]_ii  (Rasmussen & Williams 2006, eq. 5.12). The kernels hold a constant, so that no intercept is needed.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

PENALTIES = ((0.3, 3.0, 30.0), (0.5, 3.0))
"""Of the linear kernel x . y / s + 1, and of the Gaussian one exp(-|x - y|^2 / (2 s)) + 1/2, with s the mean squared length of a labelled case."""
N_SCORES = sum(map(len, PENALTIES))
_CONSTANTS = (1.0, 0.5)
_LEAST = 1e-6


class KernelScores(NamedTuple):
    """The regressions of each task."""

    cases: Float[Tensor, "tasks n d"]
    alpha: Float[Tensor, "tasks n scores"]
    """0 where padded."""
    left_out: Float[Tensor, "tasks n scores"]
    """Score of each labelled case by the others; 0 where padded."""
    size: Float[Tensor, " tasks"]
    """Mean squared length of a labelled case; 1 where all are 0."""

    def __call__(self, asked: Float[Tensor, "tasks m d"]) -> Float[Tensor, "tasks m scores"]:
        """Return the scores of each case."""
        linear, gaussian = _kernels(asked, self.cases, self.size)
        first = len(PENALTIES[0])
        return torch.cat([linear @ self.alpha[..., :first], gaussian @ self.alpha[..., first:]], dim=-1)


def _kernels(
    left: Float[Tensor, "tasks m d"], right: Float[Tensor, "tasks n d"], size: Float[Tensor, " tasks"]
) -> tuple[Float[Tensor, "tasks m n"], Float[Tensor, "tasks m n"]]:
    per = size[:, None, None]
    inner = left @ right.mT
    square = left.square().sum(-1)[..., None] + right.square().sum(-1)[:, None] - 2 * inner
    return inner / per + _CONSTANTS[0], torch.exp(-square.clamp(min=0) / (2 * per)) + _CONSTANTS[1]


def kernel_scores(
    cases: Float[Tensor, "tasks n d"],
    mask: Bool[Tensor, "tasks n"],
    labels: Float[Tensor, "tasks n"],
) -> KernelScores:
    """Return the regressions of labelled cases.

    Args:
        cases: centred; 0 where padded and in a column that does not vary.
        mask: real cases.
        labels: 1 or 0.
    """
    signed = (2 * labels - 1) * mask
    square = cases.square().sum((1, 2)) / mask.sum(1).clamp(min=1)
    size = torch.where(square > _LEAST, square, torch.ones_like(square))
    both = mask[:, :, None] & mask[:, None, :]
    eye = torch.eye(mask.shape[1], dtype=cases.dtype, device=cases.device)
    alpha, left_out = [], []
    for kernel, penalties in zip(_kernels(cases, cases, size), PENALTIES, strict=True):
        for penalty in penalties:
            inverse = torch.cholesky_inverse(torch.linalg.cholesky(kernel.masked_fill(~both, 0) + penalty * eye))
            alpha.append((inverse @ signed[..., None])[..., 0])
            left_out.append((signed - alpha[-1] / inverse.diagonal(dim1=-2, dim2=-1)) * mask)
    return KernelScores(cases, torch.stack(alpha, dim=-1), torch.stack(left_out, dim=-1), size)
