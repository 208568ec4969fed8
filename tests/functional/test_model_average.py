"""Weights of models: the optimum of their objective, even where nothing was played."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from metamedica.functional.model_average import Contest, Played, fit_model_weights


def _contests(lead: float, *, tasks: int = 6, cases: int = 60, seed: int = 0) -> list[Contest]:
    """Return plays in which the first model's log-likelihood is greater by `lead` in the mean, case by case by chance."""
    random = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    found = []
    for _ in range(tasks):
        common, evidence = -1 + 0.2 * draw(2, cases), -7 + draw(2)
        first = Played(evidence + 0.3 * draw(2), common + lead + 0.3 * draw(2, cases))
        found.append(Contest([first, Played(evidence, common)], cases))
    return found


@pytest.mark.parametrize("lead", [-0.2, 0.0, 0.05, 0.4])
def test_the_weights_are_the_optimum_that_a_search_finds(lead: float) -> None:
    contests = _contests(lead)

    def loss(logit: float) -> float:
        prior = np.log([1 / (1 + np.exp(-logit)), 1 / (1 + np.exp(logit))])
        height = prior.sum()
        for one in contests:
            evidence, likelihood = (
                np.stack([np.asarray(getattr(model, name)) for model in one.models], -1)
                for name in ("log_evidence", "log_likelihood")
            )
            share = prior + evidence
            share = share - np.logaddexp.reduce(share, -1)[:, None]
            height += 0.5 * one.cases * np.logaddexp.reduce(share[:, None] + likelihood, -1).mean()
        return float(-height)

    best = minimize_scalar(loss, bounds=(-12, 12), method="bounded").x
    found = fit_model_weights(contests, 2)
    assert float(found[0] - found[1]) == pytest.approx(best, abs=0.02)
    assert float(found.exp().sum()) == pytest.approx(1)


def test_without_a_play_the_weights_stay_where_they_start() -> None:
    torch.testing.assert_close(fit_model_weights([], 3).exp(), torch.full((3,), 1 / 3, dtype=torch.float64))
    start = torch.tensor([0.8, 0.2]).log()
    torch.testing.assert_close(fit_model_weights([], 2, start=start).exp().float(), start.exp(), rtol=1e-3, atol=1e-3)


def test_few_tasks_leave_the_weights_nearer_to_even_than_many_and_no_task_outweighs_the_others() -> None:
    few, many = (float(fit_model_weights(_contests(0.1, tasks=tasks), 2).exp()[0]) for tasks in (1, 20))
    assert 0.5 < few < many < 1
    large = [Contest(one.models, 100_000) for one in _contests(0.1, tasks=1)]
    assert float(fit_model_weights(large, 2).exp()[0]) < 0.95


def test_a_task_that_is_played_twice_counts_once() -> None:
    once = _contests(0.2, tasks=3)
    twice = [Contest(one.models, one.cases, 0.5) for one in once for _ in range(2)]
    torch.testing.assert_close(fit_model_weights(once, 2), fit_model_weights(twice, 2))
