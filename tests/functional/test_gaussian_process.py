"""The grid-averaged Gaussian process against textbook formulas written out in NumPy, double precision."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from torch.distributions import Categorical, Normal

from metamedica.errors import TaskError
from metamedica.functional.gaussian_process import (
    MEAN_VARIANCE,
    Grid,
    average_law,
    condition,
    condition_on_covariance,
    log_marginal_likelihood,
    predictive,
    signed_targets,
)
from metamedica.types import CaseBatch, LabelledBatch


def _problem(n: int = 7, m: int = 5, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, Grid]:
    rng = np.random.default_rng(seed)
    points = torch.tensor(rng.normal(size=(n + m, 3)))
    distance = torch.cdist(points, points)
    kernels = torch.stack([torch.exp(-(distance**2)), torch.exp(-distance)])
    targets = torch.tensor(rng.normal(size=(1, n, 1)))
    grid = Grid(
        torch.tensor([[1.0, 0.0], [0.25, 0.75]], dtype=torch.float64), torch.tensor([0.1, 0.4], dtype=torch.float64)
    )
    return kernels, targets, torch.ones(1, n, dtype=torch.bool), grid


def _by_hand(
    kernels: torch.Tensor, targets: torch.Tensor, grid: Grid, cell: int
) -> tuple[np.ndarray, np.ndarray, float]:
    n = targets.shape[1]
    noise = float(grid.noise[cell])
    signal = (1 - noise) * np.tensordot(grid.weights[cell].numpy(), kernels.numpy(), 1) + MEAN_VARIANCE
    covariance = signal[:n, :n] + noise * np.eye(n)
    y = targets[0, :, 0].numpy()
    inverse = np.linalg.inv(covariance)
    cross = signal[n:, :n]
    variance = np.diag(signal[n:, n:]) + noise - np.einsum("mi,ij,mj->m", cross, inverse, cross)
    return cross @ inverse @ y, variance, float(multivariate_normal(np.zeros(n), covariance).logpdf(y))


@pytest.mark.parametrize("m", [5, 90])
def test_every_cell_equals_the_textbook_formulas(m: int) -> None:
    kernels, targets, mask, grid = _problem(m=m)
    n = targets.shape[1]
    posterior = condition(kernels[None, :, :n, :n], targets, mask, grid, torch.zeros(2, dtype=torch.float64))
    mean, variance = predictive(
        posterior, kernels[None, :, n:, :n], torch.ones(1, 2, m, dtype=torch.float64), mask, grid
    )
    evidence = []
    for cell in range(2):
        want_mean, want_variance, log_evidence = _by_hand(kernels, targets, grid, cell)
        np.testing.assert_allclose(mean[0, cell, :, 0].numpy(), want_mean, atol=1e-10)
        np.testing.assert_allclose(variance[0, cell].numpy(), want_variance, atol=1e-10)
        evidence.append(log_evidence)
    want = np.exp(evidence) / np.exp(evidence).sum()
    np.testing.assert_allclose(posterior.log_weight[0].exp().numpy(), want, atol=1e-10)


def test_a_prior_mean_is_a_shift_of_targets_and_predictions_in_each_cell() -> None:
    kernels, targets, mask, _ = _problem()
    n = targets.shape[1]
    covariance = kernels[None, :, :n, :n] + 0.2 * torch.eye(n)
    mean = torch.tensor(np.random.default_rng(5).normal(size=(1, 2, n)))
    even = torch.zeros(2, dtype=torch.float64)
    found = condition_on_covariance(covariance, targets, mask, even, mean=mean)
    for cell in range(2):
        shifted = targets - mean[:, cell, :, None]
        alone = condition_on_covariance(covariance[:, cell : cell + 1], shifted, mask, even[:1])
        torch.testing.assert_close(found.whitened[:, cell], alone.whitened[:, 0])


def test_the_prior_over_cells_multiplies_their_evidence() -> None:
    kernels, targets, mask, grid = _problem()
    n = targets.shape[1]
    flat = condition(kernels[None, :, :n, :n], targets, mask, grid, torch.zeros(2, dtype=torch.float64))
    prior = torch.tensor([0.9, 0.1], dtype=torch.float64)
    tilted = condition(kernels[None, :, :n, :n], targets, mask, grid, prior.log())
    want = flat.log_weight.exp() * prior
    torch.testing.assert_close(tilted.log_weight.exp(), want / want.sum())


def test_padding_the_support_changes_nothing() -> None:
    kernels, targets, mask, grid = _problem()
    n = targets.shape[1]
    prior = torch.zeros(2, dtype=torch.float64)
    alone = condition(kernels[None, :, :n, :n], targets, mask, grid, prior)
    padded = torch.nn.functional.pad(kernels[None, :, :n, :n], (0, 3, 0, 3), value=0.7)
    longer = condition(
        padded, torch.nn.functional.pad(targets, (0, 0, 0, 3)), torch.nn.functional.pad(mask, (0, 3)), grid, prior
    )
    torch.testing.assert_close(longer.log_weight, alone.log_weight, atol=1e-10, rtol=0)
    diagonal = torch.ones(1, 2, 5, dtype=torch.float64)
    want = predictive(alone, kernels[None, :, n:, :n], diagonal, mask, grid)
    cross = torch.nn.functional.pad(kernels[None, :, n:, :n], (0, 3), value=0.9)
    got = predictive(longer, cross, diagonal, torch.nn.functional.pad(mask, (0, 3)), grid)
    for mine, theirs in zip(got, want, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-10, rtol=0)


def test_the_averaged_normal_has_the_mixture_mean_and_variance() -> None:
    rng = np.random.default_rng(1)
    mean = torch.tensor(rng.normal(size=(1, 2, 4, 1)))
    variance = torch.tensor(rng.uniform(0.5, 2, size=(1, 2, 4)))
    weight = torch.tensor([[0.3, 0.7]], dtype=torch.float64)
    law = average_law(mean, variance, weight.log(), "regression")
    assert isinstance(law, Normal)
    draws = np.random.default_rng(2)
    cell = draws.choice(2, size=200_000, p=[0.3, 0.7])
    sample = draws.normal(mean[0, :, 0, 0].numpy()[cell], np.sqrt(variance[0, :, 0].numpy())[cell])
    assert float(law.mean[0, 0]) == pytest.approx(sample.mean(), abs=0.02)
    assert float(law.variance[0, 0]) == pytest.approx(sample.var(), rel=0.02)


def test_the_binary_probability_is_the_exact_conditional_of_the_gaussian() -> None:
    law = average_law(torch.tensor([[[[0.4]]]]), torch.tensor([[[0.8]]]), torch.zeros(1, 1), "binary")
    assert isinstance(law, Categorical)
    up, down = Normal(0.4, 0.8**0.5).log_prob(torch.tensor([1.0, -1.0])).exp()
    torch.testing.assert_close(law.probs[0, 0, 1], up / (up + down))


def test_a_support_of_one_class_is_refused() -> None:
    batch = LabelledBatch(
        CaseBatch({"v": torch.zeros(1, 3, 2)}, torch.ones(1, 3, dtype=torch.bool)),
        torch.ones(1, 3, dtype=torch.int64),
        "binary",
        2,
    )
    with pytest.raises(TaskError, match="one class only"):
        signed_targets(batch, torch.float32)


def test_classes_become_plus_and_minus_one() -> None:
    cases = CaseBatch({"v": torch.zeros(1, 4, 2)}, torch.tensor([[True, True, True, False]]))
    binary = LabelledBatch(cases, torch.tensor([[0, 1, 1, 0]]), "binary", 2)
    assert signed_targets(binary, torch.float32)[0, :, 0].tolist() == [-1, 1, 1, 0]
    several = LabelledBatch(cases, torch.tensor([[0, 2, 1, 0]]), "multiclass", 3)
    assert signed_targets(several, torch.float32)[0].tolist() == [[1, -1, -1], [-1, -1, 1], [-1, 1, -1], [0, 0, 0]]


def test_the_log_marginal_likelihood_sums_the_densities_of_a_ragged_tasks_outputs() -> None:
    rng = np.random.default_rng(3)
    root = rng.normal(size=(2, 2, 6, 6))
    covariance = torch.tensor(root @ root.swapaxes(-1, -2) + 0.5 * np.eye(6))
    mask = torch.arange(6) < torch.tensor([[6], [4]])
    targets = torch.tensor(rng.normal(size=(2, 6, 3))).masked_fill(~mask[..., None], 0)
    posterior = condition_on_covariance(covariance, targets, mask, torch.zeros(2, dtype=torch.float64))
    found = log_marginal_likelihood(posterior, mask)
    for task, n in enumerate([6, 4]):
        for cell in range(2):
            law = multivariate_normal(np.zeros(n), covariance[task, cell, :n, :n].numpy())
            assert float(found[task, cell]) == pytest.approx(law.logpdf(targets[task, :n].numpy().T).sum(), rel=1e-10)
    torch.testing.assert_close(posterior.log_weight, torch.log_softmax(found, dim=1))
