"""Thresholds are ranks; sets and intervals hold a target as often as they say, and nest."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from torch.distributions import Categorical, Normal

from metamedica.errors import TaskError
from metamedica.functional.conformal import half_width, nonconformity, reach, sets, threshold

EVERY = torch.ones(1, 20, dtype=torch.bool)


def test_the_threshold_is_the_case_that_the_rank_names() -> None:
    scores = torch.randperm(20, generator=torch.Generator().manual_seed(0)).double()[None]
    assert threshold(scores, EVERY, 0.9).tolist() == [[18.0]]  # ceil(.9 x 21) = 19th smallest
    assert threshold(scores, EVERY, 0.5).tolist() == [[10.0]]  # ceil(.5 x 21) = 11th
    assert threshold(scores, EVERY, 0.96).tolist() == [[float("inf")]]
    assert float(reach(20)) == pytest.approx(20 / 21)


def test_cases_that_are_not_known_do_not_count() -> None:
    scores = torch.tensor([[5.0, 1.0, 3.0, 2.0, 9.0]])
    known = torch.tensor([[True, True, True, True, False]])
    assert threshold(scores, known, 0.8).item() == threshold(scores[:, :4], known[:, :4], 0.8).item() == 5.0


@given(st.integers(1, 40), st.floats(0.05, 0.95), st.integers(0, 1000))
def test_equal_weights_change_nothing(n: int, coverage: float, seed: int) -> None:
    scores = torch.rand(2, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    known = torch.ones(2, n, dtype=torch.bool)
    plain = threshold(scores, known, coverage)
    twice = threshold(scores, known, coverage, weight=torch.full((2, n), 2.0), own=torch.full((2, 3), 2.0))
    assert torch.equal(twice, plain.expand(2, 3))


def test_a_case_of_weight_zero_is_as_good_as_absent() -> None:
    scores = torch.tensor([[1.0, 2.0, 3.0, 4.0, 100.0]])
    known = torch.ones(1, 5, dtype=torch.bool)
    weight = torch.tensor([[1.0, 1.0, 1.0, 1.0, 0.0]])
    assert threshold(scores, known, 0.8, weight=weight, own=torch.ones(1, 1)).item() == 4.0


def test_sets_of_exchangeable_cases_hold_the_target_as_often_as_they_say() -> None:
    random = np.random.default_rng(0)
    tasks, n = 3000, 20
    probability = random.dirichlet([1, 1, 1], size=(tasks, n + 1))
    targets = np.array([[random.choice(3, p=row) for row in task] for task in probability[:200]])
    law = Categorical(probs=torch.from_numpy(probability[:200]))
    scores = nonconformity(law, torch.from_numpy(targets))
    largest = threshold(scores[:, :n], torch.ones(200, n, dtype=torch.bool), 0.8)
    inside = sets(Categorical(probs=law.probs[:, n:]), largest)
    covered = inside.gather(-1, torch.from_numpy(targets[:, n:])[..., None]).double().mean()
    assert abs(float(covered) - 17 / 21) < 0.08  # four standard errors of 200 cases; 17 of 21 ranks


def test_intervals_of_exchangeable_cases_hold_the_target_as_often_as_they_say() -> None:
    draw = torch.randn(4000, 21, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    scores = nonconformity(Normal(torch.zeros(4000, 21), torch.full((4000, 21), 0.3)), draw)
    width = half_width(scores[:, :20], torch.ones(4000, 20, dtype=torch.bool), 0.9)
    assert float((scores[:, 20:] <= width).double().mean()) == pytest.approx(19 / 21, abs=0.02)


@given(st.integers(0, 30), st.integers(0, 1000), st.lists(st.floats(0.01, 0.99), min_size=2, max_size=6, unique=True))
def test_a_wider_coverage_holds_a_narrower_one(n: int, seed: int, coverages: list[float]) -> None:
    scores = 3 * torch.rand(1, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    known = torch.ones(1, n, dtype=torch.bool)
    widths = [half_width(scores, known, each).item() for each in sorted(coverages)]
    assert widths == sorted(widths)
    law = Categorical(logits=torch.randn(1, 8, 3, generator=torch.Generator().manual_seed(seed)))
    held = [sets(law, threshold(scores / 3, known, each)) for each in sorted(coverages)]
    assert all(bool((narrow <= wide).all()) for narrow, wide in itertools.pairwise(held))
    assert bool(held[0].any(-1).all())


def test_beyond_what_the_labels_vouch_for_the_normal_law_goes_on_from_the_worst_case() -> None:
    known = torch.ones(1, 4, dtype=torch.bool)
    usual = half_width(torch.full((1, 4), 0.1), known, 0.9).item()
    assert usual == pytest.approx(norm.ppf(0.95))  # the labels fit better than said: the law stands
    worse = half_width(torch.tensor([[0.1, 0.2, 0.3, 3.0]]), known, 0.9).item()
    assert worse == pytest.approx(norm.ppf(0.95) * 3.0 / norm.ppf(0.9))  # four labels vouch for .8
    assert half_width(torch.zeros(1, 0), torch.ones(1, 0, dtype=torch.bool), 0.9).item() == pytest.approx(
        norm.ppf(0.95)
    )


@pytest.mark.parametrize("coverage", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_a_coverage_that_no_set_can_have_is_refused(coverage: float) -> None:
    with pytest.raises(TaskError, match="give a number between 0 and 1"):
        threshold(torch.zeros(1, 20), EVERY, coverage)
