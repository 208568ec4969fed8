"""Pooled and local: at a weight of 1 it is one model of all data."""

import torch
from tests.hospitals import hospitals, parted
from torch.distributions import Categorical, Normal

from metamedica.functional.linear_prior import with_one
from metamedica.functional.pooled_models import usual_square_of
from metamedica.learners.pooled_and_local import PooledAndLocal
from metamedica.testing import VectorRaw


def test_at_a_weight_of_one_a_regression_is_bayesian_linear_regression_on_all_data() -> None:
    tasks = hospitals(4, 50, kind="regression", level=0.0)
    learner = PooledAndLocal(VectorRaw(), signals=(3.0,), case_weights=(1.0,)).double()
    learner.fit_tasks(tasks)
    episode = parted(hospitals(1, 40, seed=3, kind="regression", level=0.0)[0], 12)
    law = learner.predict(learner.adapt(episode.support), episode.query.cases)
    assert isinstance(law, Normal)
    pool = torch.cat([task.features["vector"][0] for task in tasks])
    y = torch.cat([task.targets[0] for task in tasks])
    # The pooled ridge leaves its intercept free, so the pool is centred for the first fit; with all data the answer is the same line.
    held = torch.diag(torch.tensor([usual_square_of(pool) / 3.0] * 4 + [1e-3], dtype=torch.float64))
    first = with_one(pool)
    mean = torch.cat([learner.taught.of("regression")["mean"]])
    second = with_one(episode.support.features["vector"][0])
    precision = held + first.mT @ first
    gain = second.mT @ (episode.support.targets[0] - second @ mean)
    want = mean + torch.linalg.solve(precision + second.mT @ second, gain)
    asked = with_one(episode.query.features["vector"][0])
    torch.testing.assert_close(law.loc[0], asked @ want)
    ridge = torch.linalg.solve(held + first.mT @ first, first.mT @ y)
    torch.testing.assert_close(mean, ridge, atol=1e-3, rtol=0)


def test_the_weight_of_a_case_is_large_where_tasks_differ_and_one_where_they_do_not() -> None:
    chosen = []
    for own in (0.0, 1.5):
        learner = PooledAndLocal(VectorRaw(), signals=(10.0,)).double()
        learner.fit_tasks(hospitals(8, 60, own=own, level=2 * own))
        chosen.append(float(learner.taught.of("binary")["case_weight"]))
    assert chosen[0] < chosen[1]


def test_a_support_of_one_class_is_answered_with_doubt() -> None:
    learner = PooledAndLocal(VectorRaw()).double()
    tasks = hospitals(4, 50)
    learner.fit_tasks(tasks)
    support = parted(tasks[0], 5).support
    law = learner.predict(learner.adapt(support.with_targets(torch.ones_like(support.targets))), tasks[1].cases)
    assert isinstance(law, Categorical)
    assert bool(law.probs.gt(0).all())
