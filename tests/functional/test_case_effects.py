"""Levels of cases against the law of the random-effects model, and against tasks drawn from it."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from metamedica.functional.case_effects import (
    HASH_UNITS,
    Around,
    Measured,
    around,
    content_hash,
    hash_steps,
    recalled,
)

DOUBLE = torch.float64


def _tasks(
    *, cases: int, tasks: int, share: float, level: float, rest: float, seed: int = 0
) -> tuple[list[Around], Tensor]:
    """Tasks that each measure a share of all cases: a level of the case and noise."""
    random = torch.Generator().manual_seed(seed)
    levels = level**0.5 * torch.randn(cases, generator=random, dtype=DOUBLE)
    found = []
    for _ in range(tasks):
        some = (torch.rand(cases, generator=random) < share).nonzero()[:, 0]
        noise = rest**0.5 * torch.randn(len(some), generator=random, dtype=DOUBLE)
        found.append(Around(some, levels[some] + noise))
    return found, levels


def test_equal_rows_are_known_again_and_others_are_not() -> None:
    rows = torch.tensor([[1.0, 0.0, 2.5], [0.0, 1.0, 2.5], [1.0, 0.0, 2.501]])
    hashes = content_hash(rows)
    assert len(set(hashes.tolist())) == 3
    known, order = hashes[:2].sort()
    values = torch.tensor([0.5, -2.0])[order]
    torch.testing.assert_close(recalled(content_hash(rows[None]), known, values), torch.tensor([[0.5, -2.0, 0.0]]))


def test_the_hash_is_a_sum_over_columns_that_wraps_around() -> None:
    rows = 40 * torch.randn(3, 5, 7, generator=torch.Generator().manual_seed(0)).relu()
    values = (rows.double() * HASH_UNITS).round().long()
    want = [[sum(int(v) * int(s) for v, s in zip(row, hash_steps(7), strict=True)) for row in some] for some in values]
    wrapped = [[(each + 2**63) % 2**64 - 2**63 for each in some] for some in want]
    assert content_hash(rows).tolist() == wrapped


def test_the_ratio_of_variances_is_found_again() -> None:
    tasks, _ = _tasks(cases=800, tasks=12, share=0.5, level=0.6, rest=1.2)
    assert Measured(tasks).ratio == pytest.approx(0.5, rel=0.15)


def test_cases_measured_once_and_repeats_that_do_not_agree_have_no_level() -> None:
    once = [Around(torch.arange(5) + 5 * at, torch.randn(5, dtype=DOUBLE)) for at in range(4)]
    assert Measured(once).ratio == 0.0
    torn = [Around(torch.arange(50), (-1.0) ** at * torch.linspace(-2, 2, 50, dtype=DOUBLE)) for at in range(2)]
    assert Measured(torn).ratio == 0.0
    assert not Measured(torn).features(torch.tensor([2]), torch.tensor([1.0]))[:, 0].any()


def test_the_level_is_the_posterior_mean_of_the_random_effects_model() -> None:
    tasks, _ = _tasks(cases=60, tasks=5, share=0.6, level=1.0, rest=0.5)
    measured = Measured(tasks)
    for at in (0, 7, 31):
        key = measured.known[at]
        values = torch.cat([task.residuals[task.hashes == key] for task in tasks])
        covariance = measured.ratio * torch.ones(len(values), len(values), dtype=DOUBLE) + torch.eye(len(values))
        want = measured.ratio * torch.ones(len(values), dtype=DOUBLE) @ torch.linalg.solve(covariance, values)
        found = measured.features(measured.counts[at : at + 1], measured.sums[at : at + 1])[0]
        torch.testing.assert_close(found[0], want)
        assert float(found[1]) == pytest.approx(np.log1p(len(values)))


def test_a_task_does_not_see_its_own_targets() -> None:
    tasks, _ = _tasks(cases=40, tasks=4, share=0.7, level=1.0, rest=0.5)
    measured, alone = Measured(tasks), Measured(tasks[1:])
    alone.ratio = measured.ratio
    hashes = tasks[0].hashes[::2].contiguous()
    place = {int(key): at for at, key in enumerate(alone.known.tolist())}
    at = torch.tensor([place.get(int(key), -1) for key in hashes])
    counts, sums = torch.where(at < 0, 0, alone.counts[at]), torch.where(at < 0, 0.0, alone.sums[at])
    torch.testing.assert_close(measured.without(tasks[0], hashes), alone.features(counts, sums))


@given(st.integers(2, 30), st.integers(0, 10_000))
def test_a_case_twice_in_a_task_counts_as_one_and_a_shift_of_the_task_as_nothing(n: int, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    hashes = torch.randint(0, 8, (n,), generator=random)
    residuals = torch.randn(n, generator=random, dtype=DOUBLE)
    found = around(hashes, residuals)
    assert found.hashes.tolist() == sorted(set(hashes.tolist()))
    moved = around(hashes, residuals + 3.0)
    torch.testing.assert_close(found.residuals, moved.residuals)
    weighted = (found.residuals * torch.bincount(hashes)[found.hashes]).sum()
    assert abs(float(weighted)) < 1e-9


def test_the_largest_effects_are_kept_in_the_order_of_their_hashes() -> None:
    tasks, levels = _tasks(cases=100, tasks=6, share=0.9, level=1.0, rest=0.2)
    measured = Measured(tasks)
    weights = torch.tensor([1.0, 0.0], dtype=DOUBLE)
    every, some = measured.effects(weights, most=1000), measured.effects(weights, most=10)
    assert float(torch.corrcoef(torch.stack([every.values, levels[every.known]]))[0, 1]) > 0.9
    assert bool((some.known[1:] > some.known[:-1]).all())
    assert len(some.known) == 10
    assert float(some.values.abs().min()) >= float(every.values.abs().sort().values[-10])
    assert len(measured.effects(weights, most=0).known) == 0
