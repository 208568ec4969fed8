"""Recalibration: nothing changes in rank, much in level, and five labels of one class do no harm."""

import torch
from tests.hospitals import hospitals, parted
from torch.distributions import Categorical

from metamedica.functional.recalibration import CalibrationPrior, fit_calibration
from metamedica.learners.pooled_linear import PooledLinear
from metamedica.learners.recalibrated import Recalibrated
from metamedica.testing import VectorRaw
from metamedica.types import LabelledBatch

TASKS = hospitals(8, 80, level=1.5)


def _taught() -> Recalibrated:
    learner = Recalibrated(VectorRaw()).double()
    learner.fit_tasks(TASKS)
    return learner


def _log_odds(learner: Recalibrated | PooledLinear, support: LabelledBatch, query: LabelledBatch) -> torch.Tensor:
    law = learner.predict(learner.adapt(support), query.cases)
    assert isinstance(law, Categorical)
    return law.logits[0, :, 1] - law.logits[0, :, 0]


def test_the_law_is_a_line_of_the_pooled_models_log_odds() -> None:
    learner, pooled = _taught(), PooledLinear(VectorRaw()).double()
    pooled.fit_tasks(TASKS)
    episode = parted(hospitals(1, 60, seed=4)[0], 20)
    ours, theirs = (_log_odds(each, episode.support, episode.query) for each in (learner, pooled))
    taught = learner.taught.of("binary")
    score = _log_odds(pooled, episode.support, episode.support)[None]
    prior = CalibrationPrior(taught["prior_mean"], taught["prior_variance"])
    targets, weight = episode.support.targets.double(), episode.support.mask.double()
    found, _ = fit_calibration(score, targets, weight, prior, level=taught["level"], kind="binary")
    want = taught["level"] + found[0, 0] + found[0, 1].exp() * (theirs - taught["level"])
    torch.testing.assert_close(ours, want, atol=1e-5, rtol=1e-5)


def test_at_new_tasks_it_says_more_than_the_pooled_model() -> None:
    learner, pooled = _taught(), PooledLinear(VectorRaw()).double()
    pooled.fit_tasks(TASKS)
    gains = []
    for task in hospitals(20, 100, seed=2, level=1.5):
        episode = parted(task, 10)
        laws = [each.predict(each.adapt(episode.support), episode.query.cases) for each in (learner, pooled)]
        ours, theirs = (float(episode.query.log_likelihood(law)) for law in laws)
        gains.append(ours - theirs)
    assert sum(gains) / len(gains) > 0.05


def test_a_support_of_one_class_moves_the_law_and_leaves_doubt() -> None:
    learner = _taught()
    support = parted(TASKS[0], 5).support
    ones = support.with_targets(torch.ones_like(support.targets))
    odds = [_log_odds(learner, each, TASKS[1]) for each in (ones, ones.with_targets(0 * ones.targets))]
    assert bool((odds[0] > odds[1]).all())
    assert float(odds[0].abs().max()) < 12
