"""Families of tasks whose best possible predictor is known in closed form: the oracles of learners, training and reports.

Cases are vectors: one feature block "vector" `[cases, dim]`, modality "synthetic". `optimal` of a family is a method like any
other (support, query -> law, in raw units): no learner can be better on average.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Categorical, Normal

from metamedica.data.collection import TaskCollection
from metamedica.data.task import Task
from metamedica.errors import InputError, TaskError
from metamedica.types import CaseBatch, LabelledBatch

BLOCK = "vector"
MODALITY = "synthetic"


@dataclass(frozen=True)
class LinearTasks:
    """Regression tasks `y = w_t . x + noise`, `w_t ~ N(centre, spread^2 I)`, `x ~ N(0, I)`, `noise ~ N(0, sigma^2)`.

    Args:
        collection: the tasks, raw units.
        weights: `w_t` of every task.
        centre: what all tasks have in common.
        spread: standard deviation of a task's weights around it.
        noise: standard deviation sigma of a target.
    """

    collection: TaskCollection
    weights: Float[Tensor, "tasks dim"]
    centre: Float[Tensor, " dim"]
    spread: float
    noise: float

    def optimal(self, support: LabelledBatch, query: CaseBatch) -> Normal:
        """Return the Bayes-optimal predictive law `[tasks, query]`, float64: Bayesian linear regression with the true prior
        (Bishop 2006, equations 3.49 to 3.59).

        Raises:
            TaskError: the support is not of regression tasks.
        """
        if support.kind != "regression":
            raise TaskError(f"got {support.kind} tasks; these tasks are regressions")
        centre = self.centre.double()
        x = support.features[BLOCK].double() * support.mask[..., None]
        residual = (support.targets.double() - x @ centre) * support.mask
        eye = torch.eye(len(centre), dtype=torch.float64)
        precision = eye / self.spread**2 + x.mT @ x / self.noise**2
        factor = torch.linalg.cholesky(precision)
        shift = torch.cholesky_solve(x.mT @ residual[..., None], factor) / self.noise**2
        at = query.features[BLOCK].double()
        mean = at @ centre + (at @ shift)[..., 0]
        half = torch.linalg.solve_triangular(factor, at.mT, upper=False)
        return Normal(mean, (self.noise**2 + half.square().sum(-2)).sqrt())


def linear_tasks(
    n_tasks: int,
    n_cases: int,
    *,
    dim: int = 4,
    spread: float = 0.5,
    noise: float = 0.3,
    centre_scale: float = 1.0,
    seed: int = 0,
) -> LinearTasks:
    """Return linear-Gaussian regression tasks with their optimum.

    Args:
        n_tasks: number of tasks.
        n_cases: cases of each; no case is in two tasks.
        dim: length of a case.
        spread: standard deviation of the tasks' weights around the centre; small means that earlier tasks tell much.
        noise: standard deviation of a target.
        centre_scale: standard deviation of the centre's entries.
        seed: of everything drawn.

    Raises:
        InputError: a number of tasks, cases or dimensions below 1, or a scale that is not positive.
    """
    _check(n_tasks, n_cases, dim, spread=spread, noise=noise)
    rng = np.random.default_rng(seed)
    centre = rng.normal(size=dim) * centre_scale
    weights = centre + spread * rng.normal(size=(n_tasks, dim))
    x = torch.from_numpy(rng.normal(size=(n_tasks * n_cases, dim)).astype(np.float32))
    cases = x.numpy().astype(np.float64).reshape(n_tasks, n_cases, dim)
    targets = np.einsum("tcd,td->tc", cases, weights) + noise * rng.normal(size=(n_tasks, n_cases))
    tasks = {}
    for number in range(n_tasks):
        name = f"linear {number}"
        tasks[name] = Task(name, "regression", _rows(number, n_cases), targets[number], unit="unit")
    collection = TaskCollection(MODALITY, _names(n_tasks, n_cases), features={BLOCK: x}, tasks=tasks)
    return LinearTasks(collection, torch.from_numpy(weights), torch.from_numpy(centre), spread, noise)


@dataclass(frozen=True)
class ClusterTasks:
    """Binary tasks with one Gaussian cluster a class: `x | class k ~ N(m_tk, within^2 I)`, `m_tk ~ N(centres_k, spread^2 I)`,
    both classes equally likely.

    Args:
        collection: the tasks.
        means: `m_tk` of every task and class.
        centres: what all tasks have in common.
        spread: standard deviation of a task's cluster means around them.
        within: standard deviation of a case around its cluster mean.
    """

    collection: TaskCollection
    means: Float[Tensor, "tasks 2 dim"]
    centres: Float[Tensor, "2 dim"]
    spread: float
    within: float

    def optimal(self, support: LabelledBatch, query: CaseBatch) -> Categorical:
        """Return the Bayes-optimal predictive law `[tasks, query]`, float64: the cluster means' posterior (Murphy 2012,
        equation 4.124) integrated out, and Bayes' rule.

        Raises:
            TaskError: the support is not of binary tasks.
        """
        if support.kind != "binary":
            raise TaskError(f"got {support.kind} tasks; these tasks are binary")
        x = support.features[BLOCK].double()
        at = query.features[BLOCK].double()
        dim = at.shape[-1]
        scores = []
        for label in (0, 1):
            here = ((support.targets == label) & support.mask).double()[..., None]
            precision = 1 / self.spread**2 + here.sum(1) / self.within**2
            mean = (self.centres[label].double() / self.spread**2 + (here * x).sum(1) / self.within**2) / precision
            variance = 1 / precision + self.within**2
            squares = (at - mean[:, None]).square().sum(-1)
            scores.append(-0.5 * (squares / variance + dim * (2 * math.pi * variance).log()))
        return Categorical(logits=torch.stack(scores, -1))


def cluster_tasks(
    n_tasks: int,
    n_cases: int,
    *,
    dim: int = 4,
    spread: float = 0.5,
    within: float = 1.0,
    separation: float = 2.0,
    seed: int = 0,
) -> ClusterTasks:
    """Return binary Gaussian-cluster tasks with their optimum.

    Args:
        n_tasks: number of tasks.
        n_cases: cases of each, classes drawn with probability 1/2; no case is in two tasks.
        dim: length of a case.
        spread: standard deviation of a task's cluster means around the centres.
        within: standard deviation of a case around its cluster mean.
        separation: distance between the two centres, which lie opposite of each other about the origin.
        seed: of everything drawn.

    Raises:
        InputError: a number of tasks, cases or dimensions below 1, or a scale that is not positive.
    """
    _check(n_tasks, n_cases, dim, spread=spread, within=within)
    rng = np.random.default_rng(seed)
    direction = rng.normal(size=dim)
    direction *= separation / 2 / np.linalg.norm(direction)
    centres = np.stack([-direction, direction])
    means = centres + spread * rng.normal(size=(n_tasks, 2, dim))
    labels = rng.integers(0, 2, size=(n_tasks, n_cases))
    x = means[np.arange(n_tasks)[:, None], labels] + within * rng.normal(size=(n_tasks, n_cases, dim))
    vectors = torch.from_numpy(x.reshape(-1, dim).astype(np.float32))
    tasks = {}
    for number in range(n_tasks):
        name = f"cluster {number}"
        tasks[name] = Task(name, "binary", _rows(number, n_cases), labels[number], classes=("0", "1"))
    collection = TaskCollection(MODALITY, _names(n_tasks, n_cases), features={BLOCK: vectors}, tasks=tasks)
    return ClusterTasks(collection, torch.from_numpy(means), torch.from_numpy(centres), spread, within)


def _rows(number: int, n_cases: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.arange(number * n_cases, (number + 1) * n_cases, dtype=np.int64)


def _names(n_tasks: int, n_cases: int) -> list[str]:
    return [f"task {task} case {case}" for task in range(n_tasks) for case in range(n_cases)]


def _check(n_tasks: int, n_cases: int, dim: int, **scales: float) -> None:
    if min(n_tasks, n_cases, dim) < 1:
        raise InputError(f"got {n_tasks} tasks of {n_cases} cases with {dim} dimensions; give at least 1 of each")
    for name, value in scales.items():
        if not value > 0:
            raise InputError(f"got {name}={value}; give a positive number")
