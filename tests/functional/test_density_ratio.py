"""Density ratios of Gaussians that are known, and a weighted fit against scikit-learn's."""

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression, Ridge

from metamedica.functional.density_ratio import log_density_ratio, weighted_linear


def _normal(n: int, *, centre: float = 0.0, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + centre


def test_the_ratio_of_two_gaussians_is_found() -> None:
    source, target = _normal(4000), _normal(1500, centre=0.5, seed=1)
    found = log_density_ratio(source, target[None], torch.ones(1, 1500).double(), signal=100.0)[0]
    want = (0.5 * source).sum(1) - 0.25
    assert float((found - want).abs().max()) < 0.3
    assert float((found - want).square().mean().sqrt()) < 0.1


def test_the_numbers_of_cases_do_not_enter_the_ratio_and_no_case_says_nothing() -> None:
    source, target = _normal(2000), _normal(2000, seed=1)
    weight = torch.zeros(2, 2000).double()
    weight[0] = 1
    found = log_density_ratio(source, target.expand(2, -1, -1), weight, signal=1.0)
    assert float(found[0].abs().mean()) < 0.1
    assert not found[1].any()


def test_a_weighted_fit_is_that_of_scikit_learn() -> None:
    flat = _normal(200)
    flat = flat - flat.mean(0)
    random = np.random.default_rng(0)
    weight = torch.from_numpy(random.uniform(0.1, 3, (2, 200)))
    score = flat.numpy() @ np.array([1.5, -0.7]) + 0.4
    label = torch.from_numpy((random.random(200) < 1 / (1 + np.exp(-score))).astype(float))
    number = torch.from_numpy(score + random.normal(0, 0.5, 200))
    prior = 3.0 / float(flat.square().sum(1).mean())
    found, intercept = weighted_linear(flat, label, weight, signal=3.0, kind="binary")
    exact, shift = weighted_linear(flat, number, weight, signal=3.0, kind="regression")
    for task in range(2):
        logistic = LogisticRegression(C=prior, tol=1e-10, max_iter=1000)
        logistic.fit(flat.numpy(), label.numpy(), sample_weight=weight[task].numpy())
        np.testing.assert_allclose(found[task], logistic.coef_[0], rtol=1e-3)
        np.testing.assert_allclose(intercept[task], logistic.intercept_[0], rtol=1e-3, atol=1e-3)
        ridge = Ridge(alpha=1 / prior).fit(flat.numpy(), number.numpy(), sample_weight=weight[task].numpy())
        np.testing.assert_allclose(exact[task], ridge.coef_, rtol=1e-3)
        np.testing.assert_allclose(shift[task], ridge.intercept_, rtol=1e-3)


def test_tasks_with_cases_of_their_own_are_fitted_as_each_alone() -> None:
    flat = torch.stack([_normal(100), 2 * _normal(100, seed=1)])
    label, weight = (flat[0].sum(1) > 0).double(), torch.ones(2, 100).double()
    found, intercept = weighted_linear(flat, label, weight, signal=3.0, kind="binary")
    for task in range(2):
        alone, level = weighted_linear(flat[task], label, weight[:1], signal=3.0, kind="binary")
        torch.testing.assert_close(found[task], alone[0])
        torch.testing.assert_close(intercept[task], level[0])
