"""Parameter transfer: the weights minimise the penalised loss; a pull of 1 is the source."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from tests.hospitals import hospitals, parted

from metamedica.functional.linear_prior import with_one
from metamedica.learners.parameter_transfer import ParameterTransfer
from metamedica.testing import VectorRaw
from metamedica.types import TaskKind


@pytest.mark.parametrize("kind", ["binary", "regression"])
def test_the_weights_minimise_pull_and_loss(kind: TaskKind) -> None:
    learner = ParameterTransfer(VectorRaw(), signals=(3.0,), pulls=(0.8,)).double()
    learner.fit_tasks(hospitals(4, 50, kind=kind))
    support = parted(hospitals(1, 40, seed=3, kind=kind)[0], 12).support
    source = learner.taught.of(kind)["source"].numpy()
    x, y = with_one(support.features["vector"][0]).numpy(), support.targets[0].double().numpy()

    def loss(weight: np.ndarray) -> float:
        score = x @ weight
        each = 0.5 * (y - score) ** 2 if kind == "regression" else np.logaddexp(0, -(2 * y - 1) * score)
        return float(0.8 * ((weight - source) ** 2).sum() + 0.2 * each.sum())

    want = minimize(loss, source, tol=1e-12).x
    np.testing.assert_allclose(learner.adapt(support).weight[0].numpy(), want, atol=2e-5)


def test_a_pull_of_one_is_the_source() -> None:
    learner = ParameterTransfer(VectorRaw(), pulls=(1.0,)).double()
    tasks = hospitals(4, 50)
    learner.fit_tasks(tasks)
    state = learner.adapt(tasks[0])
    torch.testing.assert_close(state.weight[0], learner.taught.of("binary")["source"])


def test_tasks_that_are_alike_pull_harder_than_tasks_that_differ() -> None:
    pulls = []
    for own in (0.0, 1.5):
        learner = ParameterTransfer(VectorRaw(), signals=(10.0,)).double()
        learner.fit_tasks(hospitals(8, 60, own=own, level=2 * own))
        pulls.append(float(learner.taught.of("binary")["pull"]))
    assert pulls[0] > pulls[1]
