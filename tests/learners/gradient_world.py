"""What the tests of learners that adapt by gradient steps share: a small network, a plain loop over tasks, finite differences."""

import math
from collections.abc import Callable, Iterable

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal
from torch.nn.functional import cross_entropy

from metamedica.encoders.mlp import MLP
from metamedica.functional.inner_loop.chain import Parameters
from metamedica.functional.inner_loop.networks import head_output
from metamedica.testing import SIZE
from metamedica.types import Encoder, EpisodeBatch, LabelledBatch


def network() -> MLP:
    """Return a small network with layer norm, the same each time."""
    torch.manual_seed(0)
    return MLP({"vector": SIZE}, hidden=(5,), dim=3, dropout=0.0)


def task_loss(encoder: Encoder, own: Parameters, batch: LabelledBatch, task: int) -> Tensor:
    """Return the negative log-likelihood of one task's cases, less the constant of a Normal."""
    output = head_output(encoder, own, {name: block[task] for name, block in batch.features.items()})
    if batch.n_classes is None:
        law = Normal(output[:, 0], torch.exp(0.5 * own["log_variance"]))
        return -law.log_prob(batch.targets[task]).mean() - 0.5 * math.log(2 * math.pi)
    return cross_entropy(output[:, : batch.n_classes], batch.targets[task])


def walked(
    encoder: Encoder,
    start: Parameters,
    support: LabelledBatch,
    task: int,
    *,
    rate: float | Callable[[int, str], Tensor],
    steps: int,
    moves: Callable[[str], bool] = lambda name: True,
) -> Parameters:
    """Return one task's parameters after the steps that everybody writes."""
    own = dict(start)
    for step in range(steps):
        moved = {name: value for name, value in own.items() if moves(name)}
        slopes = torch.autograd.grad(task_loss(encoder, own, support, task), list(moved.values()), create_graph=True)
        for (name, value), slope in zip(moved.items(), slopes, strict=True):
            own[name] = value - (rate if isinstance(rate, float) else rate(step, name)) * slope
    return own


def check_meta_gradient(
    learner: nn.Module, episodes: EpisodeBatch, parameters: Iterable[str], *, every: int = 1
) -> None:
    """Compare the gradient of `meta_loss` with central differences."""
    small, loss = 1e-5, lambda: learner.meta_loss(episodes)
    learner.zero_grad()
    loss().backward()
    for name in parameters:
        value = learner.get_parameter(name)
        flat = value.data.view(-1)
        assert value.grad is not None
        assert float(value.grad.abs().max()) > 0
        for entry in range(0, flat.numel(), every):
            kept, ends = float(flat[entry]), []
            for moved in (kept + small, kept - small):
                flat[entry] = moved
                ends.append(loss().item())
            flat[entry] = kept
            assert value.grad.view(-1)[entry].item() == pytest.approx(
                (ends[0] - ends[1]) / (2 * small), rel=2e-5, abs=1e-8
            )
