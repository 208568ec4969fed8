"""A prior over kernels from earlier tasks, where it is known which kernel tells."""

import numpy as np
import pytest
import torch
from torch import Tensor

from metamedica.errors import TaskError
from metamedica.learners.kernel_prior_gp import KernelPriorGP, plays
from metamedica.learners.leave_one_out_gp import LeaveOneOutGP
from metamedica.testing import VectorRaw
from metamedica.types import CaseBatch, Features, LabelledBatch, TaskKind
from refits import told_by_refits

KINDS: list[TaskKind] = ["binary", "multiclass", "regression"]


class ByColumn(VectorRaw):
    """Two kernels: an RBF on the first column, and one on the second."""

    def kernels(self, left: Features, right: Features) -> Tensor:
        one, other = left["vector"], right["vector"]
        each = [torch.exp(-2 * (one[..., :, None, c] - other[..., None, :, c]) ** 2) for c in (0, 1)]
        return torch.stack(each, dim=-3)


def _task(kind: TaskKind, column: int, *, n: int = 60, seed: int = 0) -> LabelledBatch:
    """A task whose targets one column tells."""
    random = np.random.default_rng(seed)
    x = torch.from_numpy(random.normal(size=(1, n, 3)))
    value = torch.sin(2 * x[..., column]) * (1 if seed % 2 else -1)
    cases = CaseBatch({"vector": x}, torch.ones(1, n, dtype=torch.bool))
    if kind == "regression":
        return LabelledBatch(cases, (value - value.mean()) / value.std(), kind)
    edges = torch.tensor([0.0] if kind == "binary" else [-0.5, 0.5], dtype=torch.float64)
    return LabelledBatch(cases, torch.bucketize(value, edges), kind, len(edges) + 1)


def _taught(kind: TaskKind, column: int) -> KernelPriorGP:
    learner = KernelPriorGP(ByColumn()).double()
    learner.fit_tasks([_task(kind, column, seed=seed) for seed in range(6)])
    return learner


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("column", [0, 1])
def test_the_prior_leans_on_the_kernel_that_told_earlier_tasks(kind: TaskKind, column: int) -> None:
    learner = _taught(kind, column)
    taught, other = learner.log_prior[[int(kind != "regression"), int(kind == "regression")]].exp()
    assert taught.reshape(2, -1).sum(1)[column] > 0.75
    torch.testing.assert_close(other.reshape(2, -1).sum(1), torch.full((2,), 0.5, dtype=torch.float64))


@pytest.mark.parametrize("kind", KINDS)
def test_a_few_labels_tell_more_with_the_prior_than_without(kind: TaskKind) -> None:
    learner, scratch = _taught(kind, 1), LeaveOneOutGP(ByColumn()).double()
    found = []
    for seed in range(10, 16):
        for play in list(plays(_task(kind, 1, seed=seed)))[:2]:
            with torch.no_grad():
                found.append(scratch.meta_loss(play) - learner.meta_loss(play))
    assert torch.stack(found).mean() > 0.005


def test_labels_overrule_the_prior() -> None:
    learner = _taught("binary", 0)
    state = learner.adapt(_task("binary", 1, n=80, seed=30))
    assert state.posterior.log_weight.exp()[0].reshape(2, -1).sum(1)[1] > 0.95


@pytest.mark.parametrize("kind", KINDS)
def test_before_earlier_tasks_it_is_the_even_average(kind: TaskKind) -> None:
    task = _task(kind, 0)
    few, query = task.map(lambda value: value[:, :12]), task.map(lambda value: value[:, 12:])
    laws = [
        learner.double().predict(learner.adapt(few), query.cases).log_prob(query.targets)
        for learner in (KernelPriorGP(ByColumn()).double(), LeaveOneOutGP(ByColumn()).double())
    ]
    torch.testing.assert_close(*laws)


@pytest.mark.parametrize("kind", KINDS)
def test_a_hidden_case_is_told_as_by_a_refit_without_it(kind: TaskKind) -> None:
    learner, support = _taught(kind, 0), _task(kind, 1, n=9, seed=3)
    torch.testing.assert_close(learner.leave_one_out(support)[0], told_by_refits(learner, support), atol=1e-6, rtol=0.0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_play_asks_for_no_case_that_it_labels(kind: TaskKind) -> None:
    task = _task(kind, 0, n=21)
    at = {tuple(row.tolist()): place for place, row in enumerate(task.features["vector"][0])}
    made = list(plays(task))
    assert made
    for play in made:
        for draw in range(8):
            known, asked = (
                {at[tuple(row.tolist())] for row in side.features["vector"][draw]}
                for side in (play.support, play.query)
            )
            assert len(known) == play.support.cases.n_cases
            assert not known & asked
            if kind != "regression":
                assert set(play.support.targets[draw].tolist()) == set(task.targets[0].tolist())


def test_tasks_that_are_too_small_are_refused_in_a_sentence() -> None:
    small = _task("binary", 0).map(lambda value: value[:, :1])
    with pytest.raises(TaskError, match="three cases, two of one class and one of another"):
        KernelPriorGP(ByColumn()).double().fit_tasks([small])
