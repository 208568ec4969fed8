"""The pool of earlier tasks: in an order of its own, whole tasks left out, every task counted alike."""

import pytest
import torch
from tests.hospitals import hospitals
from torch import Tensor

from metamedica.errors import TaskError
from metamedica.functional.pooling import (
    MOST_FOLDS,
    Pool,
    best_score,
    by_task,
    held_out_models,
    held_out_scores,
    mean_over_tasks,
    noise_of,
    pools,
)
from metamedica.testing import VectorRaw
from metamedica.types import LabelledBatch


def _pool(tasks: list[LabelledBatch]) -> Pool:
    return pools(tasks, VectorRaw(), ["binary", "regression"], most_cases=1000)[tasks[0].kind]


class Remembers:
    """A model that scores a case by whether it has seen it."""

    def __init__(self, pool: Pool, rows: Tensor) -> None:
        self.seen = {tuple(row) for row in pool.flat[rows].tolist()}

    def __call__(self, flat: Tensor) -> Tensor:
        return torch.tensor([float(tuple(row) in self.seen) for row in flat.tolist()], dtype=torch.float64)


def test_the_pool_is_the_same_whatever_the_order_of_the_tasks() -> None:
    tasks = [*hospitals(3, 10), *hospitals(2, 15, seed=1)]
    for one, other in zip(_pool(tasks), _pool(tasks[::-1]), strict=True):
        assert one == other if isinstance(one, str) else torch.equal(one, other)  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [1, 3, 2 * MOST_FOLDS + 1])
def test_no_case_is_scored_by_a_model_that_has_seen_its_fold(count: int) -> None:
    pool = _pool(hospitals(count, 12))
    scores = held_out_scores(pool, held_out_models(pool, [Remembers]))
    assert not bool(scores.any())
    assert pool.n_folds == (5 if count == 1 else min(count, MOST_FOLDS))


def test_a_fold_holds_whole_tasks() -> None:
    pool = _pool(hospitals(9, 12))
    assert all(len(torch.unique(pool.fold[pool.rows_of(task)])) == 1 for task in range(9))


def test_every_task_counts_alike_however_many_cases_it_has() -> None:
    pool = _pool([*hospitals(1, 5), *hospitals(1, 50, seed=1)])
    torch.testing.assert_close(mean_over_tasks(pool, pool.task.double()), torch.tensor(0.5, dtype=torch.float64))


def test_a_long_task_is_cut_down() -> None:
    assert len(pools(hospitals(1, 300), VectorRaw(), ["binary"], most_cases=40)["binary"].targets) == 40


def test_the_true_score_is_the_best_and_of_equals_the_first_is_taken() -> None:
    pool = _pool(hospitals(3, 200, level=0.0))
    true = pool.flat @ torch.tensor([1.2, -0.8, 0.5, 0.0], dtype=torch.float64)
    assert best_score(pool, torch.stack([0 * true, true, true, -true], dim=1)) == 1


def test_the_noise_of_a_regression_is_the_mean_squared_residual() -> None:
    pool = _pool(hospitals(4, 500, kind="regression", level=0.0, noise=0.5))
    true = pool.flat @ torch.tensor([1.2, -0.8, 0.5, 0.0], dtype=torch.float64)
    assert abs(float(noise_of(pool, true[:, None])) - 0.25) < 0.02


def test_padded_rows_of_tasks_hold_their_cases() -> None:
    pool = _pool([*hospitals(1, 5), *hospitals(1, 8, seed=1)])
    values, targets, there = by_task(pool, pool.flat[:, 0])
    assert there.sum(1).tolist() == [5, 8]
    torch.testing.assert_close(values[there > 0], pool.flat[:, 0])
    torch.testing.assert_close(targets[there > 0], pool.targets)


def test_a_kind_that_no_task_is_of_is_refused() -> None:
    with pytest.raises(TaskError, match="no task is of kind regression"):
        pools(hospitals(2, 5), VectorRaw(), ["regression"], most_cases=10)
