"""Every figure against its definition, and what is not defined stays undefined."""

import time
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, r2_score, roc_auc_score

from metamedica.reports import metrics

seeds = st.integers(0, 10_000)


def _binary(seed: int, n: int = 40) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    labels[:2] = [0, 1]
    return labels, rng.random(n)


@given(seeds)
def test_binary_figures_equal_scikit_learns(seed: int) -> None:
    labels, probability = _binary(seed)
    figures = metrics.binary_figures(labels, probability)
    assert figures["delta_auprc"] == pytest.approx(average_precision_score(labels, probability) - labels.mean())
    assert figures["brier"] == pytest.approx(brier_score_loss(labels, probability))
    assert figures["roc_auc"] == pytest.approx(roc_auc_score(labels, probability), abs=1e-12)
    assert figures["log_loss"] == pytest.approx(log_loss(labels, probability), abs=1e-12)


@given(seeds, st.integers(2, 30), st.integers(1, 4))
def test_equal_scores_are_one_threshold_as_scikit_learn_has_it(seed: int, n: int, levels: int) -> None:
    labels, probability = _binary(seed, n)
    tied = np.round(probability * levels) / levels  # 0 and 1 among them
    assert metrics.roc_auc(labels, tied) == pytest.approx(roc_auc_score(labels, tied), abs=1e-12)
    assert metrics.average_precision(labels, tied) == pytest.approx(average_precision_score(labels, tied), abs=1e-12)
    assert metrics.log_loss_of(labels, tied) == pytest.approx(log_loss(labels, tied), abs=1e-12)


@pytest.mark.parametrize("figure", [metrics.roc_auc, metrics.average_precision, metrics.log_loss_of])
@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_a_score_that_is_not_finite_is_no_figure(figure: Callable[..., float], odd: float) -> None:
    with pytest.raises(ValueError, match="infs or NaNs"):
        figure(np.array([0, 1, 1]), np.array([0.2, odd, 0.7]))


def test_a_small_query_is_judged_in_well_under_a_millisecond() -> None:
    labels, probability = _binary(0, 20)
    began = time.process_time()
    for _ in range(200):
        metrics.binary_figures(labels, probability)
    assert time.process_time() - began < 0.4


@given(seeds)
def test_ranking_figures_do_not_change_under_a_monotone_map(seed: int) -> None:
    labels, probability = _binary(seed)
    assert metrics.roc_auc(labels, probability) == pytest.approx(metrics.roc_auc(labels, probability**3))
    targets = np.random.default_rng(seed).normal(size=40)
    assert metrics.spearman(targets, probability) == pytest.approx(metrics.spearman(targets, np.exp(probability)))


def test_calibrated_probabilities_have_a_small_calibration_error_and_shifted_ones_do_not() -> None:
    rng = np.random.default_rng(0)
    probability = rng.random(20_000)
    labels = (rng.random(20_000) < probability).astype(np.int64)
    assert metrics.expected_calibration_error(labels, probability) < 0.02
    assert metrics.expected_calibration_error(labels, np.clip(probability + 0.2, 0, 1)) > 0.1


@given(seeds, st.integers(2, 40), st.integers(1, 12))
def test_the_calibration_error_is_the_gap_of_each_bin_by_its_share(seed: int, n: int, bins: int) -> None:
    labels, probability = _binary(seed, n)
    parts = np.array_split(np.argsort(probability), min(bins, n))
    gaps = [len(part) / n * abs(probability[part].mean() - labels[part].mean()) for part in parts]
    assert metrics.expected_calibration_error(labels, probability, bins=bins) == pytest.approx(sum(gaps))


def test_the_calibration_error_of_two_bins_by_hand() -> None:
    labels, probability = np.array([0, 1, 1, 1]), np.array([0.1, 0.3, 0.6, 0.8])
    assert metrics.expected_calibration_error(labels, probability, bins=2) == pytest.approx(0.5 * 0.3 + 0.5 * 0.3)


def test_regression_figures_equal_their_definitions() -> None:
    rng = np.random.default_rng(1)
    targets = rng.normal(size=200)
    mean, deviation = targets + rng.normal(size=200), np.ones(200)
    figures = metrics.regression_figures(targets, mean, deviation)
    assert figures["r2"] == pytest.approx(r2_score(targets, mean))
    assert figures["rmse"] == pytest.approx(np.sqrt(np.mean((targets - mean) ** 2)))
    assert figures["log_loss"] == pytest.approx(-norm.logpdf(targets, mean, 1).mean())
    assert figures["coverage"] == pytest.approx(0.9, abs=0.07)


def test_a_perfect_prediction_is_perfect() -> None:
    targets = np.arange(100.0)
    figures = metrics.regression_figures(targets, targets, np.full(100, 0.1))
    assert (figures["r2"], figures["spearman"], figures["coverage"], figures["hits"]) == (
        1.0,
        pytest.approx(1.0),
        1.0,
        10.0,
    )


def test_hits_count_the_best_tenth_among_the_top() -> None:
    targets = np.arange(100.0)
    assert metrics.hits_in_top(targets, -targets) == 0
    assert metrics.hits_in_top(targets, targets, top=5) == 5


@pytest.mark.parametrize("labels", [np.zeros(5, int), np.ones(5, int), np.zeros(0, int)])
def test_a_query_of_one_class_has_no_ranking_figure(labels: np.ndarray) -> None:
    assert np.isnan(metrics.delta_auprc(labels, np.linspace(0, 1, len(labels))))
    assert np.isnan(metrics.roc_auc(labels, np.linspace(0, 1, len(labels))))


def test_constant_targets_have_no_r2_and_a_constant_prediction_ranks_nothing() -> None:
    assert np.isnan(metrics.r2(np.ones(5), np.arange(5.0)))
    assert np.isnan(metrics.spearman(np.ones(5), np.arange(5.0)))
    assert metrics.spearman(np.arange(5.0), np.ones(5)) == 0.0


def test_multiclass_figures_leave_out_classes_that_do_not_occur() -> None:
    labels = np.array([0, 0, 1, 1])
    probability = np.array([[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.1, 0.8, 0.1]])
    figures = metrics.multiclass_figures(labels, probability)
    assert (figures["accuracy"], figures["roc_auc"]) == (1.0, 1.0)
    assert figures["log_loss"] == pytest.approx(-np.log([0.8, 0.6, 0.7, 0.8]).mean())
