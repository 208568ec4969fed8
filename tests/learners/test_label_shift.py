"""Label shift: tasks that differ in prevalence only have a known best answer, which cases without label come near to."""

import pytest
import torch
from tests.shifted_tasks import APART, cases_of, loss, of_prevalence, without_labels
from torch.distributions import Categorical

from metamedica.errors import TaskError
from metamedica.learners.label_shift import LabelShift
from metamedica.learners.pooled_linear import PooledLinear
from metamedica.testing import VectorRaw, check_learner, on_vectors, vector_episodes

PREVALENCES = (0.15, 0.3, 0.4, 0.5, 0.6, 0.7, 0.85)


def _taught(parts: tuple[float, ...] = (0.0, 0.1, 1.0)) -> LabelShift:
    learner = LabelShift(VectorRaw(), parts=parts).double()
    learner.fit_tasks([of_prevalence(p, 300, seed=seed) for seed, p in enumerate(PREVALENCES)])
    return learner


@pytest.fixture(scope="module")
def taught() -> LabelShift:
    return _taught()


def test_where_only_the_prevalence_differs_every_case_counts_in_full(taught: LabelShift) -> None:
    assert float(taught.taught.of("binary")["part"]) == 1.0


def test_cases_without_label_bring_it_near_the_best_answer_there_is(taught: LabelShift) -> None:
    task = of_prevalence(0.92, 3000, seed=50)
    score = task.features["vector"] @ APART + torch.tensor(0.92).logit()
    best = Categorical(logits=torch.stack([torch.zeros_like(score), score], dim=-1))
    nothing = without_labels(task)
    blind = loss(taught.predict(taught.adapt(nothing), task.cases), task)
    found = loss(taught.predict(taught.adapt_with(nothing, cases_of(task, slice(500))), task.cases), task)
    assert loss(best, task) < found < loss(best, task) + 0.01
    assert blind > found + 0.05


def test_labels_and_cases_without_label_are_better_together(taught: LabelShift) -> None:
    together, apart, labels = 0.0, 0.0, 0.0
    for seed in range(12):
        task = of_prevalence(0.9, 1000, seed=60 + seed)
        some = task.map(lambda value: value[:, :8])
        few = cases_of(task, slice(20, 50))
        together += loss(taught.predict(taught.adapt_with(some, few), task.cases), task)
        apart += loss(taught.predict(taught.adapt_with(without_labels(task), few), task.cases), task)
        labels += loss(taught.predict(taught.adapt(some), task.cases), task)
    assert together < apart
    assert together < labels


def test_with_nothing_of_the_task_the_law_is_that_of_the_pooled_model() -> None:
    tasks = [of_prevalence(p, 60, seed=seed) for seed, p in enumerate(PREVALENCES)]
    task = of_prevalence(0.5, 20, seed=9)
    plain = PooledLinear(VectorRaw()).double()
    ours = LabelShift(VectorRaw(), parts=(0.0,)).double()
    for learner in (plain, ours):
        learner.fit_tasks(tasks)
    want = plain.predict(plain.adapt(without_labels(task)), task.cases)
    found = ours.predict(ours.adapt_with(without_labels(task), task.cases), task.cases)
    assert isinstance(want, Categorical)
    assert isinstance(found, Categorical)
    torch.testing.assert_close(found.probs, want.probs)


def test_tasks_that_differ_in_more_than_prevalence_make_it_careful() -> None:
    tasks = []
    for seed, prevalence in enumerate(PREVALENCES):  # the centre of a task's cases moves, which looks like a prevalence
        task = of_prevalence(prevalence, 300, seed=seed)
        task.features["vector"].add_(2.0 * (-1) ** seed * APART)
        tasks.append(task)
    learner = LabelShift(VectorRaw(), parts=(0.0, 0.1, 1.0)).double()
    learner.fit_tasks(tasks)
    assert float(learner.taught.of("binary")["part"]) < 1.0


def test_more_cases_than_earlier_tasks_had_do_not_count_for_more(taught: LabelShift) -> None:
    task = of_prevalence(0.9, 300, seed=70)
    once, often = task.cases, task.cases.map(lambda value: torch.cat([value] * 20, dim=1))
    found = [taught.adapt_with(without_labels(task), cases).found for cases in (once, often)]
    torch.testing.assert_close(found[0], found[1])


def test_regression_is_refused() -> None:
    with pytest.raises(TaskError, match="cannot learn a regression task"):
        LabelShift(VectorRaw()).adapt(vector_episodes("regression").support)


def test_it_keeps_the_contract_where_cases_without_label_count_in_full() -> None:
    check_learner(lambda: on_vectors(LabelShift, settings={"parts": (1.0,)}))
