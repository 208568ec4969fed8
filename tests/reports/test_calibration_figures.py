"""Calibration against statistics with known answers, another library, and the edge cases that have no answer."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit
from scipy.stats import binomtest
from sklearn.linear_model import LogisticRegression

from metamedica.errors import TaskError
from metamedica.reports.calibration_figures import (
    calibration,
    calibration_intercept,
    calibration_slope,
    in_the_large,
    recalibration,
    reliability,
    wilson,
)


def _cases(n: int, *, slope: float = 1.0, shift: float = 0.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and predicted risks whose true log-odds are shift + slope x predicted ones."""
    random = np.random.default_rng(seed)
    score = random.normal(-0.5, 1.5, n)
    return (random.random(n) < expit(shift + slope * score)).astype(np.int64), expit(score)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(0.4, 1.6), st.floats(-1, 1))
def test_slope_and_intercept_are_those_of_an_unpenalised_logistic_regression(
    seed: int, slope: float, shift: float
) -> None:
    labels, risk = _cases(120, slope=slope, shift=shift, seed=seed)
    other = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(logit(risk)[:, None], labels)
    a, b = recalibration(labels, risk)
    assert b == pytest.approx(float(other.coef_[0, 0]), abs=1e-4)
    assert a == pytest.approx(float(other.intercept_[0]), abs=1e-4)


def test_the_intercept_makes_mean_risk_and_observed_share_the_same() -> None:
    labels, risk = _cases(300, shift=-0.8)
    a = calibration_intercept(labels, risk)
    assert expit(logit(risk) + a).mean() == pytest.approx(labels.mean(), abs=1e-9)
    assert a == pytest.approx(-0.8, abs=0.35)
    assert in_the_large(labels, risk) == pytest.approx(risk.mean() - labels.mean())


def test_many_cases_of_known_slope_and_shift_give_them_back() -> None:
    labels, risk = _cases(40_000, slope=0.6, shift=0.5)
    a, b = recalibration(labels, risk)
    assert (a, b) == (pytest.approx(0.5, abs=0.05), pytest.approx(0.6, abs=0.03))


def test_intervals_cover_the_true_slope_about_as_often_as_they_say() -> None:
    inside = 0
    for seed in range(40):
        labels, risk = _cases(200, slope=0.8, seed=seed)
        each = calibration(labels, risk, draws=100, seed=seed).slope
        inside += each.low <= 0.8 <= each.high
    assert 33 <= inside <= 40


def test_a_figure_that_is_not_defined_says_why_and_the_others_stand() -> None:
    labels, _ = _cases(60)
    constant = calibration(labels, np.full(60, 0.3), draws=20)
    assert np.isnan(constant.slope.value)
    assert constant.slope.reason.startswith("all 60 predicted probabilities are 0.300: the calibration slope")
    assert constant.in_the_large.value == pytest.approx(0.3 - labels.mean())
    one = calibration(np.ones(60, dtype=np.int64), np.linspace(0.1, 0.9, 60), draws=20)
    assert "needs cases of both classes" in one.slope.reason
    assert "needs cases of both classes" in one.intercept.reason
    assert one.brier.defined
    apart = np.repeat([0, 1], 30)
    with pytest.raises(TaskError, match="without error, or nearly"):
        calibration_slope(apart, 0.2 + 0.6 * apart)


@pytest.mark.parametrize(
    ("labels", "risk", "said"),
    [
        ([0, 1], [0.5, np.nan], "1 of 2 predicted probabilities are not numbers"),
        ([0, 1], [0.5, 1.5], "of case 2 is not between 0 and 1"),
        ([0, 2], [0.5, 0.5], "the label of case 2 is neither 0 nor 1"),
        ([], [], "of at least one case"),
        ([0, 1], [0.5], "give one of each a case"),
    ],
)
def test_what_cannot_be_judged_is_refused_in_a_sentence(labels: list, risk: list, said: str) -> None:
    with pytest.raises(TaskError, match=said):
        calibration(np.array(labels, dtype=np.int64), np.array(risk))


def test_the_reliability_curve_has_every_case_once_and_wilson_intervals() -> None:
    labels, risk = _cases(103)
    curve = reliability(labels, risk)
    assert curve.cases.sum() == 103
    assert len(curve.cases) == 10
    assert (curve.predicted * curve.cases).sum() == pytest.approx(risk.sum())
    assert (curve.observed * curve.cases).sum() == pytest.approx(labels.sum())
    assert (np.diff(curve.predicted) > 0).all()
    for k, n, low, high in zip(curve.observed * curve.cases, curve.cases, curve.low, curve.high, strict=True):
        theirs = binomtest(round(float(k)), int(n)).proportion_ci(method="wilson")
        assert (low, high) == (pytest.approx(theirs.low, abs=1e-9), pytest.approx(theirs.high, abs=1e-9))


def test_equal_predictions_share_a_bin_and_few_cases_have_few_bins() -> None:
    labels, _ = _cases(50)
    assert reliability(labels, np.full(50, 0.4)).cases.tolist() == [50]
    assert len(reliability(*_cases(12)).cases) == 2
    low, high = wilson(np.array([0.0, 1.0]), np.array([5, 5]))
    assert low[0] == 0
    assert high[1] == 1
    assert high[0] == pytest.approx(1 - low[1])
