"""Additive transfer: the exact Gaussian process on the residuals; size 0 is the pooled model; what earlier tasks teach."""

import torch
from tests.hospitals import hospitals, parted
from torch import Tensor
from torch.distributions import Normal

from metamedica.functional.task_posterior import NOISE_CASES
from metamedica.learners.additive_transfer import AdditiveTransfer
from metamedica.learners.pooled_linear import PooledLinear
from metamedica.testing import VectorRaw


def _sizes(learner: AdditiveTransfer) -> Tensor:
    """Return what each size counts for before labels, over both shapes."""
    weight = learner.taught.of("binary")["log_prior"].exp()
    return weight.reshape(len(learner.sizes), -1).sum(1)


def test_in_each_cell_it_is_the_exact_process_on_the_residuals_of_the_pooled_model() -> None:
    learner = AdditiveTransfer(VectorRaw(), signals=(3.0,), sizes=(1.0,)).double()
    learner.fit_tasks(hospitals(4, 40, kind="regression"))
    episode = parted(hospitals(1, 30, seed=3, kind="regression")[0], 8)
    taught = learner.taught.of("regression")
    state = learner.adapt(episode.support)
    known, asked = learner._seen(episode.support.features, taught), learner._seen(episode.query.features, taught)
    mean, variance = learner._in_cells(state, asked)
    noise = float(taught["noise"])
    for shape in range(2):
        inside = learner._covariance(known, known)[0, shape] + 1e-4 * torch.eye(8, dtype=torch.float64)
        cross = learner._covariance(asked, known)[0, shape]
        solved = torch.linalg.solve(inside + torch.eye(8, dtype=torch.float64), cross.mT)
        misses = episode.support.targets[0] - known.score[0]
        torch.testing.assert_close(mean[0, 2 + shape], asked.score[0] + solved.mT @ misses)
        own = learner._covariance(asked, asked)[0, shape].diagonal() + 1e-4
        torch.testing.assert_close(variance[0, 2 + shape], own - (cross * solved.mT).sum(-1))
        torch.testing.assert_close(mean[0, shape], asked.score[0])
        squares = misses @ torch.linalg.solve(inside + torch.eye(8, dtype=torch.float64), misses)
        want = ((NOISE_CASES - 2) * noise + squares) / (NOISE_CASES - 2 + 8)
        torch.testing.assert_close(state.posterior.noise[0, 2 + shape], want)


def test_at_size_zero_alone_it_is_the_pooled_model() -> None:
    tasks = hospitals(4, 40, kind="regression")
    learner, pooled = AdditiveTransfer(VectorRaw(), sizes=()).double(), PooledLinear(VectorRaw()).double()
    for each in (learner, pooled):
        each.fit_tasks(tasks)
    laws = [each.predict(each.adapt(tasks[0]), tasks[1].cases) for each in (learner, pooled)]
    assert all(isinstance(law, Normal) for law in laws)
    torch.testing.assert_close(laws[0].mean, laws[1].mean)


def test_tasks_that_are_alike_teach_a_small_correction_and_tasks_that_differ_a_large_one() -> None:
    taught = []
    for own in (0.0, 1.5):
        learner = AdditiveTransfer(VectorRaw(), signals=(10.0,)).double()
        learner.fit_tasks(hospitals(8, 60, level=0.0 + own, own=own))
        taught.append(_sizes(learner))
    assert float(taught[0][-2:].sum()) < float(taught[1][-2:].sum())
