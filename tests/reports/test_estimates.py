"""Estimates: intervals of a plain bootstrap, samples within classes, and reasons in place of values."""

import numpy as np
import pytest

from metamedica.errors import TaskError
from metamedica.reports.estimates import Estimate, affordable, estimated, interval_of, mean_estimated, resampled


def test_the_interval_of_a_mean_is_that_of_its_bootstrap_samples() -> None:
    values = np.random.default_rng(1).normal(size=50)
    found = estimated(lambda at: float(values[at].mean()), 50, draws=200, seed=3)
    plain = values[np.random.default_rng(3).integers(0, 50, size=(200, 50))].mean(1)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(plain, [0.025, 0.975])))
    assert found.value == values.mean()


def test_samples_within_classes_have_as_many_of_each_as_there_are() -> None:
    labels = np.array([0, 1, 1, 0, 1])
    samples = resampled(5, strata=labels, draws=30)
    assert (labels[samples].sum(1) == 3).all()
    assert samples.shape == (30, 5)


def test_a_figure_that_is_not_defined_has_a_reason_and_one_that_often_is_not_has_no_interval() -> None:
    def never(at: np.ndarray) -> float:
        raise TaskError("there is none")

    assert estimated(never, 3).reason == "there is none"
    assert estimated(never, 3).text() == "–"

    def rarely(at: np.ndarray) -> float:
        if len(set(at.tolist())) < 3:
            raise TaskError("too few")
        return 1.0

    found = estimated(rarely, 3, draws=100)
    assert found.text() == "1.000"
    assert "bootstrap" in found.reason
    assert np.isnan(interval_of(np.zeros(0))).all()
    assert Estimate(0.5, 0.25, 0.75).text(2) == "0.50 (0.25 to 0.75)"


def test_many_cases_are_drawn_from_fewer_times_and_few_as_often_as_asked() -> None:
    assert affordable(500) == 1000
    assert affordable(1_000_000) == 100
    assert affordable(1_000_000, 20) == 20


def test_the_mean_has_the_interval_of_the_slow_way_and_no_case_has_none() -> None:
    values = np.random.default_rng(2).normal(size=40)
    slow = estimated(lambda at: float(values[at].mean()), 40, draws=300, seed=1)
    fast = mean_estimated(values, draws=300, seed=1)
    assert (fast.value, fast.low, fast.high) == pytest.approx((slow.value, slow.low, slow.high))
    assert mean_estimated(np.zeros(0)).reason == "there is no case"
