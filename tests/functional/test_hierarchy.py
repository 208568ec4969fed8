"""The prior of a new task: it finds how far tasks differ, doubts it where there are few, and knows where nothing is shared."""

from collections.abc import Sequence

import pytest
import torch
from tests.hospitals import EFFECTS, hospitals
from torch import Tensor

from metamedica.functional import hierarchy
from metamedica.functional.hierarchy import (
    Columns,
    Described,
    Hierarchy,
    cell_offset,
    cell_prior,
    fit_hierarchy,
    span,
    start_cells,
)
from metamedica.functional.pooling import pools
from metamedica.functional.task_posterior import posterior_scores, task_posterior
from metamedica.testing import VectorRaw
from metamedica.types import TaskKind

LOCAL = start_cells().centre[:, 1] == 0


def _fitted(
    count: int, *, level: float = 1.0, own: float = 0.0, common: float = 1.0, kind: TaskKind = "binary"
) -> Hierarchy:
    tasks = hospitals(count, 80, level=level, own=own, common=common, kind=kind)
    pool = pools(tasks, VectorRaw(), [kind], most_cases=1000)[kind]
    return fit_hierarchy(pool, pool.flat @ EFFECTS)


def _usual(found: Hierarchy, column: int) -> float:
    """Return the mean spread of a parameter over cells."""
    return float(found.log_weight.exp() @ start_cells().spread[:, column])


def test_the_prior_of_the_cells_sums_to_one_and_little_of_it_is_local() -> None:
    prior = cell_prior(start_cells()).exp()
    torch.testing.assert_close(prior.sum(), torch.tensor(1.0, dtype=torch.float64))
    assert 0.005 < float(prior[LOCAL].sum()) < 0.02


def test_tasks_that_differ_in_their_level_teach_so() -> None:
    assert _usual(_fitted(8, level=1.2), 0) > 0.7
    assert _usual(_fitted(8, level=0.05), 0) < 0.4
    assert _usual(_fitted(8, level=1.0, kind="regression"), 0) > 1.0


def test_tasks_with_effects_of_their_own_teach_so() -> None:
    assert _usual(_fitted(8, own=0.7), 2) > 2 * _usual(_fitted(8, own=0.0), 2)


def test_few_tasks_leave_more_cells_possible_and_the_spread_wider_than_many() -> None:
    few, many = _fitted(2), _fitted(16)
    entropy = [float(-(each.log_weight.exp() * each.log_weight).sum()) for each in (few, many)]
    assert entropy[0] > entropy[1]
    assert bool((few.spread[:, 0] > many.spread[:, 0]).all())


def test_where_earlier_tasks_share_nothing_the_local_cells_win() -> None:
    found = _fitted(10, own=2.0, common=0.0)
    assert float(found.log_weight.exp()[LOCAL].sum()) > 0.5


def test_the_common_level_and_slope_are_found() -> None:
    found = _fitted(16, level=0.3, common=0.5)
    likely = int(found.log_weight.argmax())
    assert abs(float(found.centre[likely, 1]) - 0.5) < 0.12
    assert abs(float(found.centre[likely, 0])) < 0.3
    assert not bool(found.centre[LOCAL, 1].any())


def test_what_the_span_leaves_out_is_in_the_prior_variance_so_that_nothing_changes() -> None:
    random = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    known, asked, score, labels = draw(3, 7), draw(4, 7), draw(7), torch.tensor([0.0, 1, 1]).double()
    spread, centre = start_cells()
    laws, sizes = [], torch.linspace(0.5, 2, len(spread), dtype=torch.float64)
    for basis in (span(known), torch.eye(7, dtype=torch.float64)):
        seen = Described(score[:3], Columns.of(known, basis), Columns.of(0.3 * known, basis))
        query = Described(score[3:], Columns.of(asked, basis), Columns.of(0.3 * asked, basis))
        offset = cell_offset(seen.score, centre)
        both = (labels.expand_as(offset), torch.ones_like(offset))
        posterior = task_posterior(seen.design(spread, sizes), offset, *both, kind="binary")
        mean, variance = posterior_scores(posterior, query.design(spread, sizes), cell_offset(query.score, centre))
        laws.append(torch.stack([mean, variance + query.unseen(spread, sizes)]))
    assert span(known).shape == (7, 3)
    torch.testing.assert_close(laws[0], laws[1])


def _plain_evidence(
    tasks: Sequence[hierarchy._Task], cells: hierarchy.Cells, kind: TaskKind, modes: object
) -> tuple[Tensor, Tensor]:
    """Return evidence and expected levels with every parameter in every cell, each mode sought from 0."""
    evidence, total = torch.zeros_like(cells.spread[:, 0]), torch.zeros_like(cells.centre)
    for task in tasks:
        offset = cell_offset(task.described.score, cells.centre)
        posterior = task_posterior(
            task.described.design(cells.spread, cells.spread[:, 0]),
            offset,
            task.targets.expand_as(offset),
            torch.ones_like(offset),
            kind=kind,
            noise=task.noise,
        )
        evidence += posterior.log_evidence
        total += cells.centre + cells.spread[:, :2] * posterior.mode[:, :2]
    return evidence, total


@pytest.mark.parametrize("kind", ["binary", "regression"])
def test_two_parameters_where_there_are_no_others_and_a_start_near_the_mode_change_the_time_only(
    kind: TaskKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = _fitted(4, own=0.5, kind=kind)
    monkeypatch.setattr(hierarchy, "_evidence", _plain_evidence)
    for one, other in zip(quick, _fitted(4, own=0.5, kind=kind), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)
