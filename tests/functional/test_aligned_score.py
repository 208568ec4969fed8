"""What every aligned score shares: as it is without cases or weight, and aligned as far as the settings say."""

import torch
from tests.shifted_tasks import of_prevalence, without_labels

from metamedica.functional.aligned_score import AS_IT_IS
from metamedica.learners.coral import Coral
from metamedica.testing import SIZE, VectorRaw


def _taught(mean: float, spread: float) -> Coral:
    learner = Coral(VectorRaw(), mean_cases=(mean,), spread_cases=(spread,), ridge=1e-3).double()
    learner.fit_tasks([of_prevalence(0.5, 100, seed=seed) for seed in range(3)])
    return learner


def test_endless_weight_of_the_source_leaves_every_task_as_it_is() -> None:
    learner, task = _taught(AS_IT_IS, AS_IT_IS), of_prevalence(0.5, 50, seed=9)
    state = learner.adapt_with(without_labels(task), task.cases)
    torch.testing.assert_close(state.score.weight[0], learner.taught.of("binary")["weight"])
    torch.testing.assert_close(state.score.intercept[0], learner.taught.of("binary")["intercept"])


def test_where_the_mean_alone_is_aligned_a_shift_of_all_cases_changes_no_score() -> None:
    learner, task = _taught(1e-9, AS_IT_IS), of_prevalence(0.5, 50, seed=9)
    away = task.cases.map(lambda value: value + 3.0 if value.is_floating_point() else value)
    vectors = task.features["vector"]
    here, there = (learner.adapt_with(without_labels(task), cases).score for cases in (task.cases, away))
    torch.testing.assert_close(there(vectors + 3.0), here(vectors))
    assert here.weight.shape == (1, SIZE)
