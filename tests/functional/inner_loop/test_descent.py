"""Gradient steps by autograd against closed forms on quadratics."""

from collections.abc import Callable

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from metamedica.functional.inner_loop.chain import Parameters
from metamedica.functional.inner_loop.descent import descend_if_better


def _quadratic(curvature: Tensor) -> Callable[[Parameters], Tensor]:
    def loss(own: Parameters) -> Tensor:
        return 0.5 * (curvature * own["x"].square()).sum()

    return loss


@given(st.integers(0, 1000), st.floats(1e-4, 1e4), st.integers(0, 25))
def test_the_loss_never_rises_whatever_the_first_rate(seed: int, rate: float, steps: int) -> None:
    random = torch.Generator().manual_seed(seed)
    curvature = torch.rand(3, generator=random, dtype=torch.float64) * 10
    loss = _quadratic(curvature)
    start = {"x": torch.randn(3, generator=random, dtype=torch.float64)}
    fewer = descend_if_better(loss, start, rate=rate, steps=steps)
    more = descend_if_better(loss, start, rate=rate, steps=steps + 1)
    assert float(loss(more)) <= float(loss(fewer)) <= float(loss(start))


def test_a_rate_far_too_long_or_short_still_comes_to_the_minimum() -> None:
    loss = _quadratic(torch.tensor([0.5, 2.0], dtype=torch.float64))
    start = {"x": torch.ones(2, dtype=torch.float64)}
    for rate in (1e3, 1e-3):
        assert float(loss(descend_if_better(loss, start, rate=rate, steps=60))) < 1e-6


def test_a_refused_step_halves_the_rate_and_a_kept_one_lengthens_it_by_half() -> None:
    """On x^2 / 2 from 1 with rate 3: -2 is refused; rate 1.5 gives -0.5; rate 2.25 gives 0.625, refused; then rate 1.125."""
    loss = _quadratic(torch.ones(1, dtype=torch.float64))
    start = {"x": torch.ones(1, dtype=torch.float64)}
    ends = [float(descend_if_better(loss, start, rate=3.0, steps=steps)["x"]) for steps in range(5)]
    assert ends == [1.0, 1.0, -0.5, -0.5, -0.5 + 1.125 * 0.5]


def test_a_start_at_the_minimum_is_kept_and_no_gradient_is_carried() -> None:
    start = {"x": torch.zeros(2, dtype=torch.float64, requires_grad=True)}
    end = descend_if_better(_quadratic(torch.ones(2).double()), start, rate=1.0, steps=5)["x"]
    assert end.tolist() == [0.0, 0.0]
    assert not end.requires_grad
