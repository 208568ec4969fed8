"""What the tests of gradient steps share: a small network, the loop that everybody writes, meta-gradients and finite differences."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal
from torch.nn.functional import cross_entropy

from metamedica.encoders.mlp import MLP
from metamedica.functional.inner_loop.chain import Parameters
from metamedica.functional.inner_loop.choice import form_for
from metamedica.functional.inner_loop.forms import AnyNetwork
from metamedica.functional.inner_loop.loop import Constant, InnerLoop
from metamedica.functional.inner_loop.networks import KindHeads, head_output, start_parameters
from metamedica.testing import SIZE, vector_batch, vector_episodes
from metamedica.types import Encoder, EpisodeBatch, LabelledBatch, Learner, TaskKind


def network() -> MLP:
    """Return a small network with layer norm, the same each time."""
    torch.manual_seed(0)
    return MLP({"vector": SIZE}, hidden=(5,), dim=3, dropout=0.0)


def task_loss(encoder: Encoder, own: Parameters, batch: LabelledBatch, task: int) -> Tensor:
    """Return the negative log-likelihood of one task's real cases under parameters of its own, less the constant of a Normal."""
    real = batch.mask[task]
    output = head_output(encoder, own, {name: block[task, real] for name, block in batch.features.items()})
    if batch.n_classes is None:
        law = Normal(output[:, 0], torch.exp(0.5 * own["log_variance"]))
        return -law.log_prob(batch.targets[task, real]).mean() - 0.5 * math.log(2 * math.pi)
    return cross_entropy(output[:, : batch.n_classes], batch.targets[task, real])


def walked(
    encoder: Encoder, start: Parameters, support: LabelledBatch, task: int, loop: InnerLoop, *, exact: bool = True
) -> Parameters:
    """Return one task's parameters after the steps that everybody writes; unless `exact`, the slopes are constants of the meta-gradient."""
    own = dict(start)
    for step in range(loop.steps):
        moved = {name: value for name, value in own.items() if loop.moves(name)}
        away = torch.stack([(value - start[name]).square().sum() for name, value in moved.items()]).sum()
        loss = task_loss(encoder, own, support, task) + 0.5 * loop.pull * away
        slopes = torch.autograd.grad(loss, list(moved.values()), create_graph=exact)
        for (name, value), slope in zip(moved.items(), slopes, strict=True):
            own[name] = value - loop.rate(step, name) * slope
    return own


def check_adapted_in_any_network(encoder: Encoder, episodes: EpisodeBatch, *, chunk: int | None = None) -> None:
    """An encoder that is no chain of layers has the second-order meta-gradient of the plain loop, multiclass and in double precision, to 1e-10."""
    classes = episodes.support.n_classes or 0
    start = start_parameters(encoder, KindHeads(encoder.dim, max_classes=classes).double(), "multiclass")
    loop, n_tasks = InnerLoop(2, Constant(0.4)), len(episodes.task_index)
    ends = [walked(encoder, start, episodes.support, task, loop) for task in range(n_tasks)]
    losses = [task_loss(encoder, own, episodes.query, task) for task, own in enumerate(ends)]
    want = torch.autograd.grad(torch.stack(losses).mean(), list(start.values()))
    form = form_for(encoder, loop, episodes.support, chunk=chunk)
    assert type(form) is AnyNetwork
    law = form.law(form.adapt(start, episodes.support), episodes.query.cases)
    found = torch.autograd.grad(-episodes.query.log_likelihood(law).mean(), list(start.values()))
    largest = max(float(slope.abs().max()) for slope in want)
    for one, other in zip(found, want, strict=True):
        torch.testing.assert_close(one, other, atol=1e-10 * largest, rtol=0)


def meta_gradient(learner: Learner[Any], episodes: EpisodeBatch) -> dict[str, Tensor]:
    """Return the gradient of `meta_loss`, by name, for every parameter that has one."""
    learner.zero_grad()
    learner.meta_loss(episodes).backward()
    return {name: value.grad.clone() for name, value in learner.named_parameters() if value.grad is not None}


def differences(learner: Learner[Any], episodes: EpisodeBatch, name: str, *, every: int = 1) -> Tensor:
    """Return central differences of `meta_loss` in the first of each `every` entries of a parameter, in a row."""
    small, slopes = 1e-5, []
    flat = learner.get_parameter(name).data.view(-1)
    for entry in range(0, len(flat), every):
        kept, ends = float(flat[entry]), []
        for moved in (kept + small, kept - small):
            flat[entry] = moved
            ends.append(learner.meta_loss(episodes).item())
        flat[entry] = kept
        slopes.append((ends[0] - ends[1]) / (2 * small))
    return torch.tensor(slopes, dtype=torch.float64)


def check_meta_gradient(
    learner: Learner[Any],
    episodes: EpisodeBatch,
    parameters: Iterable[str],
    *,
    every: int = 1,
    rel: float = 1e-5,
    least: float = 1e-8,
) -> None:
    """Compare the gradient of `meta_loss` with central differences, up to a share `rel` of each or to `least`; no parameter has gradient 0."""
    found = meta_gradient(learner, episodes)
    for name in parameters:
        assert float(found[name].abs().max()) > 0
        want = differences(learner, episodes, name, every=every)
        assert found[name].reshape(-1)[::every].tolist() == pytest.approx(want.tolist(), rel=rel, abs=least)


def check_single_precision(make: Callable[[], Learner[Any]], kind: TaskKind) -> None:
    """Compare the loss on vectors a thousand times as large in single and in double precision, to 1 %; gradients must be finite."""
    episodes, losses = vector_episodes(kind), []
    for precision in (torch.float32, torch.float64):

        def part(batch: LabelledBatch, precision: torch.dtype = precision) -> LabelledBatch:
            y = batch.targets.to(precision) if kind == "regression" else batch.targets
            return vector_batch((1000 * batch.features["vector"]).to(precision), y, n_classes=batch.n_classes)

        learner = make().to(precision)
        large = EpisodeBatch(part(episodes.support), part(episodes.query), episodes.task_index)
        losses.append(learner.meta_loss(large).item())
        assert all(bool(slope.isfinite().all()) for slope in meta_gradient(learner, large).values())
    assert losses[0] == pytest.approx(losses[1], rel=0.01)
