"""A pooled perceptron that every task trains on: the earlier cases are fitted while its hidden layer makes theirs and the task's alike."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from metamedica.functional.kept_source import KeptSource, some_of, trusted
from metamedica.functional.perceptron import Perceptron, misfit, perceptron_fit
from metamedica.functional.pooling import FitScore, Pool
from metamedica.functional.target_cases import Target, Taught
from metamedica.types import RawEncoder, TaskKind

OUTER_SIGNALS = (0.3, 1.0, 3.0)
_LEAST_SIZE = 1e-6
_MOVED = ("inner", "bias", "weight", "intercept")


class Earlier(NamedTuple):
    """The earlier tasks' cases."""

    rows: Float[Tensor, "s flat"]
    targets: Float[Tensor, " s"]
    kind: TaskKind


class AlignedNetwork(KeptSource):
    """A perceptron, fitted to the earlier tasks' cases, that takes gradient steps on  misfit + pull + alignment  for each task.

    Misfit and pull (the prior of the weights) are those of the earlier cases, so that a task without cases stays at the pooled network.
    Alignment compares the hidden layer of the earlier cases with that of the task's n cases, labelled or not; it counts for
    strength n / (n + cases). Strength 0 is the pooled network as it is. All steps are full-batch, at a rate that the curvature of the objective
    at the start bounds: no draw, and no task sees another.

    **It holds feature rows and targets of earlier tasks' cases**, at most `most_kept`: a saved model is as personal as they are.

    Args:
        raw: its `flat` features are the inputs.
        strengths: of the alignment that are tried; 0 first.
        cases: what the pooled network is worth, in cases of the task.
        steps: gradient steps a task.
        momentum: of the network's steps, below 1.
        hidden: units.
        seed: of the start from which the pooled network is fitted.
        signals: prior variances of the score that are tried for the pooled network.
        most_kept: cases of all earlier tasks together that are kept, drawn by chance; at least 20 a task.
        most_compared: cases of the task that are compared at most, drawn by chance.
    """

    def __init__(
        self,
        raw: RawEncoder,
        *,
        strengths: tuple[float, ...],
        cases: float,
        steps: int,
        momentum: float,
        hidden: int,
        seed: int,
        signals: tuple[float, ...],
        most_kept: int,
        most_compared: int,
    ) -> None:
        self.strengths = tuple(strengths)
        self.cases = cases
        self.steps = steps
        self.momentum = momentum
        self.hidden = hidden
        self.seed = seed
        self.most_compared = most_compared
        super().__init__(raw, signals=signals, most_kept=most_kept)

    @abstractmethod
    def opponent(self, hidden: int) -> Taught:
        """Return where further parameters of a task's alignment start.

        They descend on it in steps of length 1, so it must be curved in them by about 1 at most.
        """

    @abstractmethod
    def alignment(
        self,
        earlier: Float[Tensor, "tasks s hidden"],
        target: Float[Tensor, "tasks n hidden"],
        weight: Float[Tensor, "tasks n"],
        *,
        strength: Float[Tensor, " tasks"],
        opponent: Mapping[str, Tensor],
    ) -> Float[Tensor, " tasks"]:
        """Return what the steps descend on beside the misfit.

        Args:
            earlier: hidden layers of the earlier cases, centred and scaled so that a usual one has the length 1.
            target: those of the task's cases, centred and scaled likewise.
            weight: 1 for a case, 0 where padded; at least one case a task.
            strength: what it counts for, 0 where the task has no case.
            opponent: further parameters of each task.
        """

    @abstractmethod
    def bend(self, strength: Float[Tensor, " tasks"]) -> Float[Tensor, " tasks"]:
        """Return about how curved `alignment` is in the hidden layers at most."""

    def start(self) -> Taught:
        """Return the buffers before any task is seen."""
        empty, one = torch.zeros(0), torch.ones(())
        return {
            **dict.fromkeys(("bias", "weight", "centre", "targets"), empty),
            **dict.fromkeys(("inner", "rows"), torch.zeros(0, 0)),
            **dict.fromkeys(("intercept", "unit", "reach", "strength"), one),
        }

    def settings(self) -> Sequence[Taught]:
        """Return the strengths that are tried."""
        return [{"strength": torch.tensor(strength)} for strength in self.strengths]

    def pooled(self, *, signal: float) -> FitScore[Perceptron]:
        """Return how the pooled network is fitted."""
        return perceptron_fit(signal=signal, hidden=self.hidden, seed=self.seed)

    def source(self, pool: Pool, rows: Bool[Tensor, " n"], model: Perceptron, *, signal: float) -> Taught:
        """Return the network of these rows, and their cases and targets."""
        return {**model._asdict(), "rows": pool.flat[rows], "targets": pool.targets[rows]}

    def moved(self, taught: Taught, target: Target, kind: TaskKind) -> Perceptron:
        """Return the network of each task after its steps."""
        plain, n_tasks = target.flat, len(target.flat)
        network = Perceptron(*(taught[name].double() for name in Perceptron._fields))
        some = some_of(Target(plain.double(), target.weight.double()), self.most_compared)
        strength = taught["strength"].double() * trusted(some.weight, torch.tensor(self.cases))
        first = {name: getattr(network, name).expand(n_tasks, *getattr(network, name).shape) for name in _MOVED}
        found: Taught = first
        if bool(strength.any()):
            earlier = Earlier(taught["rows"].double(), taught["targets"].double(), kind)
            found = self._stepped(network, first, earlier, some, strength)
        there = strength > 0
        kept = {
            name: torch.where(there.view(-1, *[1] * (value.dim() - 1)), found[name], value)
            for name, value in first.items()
        }
        return Perceptron(*(value.to(plain) for value in network._replace(**kept)))

    def _stepped(
        self, network: Perceptron, first: Taught, earlier: Earlier, some: Target, strength: Float[Tensor, " tasks"]
    ) -> Taught:
        """Return the parameters of each task after its steps."""
        layer = network.hidden(earlier.rows)
        middle = layer.mean(0)
        size = (layer - middle).square().sum(-1).mean().sqrt().clamp(min=_LEAST_SIZE)
        rows = earlier.rows.expand(len(strength), *earlier.rows.shape)
        opponent = {f"opponent {name}": value for name, value in self.opponent(self.hidden).items()}

        def objective(at: Taught) -> Tensor:
            own = network._replace(**{name: at[name] for name in _MOVED})
            layers, theirs = own.hidden(rows), own.hidden(some.flat)
            fit = misfit(own.read(layers), earlier.targets.expand(layers.shape[:2]), earlier.kind).mean(1)
            apart = self.alignment(
                (layers - middle) / size,
                (theirs - middle) / size,
                some.weight,
                strength=strength,
                opponent={name.removeprefix("opponent "): value for name, value in at.items() if name not in _MOVED},
            )
            return (fit + own.pull() / len(earlier.rows) + apart).sum()

        slope = torch.func.grad(objective)
        at = {
            **first,
            **{name: value.expand(len(strength), *value.shape).to(layer) for name, value in opponent.items()},
        }
        rate = 1 / (_bend(network, earlier) + self.bend(strength) * _reach(network, earlier, some) / size.square())
        pace = {name: torch.zeros_like(at[name]) for name in _MOVED}
        for _ in range(self.steps):
            gradient = slope(at)
            for name in _MOVED:
                length = rate.view(-1, *[1] * (at[name].dim() - 1))
                pace[name] = self.momentum * pace[name] - length * gradient[name]
            at = {name: value + pace[name] if name in pace else value - gradient[name] for name, value in at.items()}
        return at


def _bend(network: Perceptron, earlier: Earlier) -> Float[Tensor, ""]:
    """Return the trace of the misfit's curvature in all parameters (Gauss and Newton's), which bounds the largest one."""
    layer = network.hidden(earlier.rows)
    wide = 1 + network.inputs(earlier.rows).square().sum(-1, keepdim=True)
    inner = (network.weight * (1 - layer.square())).square() * wide
    each = 1 + network.reach.square() * (layer.square() + inner).sum(-1)
    return (1.0 if earlier.kind == "regression" else 0.25) * each.mean() + 1 / len(earlier.rows)


def _reach(network: Perceptron, earlier: Earlier, some: Target) -> Float[Tensor, " tasks"]:
    """Return the largest mean square, over units, of a hidden unit's slope in its own parameters, on either side."""

    def of(flat: Tensor) -> Tensor:
        wide = 1 + network.inputs(flat).square().sum(-1, keepdim=True)
        return (1 - network.hidden(flat).square()).square() * wide

    count = some.weight.sum(1).clamp(min=1)[:, None]
    theirs = (of(some.flat) * some.weight[..., None]).sum(1) / count
    return torch.maximum(of(earlier.rows).mean(0).amax(), theirs.amax(-1))
