"""The gain over methods from scratch is foretold from how earlier tasks with such evidence fared, or from hidden labels."""

import numpy as np
import pytest
import torch
from torch.distributions import Categorical

from metamedica.predictors.expected_gain import (
    ExpectedGain,
    fitted_gain,
    gain_by_evidence,
    gain_of_hidden,
    promised_gain,
)
from metamedica.predictors.guard import Evidence, Observed, starting_gate
from metamedica.predictors.held_out import HeldOut


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
    return Observed(evidence, scores, torch.arange(tasks))


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
    assert np.corrcoef(told, gain)[0, 1] > 0.6
    assert all(each.low < each.mean < each.high and each.source == "earlier tasks" for each in found)


def test_supports_that_mislead_within_a_task_do_not_turn_the_slope() -> None:
    random = torch.Generator().manual_seed(0)
    true = 0.2 * torch.randn(60, generator=random)
    draws = []
    for _ in range(4):
        luck = 0.3 * torch.randn(60, generator=random)
        evidence = _observed(60).evidence
        held_out = torch.stack([-0.6 + true + luck, torch.full((60,), -0.6)], -1)
        scores = torch.full((60, 30, 2), -0.6)
        scores[..., 0] += (true - luck)[:, None]
        draws.append(Observed(evidence._replace(held_out=held_out), scores, torch.arange(60)))
    fitted = fitted_gain(draws, starting_gate(1))
    assert fitted is not None
    assert fitted[2] >= 0


def test_too_few_episodes_foretell_nothing() -> None:
    assert fitted_gain([_observed(4)], starting_gate(1)) is None


def _hidden(score: torch.Tensor, label: torch.Tensor) -> HeldOut:
    there = torch.ones(label.shape, dtype=torch.bool)
    law = Categorical(logits=torch.stack([torch.zeros_like(score), score], -1))
    return HeldOut(law, label, there, there)


def _told(ours: HeldOut, plain: HeldOut) -> ExpectedGain | None:
    return gain_of_hidden(ours, plain, promised_gain(ours.law, plain.law)[0])


def test_cases_without_label_tell_what_the_laws_promise_and_the_hidden_labels_whether_to_believe_it() -> None:
    score, label = torch.full((1, 50), 1.0), torch.ones(1, 50, dtype=torch.int64)
    ours, plain = _hidden(score, label), _hidden(0 * score, label)
    few, many = torch.full((50,), 0.1).double(), torch.full((500,), 0.4).double()
    first, second = gain_of_hidden(ours, plain, few), gain_of_hidden(ours, plain, many)
    assert first is not None
    assert second is not None
    assert second.mean - first.mean == pytest.approx(0.3)


def test_from_hidden_labels_a_right_law_is_expected_to_gain_what_it_does() -> None:
    random = torch.Generator().manual_seed(0)
    score = 1.5 * torch.randn(1, 4000, generator=random)
    label = (torch.rand(1, 4000, generator=random) < torch.sigmoid(score)).long()
    found = _told(_hidden(score, label), _hidden(0.3 * score, label))
    assert found is not None
    assert found.source == "hidden labels"
    realised = (_hidden(score, label).log_likelihood() - _hidden(0.3 * score, label).log_likelihood()).item()
    assert found.mean == pytest.approx(realised, abs=0.01)
    assert found.low < realised < found.high


def test_labels_that_say_otherwise_lower_the_expectation_and_fewer_than_three_give_none() -> None:
    score, label = torch.full((1, 300), 2.0), torch.ones(1, 300, dtype=torch.int64)
    right = _told(_hidden(score, label), _hidden(0 * score, label))
    wrong = _told(_hidden(score, 1 - label), _hidden(0 * score, 1 - label))
    assert right is not None
    assert wrong is not None
    assert wrong.mean < 0 < right.mean
    assert "Expected loss" in wrong.verdict
    assert _told(_hidden(score[:, :2], label[:, :2]), _hidden(score[:, :2], label[:, :2])) is None
