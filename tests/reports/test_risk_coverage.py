"""Risk and coverage: the brute force over orders of equal cases, the best order, and what is not a curve."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamedica.errors import InputError
from metamedica.reports.risk_coverage import risk_coverage

CASES = st.lists(
    st.tuples(st.sampled_from([0.0, 0.5, 1.0, 2.0]), st.sampled_from([0.1, 0.2, 0.9])), min_size=1, max_size=6
)


def _by_force(error: np.ndarray, sureness: np.ndarray) -> np.ndarray:
    """Return the mean curve over every order that puts no less sure case before a surer one."""
    curves = []
    for order in itertools.permutations(range(len(error))):
        if all(sureness[a] >= sureness[b] for a, b in itertools.pairwise(order)):
            curves.append(np.cumsum(error[list(order)]) / np.arange(1, len(error) + 1))
    return np.mean(curves, axis=0)


@given(CASES)
def test_the_curve_is_the_mean_over_all_orders_of_equally_sure_cases(cases: list[tuple[float, float]]) -> None:
    error, sureness = (np.array(side) for side in zip(*cases, strict=True))
    curve = risk_coverage(error, sureness)
    np.testing.assert_allclose(curve.risk, _by_force(error, sureness), atol=1e-12)
    assert curve.area == pytest.approx(curve.risk.mean())


@given(CASES, st.randoms(use_true_random=False))
def test_the_order_of_the_cases_says_nothing_and_no_ranking_beats_that_by_errors(cases: list, random: object) -> None:
    error, sureness = (np.array(side) for side in zip(*cases, strict=True))
    order = np.random.default_rng(len(cases)).permutation(len(cases))
    here, there = risk_coverage(error, sureness), risk_coverage(error[order], sureness[order])
    np.testing.assert_allclose(here.risk, there.risk, atol=1e-12)
    assert here.excess >= -1e-12
    assert risk_coverage(error, -error).excess == pytest.approx(0)
    assert here.error == pytest.approx(error.mean())


@given(CASES)
def test_a_rising_change_of_sureness_changes_nothing(cases: list[tuple[float, float]]) -> None:
    error, sureness = (np.array(side) for side in zip(*cases, strict=True))
    np.testing.assert_allclose(
        risk_coverage(error, sureness).risk, risk_coverage(error, np.log(sureness) * 7 - 3).risk, atol=1e-12
    )


def test_a_sureness_that_is_the_same_for_all_has_the_mean_error_everywhere() -> None:
    curve = risk_coverage(np.array([0.0, 1.0, 1.0, 0.0]), np.full(4, 0.5))
    np.testing.assert_allclose(curve.risk, 0.5)
    assert curve.cut(0.25) == pytest.approx(0)


def test_of_ten_cases_with_two_errors_that_come_last_leaving_two_out_cuts_all() -> None:
    error = np.array([0.0] * 8 + [1.0] * 2)
    curve = risk_coverage(error, np.arange(10, 0, -1.0))
    assert curve.at(0.8) == 0
    assert curve.cut(0.2) == pytest.approx(1)
    assert curve.area == pytest.approx((1 / 9 + 2 / 10) / 10)
    assert np.isnan(risk_coverage(np.zeros(3), np.arange(3.0)).cut())


@pytest.mark.parametrize(
    ("error", "sureness", "said"),
    [
        ([], [], "give one of each a case"),
        ([1.0], [1.0, 2.0], "give one of each a case"),
        ([1.0, float("nan")], [1.0, 2.0], "the error of case 2 is not a number"),
        ([1.0, 0.0], [float("inf"), 2.0], "the sureness of case 1 is not a number"),
    ],
)
def test_what_makes_no_curve_is_refused_in_a_sentence(error: list, sureness: list, said: str) -> None:
    with pytest.raises(InputError, match=said):
        risk_coverage(np.array(error), np.array(sureness))


@pytest.mark.parametrize("coverage", [0.0, 1.1, -0.5])
def test_a_coverage_that_is_no_share_is_refused(coverage: float) -> None:
    curve = risk_coverage(np.array([1.0, 0.0]), np.array([1.0, 2.0]))
    with pytest.raises(InputError, match="above 0 and at most 1"):
        curve.at(coverage)
    with pytest.raises(InputError, match="at least 0 and below 1"):
        curve.cut(1.0)
