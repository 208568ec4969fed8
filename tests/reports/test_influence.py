"""How sure a gap at one site is: DeLong's variance with one draw, and an interval that holds what it says where draws ask the same patients again."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import norm

from metamedica.reports.influence import Gap, mean_gap, mean_influence, roc_auc_influence, site_gap
from metamedica.reports.metrics import roc_auc

Numbers = NDArray[np.float64]


def _delong(labels: Numbers, first: Numbers, second: Numbers) -> float:
    """Return the variance of the difference of two areas as DeLong et al. 1988 write it, case by case."""
    positive, negative = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    kernel = [
        np.array([[(s[i] > s[j]) + 0.5 * (s[i] == s[j]) for j in negative] for i in positive]) for s in (first, second)
    ]
    gap = kernel[0] - kernel[1]
    return float(gap.mean(1).var(ddof=1) / len(positive) + gap.mean(0).var(ddof=1) / len(negative))


@given(st.integers(2, 12), st.integers(2, 12), st.integers(0, 100))
def test_with_one_draw_the_part_of_the_patients_is_delongs_variance(positives: int, negatives: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat([1, 0], [positives, negatives]))
    first, second = rng.integers(0, 6, len(labels)) / 5, rng.normal(size=len(labels))  # equal scores too
    moved = roc_auc_influence(labels, first) - roc_auc_influence(labels, second)
    gap = site_gap(
        np.array([roc_auc(labels, first) - roc_auc(labels, second)] * 2),
        moved,
        strata=labels,
        patients=np.arange(len(labels)),
    )
    assert gap.over_draws == 0
    assert gap.over_patients == pytest.approx(_delong(labels, first, second), rel=1e-9, abs=1e-15)


def test_the_influence_of_a_case_is_how_the_area_changes_with_its_weight() -> None:
    rng = np.random.default_rng(1)
    labels, score = rng.integers(0, 2, 40), rng.normal(size=40)

    def area(weight: Numbers) -> float:
        pairs = (score[labels == 1][:, None] > score[labels == 0][None]) * np.outer(
            weight[labels == 1], weight[labels == 0]
        )
        return float(pairs.sum() / (weight[labels == 1].sum() * weight[labels == 0].sum()))

    step = 1e-6
    slopes = [(area(1 + step * (np.arange(40) == at)) - area(np.ones(40))) / step for at in range(40)]
    np.testing.assert_allclose(roc_auc_influence(labels, score), slopes, atol=1e-5)
    assert roc_auc_influence(labels, score).sum() == pytest.approx(0)
    np.testing.assert_allclose(mean_influence(score).sum(), 0, atol=1e-12)
    assert np.isnan(roc_auc_influence(np.ones(3, dtype=np.int64), score[:3])).all()


def test_a_mean_has_the_variance_of_a_mean_and_cases_of_a_patient_count_together() -> None:
    values = np.random.default_rng(2).normal(size=30)
    zeros = np.zeros(30, dtype=np.int64)
    alone = site_gap(np.zeros(2), mean_influence(values), strata=zeros, patients=np.arange(30))
    assert alone.over_patients == pytest.approx(values.var(ddof=1) / 30)
    assert alone.freedom == pytest.approx(29)
    twice = site_gap(
        np.zeros(2), mean_influence(np.tile(values, 2)), strata=np.tile(zeros, 2), patients=np.tile(np.arange(30), 2)
    )
    assert twice.over_patients == pytest.approx(alone.over_patients)


def test_a_class_of_one_patient_leaves_the_gap_open_and_no_difference_at_all_is_sure() -> None:
    labels = np.array([1, 0, 0, 0])
    gap = site_gap(np.array([0.1, 0.2]), np.array([0, 0.1, -0.1, 0]), strata=labels, patients=np.arange(4))
    assert gap.mean == pytest.approx(0.15)
    assert np.isnan(gap.interval()).all()
    same = site_gap(np.zeros(5), np.zeros(4), strata=np.array([1, 1, 0, 0]), patients=np.arange(4))
    assert same.interval() == (0, 0)
    assert np.isnan(
        site_gap(np.zeros(1), np.zeros(4), strata=np.array([1, 1, 0, 0]), patients=np.arange(4)).interval()
    ).all()


def test_sites_are_independent_so_the_variance_of_their_mean_is_theirs_over_their_number_squared() -> None:
    gaps = [Gap(0.1, 0.01, 0.02, 10.0), Gap(0.3, 0.02, 0.05, 20.0)]
    found = mean_gap(gaps)
    assert found.mean == pytest.approx(0.2)
    assert found.variance == pytest.approx((0.03 + 0.07) / 4)
    assert found.freedom == pytest.approx(0.1**2 / (0.03**2 / 10 + 0.07**2 / 20))
    low, high = found.interval()
    assert low < 0.2 < high


SPREAD, SHIFT, NOISE, SWAY, DRAWS = 0.35, 1.2, 0.7, 0.6, 50


def _expected_gap() -> float:
    """Return the mean over swayed methods of their area, less that of the plain score: both classes are normal (Bamber 1975)."""
    points, weights = np.polynomial.hermite_e.hermegauss(60)
    areas = norm.cdf(SHIFT / np.sqrt(2 * (1 + NOISE**2 + (SWAY * np.append(points, 0)) ** 2)))
    return float(weights @ areas[:-1] / weights.sum() - areas[-1])


def _site(cases: int, support: int, taught: bool, rng: np.random.Generator, *, draws: int = DRAWS) -> Gap:
    """Return the gap at a made-up site: each draw sways the score by a column that tells nothing, as far as its support says or by chance."""
    labels = (rng.random(cases) < SPREAD).astype(np.int64)
    plain = SHIFT * labels + np.sqrt(1 + NOISE**2) * rng.normal(size=cases)
    column = rng.normal(size=cases)
    gaps, moved = [], np.zeros(cases)
    for _ in range(draws):
        order = rng.permutation(cases)
        query = order[support:]
        sway = SWAY * (np.sqrt(support) * column[order[:support]].mean() if taught else rng.normal())
        asked = labels[query]
        if 0 < asked.sum() < len(asked):
            swayed = plain[query] + sway * column[query]
            gaps.append(roc_auc(asked, swayed) - roc_auc(asked, plain[query]))
            moved[query] += roc_auc_influence(asked, swayed) - roc_auc_influence(asked, plain[query])
    return site_gap(np.array(gaps), moved / len(gaps), strata=labels, patients=np.arange(cases))


@pytest.mark.parametrize(
    ("cases", "support", "taught"), [(30, 20, False), (200, 20, False), (60, 10, True), (200, 20, True)]
)
def test_the_interval_holds_the_expected_gap_as_often_as_it_says_and_that_over_draws_does_not(
    cases: int, support: int, taught: bool
) -> None:
    rng, want = np.random.default_rng(0), _expected_gap()
    found = [_site(cases, support, taught, rng) for _ in range(120)]
    ends = np.array([gap.interval() for gap in found])
    share = ((ends[:, 0] <= want) & (want <= ends[:, 1])).mean()
    assert 0.91 <= share <= 1  # a standard error is .02; a little too wide where the query is small
    over_draws = np.mean([abs(gap.mean - want) <= 1.96 * np.sqrt(gap.over_draws) for gap in found])
    assert over_draws < share - 0.05


def test_where_most_of_a_site_is_labelled_the_interval_is_too_narrow_as_the_supports_are_the_same_patients_too() -> (
    None
):
    rng, want = np.random.default_rng(0), _expected_gap()
    found = [_site(60, 50, True, rng, draws=150) for _ in range(60)]  # many draws leave the supports' own part
    ends = np.array([gap.interval() for gap in found])
    share = ((ends[:, 0] <= want) & (want <= ends[:, 1])).mean()
    assert share < 0.88
