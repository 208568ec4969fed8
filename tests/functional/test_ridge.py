"""Ridge regression in the dual against the primal closed form, brute-force refits and scikit-learn."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from torch import Tensor

from metamedica.functional.ridge import (
    PRIOR_CASES,
    RELATIVE_PENALTIES,
    RidgeFit,
    by_root_width,
    centred,
    first_best,
    fit_ridge,
    fit_ridge_at,
    leave_one_out_residuals,
    penalty_at_least,
    ridge_law,
    usual_square,
)

SEEDS = st.integers(0, 10_000)


def _data(n: int, d: int, *, tasks: int = 1, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(tasks, n, d))
    y = x @ rng.normal(size=(tasks, d, 1)) * d**-0.5 + 0.5 * rng.normal(size=(tasks, n, 1)) + 0.7
    return torch.tensor(x), torch.tensor(y[..., 0]), torch.ones(tasks, n, dtype=torch.bool)


def _refitted(x: np.ndarray, y: np.ndarray, penalty: float, case: int) -> float:
    """Target minus the prediction of scikit-learn's ridge regression that never saw the case."""
    rest = np.arange(len(y)) != case
    return float(y[case] - Ridge(alpha=penalty).fit(x[rest], y[rest]).predict(x[[case]])[0])


def _law(fit: RidgeFit, x: Tensor) -> Tensor:
    law = ridge_law(fit, x)
    return torch.stack([law.loc, law.scale])


def test_weight_and_offset_are_scikit_learns_at_the_chosen_penalty() -> None:
    for n, d in ((12, 3), (6, 15)):
        x, y, mask = _data(n, d)
        fit = fit_ridge(x, y, mask)
        known = Ridge(alpha=float(fit.penalty)).fit(x[0].numpy(), y[0].numpy())
        np.testing.assert_allclose(fit.weight[0].numpy(), known.coef_, atol=1e-10)
        z = np.random.default_rng(1).normal(size=(4, d))
        np.testing.assert_allclose(ridge_law(fit, torch.tensor(z)[None]).loc[0].numpy(), known.predict(z), atol=1e-10)


def _check_residuals(n: int, d: int) -> None:
    x, y, mask = _data(n, d, seed=n)
    inputs, _ = centred(x, mask)
    penalties = torch.tensor([[0.01, 0.5, 3.0, 80.0]], dtype=torch.float64)
    found = leave_one_out_residuals(inputs @ inputs.mT, y - y.mean(), mask, penalties)
    want = [[_refitted(x[0].numpy(), y[0].numpy(), float(p), i) for p in penalties[0]] for i in range(n)]
    np.testing.assert_allclose(found[0].numpy(), want, atol=1e-8)


def test_leave_one_out_residuals_are_those_of_brute_force_refits_at_every_penalty() -> None:
    for n, d in ((8, 3), (4, 12), (2, 2)):
        _check_residuals(n, d)


def test_leave_one_out_residuals_keep_double_precision_where_one_over_n_has_no_short_form() -> None:
    _check_residuals(5, 12)


def test_the_leave_one_out_residual_of_a_single_case_is_zero() -> None:
    one = torch.ones(1, 1, dtype=torch.float64)
    assert float(leave_one_out_residuals(0 * one[None], 0 * one, one.bool(), one)) == 0


def test_the_chosen_penalty_is_the_one_of_least_squared_error_by_brute_force() -> None:
    chosen = set()
    for seed in range(6):
        x, y, mask = _data(8, 4, seed=seed)
        fit = fit_ridge(x, y, mask)
        inputs, _ = centred(x, mask)
        grid = float(usual_square(inputs @ inputs.mT, mask)) * np.array(RELATIVE_PENALTIES)
        errors = [sum(_refitted(x[0].numpy(), y[0].numpy(), p, i) ** 2 for i in range(8)) for p in grid]
        np.testing.assert_allclose(float(fit.penalty), grid[int(np.argmin(errors))])
        np.testing.assert_allclose(float(fit.left_out), (PRIOR_CASES + min(errors)) / (PRIOR_CASES + 8))
        chosen.add(int(np.argmin(errors)))
    assert len(chosen) > 1


def test_the_law_is_the_bayesian_linear_regression_of_that_penalty_and_noise() -> None:
    x, y, mask = _data(10, 4)
    fit = fit_ridge(x, y, mask)
    z = torch.tensor(np.random.default_rng(2).normal(size=(1, 5, 4)))
    inputs = (x - x.mean(1, keepdim=True))[0].numpy()
    shifted = (z - x.mean(1, keepdim=True))[0].numpy()
    inverse = np.linalg.inv(inputs.T @ inputs + float(fit.penalty) * np.eye(4))
    leverage = 1 / 10 + np.einsum("md,de,me->m", shifted, inverse, shifted)
    np.testing.assert_allclose(ridge_law(fit, z).variance[0].numpy(), float(fit.noise) * (1 + leverage), rtol=1e-9)


def test_the_noise_gives_leave_one_out_residuals_unit_variance_but_for_the_prior() -> None:
    x, y, mask = _data(11, 3)
    fit = fit_ridge(x, y, mask)
    squares = 0.0
    for case in range(11):
        rest = np.arange(11) != case
        inputs = x[0].numpy()[rest]
        shifted = x[0].numpy()[case] - inputs.mean(0)
        inputs = inputs - inputs.mean(0)
        inverse = np.linalg.inv(inputs.T @ inputs + float(fit.penalty) * np.eye(3))
        spread = 1 + 1 / 10 + shifted @ inverse @ shifted
        squares += _refitted(x[0].numpy(), y[0].numpy(), float(fit.penalty), case) ** 2 / spread
    np.testing.assert_allclose(float(fit.noise), (PRIOR_CASES + squares) / (PRIOR_CASES + 11), rtol=1e-9)


def test_a_support_of_one_case_says_its_target_with_the_prior_noise() -> None:
    x, y, mask = _data(1, 3)
    fit = fit_ridge(x, y, mask)
    assert float(fit.weight.abs().max()) == 0
    law = ridge_law(fit, x)
    torch.testing.assert_close(law.loc, y)
    torch.testing.assert_close(law.variance, 2 * PRIOR_CASES / (PRIOR_CASES + 1) * torch.ones_like(y))


def test_cases_that_are_all_the_same_give_the_mean_everywhere() -> None:
    _, y, mask = _data(6, 3)
    fit = fit_ridge(torch.ones(1, 6, 3, dtype=torch.float64), y, mask)
    law = ridge_law(fit, torch.randn(1, 4, 3, dtype=torch.float64))
    torch.testing.assert_close(law.loc, y.mean().expand(1, 4), atol=1e-9, rtol=0)
    assert bool(law.scale.isfinite().all())


def test_noise_without_signal_takes_the_strongest_penalty() -> None:
    rng = np.random.default_rng(3)
    x = torch.tensor(rng.normal(size=(20, 40, 5)))
    y = torch.tensor(rng.normal(size=(20, 40)))
    mask = torch.ones(20, 40, dtype=torch.bool)
    inputs, _ = centred(x, mask)
    relative = fit_ridge(x, y, mask).penalty / usual_square(inputs @ inputs.mT, mask)
    assert float(relative.median()) >= 30


def test_of_equal_scores_the_first_is_best() -> None:
    scores = torch.tensor(
        [[2.0, 1.0, 1.0 - 1e-8, 3.0], [0.0, 0.0, 0.0, 0.0], [5.0, 4.0, 3.0, 1.0]], dtype=torch.float64
    )
    assert first_best(scores).argmax(-1).tolist() == [1, 0, 3]
    assert first_best(scores).sum(-1).tolist() == [1, 1, 1]


def test_the_gradient_to_inputs_and_targets_is_that_of_finite_differences() -> None:
    x, y, mask = _data(5, 2)

    def law(x: Tensor, y: Tensor) -> Tensor:
        return _law(fit_ridge(x, y, mask, relative_penalties=(0.3,)), x[:, :2] + 0.1)

    assert torch.autograd.gradcheck(law, (x.requires_grad_(), y.requires_grad_()))


def test_a_given_penalty_is_kept_for_each_task_and_its_fit_is_scikit_learns() -> None:
    x, y, mask = _data(7, 4, tasks=3)
    penalties = (0.01, 2.0, 500.0)
    fit = fit_ridge_at(x, y, mask, torch.tensor(penalties, dtype=torch.float64))
    assert fit.penalty.tolist() == list(penalties)
    for task, penalty in enumerate(penalties):
        known = Ridge(alpha=penalty).fit(x[task].numpy(), y[task].numpy())
        np.testing.assert_allclose(fit.weight[task].numpy(), known.coef_, atol=1e-10)


def test_the_gradient_to_a_given_penalty_is_that_of_finite_differences() -> None:
    x, y, mask = _data(5, 2, tasks=2)

    def law(penalty: Tensor) -> Tensor:
        return _law(fit_ridge_at(x, y, mask, penalty), x[:, :2] + 0.1)

    assert torch.autograd.gradcheck(law, (torch.tensor([0.2, 4.0], dtype=torch.float64, requires_grad=True),))


def test_a_penalty_is_kept_where_it_is_large_enough_and_else_a_share_of_the_spread_of_real_cases() -> None:
    """Distances from the centre are 1 and 1 in the first task, 30 and 30 in the second, whose third case is padded."""
    x = torch.tensor([[[-1.0], [1.0], [0.0]], [[10.0], [70.0], [9e9]]], dtype=torch.float64)
    mask = torch.tensor([[True, True, False], [True, True, False]])
    found = penalty_at_least(torch.tensor(0.5, dtype=torch.float64), 0.01, x, mask)
    assert found.tolist() == pytest.approx([0.5, 9.0])


@pytest.mark.parametrize("dim", [1, 4, 9])
def test_an_inner_product_of_embeddings_over_the_root_of_their_width_is_a_mean_over_columns(dim: int) -> None:
    left, right = torch.randn(2, 3, 5, dim, dtype=torch.float64)
    found = (by_root_width(left) * by_root_width(right)).sum(-1)
    torch.testing.assert_close(found, (left * right).mean(-1))


@given(SEEDS, st.integers(2, 9), st.integers(1, 6))
def test_the_order_of_cases_does_not_matter(seed: int, n: int, d: int) -> None:
    x, y, mask = _data(n, d, seed=seed)
    order = torch.tensor(np.random.default_rng(seed).permutation(n))
    z = x[:, :1] + 0.5
    there, here = fit_ridge(x[:, order], y[:, order], mask), fit_ridge(x, y, mask)
    torch.testing.assert_close(_law(there, z), _law(here, z), atol=1e-8, rtol=1e-8)


@given(SEEDS, st.integers(1, 8), st.integers(1, 5), st.floats(-1e6, 1e6))
def test_padded_rows_do_not_matter(seed: int, n: int, d: int, garbage: float) -> None:
    x, y, mask = _data(n, d, seed=seed)
    longer = torch.cat([x, torch.full((1, 3, d), garbage, dtype=torch.float64)], 1)
    targets, there = torch.cat([y, torch.zeros(1, 3).double()], 1), torch.cat([mask, torch.zeros(1, 3).bool()], 1)
    z = x[:, :1] + 0.5
    torch.testing.assert_close(
        _law(fit_ridge(longer, targets, there), z), _law(fit_ridge(x, y, mask), z), atol=1e-8, rtol=1e-8
    )


@given(SEEDS, st.floats(0.01, 100), st.floats(-5, 5), st.floats(-3, 3))
def test_units_and_origin_of_inputs_and_the_origin_of_targets_do_not_matter(
    seed: int, unit: float, origin: float, start: float
) -> None:
    x, y, mask = _data(7, 3, seed=seed)
    z = x[:, :2] + 0.5
    here = _law(fit_ridge(x, y, mask), z)
    there = _law(fit_ridge(x * unit + origin, y + start, mask), z * unit + origin)
    there[0] -= start
    torch.testing.assert_close(there, here, atol=1e-6, rtol=1e-6)


@given(SEEDS)
def test_a_task_in_a_batch_is_fitted_as_alone(seed: int) -> None:
    x, y, mask = _data(6, 4, tasks=3, seed=seed)
    every = fit_ridge(x, y, mask)
    alone = fit_ridge(x[1:2], y[1:2], mask[1:2])
    for found, want in zip(every, alone, strict=True):
        torch.testing.assert_close(found[1:2], want, atol=1e-8, rtol=1e-8)
