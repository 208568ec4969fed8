"""A perceptron of one hidden layer as a pooled model, one for all tasks or one for each."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.optimize import minimize
from torch import Tensor
from torch.nn.functional import logsigmoid

from metamedica.functional.pooled_models import usual_square_of
from metamedica.functional.pooling import Pool
from metamedica.types import TaskKind

_MOST_STEPS = 200
_GRADIENT = 1e-5


class Perceptron(NamedTuple):
    """tanh(unit (flat - centre) inner + bias) weight reach + intercept.

    A leading axis of tasks on the first four: a network for each. Inner weights, biases and outer weights are standard normal beforehand:
    `unit` is one over the distance of a usual case from the centre, `reach` the prior standard deviation of an outer weight.
    """

    inner: Float[Tensor, "*tasks flat hidden"]
    bias: Float[Tensor, "*tasks hidden"]
    weight: Float[Tensor, "*tasks hidden"]
    intercept: Float[Tensor, "*tasks"]
    centre: Float[Tensor, " flat"]
    unit: Float[Tensor, ""]
    reach: Float[Tensor, ""]

    def inputs(self, flat: Float[Tensor, "*batch n flat"]) -> Float[Tensor, "*batch n flat"]:
        """Return the columns as the hidden layer gets them; a usual case has the length 1."""
        return (flat - self.centre) * self.unit

    def hidden(self, flat: Float[Tensor, "*batch n flat"]) -> Float[Tensor, "*batch n hidden"]:
        """Return the hidden layer of each case."""
        return torch.tanh(self.inputs(flat) @ self.inner + self.bias[..., None, :])

    def read(self, hidden: Float[Tensor, "*batch n hidden"]) -> Float[Tensor, "*batch n"]:
        """Return the score of each case from its hidden layer."""
        return self.reach * (hidden @ self.weight[..., None])[..., 0] + self.intercept[..., None]

    def pull(self) -> Float[Tensor, "*tasks"]:
        """Return minus the log density of the weights beforehand, up to a constant."""
        return 0.5 * (self.inner.square().sum((-2, -1)) + self.bias.square().sum(-1) + self.weight.square().sum(-1))

    def __call__(self, flat: Float[Tensor, "*batch n flat"]) -> Float[Tensor, "*batch n"]:
        """Return the score of each case."""
        return self.read(self.hidden(flat))


def misfit(score: Float[Tensor, "*batch"], targets: Float[Tensor, "*some"], kind: TaskKind) -> Float[Tensor, "*batch"]:
    """Return the loss of each case: half the squared residual, or the negative log-likelihood of its class."""
    return 0.5 * (targets - score).square() if kind == "regression" else -logsigmoid((2 * targets - 1) * score)


def fit_perceptron(pool: Pool, rows: Bool[Tensor, " n"], *, signal: float, hidden: int, seed: int) -> Perceptron:
    """Return the maximum a posteriori perceptron of these rows, by L-BFGS from a start that the seed draws.

    Args:
        pool: of one kind.
        rows: those to learn from, at least one.
        signal: prior variance of the score of a case that saturates the hidden layer (in units of the noise, for regression).
        hidden: units.
        seed: of the start.
    """
    flat, targets = pool.flat[rows], pool.targets[rows]
    unit, reach = (flat.new_tensor(value) for value in (usual_square_of(flat) ** -0.5, (signal / hidden) ** 0.5))
    centre = flat.mean(0)
    sizes = [flat.shape[1] * hidden, hidden, hidden, 1]

    def network(at: Tensor) -> Perceptron:
        inner, bias, weight, intercept = torch.split(at, sizes)
        return Perceptron(inner.view(-1, hidden), bias, weight, intercept[0], centre, unit, reach)

    def objective(at: Any) -> tuple[float, Any]:
        """Return the mean loss with the prior's share, and its gradient: written out, it takes a third of the time."""
        place = torch.from_numpy(np.array(at))
        found = network(place)
        layer = found.hidden(flat)
        score = found.read(layer)
        miss = score - targets if pool.kind == "regression" else torch.sigmoid(score) - targets
        back = reach * miss[:, None] * found.weight * (1 - layer.square())
        slope = [(design.mT @ back).reshape(-1), back.sum(0), reach * (layer.mT @ miss)]
        whole = torch.cat([torch.cat(slope) + place[:-1], miss.sum()[None]])
        value = misfit(score, targets, pool.kind).sum() + found.pull()
        return float(value) / len(targets), (whole / len(targets)).numpy()

    start = torch.randn(sum(sizes), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    start[-(hidden + 1) :] = 0
    design = network(start).inputs(flat)
    steps = {"maxiter": _MOST_STEPS, "gtol": _GRADIENT}
    found = minimize(objective, start.numpy(), jac=True, method="L-BFGS-B", options=steps)
    return network(torch.from_numpy(found.x.copy()))


def perceptron_fit(*, signal: float, hidden: int, seed: int) -> Callable[[Pool, Tensor], Perceptron]:
    """Return `fit_perceptron` with its settings."""
    return partial(fit_perceptron, signal=signal, hidden=hidden, seed=seed)
