"""Net benefit by hand, against acting on all and none, and its interval against a plain bootstrap."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamedica.errors import InputError, TaskError
from metamedica.reports.decision_curve import decision_curve, net_benefit

LABELS = np.array([1, 1, 1, 0, 0, 0, 0, 0, 0, 0])
RISK = np.array([0.9, 0.6, 0.2, 0.7, 0.3, 0.25, 0.1, 0.1, 0.05, 0.0])


@pytest.mark.parametrize(
    ("threshold", "hand"),
    [
        (0.5, 2 / 10 - 1 / 10 * 1),  # 0.9, 0.6 found; 0.7 falsely
        (0.2, 3 / 10 - 3 / 10 * 0.25),  # who is at the threshold is acted on
        (0.8, 1 / 10 - 0),
        (0.95, 0.0),
    ],
)
def test_net_benefit_is_that_of_a_computation_by_hand(threshold: float, hand: float) -> None:
    assert net_benefit(LABELS, RISK, threshold) == pytest.approx(hand)
    curve = decision_curve(LABELS, RISK, thresholds=[threshold], draws=50)
    assert curve.model[0] == pytest.approx(hand)
    assert curve.treat_all[0] == pytest.approx(0.3 - 0.7 * threshold / (1 - threshold))
    assert curve.gain[0] == pytest.approx(hand - max(curve.treat_all[0], 0))


@given(st.floats(0.01, 0.99))
def test_acting_on_all_has_no_benefit_where_the_threshold_is_the_prevalence(shift: float) -> None:
    curve = decision_curve(LABELS, np.clip(RISK + shift, 0, 1), thresholds=[0.3], draws=5)
    assert curve.treat_all[0] == pytest.approx(0, abs=1e-12)


def test_a_model_that_gives_all_a_high_risk_is_acting_on_everybody() -> None:
    curve = decision_curve(LABELS, np.full(10, 0.999), draws=20)
    np.testing.assert_allclose(curve.model, curve.treat_all, atol=1e-12)
    assert curve.useful() == []
    assert curve.verdict().startswith("At no range of thresholds")


def test_the_interval_is_that_of_a_plain_bootstrap_over_cases() -> None:
    random = np.random.default_rng(0)
    labels = (random.random(80) < 0.4).astype(np.int64)
    risk = np.clip(0.4 + 0.3 * (labels - 0.4) + 0.2 * random.standard_normal(80), 0, 1)
    curve = decision_curve(labels, risk, thresholds=[0.3, 0.6], draws=300, seed=5)
    samples = np.random.default_rng(5).integers(0, 80, size=(300, 80))
    for at, threshold in enumerate((0.3, 0.6)):
        plain = [net_benefit(labels[each], risk[each], threshold) for each in samples]
        np.testing.assert_allclose((curve.low[at], curve.high[at]), np.quantile(plain, [0.025, 0.975]), atol=1e-12)
        price = threshold / (1 - threshold)
        rival = [max(labels[each].mean() - (1 - labels[each].mean()) * price, 0) for each in samples]
        np.testing.assert_allclose(curve.gain_low[at], np.quantile(np.array(plain) - rival, 0.025), atol=1e-12)


def test_a_perfect_prediction_is_useful_over_a_range_that_the_verdict_names() -> None:
    labels = np.repeat([0, 1], 50)
    curve = decision_curve(labels, labels * 0.98 + 0.01, draws=100)
    low, high = curve.useful()[0]
    assert low <= 0.02
    assert high == pytest.approx(0.9)
    assert "clearly better" in curve.verdict()
    assert f"to {high:.0%} risk" in curve.verdict()


@pytest.mark.parametrize("threshold", [0.0, 1.0, -0.2, float("nan")])
def test_a_threshold_that_is_no_risk_is_refused(threshold: float) -> None:
    with pytest.raises(InputError, match="give risks between 0 and 1"):
        decision_curve(LABELS, RISK, thresholds=[threshold])
    with pytest.raises(InputError, match="no threshold"):
        decision_curve(LABELS, RISK, thresholds=[])


def test_one_class_and_numbers_that_are_none_are_refused_each_in_a_sentence() -> None:
    with pytest.raises(TaskError, match="all 10 cases are of class 0; this figure needs cases of both classes"):
        decision_curve(np.zeros(10, dtype=np.int64), RISK)
    with pytest.raises(TaskError, match=r"1 of 10 predicted probabilities are not numbers .* first is of case 3"):
        decision_curve(LABELS, np.where(np.arange(10) == 2, np.nan, RISK))
