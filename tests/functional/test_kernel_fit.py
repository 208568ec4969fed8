"""The per-task kernel fit against autograd, SciPy's optimiser on textbook formulas, and finite differences through the whole fit."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.spatial.distance import cdist
from scipy.stats import multivariate_normal
from sklearn.gaussian_process.kernels import Matern
from torch import Tensor
from torch.distributions import MultivariateNormal

from metamedica.functional.gaussian_process import MEAN_VARIANCE
from metamedica.functional.kernel_fit import (
    KernelPrior,
    derivatives,
    fit_kernel,
    negative_log_posterior,
    target_covariance,
    usual_distance,
)

PRIOR = KernelPrior((0.1, -0.3, -2.0), 0.7)
CENTRE = torch.tensor(PRIOR.centre, dtype=torch.float64)


def _data(tasks: int, n: int, outputs: int = 1, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Points of noisy waves, their targets and mask."""
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(tasks, n, 2))
    wave = np.sin(rng.uniform(0.3, 4, size=(tasks, 1, outputs)) * points[..., :1])
    targets = wave + 0.3 * rng.normal(size=(tasks, n, outputs))
    return torch.tensor(points), torch.tensor(targets), torch.ones(tasks, n, dtype=torch.bool)


def _squares(points: Tensor) -> Tensor:
    return (points[:, :, None] - points[:, None]).square().sum(-1)


def _by_the_textbook(psi: np.ndarray, points: np.ndarray, targets: np.ndarray) -> float:
    length, scale, noise = np.exp(psi)
    covariance = scale * Matern(length, nu=2.5)(points) + MEAN_VARIANCE + noise * np.eye(len(points))
    likelihood = multivariate_normal(np.zeros(len(points)), covariance).logpdf(targets.T)
    return float(0.5 * np.sum((psi - np.array(PRIOR.centre)) ** 2) / PRIOR.spread**2 - np.sum(likelihood))


@pytest.mark.parametrize("outputs", [1, 3])
def test_the_loss_is_that_of_the_textbook(outputs: int) -> None:
    points, targets, mask = _data(2, 6, outputs)
    psi = torch.tensor([[0.2, -0.1, -1.5], [-0.5, 0.4, -3.0]], dtype=torch.float64)
    found = negative_log_posterior(_squares(points), targets, mask, psi, PRIOR)
    for task in range(2):
        want = _by_the_textbook(psi[task].numpy(), points[task].numpy(), targets[task].numpy())
        assert float(found[task]) == pytest.approx(want, rel=1e-10)


@pytest.mark.parametrize("outputs", [1, 3])
def test_slope_and_curvature_are_those_of_autograd(outputs: int) -> None:
    points, targets, mask = _data(1, 7, outputs, seed=1)
    distance = torch.tensor(cdist(points[0].numpy(), points[0].numpy()))

    def loss(psi: Tensor) -> Tensor:
        length, scale, noise = psi.exp()
        ratio = 5**0.5 * distance / length
        kernel = scale * (1 + ratio + ratio**2 / 3) * torch.exp(-ratio)
        law = MultivariateNormal(torch.zeros(7).double(), kernel + MEAN_VARIANCE + noise * torch.eye(7).double())
        return 0.5 * ((psi - CENTRE) / PRIOR.spread).square().sum() - law.log_prob(targets[0].T).sum()

    for psi in torch.tensor([[0.1, -0.3, -2.0], [-1.5, 1.0, -0.5], [2.0, -2.0, -4.0]], dtype=torch.float64):
        found = derivatives(_squares(points), targets, mask, psi[None], PRIOR)
        torch.testing.assert_close(found.slope[0], torch.func.grad(loss)(psi), atol=1e-9, rtol=1e-9)
        torch.testing.assert_close(
            found.curvature[0], torch.autograd.functional.hessian(loss, psi), atol=1e-8, rtol=1e-8
        )


@pytest.mark.parametrize(("n", "outputs"), [(2, 1), (5, 1), (20, 1), (12, 3)])
def test_the_fit_is_the_optimum_that_scipy_finds(n: int, outputs: int) -> None:
    points, targets, mask = _data(4, n, outputs, seed=n)
    found = fit_kernel(_squares(points), targets, mask, PRIOR)
    for task in range(4):
        x, y = points[task].numpy(), targets[task].numpy()
        want = minimize(_by_the_textbook, np.array(PRIOR.centre), args=(x, y), method="BFGS", options={"gtol": 1e-7})
        np.testing.assert_allclose(found[task].numpy(), want.x, atol=2e-6)


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 8))
def test_the_slope_is_zero_and_the_curvature_positive_where_the_fit_ends(seed: int, n: int) -> None:
    points, targets, mask = _data(3, n, seed=seed)
    squares = _squares(points)
    psi = fit_kernel(squares, 3 * targets, mask, PRIOR)
    there = derivatives(squares, 3 * targets, mask, psi, PRIOR)
    assert float(there.slope.abs().max()) < 1e-9
    assert float(torch.linalg.eigvalsh(there.curvature).min()) > 0


@pytest.mark.parametrize("n", [1, 2, 3, 5])
@pytest.mark.parametrize("value", [0.0, 1.0, 30.0])
def test_few_or_equal_or_wild_targets_leave_every_hyper_parameter_finite(n: int, value: float) -> None:
    points, _, mask = _data(2, n)
    targets = value * torch.tensor([(-1.0) ** i for i in range(n)], dtype=torch.float64).expand(2, n)[..., None]
    for given_targets in (targets, targets.abs()):
        for squares in (_squares(points), torch.zeros(2, n, n, dtype=torch.float64)):
            psi = fit_kernel(squares, given_targets, mask, PRIOR)
            assert float((psi - CENTRE).abs().max()) < 3 + np.log1p(value**2)
            assert float(derivatives(squares, given_targets, mask, psi, PRIOR).slope.abs().max()) < 1e-8


def test_one_case_says_nothing_about_the_length() -> None:
    points, targets, mask = _data(3, 1)
    psi = fit_kernel(_squares(points), targets, mask, PRIOR)
    torch.testing.assert_close(psi[:, 0], CENTRE[0].expand(3), atol=1e-12, rtol=0)


def test_the_gradient_of_the_fit_is_that_of_fitting_again() -> None:
    points, targets, mask = _data(2, 6, seed=3)
    weight = torch.tensor([0.3, -1.0, 0.7], dtype=torch.float64)

    def outcome(moved: Tensor) -> Tensor:
        return (fit_kernel(_squares(moved), targets, mask, PRIOR) @ weight).sum()

    points.requires_grad_()
    (slope,) = torch.autograd.grad(outcome(points), points)
    small = 1e-5
    for task, case, column in [(0, 0, 0), (0, 3, 1), (1, 2, 0), (1, 5, 1)]:
        ends = []
        for sign in (1, -1):
            moved = points.detach().clone()
            moved[task, case, column] += sign * small
            ends.append(float(outcome(moved)))
        want = (ends[0] - ends[1]) / (2 * small)
        assert abs(want) > 1e-3
        assert float(slope[task, case, column]) == pytest.approx(want, rel=1e-6)


def test_padding_and_the_other_tasks_change_nothing() -> None:
    points, targets, mask = _data(3, 9, seed=4)
    mask = torch.arange(9) < torch.tensor([[9], [4], [1]])
    garbage = torch.where(mask[..., None], points, 77.0)
    together = fit_kernel(_squares(garbage), targets.masked_fill(~mask[..., None], 0), mask, PRIOR)
    for task, n in enumerate([9, 4, 1]):
        one = slice(task, task + 1)
        alone = fit_kernel(_squares(points[one, :n]), targets[one, :n], mask[one, :n], PRIOR)
        torch.testing.assert_close(together[one], alone, atol=1e-10, rtol=0)


def test_single_precision_is_fitted_in_double() -> None:
    points, targets, mask = _data(2, 10, seed=5)
    double = fit_kernel(_squares(points), targets, mask, PRIOR)
    single = fit_kernel(_squares(points.float()), targets.float(), mask, PRIOR)
    assert single.dtype == torch.float64
    torch.testing.assert_close(single, double, atol=1e-4, rtol=0)


def test_the_covariance_is_the_sum_of_its_three_parts() -> None:
    points, _, _ = _data(1, 4)
    psi = torch.tensor([[0.4, -0.2, -1.0]], dtype=torch.float64)
    want = np.exp(-0.2) * Matern(np.exp(0.4), nu=2.5)(points[0].numpy()) + MEAN_VARIANCE + np.exp(-1.0) * np.eye(4)
    np.testing.assert_allclose(target_covariance(_squares(points), psi)[0].numpy(), want, atol=1e-12)


def test_the_usual_distance_is_half_the_mean_square_over_pairs_of_real_cases() -> None:
    points, _, _ = _data(4, 5)
    points[2, :] = points[2, :1]
    mask = torch.arange(5) < torch.tensor([[5], [3], [5], [1]])
    found = usual_distance(_squares(points), mask)
    for task, n in [(0, 5), (1, 3)]:
        squares = cdist(points[task, :n].numpy(), points[task, :n].numpy()) ** 2
        assert float(found[task]) == pytest.approx(0.5 * squares[np.triu_indices(n, 1)].mean())
    assert found[2:].tolist() == [1.0, 1.0]
