"""Class membership and laws over classes that the support may not show."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

from metamedica.errors import TaskError
from metamedica.functional.classes import check_two_classes, law_of_shown, membership, smoothed
from metamedica.testing import vector_batch
from metamedica.types import CaseBatch, LabelledBatch

COUNTS = st.lists(st.integers(0, 9), min_size=2, max_size=5).filter(lambda counts: sum(counts) > 0)


def _batch(labels: list[list[int]], there: list[list[bool]], n_classes: int) -> LabelledBatch:
    targets = torch.tensor(labels)
    cases = CaseBatch({"vector": torch.zeros(*targets.shape, 1)}, torch.tensor(there))
    return LabelledBatch(cases, targets, "binary" if n_classes == 2 else "multiclass", n_classes)


def _counts(counts: list[int]) -> Tensor:
    return torch.tensor([counts], dtype=torch.float64)


def test_a_case_is_a_member_of_its_class_and_padding_of_none() -> None:
    found = membership(_batch([[2, 0, 0]], [[True, True, False]], 3), torch.float64)
    assert found.tolist() == [[[0, 0, 1], [1, 0, 0], [0, 0, 0]]]
    assert found.dtype == torch.float64


def test_a_regression_support_has_no_members() -> None:
    batch = vector_batch(torch.zeros(1, 2, 1), torch.zeros(1, 2))
    with pytest.raises(TaskError, match="got a regression support"):
        membership(batch, torch.float32)


def test_a_support_of_one_class_is_refused_and_the_task_is_named() -> None:
    both = membership(_batch([[0, 1, 0], [1, 1, 0]], [[True] * 3, [True, True, False]], 2), torch.float32)
    check_two_classes(both[:1])
    with pytest.raises(TaskError, match="support of task 1 has one class only"):
        check_two_classes(both)


def test_two_of_three_classes_are_enough() -> None:
    check_two_classes(membership(_batch([[0, 2]], [[True, True]], 3), torch.float32))


def test_an_empty_support_is_refused() -> None:
    with pytest.raises(TaskError, match="one class only"):
        check_two_classes(membership(_batch([[0, 0]], [[False, False]], 2), torch.float32))


def test_smoothing_is_that_of_half_a_case_by_hand() -> None:
    """Eight cases, two classes: (8 x 1 + 1/2) / 9 and (8 x 0 + 1/2) / 9."""
    found = smoothed(torch.tensor([[[1.0, 0.0], [0.5, 0.5]]]), torch.tensor([[3.0, 5.0]]))
    torch.testing.assert_close(found, torch.tensor([[[8.5 / 9, 0.5 / 9], [0.5, 0.5]]]))


@given(COUNTS, st.integers(0, 1000))
def test_smoothed_probabilities_sum_to_one_keep_their_ranks_and_are_never_0_or_1(counts: list[int], seed: int) -> None:
    probability = torch.tensor(np.random.default_rng(seed).dirichlet(np.full(len(counts), 0.2), size=(1, 4)))
    found = smoothed(probability, _counts(counts))
    torch.testing.assert_close(found.sum(-1), torch.ones(1, 4, dtype=torch.float64))
    assert bool(((found > 0) & (found < 1)).all())
    order = probability.argsort(-1)
    assert bool((found.gather(-1, order).diff(dim=-1) >= -1e-15).all())


def test_a_class_that_the_support_does_not_show_has_half_a_case() -> None:
    """Three cases and three classes, one not shown: (1/2) / (3 + 3/2) = 1/9; the other two share 8/9 by their softmax."""
    logits = torch.tensor([[[0.0, float(np.log(3)), 50.0]]], dtype=torch.float64)
    law = law_of_shown(logits, _counts([1, 2, 0]))
    torch.testing.assert_close(law.probs, torch.tensor([[[2 / 9, 6 / 9, 1 / 9]]], dtype=torch.float64))


def test_where_every_class_is_shown_the_law_is_the_softmax() -> None:
    logits = torch.randn(2, 3, 4, dtype=torch.float64)
    law = law_of_shown(logits, torch.ones(2, 4, dtype=torch.float64))
    torch.testing.assert_close(law.probs, torch.softmax(logits, -1))


@given(COUNTS, st.integers(0, 1000))
def test_the_law_over_classes_sums_to_one_and_does_not_read_the_scores_of_absent_classes(
    counts: list[int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    logits = torch.tensor(rng.normal(size=(1, 3, len(counts))) * 10)
    law = law_of_shown(logits, _counts(counts))
    torch.testing.assert_close(law.probs.sum(-1), torch.ones(1, 3, dtype=torch.float64))
    absent = _counts(counts) == 0
    other = law_of_shown(torch.where(absent[:, None], logits.new_tensor(rng.normal()), logits), _counts(counts))
    torch.testing.assert_close(other.probs, law.probs)
    share = 0.5 / (sum(counts) + len(counts) / 2)
    torch.testing.assert_close(law.probs[0, 0][absent[0]], torch.full((int(absent.sum()),), share).double())


@given(COUNTS, st.integers(0, 1000), st.floats(-100, 100))
def test_names_of_classes_and_a_shift_of_all_scores_do_not_matter(counts: list[int], seed: int, shift: float) -> None:
    rng = np.random.default_rng(seed)
    names = torch.tensor(rng.permutation(len(counts)))
    logits = torch.tensor(rng.normal(size=(1, 2, len(counts))))
    law = law_of_shown(logits, _counts(counts))
    renamed = law_of_shown(logits[..., names] + shift, _counts(counts)[:, names])
    torch.testing.assert_close(renamed.probs, law.probs[..., names])


@given(arrays(np.int64, st.tuples(st.just(2), st.integers(1, 6)), elements=st.integers(0, 2)))
def test_members_are_counted_once_each(labels: np.ndarray) -> None:
    batch = vector_batch(torch.zeros(*labels.shape, 1), torch.tensor(labels), n_classes=3)
    counts = membership(batch, torch.float64).sum(1)
    assert counts.tolist() == [np.bincount(row, minlength=3).tolist() for row in labels]


def test_the_gradient_does_not_reach_the_score_of_an_absent_class_and_is_finite() -> None:
    logits = torch.zeros(1, 1, 3, dtype=torch.float64, requires_grad=True)
    (-law_of_shown(logits, _counts([2, 1, 0])).log_prob(torch.tensor([[1]]))).sum().backward()
    assert logits.grad is not None
    assert logits.grad[0, 0].tolist() == pytest.approx([0.5, -0.5, 0.0])
