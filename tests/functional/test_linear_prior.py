"""The pooled posterior as a prior: the curvature of the pool, sequential Bayes, and the setting that serves earlier tasks."""

import torch
from tests.hospitals import hospitals

from metamedica.functional.linear_prior import (
    Hold,
    best_rehearsed,
    fit_linear_prior,
    pooled_posterior,
    pulled_to,
    with_one,
)
from metamedica.functional.pooled_models import fit_linear, usual_square_of
from metamedica.functional.pooling import Pool, pools
from metamedica.functional.task_posterior import task_posterior
from metamedica.testing import VectorRaw
from metamedica.types import TaskKind


def _pool(kind: TaskKind = "binary", *, level: float = 1.0, own: float = 0.0) -> Pool:
    return pools(hospitals(6, 100, kind=kind, level=level, own=own), VectorRaw(), [kind], most_cases=1000)[kind]


def test_the_posterior_of_a_regression_pool_is_that_of_bayesian_linear_regression() -> None:
    pool = _pool("regression")
    every = torch.ones_like(pool.task, dtype=torch.bool)
    found = pooled_posterior(pool, every, signal=3.0)
    inputs = with_one(pool.flat)
    held = torch.tensor([usual_square_of(pool.flat) / 3.0] * 4 + [1e-3], dtype=torch.float64)
    want = torch.linalg.inv(inputs.mT @ inputs + torch.diag(held))
    torch.testing.assert_close(found.factor @ found.factor.mT, want)


def test_updating_the_posterior_of_some_rows_on_the_others_is_the_posterior_of_all() -> None:
    pool = _pool()
    first = torch.arange(len(pool.targets)) % 2 == 0
    whole, half = (pooled_posterior(pool, rows, signal=3.0) for rows in (first | True, first))
    rest = pool.flat[~first]
    found = task_posterior(
        half.design(rest), half.offset(rest), pool.targets[~first], torch.ones(len(rest)).double(), kind="binary"
    )
    torch.testing.assert_close(half.mean + half.factor @ found.mode, whole.mean, atol=0.05, rtol=0)


def test_a_score_pulled_to_is_the_mean_and_a_narrowed_prior_keeps_it() -> None:
    pool = _pool()
    score = fit_linear(pool, pool.fold != 0, signal=3.0)
    prior = pulled_to(score).narrowed(0.25)
    torch.testing.assert_close(prior.offset(pool.flat), score(pool.flat))
    torch.testing.assert_close(prior.design(pool.flat), 0.5 * with_one(pool.flat))


def test_tasks_that_are_alike_are_held_tight_and_tasks_that_differ_loosely() -> None:
    holds = [Hold(share=0.0, spread=0.0), Hold(share=1.0, spread=0.0)]
    for pool, best in ((_pool(level=0.0), 0), (_pool(level=3.0), 1)):
        fitted = fit_linear_prior(pool, signals=(3.0,))
        sources = [pulled_to(score) for score in fitted.held_out_score]
        assert best_rehearsed(pool, sources, fitted.noise, holds) == best
