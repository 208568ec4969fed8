"""Entropic transport: earlier cases are fitted where the task's lie; POT's plan as oracle where it is installed."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from tests.shifted_tasks import cases_of, changed, loss, of_prevalence, without_labels

from metamedica.functional.transport import transported, usual_cost
from metamedica.learners.entropic_transport import AS_IT_IS, EntropicTransport
from metamedica.testing import SIZE, VectorRaw, check_learner, on_vectors, vector_batch
from metamedica.types import LabelledBatch

SHIFT = torch.tensor([2.0, 0.0, 1.5, 0.0], dtype=torch.float64)
TURN = torch.diag(torch.tensor([2.0, 0.4, 1.0, 1.5], dtype=torch.float64))


def _taught(cases: tuple[float, ...], *, signals: tuple[float, ...] = (3.0,)) -> EntropicTransport:
    learner = EntropicTransport(VectorRaw(), cases=cases, signals=signals).double()
    learner.fit_tasks([of_prevalence(0.5, 150, seed=seed) for seed in range(4)])
    return learner


@pytest.fixture(scope="module")
def carried() -> EntropicTransport:
    """Return a learner that moves earlier cases in full."""
    return _taught((1e-9,))


def _other_device(n: int = 2000) -> LabelledBatch:
    return changed(of_prevalence(0.5, n, seed=30), TURN, SHIFT)


def test_cases_of_another_device_without_label_make_up_for_it(carried: EntropicTransport) -> None:
    task, same = _other_device(), of_prevalence(0.5, 2000, seed=30)
    nothing = without_labels(task)
    blind = loss(carried.predict(carried.adapt(nothing), task.cases), task)
    found = loss(carried.predict(carried.adapt_with(nothing, cases_of(task, slice(300))), task.cases), task)
    at_home = loss(carried.predict(carried.adapt(nothing), same.cases), same)
    assert found < at_home + 0.05
    assert blind > found + 0.2


def test_a_task_like_all_others_moves_next_to_nothing(carried: EntropicTransport) -> None:
    rows = carried.taught.of("binary")["rows"]
    task = vector_batch(rows[None], torch.zeros(1, len(rows), dtype=torch.int64), n_classes=2)
    carried = EntropicTransport(VectorRaw(), cases=(1e-9,), signals=(3.0,), most_compared=1000).double()
    carried.fit_tasks([of_prevalence(0.5, 150, seed=seed) for seed in range(4)])
    state = carried.adapt_with(without_labels(task), task.cases)
    alone = carried.adapt(without_labels(task))
    torch.testing.assert_close(state.score(rows[None]), alone.score(rows[None]), atol=1e-6, rtol=0)


def test_its_score_is_the_pooled_fit_of_the_cases_where_they_were_moved(carried: EntropicTransport) -> None:
    task = _other_device(50)
    state = carried.adapt_with(without_labels(task), task.cases)
    taught = carried.taught.of("binary")
    rows, vectors = taught["rows"], task.features["vector"]
    blur = 0.05 * usual_cost(rows)
    there, home = (
        transported(rows, each, torch.ones_like(each[..., 0]), blur=blur, rounds=50)[0]
        for each in (vectors, rows[None])
    )
    moved = (rows + there - home).numpy()
    centred = moved - moved.mean(0)
    logistic = LogisticRegression(C=3.0 / (centred**2).sum(1).mean(), tol=1e-10, max_iter=1000)
    logistic.fit(centred, taught["targets"].numpy())
    want = (vectors[0].numpy() - moved.mean(0)) @ logistic.coef_[0] + logistic.intercept_[0]
    np.testing.assert_allclose(state.score(vectors)[0], want, atol=5e-3)


def test_the_map_is_that_of_pot(carried: EntropicTransport) -> None:
    ot = pytest.importorskip("ot", reason="POT is not installed")
    rows, vectors = carried.taught.of("binary")["rows"], _other_device(50).features["vector"]
    blur = float(0.2 * usual_cost(rows))
    plan = ot.bregman.sinkhorn_log([], [], torch.cdist(rows, vectors[0]).square().numpy(), blur, numItermax=2000)
    want = len(rows) * plan @ vectors[0].numpy()
    found = transported(rows, vectors, torch.ones_like(vectors[..., 0]), blur=blur, rounds=2000)[0]
    np.testing.assert_allclose(found, want, atol=1e-6)


def test_earlier_tasks_of_many_devices_ask_for_transport_and_those_of_one_do_not() -> None:
    chosen = []
    for apart in (3.0, 0.0):
        learner = EntropicTransport(VectorRaw(), cases=(AS_IT_IS, 10.0), signals=(3.0,), rounds=10).double()
        random = torch.Generator().manual_seed(0)
        shifts = apart * torch.randn(6, SIZE, generator=random, dtype=torch.float64)
        eye = torch.eye(SIZE, dtype=torch.float64)
        tasks = [changed(of_prevalence(0.5, 60, seed=seed), eye, shift) for seed, shift in enumerate(shifts)]
        learner.fit_tasks(tasks)
        chosen.append(float(learner.taught.of("binary")["cases"]))
    assert chosen == [10.0, AS_IT_IS]


def test_it_says_how_many_cases_it_holds() -> None:
    learner = EntropicTransport(VectorRaw(), signals=(1.0,), most_kept=80, rounds=2).double()
    assert learner.n_kept() == 0
    learner.fit_tasks([of_prevalence(0.5, 50, seed=seed) for seed in range(2)])
    assert learner.n_kept() == 80


def test_it_keeps_the_contract_where_it_moves_and_where_not_all_cases_are_compared() -> None:
    settings = {"cases": (5.0,), "rounds": 3, "most_compared": 5, "signals": (1.0,)}
    check_learner(lambda: on_vectors(EntropicTransport, settings=settings))
