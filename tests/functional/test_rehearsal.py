"""Earlier tasks played as new ones: supports and queries are apart, of one task, and the same every time."""

import torch
from tests.hospitals import hospitals

from metamedica.functional.pooling import pools
from metamedica.functional.rehearsal import SHOTS, rehearsals
from metamedica.testing import VectorRaw


def _pool(count: int, n: int):  # type: ignore[no-untyped-def]
    return pools(hospitals(count, n), VectorRaw(), ["binary"], most_cases=1000)["binary"]


def test_support_and_query_share_no_case_and_are_all_of_one_task() -> None:
    pool = _pool(3, 30)
    plays = list(rehearsals(pool))
    assert [play.support.shape[1] for play in plays] == [*SHOTS[:1], 15] * 3
    for play in plays:
        for support, query in zip(play.support, play.query, strict=True):
            every = torch.cat([support, query])
            assert len(torch.unique(every)) == 30
            assert len(torch.unique(pool.task[every])) == 1
            assert bool((pool.fold[every] == play.fold).all())


def test_draws_are_the_same_every_time() -> None:
    one, other = (list(rehearsals(_pool(2, 50))) for _ in range(2))
    assert all(torch.equal(a.support, b.support) for a, b in zip(one, other, strict=True))


def test_a_task_of_one_case_is_passed_over_and_one_of_three_is_played() -> None:
    assert not list(rehearsals(_pool(2, 1)))
    assert {play.support.shape[1] for play in rehearsals(_pool(2, 3))} == {1}


def test_one_task_is_played_by_its_folds() -> None:
    assert {play.fold for play in rehearsals(_pool(1, 50))} == set(range(5))
