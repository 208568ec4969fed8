"""The maximum mean discrepancy is the naive double sum, with its gradient, and 0 for equal samples."""

import torch
from torch import Tensor

from metamedica.functional.discrepancy import WIDTHS, mean_discrepancy


def _normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _ones(*shape: int) -> Tensor:
    return torch.ones(*shape, dtype=torch.float64)


def _naive(left: Tensor, right: Tensor, usual: float) -> Tensor:
    def mean(one: Tensor, other: Tensor) -> Tensor:
        each = [torch.exp(-(a - b).square().sum() / (width * usual)) for a in one for b in other for width in WIDTHS]
        return torch.stack(each).mean()

    return mean(left, left) + mean(right, right) - 2 * mean(left, right)


def test_it_is_the_naive_double_sum_and_so_is_its_gradient() -> None:
    left, right = _normal(5, 3), _normal(7, 3, seed=1) + 0.5
    found = mean_discrepancy(left, right, _ones(5), _ones(7), usual=6.0)
    torch.testing.assert_close(found, _naive(left, right, 6.0), atol=1e-14, rtol=1e-12)
    for side in (0, 1):
        slope, want = (
            torch.func.grad(each, argnums=side)(left, right)
            for each in (
                lambda one, other: mean_discrepancy(one, other, _ones(5), _ones(7), usual=6.0),
                lambda one, other: _naive(one, other, 6.0),
            )
        )
        torch.testing.assert_close(slope, want, atol=1e-14, rtol=1e-10)


def test_equal_samples_are_not_apart_in_whatever_order_and_others_are() -> None:
    left = _normal(40, 3)
    same = mean_discrepancy(left, left.flip(0), _ones(40), _ones(40), usual=6.0)
    torch.testing.assert_close(same, torch.zeros_like(same), atol=1e-14, rtol=0)
    assert float(mean_discrepancy(left, left + 0.5, _ones(40), _ones(40), usual=6.0)) > 0.01


def test_padding_and_other_tasks_change_nothing() -> None:
    left, right = _normal(2, 5, 3), _normal(2, 6, 3, seed=1)
    weight = _ones(2, 6)
    weight[0, 4:] = 0
    both = mean_discrepancy(left, right, _ones(2, 5), weight, usual=6.0)
    alone = mean_discrepancy(left[0], right[0, :4], _ones(5), _ones(4), usual=6.0)
    torch.testing.assert_close(both[0], alone, atol=1e-14, rtol=1e-12)
    slope = torch.func.grad(lambda one: mean_discrepancy(left, one, _ones(2, 5), weight, usual=6.0).sum())(right)
    assert not slope[0, 4:].any()
    assert slope[0, :4].any()
