"""Outer products with a backward pass of their own: the slopes of the plain formula, to any order, in any shape."""

import pytest
import torch
from torch import Tensor

from metamedica.functional.inner_loop.products import outer_step


def _plain(here: Tensor, slope: Tensor, inputs: Tensor, rate: float) -> Tensor:
    return here + rate * slope.mT @ inputs


def _given(cases: int, out: int, width: int, *, shared: bool) -> list[Tensor]:
    torch.manual_seed(0)
    shapes = [(out, width) if shared else (3, out, width), (3, cases, out), (3, cases, width)]
    return [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]


@pytest.mark.parametrize(("cases", "out", "width"), [(5, 4, 7), (5, 7, 4), (2, 9, 3), (9, 2, 3), (1, 1, 1)])
@pytest.mark.parametrize("shared", [False, True])
def test_values_and_slopes_are_those_of_the_plain_formula(cases: int, out: int, width: int, shared: bool) -> None:
    given = _given(cases, out, width, shared=shared)
    found = []
    for function in (outer_step, _plain):
        value = function(*given, 0.3)
        slopes = torch.autograd.grad(value.pow(3).sum(), given)
        found.append([value, *slopes])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_second_derivatives_are_right() -> None:
    here, slope, inputs = _given(3, 2, 4, shared=False)
    assert torch.autograd.gradgradcheck(lambda *given: outer_step(*given, 0.3).tanh(), (here, slope, inputs))


def test_what_needs_no_slope_costs_none_and_torch_func_can_take_it() -> None:
    here, slope, inputs = (value.detach() for value in _given(3, 2, 4, shared=False))
    found = torch.func.grad(lambda slope: outer_step(here, slope, inputs, 0.3).square().sum())(slope)
    want = torch.func.grad(lambda slope: _plain(here, slope, inputs, 0.3).square().sum())(slope)
    torch.testing.assert_close(found, want)
