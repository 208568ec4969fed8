"""The pooled perceptron: its gradient by autograd, its mode against scikit-learn's, and what a line cannot learn."""

import numpy as np
import torch
from sklearn.neural_network import MLPRegressor
from torch import Tensor

from metamedica.functional.perceptron import Perceptron, fit_perceptron, misfit, perceptron_fit
from metamedica.functional.pooling import Pool
from metamedica.types import TaskKind


def _pool(kind: TaskKind, n: int = 200) -> Pool:
    flat = torch.randn(n, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 1.0
    score = (flat[:, 0] - 1) * (flat[:, 1] - 1)
    targets = score if kind == "regression" else (score > 0).double()
    number = torch.arange(n)
    return Pool(flat, flat, targets, number % 2, number % 2, kind)


def _slope(found: Perceptron, pool: Pool) -> Tensor:
    """Return the gradient of the objective by autograd, in the four parameters that were fitted."""
    names = ("inner", "bias", "weight", "intercept")

    def objective(at: dict[str, Tensor]) -> Tensor:
        network = found._replace(**at)
        return (misfit(network(pool.flat), pool.targets, pool.kind).sum() + network.pull()) / len(pool.targets)

    return torch.cat(
        [
            each.reshape(-1)
            for each in torch.func.grad(objective)({name: getattr(found, name) for name in names}).values()
        ]
    )


def test_it_comes_to_rest_where_autograd_finds_no_slope() -> None:
    kinds: tuple[TaskKind, ...] = ("binary", "regression")
    for kind in kinds:
        pool = _pool(kind, 60)
        every = torch.ones(len(pool.flat), dtype=torch.bool)
        found = fit_perceptron(pool, every, signal=1.0, hidden=3, seed=0)
        assert float(_slope(found, pool).abs().max()) < 1e-3
        shaken = found._replace(weight=found.weight + 0.5)
        assert float(_slope(shaken, pool).abs().max()) > 1e-2


def test_it_learns_a_product_that_no_line_can() -> None:
    pool = _pool("binary", 600)
    rows = pool.task == 0
    found = perceptron_fit(signal=30.0, hidden=8, seed=0)(pool, rows)
    score = found(pool.flat[~rows])
    assert float(((score > 0) == (pool.targets[~rows] > 0)).double().mean()) > 0.9


def test_its_error_is_near_that_of_scikit_learns_perceptron() -> None:
    pool = _pool("regression", 600)
    rows = pool.task == 0
    found = fit_perceptron(pool, rows, signal=100.0, hidden=8, seed=0)
    rival = MLPRegressor(
        hidden_layer_sizes=(8,), activation="tanh", solver="lbfgs", alpha=1e-3, max_iter=5000, random_state=0
    )
    rival.fit(pool.flat[rows].numpy(), pool.targets[rows].numpy())
    truth = pool.targets[~rows].numpy()
    ours = np.square(found(pool.flat[~rows]).numpy() - truth).mean()
    theirs = np.square(rival.predict(pool.flat[~rows].numpy()) - truth).mean()
    assert ours < theirs + 0.1 * truth.var()


def test_networks_of_several_tasks_are_each_their_own() -> None:
    pool = _pool("binary")
    rows = torch.ones(len(pool.flat), dtype=torch.bool)
    each = [fit_perceptron(pool, rows, signal=1.0, hidden=3, seed=seed) for seed in (0, 1)]
    names = ("inner", "bias", "weight", "intercept")
    both = each[0]._replace(**{name: torch.stack([getattr(one, name) for one in each]) for name in names})
    found = both(pool.flat.expand(2, -1, -1))
    for task, one in enumerate(each):
        torch.testing.assert_close(found[task], one(pool.flat))
    torch.testing.assert_close(both.pull(), torch.stack([one.pull() for one in each]))
