"""The gain over methods from scratch is foretold from how earlier tasks with such evidence fared, or from hidden labels."""

import numpy as np
import pytest
import torch
from scipy.stats import ttest_1samp

from metamedica.predictors.expected_gain import fitted_gain, gain_by_evidence, gain_of_hidden
from metamedica.predictors.guard import Evidence, Observed, starting_gate


def _observed(tasks: int, *, seed: int = 0) -> Observed:
    """Tasks where hidden labels tell how much better the learned candidate is, with noise."""
    random = torch.Generator().manual_seed(seed)
    better = 0.3 * torch.randn(tasks, generator=random)
    held_out = torch.stack(
        [-0.6 + better + 0.05 * torch.randn(tasks, generator=random), torch.full((tasks,), -0.6)], -1
    )
    scores = torch.full((tasks, 30, 2), -0.6)
    scores[..., 0] += better[:, None] + 0.1 * torch.randn(tasks, 30, generator=random)
    scores[0, 20:] = float("nan")
    evidence = Evidence(held_out, torch.full((tasks,), 16.0), torch.rand(tasks, generator=random), torch.zeros(tasks))
    return Observed(evidence, scores)


def test_the_foretold_gain_follows_the_gain_of_unseen_tasks() -> None:
    gate = starting_gate(1)
    fitted = fitted_gain([_observed(80)], gate)
    assert fitted is not None
    new = _observed(60, seed=1)
    found = [
        gain_by_evidence(Evidence(*(value[at : at + 1] for value in new.evidence)), gate, fitted) for at in range(60)
    ]
    realised = fitted_gain([new], gate)
    assert realised is not None
    told = np.array([each.mean for each in found])
    gain = (new.scores[..., 0] - new.scores[..., 1]).nanmean(1).numpy()
    assert np.corrcoef(told, gain)[0, 1] > 0.8
    assert all(each.low < each.mean < each.high and each.source == "earlier tasks" for each in found)


def test_too_few_episodes_foretell_nothing() -> None:
    assert fitted_gain([_observed(6)], starting_gate(1)) is None


def test_hidden_labels_give_students_interval_and_fewer_than_three_give_none() -> None:
    values = torch.tensor([0.1, -0.2, 0.4, 0.05, 0.3], dtype=torch.float64)
    found = gain_of_hidden(values)
    assert found is not None
    assert found.source == "hidden labels"
    low, high = ttest_1samp(values.numpy(), 0).confidence_interval(0.9)
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    assert gain_of_hidden(values[:2]) is None
