"""Means and covariances under a mask, shrinkage to a source, powers of matrices and leading directions, against NumPy and SciPy."""

import numpy as np
import scipy.linalg
import torch

from metamedica.functional.moments import Moments, leading, moments, root, shrunk

RANDOM = torch.Generator().manual_seed(0)
ROWS = torch.randn(2, 30, 3, generator=RANDOM, dtype=torch.float64) @ torch.randn(
    3, 3, generator=RANDOM, dtype=torch.float64
)


def test_moments_are_those_of_the_real_cases() -> None:
    weight = torch.ones(2, 30, dtype=torch.float64)
    weight[1, 10:] = 0
    found = moments(ROWS, weight)
    for task, n in ((0, 30), (1, 10)):
        own = ROWS[task, :n].numpy()
        np.testing.assert_allclose(found.mean[task], own.mean(0))
        np.testing.assert_allclose(found.covariance[task], np.cov(own.T, bias=True))
    assert found.cases.tolist() == [30, 10]


def test_no_case_has_the_moments_of_the_source_and_endless_cases_their_own() -> None:
    source = Moments(torch.tensor(torch.inf), torch.ones(3).double(), 2 * torch.eye(3).double())
    cases = torch.tensor(7.0, dtype=torch.float64)
    own = moments(ROWS, torch.ones(2, 30, dtype=torch.float64))
    none = shrunk(moments(ROWS[:, :0], torch.ones(2, 0).double()), source, mean_cases=cases, spread_cases=cases)
    assert torch.equal(none.mean, source.mean.expand(2, 3))
    assert torch.equal(none.covariance, source.covariance.expand(2, 3, 3))
    held = shrunk(own, source, mean_cases=cases * torch.inf, spread_cases=cases * torch.inf)
    assert torch.equal(held.mean, source.mean.expand(2, 3))
    between = shrunk(own, source, mean_cases=30 * torch.ones_like(cases), spread_cases=cases)
    torch.testing.assert_close(between.mean, (own.mean + source.mean) / 2)
    torch.testing.assert_close(between.covariance, (30 * own.covariance + 7 * source.covariance) / 37)


def test_powers_of_a_covariance_are_those_of_scipy() -> None:
    covariance = moments(ROWS, torch.ones(2, 30, dtype=torch.float64)).covariance
    for each in covariance:
        np.testing.assert_allclose(root(each, power=0.5), scipy.linalg.sqrtm(each.numpy()).real, atol=1e-10)
        np.testing.assert_allclose(
            root(each, power=-0.5), np.linalg.inv(scipy.linalg.sqrtm(each.numpy()).real), atol=1e-9
        )


def test_leading_directions_hold_the_share_of_the_first_matrix_that_was_asked_for() -> None:
    first = torch.diag(torch.tensor([1.0, 6.0, 3.0], dtype=torch.float64))
    both = torch.stack([first, moments(ROWS, torch.ones(2, 30, dtype=torch.float64)).covariance[0]])
    for share, number in ((0.5, 1), (0.6, 1), (0.61, 2), (0.95, 3), (1.0, 3)):
        found = leading(both, share=share)
        torch.testing.assert_close(found @ found, found)
        torch.testing.assert_close(found.diagonal(dim1=1, dim2=2).sum(1), torch.full((2,), float(number)).double())
    np.testing.assert_allclose(leading(both, share=0.6)[0], np.diag([0.0, 1.0, 0.0]), atol=1e-12)
    largest = np.linalg.eigh(both[1].numpy())[1][:, -1]
    np.testing.assert_allclose(leading(both, share=0.6)[1], np.outer(largest, largest), atol=1e-12)
