"""How far two samples are apart in the mean of a characteristic kernel."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

WIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Of the kernels, in units of the usual squared distance: each twice the one before."""


def mean_discrepancy(
    left: Float[Tensor, "*batch n d"],
    right: Float[Tensor, "*batch m d"],
    left_weight: Float[Tensor, "*batch n"],
    right_weight: Float[Tensor, "*batch m"],
    *,
    usual: float,
) -> Float[Tensor, "*batch"]:
    """Return the squared maximum mean discrepancy of two samples (Gretton et al. 2012, A kernel two-sample test, eq. 5): 0 where they are the same.

    The kernel is the mean over `WIDTHS` of exp(-squared distance / (width usual)); all pairs count, a case with itself too. The gradient
    reaches the samples, not the weights.

    Args:
        left: finite where padded.
        right: likewise.
        left_weight: 1 for a case, 0 where padded; a sample of no case has a kernel mean of 0.
        right_weight: likewise.
        usual: squared distance between two usual cases, above 0.
    """
    shares = [weight / weight.sum(-1, keepdim=True).clamp(min=1) for weight in (left_weight, right_weight)]
    signed = torch.cat([shares[0], -shares[1]], dim=-1)
    value, _ = _Discrepancy.apply(torch.cat([left, right], dim=-2), signed, usual)  # type: ignore[no-untyped-call]
    found: Tensor = value
    return found


class _Discrepancy(torch.autograd.Function):
    """sum_ij signed_i signed_j k(rows_i, rows_j) and its gradient in the rows, in one pass: autograd would keep a dozen square matrices."""

    @staticmethod
    def forward(rows: Tensor, signed: Tensor, usual: float) -> tuple[Tensor, Tensor]:
        length = rows.square().sum(-1)
        square = (rows @ rows.mT).mul_(-2).add_(length[..., :, None]).add_(length[..., None, :]).clamp_(min=0)
        each = square.div_(-WIDTHS[-1] * usual).exp_()
        kernel, steep = each.clone(), each / WIDTHS[-1]
        for width in WIDTHS[-2::-1]:
            each.square_()  # half the width
            kernel.add_(each)
            steep.add_(each, alpha=1 / width)
        value = (signed * (kernel @ signed[..., None])[..., 0]).sum(-1) / len(WIDTHS)
        pulls = steep @ torch.cat([signed[..., None], signed[..., None] * rows], dim=-1)
        slope = signed[..., None] * (pulls[..., 1:] - pulls[..., :1] * rows) * (4 / (len(WIDTHS) * usual))
        return value, slope

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(output[1])

    @staticmethod
    def backward(ctx: Any, *above: Tensor) -> tuple[Tensor, None, None]:
        (slope,) = ctx.saved_tensors
        return above[0][..., None, None] * slope, None, None
