"""How surprising a column's mean is: right when nothing is surprising, small when something is."""

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from metamedica.functional.surprise import combined, mean_p_values, spread_of


def _world(tasks: int, columns: int, *, between: float, cases: int = 200, seed: int = 0) -> tuple[torch.Tensor, ...]:
    random = np.random.default_rng(seed)
    true = random.normal(0, between, size=(tasks, 1, columns))
    values = true + random.normal(size=(tasks, cases, columns))
    mean, variance = values.mean(1), values.var(1, ddof=1)
    return torch.tensor(mean), torch.tensor(variance), torch.full((tasks, columns), float(cases))


def test_the_spread_between_tasks_is_that_which_they_were_drawn_with() -> None:
    found = spread_of(*_world(60, 200, between=0.7))
    assert found.between.sqrt().mean().item() == pytest.approx(0.7, abs=0.03)
    assert found.within.mean().item() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("between", [0.2, 1.0])
def test_p_values_of_tasks_like_the_earlier_ones_are_even(between: float) -> None:
    mean, variance, count = _world(31, 2000, between=between, cases=50)
    spread = spread_of(mean[:30], variance[:30], count[:30])
    found = mean_p_values(spread, mean[30], count[30])
    assert kstest(found.numpy(), "uniform").pvalue > 1e-3


def test_a_column_far_from_every_earlier_task_has_a_small_p_value_and_few_cases_a_larger_one() -> None:
    mean, variance, count = _world(20, 3, between=0.3)
    far = mean[:1].clone()
    far[0, 1] = 5.0
    spread = spread_of(mean, variance, count)
    many = mean_p_values(spread, far[0], count[0])
    few = mean_p_values(spread, far[0], torch.full((3,), 2.0))
    assert many[1] < 1e-6 < 0.01 < many[0]
    assert few[1] > many[1]


def test_what_nobody_measured_surprises_nobody() -> None:
    mean, variance, count = _world(5, 3, between=0.3)
    count[:, 2] = 0
    spread = spread_of(mean, variance, count)
    here = torch.tensor([9.0, 9.0, 9.0])
    assert mean_p_values(spread, here, torch.tensor([0.0, 50.0, 50.0])).tolist()[::2] == [1.0, 1.0]


def test_combining_equal_p_values_gives_them_back_and_one_tiny_one_shows() -> None:
    for p in (1e-30, 1e-5, 0.2, 0.5, 0.9):
        assert combined(torch.full((7,), p)).item() == pytest.approx(p, rel=1e-6)
    assert combined(torch.tensor([1e-8, *[0.5] * 9])).item() == pytest.approx(1e-7, rel=0.01)
    assert combined(torch.zeros(0)).item() == 1.0


def test_combined_p_values_of_dependent_columns_are_not_too_small() -> None:
    random = np.random.default_rng(0)
    shared, own = random.normal(size=(20000, 1)), random.normal(size=(20000, 10))
    score = 0.8 * shared + 0.6 * own
    p = torch.tensor(2 * (1 - torch.distributions.Normal(0.0, 1.0).cdf(torch.tensor(score).abs()).numpy()))
    assert (combined(p) < 0.01).double().mean().item() < 0.015
