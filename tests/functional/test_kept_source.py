"""Which cases of a task are compared, how far they count, and which earlier cases are kept."""

import torch
from tests.shifted_tasks import of_prevalence

from metamedica.functional.kept_source import some_of, trusted
from metamedica.functional.target_cases import Target
from metamedica.learners.importance_weighting import ImportanceWeighting
from metamedica.testing import VectorRaw


def _target() -> Target:
    flat = torch.randn(2, 40, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weight = torch.ones(2, 40, dtype=torch.float64)
    weight[1, 4:] = 0
    return Target(flat, weight)


def test_the_same_cases_are_compared_whatever_their_order_and_the_padding() -> None:
    target = _target()
    some = some_of(target, 10)
    assert some.flat.shape == (2, 10, 3)
    assert some.weight.sum(1).tolist() == [10, 4]
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    assert torch.equal(some_of(Target(target.flat[:, order], target.weight[:, order]), 10).flat[0], some.flat[0])
    longer = Target(torch.cat([target.flat, 0 * target.flat], 1), torch.cat([target.weight, 0 * target.weight], 1))
    assert torch.equal(some_of(longer, 10).flat[0], some.flat[0])
    kept = {tuple(row) for row in some.flat[1, some.weight[1] > 0].tolist()}
    assert kept == {tuple(row) for row in target.flat[1, :4].tolist()}


def test_few_enough_cases_are_all_compared() -> None:
    target = _target()
    assert some_of(target, 40) is target


def test_the_cases_drawn_are_no_special_ones() -> None:
    flat = torch.randn(1, 4000, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    some = some_of(Target(flat, torch.ones(1, 4000).double()), 400).flat[0]
    assert float(some.mean(0).abs().max()) < 0.15
    assert float((some.std(0) - 1).abs().max()) < 0.15


def test_more_cases_are_trusted_more_and_none_not_at_all() -> None:
    weight = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 1]], dtype=torch.float64)
    assert trusted(weight, torch.tensor(3.0)).tolist() == [0, 0.25, 0.5]
    assert trusted(weight, torch.tensor(torch.inf)).tolist() == [0, 0, 0]


def test_every_earlier_task_keeps_its_share_of_the_cases_and_twenty_at_least() -> None:
    for most, kept in ((90, 90), (30, 60)):
        learner = ImportanceWeighting(VectorRaw(), powers=(0.0,), signals=(1.0,), most_kept=most).double()
        learner.fit_tasks([of_prevalence(0.5, 50, seed=seed) for seed in range(3)])
        assert learner.n_kept() == kept
