"""The posterior of a task's parameters against integrals, other solvers and a textbook's density."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.stats import multivariate_t
from torch import Tensor
from torch.distributions import Categorical, Normal

from metamedica.functional.task_posterior import (
    NOISE_CASES,
    averaged_law,
    binary_law,
    cell_scores,
    moderated_log_odds,
    posterior_scores,
    row_variances,
    score_law,
    task_posterior,
)
from metamedica.types import TaskKind


def _draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _labels(n: int, tasks: int = 2) -> Tensor:
    return (_draw(tasks, n, seed=1) > 0).double()


def test_the_mode_of_classes_is_the_one_that_scipy_finds() -> None:
    design, offset, labels = _draw(2, 9, 3), _draw(2, 9, seed=2), _labels(9)
    found = task_posterior(design, offset, labels, torch.ones(2, 9).double(), kind="binary")
    for task in range(2):
        a, b, y = design[task].numpy(), offset[task].numpy(), 2 * labels[task].numpy() - 1

        def loss(z: np.ndarray, a: np.ndarray = a, b: np.ndarray = b, y: np.ndarray = y) -> float:
            return float(np.logaddexp(0, -y * (b + a @ z)).sum() + 0.5 * z @ z)

        want = minimize(loss, np.zeros(3), tol=1e-10).x
        np.testing.assert_allclose(found.mode[task].numpy(), want, atol=1e-5)


def test_the_evidence_of_classes_is_near_the_integral() -> None:
    design, offset, labels = 0.8 * _draw(1, 12, 1), _draw(1, 12, seed=2), _labels(12, 1)
    found = task_posterior(design, offset, labels, torch.ones(1, 12).double(), kind="binary")
    z = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    score = (2 * labels - 1)[..., None] * (offset[..., None] + design * z)
    height = torch.nn.functional.logsigmoid(score).sum(1)[0] - 0.5 * z**2 - 0.5 * math.log(2 * math.pi)
    want = torch.logsumexp(height, 0) + math.log(16 / 4000)
    assert abs(float(found.log_evidence) - float(want)) < 0.05


def test_the_evidence_of_numbers_is_that_of_a_multivariate_t() -> None:
    offset, targets = _draw(1, 6, seed=3), _draw(1, 6, seed=4)
    got, want = [], []
    for design in (_draw(1, 6, 2), 2 * _draw(1, 6, 2, seed=5)):
        found = task_posterior(design, offset, targets, torch.ones(1, 6).double(), kind="regression", noise=0.7)
        got.append(float(found.log_evidence))
        shape = (NOISE_CASES - 2) * 0.7 / NOISE_CASES * (torch.eye(6) + design[0] @ design[0].mT).numpy()
        want.append(float(multivariate_t(offset[0].numpy(), shape, NOISE_CASES).logpdf(targets[0].numpy())))
    np.testing.assert_allclose(got[0] - got[1], want[0] - want[1], atol=1e-9)


def test_a_case_that_counts_twice_is_two_cases_and_one_that_counts_nothing_is_none() -> None:
    design, offset, labels = _draw(1, 5, 2), _draw(1, 5, seed=2), _labels(5, 1)
    twice = [torch.cat([part, part[:, :1]], dim=1) for part in (design, offset, labels)]
    weight = torch.tensor([[2.0, 1, 1, 1, 1]]).double()
    padded = torch.tensor([[1.0, 1, 1, 1, 0]]).double()
    for kind in ("binary", "regression"):
        one = task_posterior(design, offset, labels, weight, kind=kind)
        other = task_posterior(*twice, torch.ones(1, 6).double(), kind=kind)
        torch.testing.assert_close(one, other)
        less = task_posterior(design, offset, labels, padded, kind=kind)
        fewer = [part[:, :4] for part in (design, offset, labels)]
        torch.testing.assert_close(less, task_posterior(*fewer, torch.ones(1, 4).double(), kind=kind))


def test_without_cases_the_posterior_is_the_prior() -> None:
    for kind in ("binary", "regression"):
        none = torch.zeros(1, 3).double()
        found = task_posterior(_draw(1, 3, 2), none, none, none, kind=kind, noise=0.5)
        asked = _draw(1, 4, 2, seed=6)
        mean, variance = posterior_scores(found, asked, torch.ones(1, 4).double())
        torch.testing.assert_close(mean, torch.ones(1, 4).double())
        torch.testing.assert_close(variance, asked.square().sum(-1))
        assert math.isclose(float(found.noise), 1.0 if kind == "binary" else 0.5)


def test_labels_of_one_class_leave_a_finite_mode_under_a_wide_prior() -> None:
    found = task_posterior(
        10 * _draw(1, 5, 3),
        torch.zeros(1, 5).double(),
        torch.ones(1, 5).double(),
        torch.ones(1, 5).double(),
        kind="binary",
    )
    assert bool(found.mode.isfinite().all())
    assert float(found.mode.norm()) < 10


def test_moderated_odds_are_near_the_average_probability() -> None:
    mean, variance = torch.meshgrid(torch.linspace(-4, 4, 9).double(), torch.linspace(0, 6, 7).double(), indexing="ij")
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    each = torch.sigmoid(mean[..., None] + variance.sqrt()[..., None] * torch.from_numpy(nodes))
    want = (each * torch.from_numpy(weights)).sum(-1) / math.sqrt(2 * math.pi)
    assert float((torch.sigmoid(moderated_log_odds(mean, variance)) - want).abs().max()) < 0.02


def test_the_law_over_cells_is_the_average_of_each_cells_law_and_scores_agree() -> None:
    mean, variance, weight = _draw(2, 3, 5), _draw(2, 3, 5, seed=2).square(), torch.softmax(_draw(2, 3), 1)
    noise, labels = torch.ones(2, 3).double(), _labels(5)
    law = averaged_law(mean, variance, noise, weight.log(), kind="binary")
    assert isinstance(law, Categorical)
    each = torch.sigmoid(moderated_log_odds(mean, variance))
    torch.testing.assert_close(law.probs[..., 1], (weight[..., None] * each).sum(1))
    one = averaged_law(mean[:, :1], variance[:, :1], noise[:, :1], torch.zeros(2, 1).double(), kind="binary")
    got = cell_scores(mean, variance, noise, labels, torch.ones(2, 5).double(), kind="binary")[:, 0]
    torch.testing.assert_close(got, one.log_prob(labels.long()).mean(1))


def test_a_known_score_has_a_plain_law() -> None:
    score = _draw(2, 3)
    torch.testing.assert_close(binary_law(score).probs[..., 1], torch.sigmoid(score))
    law = score_law(score, torch.tensor([0.25, 4.0]).double(), "regression")
    assert isinstance(law, Normal)
    torch.testing.assert_close(law.scale[:, 0], torch.tensor([0.5, 2.0]).double())


@pytest.mark.parametrize("kind", ["binary", "regression"])
def test_a_wide_design_has_the_posterior_of_its_halves_side_by_side(kind: TaskKind) -> None:
    """Products of more than 64 columns are taken in blocks; the same columns in another order cross the blocks elsewhere."""
    random = torch.Generator().manual_seed(0)
    design = 0.3 * torch.randn(2, 90, 150, generator=random, dtype=torch.float64)
    targets = (torch.rand(2, 90, generator=random) < 0.4).double()
    offset, weight = torch.zeros_like(targets), torch.ones_like(targets)
    found = task_posterior(design, offset, targets, weight, kind=kind)
    order = torch.randperm(150, generator=random)
    moved = task_posterior(design[..., order], offset, targets, weight, kind=kind)
    torch.testing.assert_close(moved.mode, found.mode[:, order])
    torch.testing.assert_close(moved.log_evidence, found.log_evidence)
    bend = torch.ones_like(targets) if kind == "regression" else torch.sigmoid((design @ found.mode[..., None])[..., 0])
    bend = bend if kind == "regression" else bend * (1 - bend)
    precision = torch.eye(150, dtype=torch.float64) + design.mT @ (design * bend[..., None])
    torch.testing.assert_close(found.factor, torch.linalg.cholesky(precision))
    near = task_posterior(design, offset, targets, weight, kind=kind, start=found.mode + 0.01)
    torch.testing.assert_close(near.mode, found.mode)


def test_variances_in_cells_that_share_their_rows_are_those_of_the_designs_laid_out() -> None:
    random = torch.Generator().manual_seed(0)
    known, rows = (torch.randn(2, n, 5, generator=random, dtype=torch.float64) for n in (12, 30))
    widths = torch.rand(3, 5, generator=random, dtype=torch.float64)
    widths[0, 2:] = 0

    def laid_out(design: Tensor) -> Tensor:
        return design[:, None] * widths[:, None]

    targets = (torch.rand(2, 3, 12, generator=random) < 0.5).double()
    found = task_posterior(laid_out(known), 0 * targets, targets, torch.ones_like(targets), kind="binary")
    _, want = posterior_scores(found, laid_out(rows), torch.zeros(2, 3, 30, dtype=torch.float64))
    torch.testing.assert_close(row_variances(rows, widths, found.factor), want)
    by_hand = (laid_out(rows) @ torch.cholesky_inverse(found.factor) * laid_out(rows)).sum(-1)
    torch.testing.assert_close(want, by_hand)
