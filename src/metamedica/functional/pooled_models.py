"""Models of a pool of cases: penalised linear ones, and gradient-boosted trees that scikit-learn grows."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from torch import Tensor

from metamedica.functional.classes import HALF
from metamedica.functional.fitted import Fitted
from metamedica.functional.pooling import Pool
from metamedica.functional.remembered import remembered
from metamedica.functional.trees import TreeArrays, boosted_tree, total_of_leaves, tree_arrays

SIGNALS = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
"""Prior variances of the score of a case at the usual distance from the centre; the strongest penalty first."""
_MOST_NEWTON = 1000
"""Columns up to which Newton's method is exact and fast; beyond, L-BFGS."""


class LinearScore(NamedTuple):
    """flat weight + intercept."""

    weight: Float[Tensor, " flat"]
    intercept: Float[Tensor, ""]

    def __call__(self, flat: Float[Tensor, "*batch flat"]) -> Float[Tensor, "*batch"]:
        """Return the score of each case; 0 before anything was learned."""
        return flat @ self.weight + self.intercept if len(self.weight) else flat.new_zeros(flat.shape[:-1])


class BoostedScore(NamedTuple):
    """The sum of the leaves that a case falls into, plus a baseline."""

    trees: TreeArrays
    baseline: Float[Tensor, ""]
    depth: Int64[Tensor, ""]

    def __call__(self, flat: Float[Tensor, "*batch flat"]) -> Float[Tensor, "*batch"]:
        """Return the score of each case; 0 before anything was learned."""
        rows = flat.reshape(-1, flat.shape[-1])
        total = rows.new_zeros(len(rows)) + self.baseline
        if self.trees.feature.numel():
            total = total + total_of_leaves(self.trees, rows, int(self.depth))
        return total.reshape(flat.shape[:-1])


NO_TREES: dict[str, Tensor] = {
    "feature": torch.zeros(0, 0, dtype=torch.int64),
    "threshold": torch.zeros(0, 0),
    "left": torch.zeros(0, 0, dtype=torch.int64),
    "right": torch.zeros(0, 0, dtype=torch.int64),
    "value": torch.zeros(0, 0, 1),
    "baseline": torch.zeros(()),
    "depth": torch.zeros((), dtype=torch.int64),
}
"""The buffers of a `BoostedScore` before anything was learned."""


def boosted_buffers(score: BoostedScore) -> dict[str, Tensor]:
    """Return a boosted score as the buffers of `NO_TREES`."""
    return {**score.trees._asdict(), "baseline": score.baseline, "depth": score.depth}


class Growth(NamedTuple):
    """How many trees of how many leaves, and the share of each that counts."""

    trees: int
    leaves: int
    rate: float = 0.06


def usual_square_of(flat: Float[Tensor, "n flat"]) -> float:
    """Return the mean squared distance of a case from the centre; 1 where all cases are the same."""
    square = float((flat - flat.mean(0)).square().sum(1).mean())
    return square if square > 0 else 1.0


def usual_columns(flat: Float[Tensor, "*batch flat"], taught: Fitted) -> Float[Tensor, "*batch flat"]:
    """Return columns centred at `flat_centre` and of usual length 1, which is `size`; as they are before anything was learned."""
    return (flat - taught["flat_centre"]) / taught["size"] if len(taught["flat_centre"]) else flat


@remembered
def fit_linear(pool: Pool, rows: Bool[Tensor, " n"], *, signal: float, level: float = 0.0) -> LinearScore:
    """Return the penalised logistic or ridge regression on these rows.

    Where `level` is above 0 every task has its own intercept, normal with that standard deviation about the common one: what differs
    between tasks is then not taken for an effect of the columns. A new task is scored at the common one.

    Args:
        pool: of one kind.
        rows: those to learn from, at least one.
        signal: prior variance of the score of a case at the usual distance from the centre (in units of the noise, for regression).
        level: standard deviation of a task's own intercept.
    """
    flat, targets = pool.flat[rows], pool.targets[rows]
    if pool.kind != "regression" and len(torch.unique(targets)) < 2:
        odds = (targets.sum() + HALF) / (len(targets) - targets.sum() + HALF)
        return LinearScore(flat.new_zeros(flat.shape[1]), odds.log())
    centre = flat.mean(0)
    variance = signal / usual_square_of(flat)
    columns = [flat - centre]
    if level > 0:
        tasks = torch.nn.functional.one_hot(torch.unique(pool.task[rows], return_inverse=True)[1]).to(flat)
        columns.append(tasks * (level / variance**0.5))
    design = torch.cat(columns, dim=1).numpy()
    if pool.kind == "regression":
        solver: Any = Ridge(alpha=1 / variance).fit(design, targets.numpy())
        found, intercept = solver.coef_, solver.intercept_
    else:
        method = "newton-cholesky" if design.shape[1] <= _MOST_NEWTON else "lbfgs"
        solver = LogisticRegression(C=variance, solver=method, tol=1e-8, max_iter=10_000)
        solver.fit(design, targets.numpy().astype(np.int64))
        found, intercept = solver.coef_[0], solver.intercept_[0]
    weight = torch.from_numpy(found[: flat.shape[1]].copy())
    return LinearScore(weight, torch.tensor(float(intercept), dtype=torch.float64) - centre @ weight)


def linear_fit(*, signal: float, level: float = 0.0) -> Callable[[Pool, Tensor], LinearScore]:
    """Return `fit_linear` with its settings."""
    return partial(fit_linear, signal=signal, level=level)


@remembered
def fit_boosted(pool: Pool, rows: Bool[Tensor, " n"], *, growth: Growth) -> BoostedScore:
    """Return gradient-boosted trees on these rows, as tensors; their scores are scikit-learn's for cases given as float32.

    A leaf holds at least 20 cases, or a twentieth of them where there are few, and its value is pulled to 0 by 5 cases.

    Args:
        pool: of one kind.
        rows: those to learn from, at least one.
        growth: number and size of the trees.
    """
    flat, targets = pool.flat[rows].to(torch.float32).numpy(), pool.targets[rows].numpy()
    settings: dict[str, Any] = {
        "max_iter": growth.trees,
        "max_leaf_nodes": growth.leaves,
        "learning_rate": growth.rate,
        "min_samples_leaf": min(20, max(2, len(targets) // 20)),
        "l2_regularization": 5.0,
        "early_stopping": False,
        "random_state": 0,
    }
    if pool.kind == "regression":
        model: Any = HistGradientBoostingRegressor(**settings).fit(flat, targets)
    elif len(np.unique(targets)) < 2:
        plain = fit_linear(pool, rows, signal=1.0)
        empty = TreeArrays(
            *(
                NO_TREES[name].double() if name in ("threshold", "value") else NO_TREES[name]
                for name in TreeArrays._fields
            )
        )
        return BoostedScore(empty, plain.intercept, NO_TREES["depth"])
    else:
        model = HistGradientBoostingClassifier(**settings).fit(flat, targets.astype(np.int64))
    every = [stage[0].nodes for stage in model._predictors]
    arrays = tree_arrays([boosted_tree(nodes) for nodes in every], max(map(len, every)))
    depth = torch.tensor(max(int(nodes["depth"].max()) for nodes in every))
    baseline = torch.tensor(float(np.ravel(model._baseline_prediction)[0]), dtype=torch.float64)
    return BoostedScore(arrays, baseline, depth)


def boosted_fit(growth: Growth) -> Callable[[Pool, Tensor], BoostedScore]:
    """Return `fit_boosted` with its settings."""
    return partial(fit_boosted, growth=growth)
