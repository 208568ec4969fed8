"""How far two samples are apart in the mean of a characteristic kernel."""

import torch
from jaxtyping import Float
from torch import Tensor

WIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Of the kernels, in units of the usual squared distance."""


def many_widths(square: Float[Tensor, "*batch"], usual: float) -> Float[Tensor, "*batch"]:
    """Return the mean of the kernels exp(-square / (width usual)) over `WIDTHS`.

    Args:
        square: squared distances.
        usual: the usual one.
    """
    # Each kernel is the square of the next wider one: a single exponential.
    kernel = torch.exp(-square / (WIDTHS[-1] * usual))
    total = kernel
    for _ in WIDTHS[1:]:
        kernel = kernel.square()
        total = total + kernel
    return total / len(WIDTHS)


def mean_discrepancy(
    left: Float[Tensor, "*batch n d"],
    right: Float[Tensor, "*batch m d"],
    left_weight: Float[Tensor, "*batch n"],
    right_weight: Float[Tensor, "*batch m"],
    *,
    usual: float,
) -> Float[Tensor, "*batch"]:
    """Return the squared maximum mean discrepancy of two samples: 0 where they are the same, up to 2 (Gretton et al. 2012, eq. 5).

    Args:
        left: finite where padded.
        right: likewise.
        left_weight: 1 for a case, 0 where padded; a sample of no case counts as a kernel mean of 0.
        right_weight: likewise.
        usual: squared distance between two usual cases, above 0.
    """
    both = torch.cat([left, right], dim=-2)
    one, other = (weight / weight.sum(-1, keepdim=True).clamp(min=1) for weight in (left_weight, right_weight))
    signed = torch.cat([one, -other], dim=-1)
    length = both.square().sum(-1)
    square = (length[..., :, None] + length[..., None, :] - 2 * both @ both.mT).clamp(min=0)
    found: Tensor = (signed * (many_widths(square, usual) @ signed[..., None])[..., 0]).sum(-1)
    return found
