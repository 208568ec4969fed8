"""All cases of a task together, and settings that are taken only beyond doubt."""

import torch
from tests.shifted_tasks import of_prevalence

from metamedica.functional.pooling import best_beyond_doubt, pools
from metamedica.functional.target_cases import TaskScore, target_of
from metamedica.testing import VectorRaw


def test_labelled_and_unlabelled_cases_stand_together_and_padding_is_wiped_out() -> None:
    task, other = of_prevalence(0.5, 4, seed=0), of_prevalence(0.5, 3, seed=1).cases
    other.mask[0, 2] = False
    found = target_of(VectorRaw(), task, other)
    assert found.weight.tolist() == [[1, 1, 1, 1, 1, 1, 0]]
    assert torch.equal(found.flat[0, :4], task.features["vector"][0])
    assert not found.flat[0, 6].any()
    assert target_of(VectorRaw(), task, None).flat.shape == (1, 4, 4)


def test_a_score_belongs_to_its_task() -> None:
    score = TaskScore(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([0.5, 0.0]))
    assert score(torch.ones(2, 1, 2) * 3).tolist() == [[3.5], [6.0]]


def test_a_gain_in_one_task_of_many_is_in_doubt_and_one_in_all_is_not() -> None:
    tasks = [of_prevalence(0.5, 100, seed=seed) for seed in range(6)]
    pool = pools(tasks, VectorRaw(), ["binary"], most_cases=100)["binary"]
    right = 2 * pool.targets - 1
    once = torch.where(pool.task == 0, right, torch.zeros_like(right))
    assert best_beyond_doubt(pool, torch.stack([0 * right, once], dim=-1)) == 0
    assert best_beyond_doubt(pool, torch.stack([0 * right, once, right], dim=-1)) == 2
