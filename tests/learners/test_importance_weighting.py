"""Importance weighting: a model that is wrong everywhere but right near the task (Shimodaira's own example), and what it keeps."""

from collections.abc import Sequence

import pytest
import torch
from tests.shifted_tasks import cases_of, without_labels

from metamedica.learners.importance_weighting import ImportanceWeighting
from metamedica.testing import SIZE, VectorRaw, check_learner, on_vectors, vector_batch
from metamedica.types import LabelledBatch


def _curved(centre: float, n: int, *, seed: int) -> LabelledBatch:
    """Return a regression task of y = x^3 - x on cases about a centre, which no line fits everywhere; the other columns say nothing."""
    random = torch.Generator().manual_seed(seed)
    vectors = 0.2 * torch.randn(n, SIZE, generator=random, dtype=torch.float64)
    vectors[:, 0] += centre
    x = vectors[:, 0]
    return vector_batch(vectors[None], (x**3 - x + 0.1 * torch.randn(n, generator=random, dtype=torch.float64))[None])


CENTRES = (-0.6, -0.4, -0.2, 0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2)
"""Of tasks that differ in which cases come."""


def _taught(
    powers: tuple[float, ...], centres: Sequence[float] = CENTRES, *, most_kept: int = 1000
) -> ImportanceWeighting:
    learner = ImportanceWeighting(VectorRaw(), powers=powers, most_kept=most_kept, ratio_signal=30.0).double()
    learner.fit_tasks([_curved(centre, 60, seed=seed) for seed, centre in enumerate(centres)])
    return learner


@pytest.fixture(scope="module")
def weighted() -> ImportanceWeighting:
    return _taught((1.0,))


@pytest.fixture(scope="module")
def plain() -> ImportanceWeighting:
    return _taught((0.0,))


def test_the_cases_like_those_of_the_task_decide_where_the_model_cannot_fit_all(
    weighted: ImportanceWeighting, plain: ImportanceWeighting
) -> None:
    task = _curved(1.2, 1000, seed=40)
    losses = []
    for learner in (plain, weighted):
        state = learner.adapt_with(without_labels(task), cases_of(task, slice(200)))
        losses.append(float((state.score(task.features["vector"]) - task.targets).square().mean()))
    assert losses[1] < 0.5 * losses[0]


def test_earlier_tasks_choose_the_power() -> None:
    chosen = [_taught((0.0, 0.5, 1.0), centres) for centres in (CENTRES, [0.0] * 6)]
    powers = [float(learner.taught.of("regression")["power"]) for learner in chosen]
    assert powers[0] > 0
    assert powers[1] == 0


def test_without_cases_of_the_task_all_earlier_cases_count_the_same(
    weighted: ImportanceWeighting, plain: ImportanceWeighting
) -> None:
    nothing = without_labels(_curved(0.9, 10, seed=40))
    torch.testing.assert_close(weighted.adapt(nothing).score.weight, plain.adapt(nothing).score.weight)


def test_it_keeps_no_more_cases_than_it_was_allowed_and_says_how_many() -> None:
    learner = _taught((1.0,), most_kept=300)
    assert learner.n_kept() == 300
    assert learner.taught.of("regression")["rows"].shape == (300, SIZE)
    assert ImportanceWeighting(VectorRaw()).n_kept() == 0


def test_it_keeps_the_contract_where_the_weights_count_in_full() -> None:
    check_learner(lambda: on_vectors(ImportanceWeighting, settings={"powers": (1.0,)}))
