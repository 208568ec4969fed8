"""Functions of tensors that are computed again: same values, same slopes, also with `torch.func` inside."""

import pytest
import torch
from torch import Tensor

from metamedica.functional.inner_loop.again import again, stretch_of


def _steps(given: "list[Tensor] | tuple[Tensor, ...]") -> list[Tensor]:
    weight, bias = given

    def loss(own: Tensor) -> Tensor:
        return (torch.tanh(own @ weight) + bias).square().sum()

    slope = torch.func.grad(loss)(bias)
    return [weight - 0.1 * slope[:, None] * weight, bias * slope]


def test_values_and_slopes_are_those_of_the_function_itself() -> None:
    torch.manual_seed(0)
    given = [
        torch.randn(4, 4, dtype=torch.float64, requires_grad=True),
        torch.randn(4, dtype=torch.float64, requires_grad=True),
    ]
    found = []
    for function in (_steps, lambda tensors: again(_steps, tensors)):
        values = function(given)
        slopes = torch.autograd.grad(sum((value * torch.arange(4)).sum() for value in values), given)
        found.append([*values, *slopes])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_what_needs_no_slope_gets_none() -> None:
    fixed, learned = torch.ones(3), torch.ones(3, requires_grad=True)
    first, second = again(lambda given: [given[0] * 2, given[0] * given[1]], [fixed, learned])
    (first.sum() + second.sum()).backward()
    assert fixed.grad is None
    assert learned.grad is not None
    torch.testing.assert_close(learned.grad, torch.ones(3))


def test_a_second_derivative_is_refused_not_wrong() -> None:
    value = torch.ones(3, requires_grad=True)
    (out,) = again(lambda given: [given[0] ** 3], [value])
    (slope,) = torch.autograd.grad(out.sum(), value, create_graph=True)
    with pytest.raises(RuntimeError, match="does not require grad"):
        slope.sum().backward()


@pytest.mark.parametrize(("steps", "wanted"), [(0, 1), (1, 1), (4, 2), (5, 3), (9, 3), (10, 4), (100, 10)])
def test_a_stretch_is_the_root_of_the_steps_rounded_up(steps: int, wanted: int) -> None:
    assert stretch_of(steps) == wanted
