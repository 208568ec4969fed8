"""A model of the same values is fitted once, and is the very model that would have been fitted; outside nothing is remembered."""

import pytest
import torch
from tests.hospitals import hospitals

from metamedica.functional.linear_prior import fit_linear_prior
from metamedica.functional.pooled_models import Growth, fit_boosted, fit_linear
from metamedica.functional.pooling import Pool, pools
from metamedica.functional.remembered import remembered, remembering
from metamedica.testing import VectorRaw


def _pool(count: int = 3) -> Pool:
    return pools(hospitals(count, 40), VectorRaw(), ["binary"], most_cases=1000)["binary"]


@pytest.fixture
def counted() -> list[float]:
    return []


def _fit(counted: list[float]):  # type: ignore[no-untyped-def]
    @remembered
    def fit(pool: Pool, rows: torch.Tensor, *, signal: float) -> float:
        counted.append(signal)
        return float(pool.flat[rows].sum()) * signal

    return fit


def test_equal_pools_share_a_model_and_other_values_rows_or_settings_do_not(counted: list[float]) -> None:
    fit, one, equal = _fit(counted), _pool(), _pool()
    every = torch.ones_like(one.task, dtype=torch.bool)
    some = one.fold != 0
    others = [
        one._replace(flat=one.flat + 1e-15 * torch.arange(len(one.flat))[:, None]),
        one._replace(targets=1 - one.targets),
        one._replace(task=one.task * 0),
    ]
    with remembering():
        assert fit(one, every, signal=2.0) == fit(equal, every.clone(), signal=2.0)
        assert len(counted) == 1
        fit(one, every, signal=3.0)
        fit(one, some, signal=2.0)
        for other in others:
            fit(other, every, signal=2.0)
        assert len(counted) == 3 + len(others)
        with remembering():
            fit(equal, some, signal=2.0)
        assert len(counted) == 3 + len(others)


def test_outside_nothing_is_remembered(counted: list[float]) -> None:
    fit, pool = _fit(counted), _pool()
    every = torch.ones_like(pool.task, dtype=torch.bool)
    with remembering():
        fit(pool, every, signal=1.0)
    fit(pool, every, signal=1.0)
    with remembering():
        fit(pool, every, signal=1.0)
    assert len(counted) == 3


def test_learners_of_one_run_are_the_same_to_the_bit_with_and_without() -> None:
    pool = _pool(4)
    every = torch.ones_like(pool.task, dtype=torch.bool)

    def all_of_it() -> list[torch.Tensor]:
        prior = fit_linear_prior(pool, signals=(0.3, 3.0))
        boosted = fit_boosted(pool, every, growth=Growth(5, 4))
        line = fit_linear(pool, every, signal=3.0, level=0.5)
        return [prior.prior.mean, prior.prior.factor, prior.noise, *line, boosted.trees.value, boosted.baseline]

    plain = all_of_it()
    with remembering():
        first, second = all_of_it(), all_of_it()
    for one, two, three in zip(plain, first, second, strict=True):
        assert torch.equal(one, two)
        assert torch.equal(two, three)
