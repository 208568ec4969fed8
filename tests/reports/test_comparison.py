"""Paired comparison against SciPy, against counting every sign, and with tasks that only one method did."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata, wilcoxon

from metamedica.errors import InputError
from metamedica.reports.comparison import compare
from metamedica.reports.evaluation import Evaluation, bootstrap


def _evaluation(ours: list[float], theirs: list[float]) -> Evaluation:
    rows = pd.DataFrame(
        {
            "method": ["ours"] * len(ours) + ["theirs"] * len(theirs),
            "task": [f"t{n}" for n in range(len(ours))] + [f"t{n}" for n in range(len(theirs))],
            "shots": 16,
            "draw": 0,
            "r2": [*ours, *theirs],
            "query": 40,
        }
    )
    rows["rmse"] = rows["r2"]
    return Evaluation("regression", rows, {"name": "FS-Mol"})


PAIRS = st.lists(st.tuples(st.integers(-4, 4), st.integers(-4, 4)), min_size=1, max_size=8)


@settings(max_examples=30)
@given(PAIRS)
def test_the_difference_is_that_of_the_pairs(pairs: list[tuple[int, int]]) -> None:
    ours, theirs = ([float(value) for value in side] for side in zip(*pairs, strict=True))
    found = compare(_evaluation(ours, theirs), "ours", "theirs", shots=16)
    gap = np.array(ours) - np.array(theirs)
    assert found.mean == pytest.approx(gap.mean())
    assert (found.low, found.high) == bootstrap(gap)
    assert (found.wins, found.ties, found.losses) == ((gap > 0).sum(), (gap == 0).sum(), (gap < 0).sum())
    assert found.worst == (f"t{gap.argmin()}", gap.min())
    assert found.p == (pytest.approx(wilcoxon(gap[gap != 0]).pvalue) if gap.any() else 1.0)


@given(st.lists(st.sampled_from([-1, 1]), min_size=1, max_size=8))
def test_p_is_the_share_of_sign_patterns_that_are_as_extreme(signs: list[int]) -> None:
    """With differences of distinct sizes every pattern of signs is equally likely under the null hypothesis."""
    gap = np.array(signs) * np.arange(1, len(signs) + 1)
    rank = rankdata(np.abs(gap))
    half = rank.sum() / 2
    distance = abs(rank[gap > 0].sum() - half)
    patterns = [np.array(pattern) for pattern in itertools.product([0, 1], repeat=len(gap))]
    extreme = np.mean([abs(pattern @ rank - half) >= distance - 1e-9 for pattern in patterns])
    found = compare(_evaluation(gap.astype(float).tolist(), [0.0] * len(gap)), "ours", "theirs", shots=16)
    assert found.p == pytest.approx(extreme)


@settings(max_examples=30)
@given(PAIRS)
def test_turning_the_methods_around_turns_the_result_around(pairs: list[tuple[int, int]]) -> None:
    ours, theirs = ([float(value) for value in side] for side in zip(*pairs, strict=True))
    one = compare(_evaluation(ours, theirs), "ours", "theirs", shots=16)
    other = compare(_evaluation(theirs, ours), "ours", "theirs", shots=16)
    lower = compare(_evaluation(theirs, ours), "ours", "theirs", shots=16, figure="rmse")
    assert (one.mean, one.wins, one.losses, one.p) == (-other.mean, other.losses, other.wins, other.p)
    assert (one.mean, one.low, one.high, one.p, one.worst) == (lower.mean, lower.low, lower.high, lower.p, lower.worst)


def test_only_tasks_that_both_methods_did_are_compared() -> None:
    found = compare(_evaluation([1.0, 2.0, math.nan, 4.0], [0.5, math.nan, 9.0]), "ours", "theirs", shots=16)
    assert (found.mean, found.wins, found.losses) == (0.5, 1, 0)


def test_draws_are_averaged_within_a_task_before_tasks_are_paired() -> None:
    evaluation = _evaluation([1.0, 1.0], [0.0, 0.0])
    again = evaluation.rows.assign(draw=1)
    again.loc[again["method"] == "ours", "r2"] = 2.0
    both = Evaluation("regression", pd.concat([evaluation.rows, again], ignore_index=True), {})
    assert compare(both, "ours", "theirs", shots=16).mean == 1.5


def test_a_method_is_no_better_than_itself() -> None:
    found = compare(_evaluation([1.0, 2.0], [0.0, 0.0]), "ours", "ours", shots=16)
    assert (found.mean, found.low, found.high, found.p, found.ties) == (0.0, 0.0, 0.0, 1.0, 2)


def test_chance_alone_is_significant_about_as_often_as_p_says() -> None:
    rng = np.random.default_rng(0)
    small = 0
    for _ in range(200):
        gap = rng.normal(size=15)
        small += compare(_evaluation(gap.tolist(), [0.0] * 15), "ours", "theirs", shots=16).p < 0.1
    assert 0.05 < small / 200 < 0.15


def test_methods_without_a_common_task_have_no_difference() -> None:
    found = compare(_evaluation([1.0, math.nan], [math.nan, 1.0]), "ours", "theirs", shots=16)
    assert (found.p, found.wins, found.ties, found.losses) == (1.0, 0, 0, 0)
    assert math.isnan(found.mean)
    assert math.isnan(found.low)


@pytest.mark.parametrize("undefined", ["ours", "theirs", "both"])
def test_a_figure_that_is_nowhere_defined_is_no_difference_and_no_crash(undefined: str) -> None:
    nothing = [math.nan, math.nan]
    ours, theirs = (nothing if undefined in (name, "both") else [1.0, 2.0] for name in ("ours", "theirs"))
    found = compare(_evaluation(ours, theirs), "ours", "theirs", shots=16)
    assert (found.p, found.wins, found.ties, found.losses) == (1.0, 0, 0, 0)
    assert math.isnan(found.mean)


@pytest.mark.parametrize(
    ("method", "baseline", "shots", "figure", "message"),
    [
        ("other", "theirs", 16, None, "the evaluation has no method 'other'; it has: ours, theirs"),
        ("ours", "other", 16, None, "the evaluation has no method 'other'; it has: ours, theirs"),
        ("ours", "theirs", 64, None, "the evaluation has no support of 64; it has: 16"),
        ("ours", "theirs", 16, "auc", "the evaluation has no figure 'auc'; it has: r2, rmse"),
    ],
)
def test_what_the_evaluation_does_not_have_is_refused_with_what_it_has(
    method: str, baseline: str, shots: int, figure: str | None, message: str
) -> None:
    with pytest.raises(InputError, match=f"^{message}$"):
        compare(_evaluation([1.0], [0.0]), method, baseline, shots=shots, figure=figure)
