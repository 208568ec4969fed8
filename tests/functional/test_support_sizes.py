"""Sizes of supports, and what earlier tasks vouch for at each."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from metamedica.functional.support_sizes import (
    between_sizes,
    cases_a_class,
    first_of_each_class,
    nearest,
    vouched_gain,
)
from metamedica.testing import vector_batch, vector_episodes
from metamedica.types import CaseBatch, LabelledBatch


def test_cases_a_class_are_the_harmonic_mean_over_the_classes_that_are_shown() -> None:
    counts = torch.tensor([[5.0, 5.0, 0.0], [2.0, 60.0, 0.0], [1.0, 2.0, 3.0]])
    found = cases_a_class(counts).tolist()
    assert found == pytest.approx([5, 2 / (1 / 2 + 1 / 60), 3 / (1 + 1 / 2 + 1 / 3)])


def test_a_support_is_cut_down_to_the_first_cases_of_each_class_and_padding_comes_last() -> None:
    vectors = torch.arange(12.0).view(2, 6, 1)
    targets = torch.tensor([[0, 0, 1, 0, 1, 1], [1, 1, 1, 1, 0, 0]])
    mask = torch.tensor([[True] * 6, [True, True, True, False, True, False]])
    part = first_of_each_class(LabelledBatch(CaseBatch({"vector": vectors}, mask), targets * mask, "binary", 2), 2)
    assert part.mask.tolist() == [[True] * 4, [True, True, True, False]]
    assert part.features["vector"][..., 0][part.mask].tolist() == [0, 1, 2, 4, 6, 7, 10]
    assert part.targets.tolist() == [[0, 0, 1, 1], [1, 1, 0, 0]]


def test_more_than_there_are_leaves_the_support_as_it_is() -> None:
    support = vector_episodes("multiclass").support
    part = first_of_each_class(support, 50)
    assert torch.equal(part.features["vector"], support.features["vector"])
    assert torch.equal(part.targets, support.targets)


def test_cutting_down_leaves_the_given_support_alone() -> None:
    support = vector_batch(torch.zeros(1, 4, 1), torch.tensor([[0, 0, 0, 1]]), n_classes=2)
    first_of_each_class(support, 1)
    assert bool(support.mask.all())
    assert support.targets.tolist() == [[0, 0, 0, 1]]


def test_the_nearest_size_is_nearest_in_ratio() -> None:
    assert nearest((2, 5, 10), torch.tensor([1.0, 3.1, 3.2, 7.0, 7.1, 400.0])).tolist() == [0, 0, 1, 1, 2, 2]


def test_one_task_vouches_for_nothing_and_two_that_agree_for_a_third() -> None:
    """Two of gain g and one imagined of 0: mean 2 g / 3, standard deviation g / sqrt(3), standard error g / 3."""
    assert vouched_gain(torch.tensor([[0.7]]), doubt=1.0).tolist() == pytest.approx([0.0], abs=1e-6)
    assert vouched_gain(torch.tensor([[0.6], [0.6]]), doubt=1.0).tolist() == pytest.approx([0.2])


@given(st.lists(st.floats(-2, 2), min_size=1, max_size=12), st.floats(0.05, 10))
def test_what_is_vouched_for_is_never_more_than_the_mean_and_repeating_the_evidence_never_lowers_it(
    gains: list[float], doubt: float
) -> None:
    each = torch.tensor(gains, dtype=torch.float64)[:, None]
    found = float(vouched_gain(each, doubt=doubt))
    assert found <= max(0.0, float(each.mean())) + 1e-9
    if found > 0:
        assert float(vouched_gain(each.repeat(2, 1), doubt=doubt)) >= found - 1e-9


@given(st.floats(0.1, 1), st.floats(0.05, 3), st.floats(0.1, 3))
def test_more_doubt_vouches_for_less(gain: float, doubt: float, more: float) -> None:
    gains = torch.tensor([[gain], [2 * gain], [gain / 2], [-0.01]], dtype=torch.float64)
    assert float(vouched_gain(gains, doubt=doubt + more)) <= float(vouched_gain(gains, doubt=doubt)) + 1e-12


def test_what_harms_every_task_is_below_nothing() -> None:
    assert float(vouched_gain(torch.full((5, 1), -0.3), doubt=1.0)) < -0.2


def test_between_sizes_it_is_linear_in_log_size_and_stays_beyond_the_largest() -> None:
    judged = torch.tensor([[0.2, -1.0], [0.4, 1.0]], dtype=torch.float64)
    own = torch.tensor([1.0, math.sqrt(2), 2.0, 4.0, 8.0, 1000.0], dtype=torch.float64)
    found = between_sizes((2, 8), judged, own)
    torch.testing.assert_close(found[:, 0], torch.tensor([0, 0.1, 0.2, 0.3, 0.4, 0.4]).double())
    torch.testing.assert_close(found[:, 1], torch.tensor([0, -0.5, -1.0, 0.0, 1.0, 1.0]).double())


@given(st.lists(st.floats(1, 200), min_size=2, max_size=20))
def test_what_rises_with_the_judged_sizes_rises_between_them(own: list[float]) -> None:
    judged = torch.tensor([[0.0], [0.1], [0.5], [0.6]], dtype=torch.float64)
    found = between_sizes((2, 5, 10, 20), judged, torch.tensor(sorted(own), dtype=torch.float64))[:, 0].tolist()
    assert all(after >= before - 1e-12 for before, after in pairwise(found))
