"""Transport between Gaussians: the map brings one covariance to the other, moves least, and mends another device."""

import numpy as np
import pytest
import torch
from tests.shifted_tasks import cases_of, changed, loss, of_prevalence, without_labels

from metamedica.learners.coral import Coral
from metamedica.learners.linear_transport import LinearTransport
from metamedica.testing import SIZE, VectorRaw, check_learner, on_vectors

RANDOM = np.random.default_rng(0)


def _covariance() -> torch.Tensor:
    rows = RANDOM.normal(size=(40, SIZE)) @ RANDOM.normal(size=(SIZE, SIZE))
    return torch.from_numpy(np.cov(rows.T))


OWN, SOURCE = _covariance(), _covariance()


def _map(made: type[Coral] | type[LinearTransport]) -> np.ndarray:
    """Return A, a column a unit weight."""
    learner, eye = made(VectorRaw()), torch.eye(SIZE, dtype=torch.float64)
    return torch.stack([learner.aligned(OWN[None], SOURCE, one)[0] for one in eye], dim=1).numpy()


@pytest.mark.parametrize("made", [Coral, LinearTransport])
def test_the_map_brings_the_covariance_of_the_task_to_that_of_the_source(
    made: type[Coral] | type[LinearTransport],
) -> None:
    found = _map(made)
    np.testing.assert_allclose(found.T @ OWN.numpy() @ found, SOURCE.numpy(), atol=1e-8)


def test_the_map_is_symmetric_and_moves_cases_less_than_the_one_of_coral() -> None:
    found = _map(LinearTransport)
    np.testing.assert_allclose(found, found.T, atol=1e-8)
    moved = [np.trace((each - np.eye(SIZE)).T @ OWN.numpy() @ (each - np.eye(SIZE))) for each in (found, _map(Coral))]
    assert moved[0] < moved[1]


def test_the_map_is_that_of_pot() -> None:
    ot = pytest.importorskip("ot", reason="POT is not installed")
    zero = np.zeros((1, SIZE))
    want, _ = ot.gaussian.bures_wasserstein_mapping(zero, zero, OWN.numpy(), SOURCE.numpy())
    np.testing.assert_allclose(_map(LinearTransport), want, atol=1e-8)


def test_cases_of_another_device_without_label_make_up_for_it() -> None:
    learner = LinearTransport(VectorRaw(), mean_cases=(1e-9,), spread_cases=(1e-9,), ridge=1e-3).double()
    learner.fit_tasks([of_prevalence(0.5, 200, seed=seed) for seed in range(4)])
    turn = torch.diag(torch.tensor([3.0, 0.2, 1.0, 2.0], dtype=torch.float64))
    task = changed(of_prevalence(0.5, 2000, seed=30), turn, torch.full((SIZE,), 2.0, dtype=torch.float64))
    same = of_prevalence(0.5, 2000, seed=30)
    nothing = without_labels(task)
    blind = loss(learner.predict(learner.adapt(nothing), task.cases), task)
    found = loss(learner.predict(learner.adapt_with(nothing, cases_of(task, slice(300))), task.cases), task)
    at_home = loss(learner.predict(learner.adapt(nothing), same.cases), same)
    assert found < at_home + 0.05
    assert blind > found + 0.3


def test_it_keeps_the_contract_where_it_aligns() -> None:
    check_learner(lambda: on_vectors(LinearTransport, settings={"mean_cases": (5.0,), "spread_cases": (1.0,)}))
