"""Every case is hidden once, and what is said of it is what the method says that never saw it."""

import numpy as np
import pytest
import torch
from torch.distributions import Categorical

from metamedica.learners.linear import Linear
from metamedica.learners.tanimoto_gp import TanimotoGP
from metamedica.predictors.folds import folds
from metamedica.predictors.guard import Guard
from metamedica.predictors.held_out import held_out
from metamedica.predictors.method import LearnerMethod, Method
from metamedica.testing import VectorRaw, vector_batch
from metamedica.types import CaseBatch, LabelledBatch


def _support(n: int, *, tasks: int = 2, seed: int = 0, classes: bool = True) -> LabelledBatch:
    random = torch.Generator().manual_seed(seed)
    vectors = torch.randn(tasks, n, 3, generator=random)
    score = vectors[..., 0] + 0.5 * torch.randn(tasks, n, generator=random)
    if classes:
        return vector_batch(vectors, (score > 0).long(), n_classes=2)
    return vector_batch(vectors, score)


def _methods() -> list[tuple[str, Method]]:
    raw = VectorRaw(3)
    linear, process = LearnerMethod(Linear(raw)), LearnerMethod(TanimotoGP(raw))
    return [("a learner", linear), ("a guard", Guard({"linear": linear, "process": process}, raw))]


@pytest.mark.parametrize("method", [each for _, each in _methods()], ids=[name for name, _ in _methods()])
def test_a_hidden_case_is_told_by_the_method_that_never_saw_it(method: Method) -> None:
    support = _support(9)
    found = held_out(method, support)
    assert bool(found.known.all())
    assert isinstance(found.law, Categorical)
    for task in range(2):
        for case in range(9):
            rest = support.map(
                lambda value, t=task, c=case: torch.cat([value[t : t + 1, :c], value[t : t + 1, c + 1 :]], 1)
            )
            asked = CaseBatch(
                {"vector": support.features["vector"][task : task + 1, case : case + 1]}, torch.ones(1, 1).bool()
            )
            want = method.adapt(rest).predict(asked)
            assert found.law.logits[task, case, 1] - found.law.logits[task, case, 0] == pytest.approx(
                (want.logits[0, 0, 1] - want.logits[0, 0, 0]).item(), abs=1e-4
            )


def test_a_large_support_is_hidden_in_parts_that_follow_the_cases_and_not_their_order() -> None:
    support = _support(30, classes=False)
    method = LearnerMethod(TanimotoGP(VectorRaw(3)))
    order = torch.randperm(30, generator=torch.Generator().manual_seed(3))
    plain, mixed = (
        held_out(method, support, most_folds=8),
        held_out(method, support.map(lambda v: v[:, order]), most_folds=8),
    )
    np.testing.assert_allclose(plain.law.mean[:, order].numpy(), mixed.law.mean.numpy(), atol=1e-5)
    np.testing.assert_allclose(plain.law.stddev[:, order].numpy(), mixed.law.stddev.numpy(), atol=1e-5)


def test_padding_and_small_batches_change_nothing() -> None:
    support = _support(10)
    longer = support.map(lambda v: torch.cat([v, v[:, :3]], 1))
    padded = LabelledBatch(CaseBatch(longer.features, torch.arange(13).expand(2, 13) < 10), longer.targets, "binary", 2)
    method = LearnerMethod(Linear(VectorRaw(3)))
    plain, wide = held_out(method, support), held_out(method, padded)
    assert not wide.known[:, 10:].any()
    np.testing.assert_allclose(
        plain.law.log_prob(support.targets), wide.law.log_prob(padded.targets)[:, :10], atol=1e-5
    )
    parts = list(folds(support, 10, at_once=3))
    assert [len(part.task) for part in parts] == [3, 3, 3, 3, 3, 3, 2]
    assert sum(int(part.hidden.mask.sum()) for part in parts) == 20


def test_a_case_whose_class_no_other_has_is_not_known() -> None:
    support = vector_batch(torch.randn(1, 5, 3), torch.tensor([[1, 0, 0, 0, 0]]), n_classes=2)
    found = held_out(LearnerMethod(Linear(VectorRaw(3))), support)
    assert found.known.tolist() == [[False, True, True, True, True]]
    assert float(found.log_likelihood()[0]) < 0


def test_a_support_of_no_case_or_of_one_tells_nothing() -> None:
    for n in (0, 1):
        empty = vector_batch(torch.zeros(1, n, 3), torch.zeros(1, n, dtype=torch.int64), n_classes=2)
        found = held_out(LearnerMethod(Linear(VectorRaw(3))), empty)
        assert not found.known.any()
        assert found.log_likelihood().tolist() == [0.0]


def test_hiding_one_of_few_positives_lowers_the_others_and_levelling_gives_it_back() -> None:
    random = torch.Generator().manual_seed(0)
    label = torch.tensor([[1] * 3 + [0] * 17])
    support = vector_batch(torch.randn(1, 20, 3, generator=random), label, n_classes=2)
    found = held_out(LearnerMethod(Linear(VectorRaw(3))), support)
    assert found.added is not None
    assert isinstance(found.levelled, Categorical)
    assert isinstance(found.law, Categorical)
    assert (found.added[0, :3, 1] < 0).all()
    assert (found.levelled.probs[0, :3, 1] > found.law.probs[0, :3, 1]).all()
    assert found.added[0, 3:, 1].abs().mean() < found.added[0, :3, 1].abs().mean() / 3
