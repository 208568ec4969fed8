"""Recalibration of a score: SciPy's maximum, a prior that holds few labels, and the prior that many tasks teach."""

import math

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from metamedica.functional.recalibration import (
    START_VARIANCE,
    CalibrationPrior,
    calibrated,
    fit_calibration,
    fit_calibration_prior,
    start_prior,
)

LEVEL = torch.tensor(-1.5, dtype=torch.float64)
PRIOR = CalibrationPrior(torch.tensor([0.2, -0.1]).double(), torch.tensor([0.8, 0.3]).double())


def _draw(tasks: int, n: int, *, seed: int = 0, a: float = 0.0, slope: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    score = LEVEL + torch.randn(tasks, n, generator=random, dtype=torch.float64)
    odds = LEVEL + a * torch.randn(tasks, 1, generator=random, dtype=torch.float64) + slope * (score - LEVEL)
    labels = (torch.rand(tasks, n, generator=random, dtype=torch.float64) < torch.sigmoid(odds)).double()
    return score, labels, torch.ones_like(score)


def test_intercept_and_log_slope_are_scipys_maximum_a_posteriori() -> None:
    score, labels, weight = _draw(3, 15)
    for kind in ("binary", "regression"):
        found, _ = fit_calibration(score, labels, weight, PRIOR, level=LEVEL, kind=kind, noise=0.4)
        for task in range(3):
            s, y = score[task].numpy() - float(LEVEL), labels[task].numpy()

            def loss(at: np.ndarray, s: np.ndarray = s, y: np.ndarray = y, kind: str = kind) -> float:
                f = float(LEVEL) + at[0] + math.exp(at[1]) * s
                each = np.logaddexp(0, -(2 * y - 1) * f) if kind == "binary" else (y - f) ** 2 / 0.8
                return float(each.sum() + 0.5 * ((at - PRIOR.mean.numpy()) ** 2 / PRIOR.variance.numpy()).sum())

            want = minimize(loss, PRIOR.mean.numpy(), tol=1e-12).x
            np.testing.assert_allclose(found[task].numpy(), want, atol=1e-5)


def test_without_labels_the_score_stays_where_the_prior_says() -> None:
    score, labels, weight = _draw(1, 4)
    found, covariance = fit_calibration(score, labels, 0 * weight, PRIOR, level=LEVEL, kind="binary")
    torch.testing.assert_close(found[0], PRIOR.mean)
    torch.testing.assert_close(covariance[0], torch.diag(PRIOR.variance))


def test_labels_of_one_class_move_the_intercept_a_little_and_not_without_end() -> None:
    score, _, weight = _draw(1, 5)
    found, _ = fit_calibration(score, weight, weight, start_prior(), level=LEVEL, kind="binary")
    assert 0.2 < float(found[0, 0]) < 3
    assert bool((calibrated(score, LEVEL, found) > score).all())


def test_many_tasks_teach_how_far_their_levels_differ() -> None:
    wide = fit_calibration_prior(*_draw(40, 100, a=1.5, slope=0.6), level=LEVEL, kind="binary")
    assert 1.0 < float(wide.variance[0].sqrt()) < 2.0
    assert abs(float(wide.mean[1]) - math.log(0.6)) < 0.15
    narrow = fit_calibration_prior(*_draw(40, 100, a=0.1, seed=1), level=LEVEL, kind="binary")
    assert float(narrow.variance[0].sqrt()) < 0.35


def test_two_tasks_leave_the_prior_near_the_weak_one() -> None:
    few = fit_calibration_prior(*_draw(2, 200, a=0.0), level=LEVEL, kind="binary")
    assert float(few.variance[0]) > START_VARIANCE[0] / 3
