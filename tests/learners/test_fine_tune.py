"""Fine-tuning starts as the linear probe, never goes uphill, and moves the encoder where it must."""

import itertools
import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Normal

from metamedica.errors import TaskError
from metamedica.functional.inner_loop.chain import Parameters
from metamedica.functional.logistic import BIAS_VARIANCE, LogisticFit
from metamedica.functional.ridge import RidgeFit
from metamedica.learners.fine_tune import FineTune
from metamedica.learners.linear_probe import LinearProbe
from metamedica.testing import N_TASKS, VectorEncoder, on_vectors, vector_batch, vector_episodes
from metamedica.types import LabelledBatch, TaskKind

KINDS: tuple[TaskKind, ...] = ("binary", "multiclass", "regression")


def _built(made: type, seed: int = 0, **settings: float) -> FineTune | LinearProbe:
    torch.manual_seed(seed)
    return on_vectors(made, settings=settings).double()  # type: ignore[return-value]


@pytest.mark.parametrize("kind", KINDS)
def test_without_steps_it_is_the_linear_probe(kind: TaskKind) -> None:
    episodes = vector_episodes(kind)
    tuned, probe = _built(FineTune, steps=0), _built(LinearProbe)
    found = tuned.predict(tuned.adapt(episodes.support), episodes.query.cases)
    want = probe.predict(probe.adapt(episodes.support), episodes.query.cases)
    if isinstance(found, Categorical):
        assert isinstance(want, Categorical)
        torch.testing.assert_close(found.probs, want.probs)
    else:
        torch.testing.assert_close(found.mean, want.mean)


def test_the_variance_is_the_probes_mean_squared_leave_one_out_error() -> None:
    episodes = vector_episodes("regression")
    probe, tuned = _built(LinearProbe), _built(FineTune)
    fit = probe.adapt(episodes.support)
    assert isinstance(fit, RidgeFit)
    law = tuned.predict(tuned.adapt(episodes.support), episodes.query.cases)
    torch.testing.assert_close(law.variance, fit.left_out[:, None].expand(N_TASKS, 5))


def _objective(learner: FineTune, own: Parameters, support: LabelledBatch) -> Tensor:
    """The support's negative log-likelihood, the probe's prior on the head and the pull of the encoder, written out per task."""
    fit = LinearProbe(learner.encoder, N_TASKS).double().adapt(support)
    vector = torch.tanh(support.features["vector"] @ own["encoder.map.weight"].mT + own["encoder.map.bias"][:, None])
    vector = vector / (vector.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    scores = (vector - fit.centre[:, None]) @ own["weight"] + own["bias"][:, None]
    moved = (own["encoder.map.weight"] - learner.encoder.map.weight.detach()).square().sum((1, 2))
    moved = moved + (own["encoder.map.bias"] - learner.encoder.map.bias.detach()).square().sum(1)
    heavy = own["weight"].square().sum((1, 2))
    if isinstance(fit, RidgeFit):
        misfit = 0.5 * ((support.targets - scores[..., 0]).square().sum(1) + fit.penalty * heavy) / fit.noise
    else:
        assert isinstance(fit, LogisticFit)
        misfit = torch.nn.functional.cross_entropy(scores.mT, support.targets, reduction="none").sum(1)
        misfit = misfit + 0.5 * (heavy / fit.signal + own["bias"].square().sum(1) / BIAS_VARIANCE)
    return misfit / support.mask.shape[1] + 0.5 * learner.anchor * moved


@pytest.mark.parametrize("kind", KINDS)
def test_the_objective_never_rises_and_falls_in_the_end(kind: TaskKind) -> None:
    support = vector_episodes(kind).support
    values = []
    for steps in (0, 1, 2, 3, 5, 8, 20):
        learner = _built(FineTune, steps=steps)
        assert isinstance(learner, FineTune)
        values.append(_objective(learner, learner.adapt(support).parameters, support))
    for before, after in itertools.pairwise(values):
        assert bool((after <= before + 1e-12).all())
    assert bool((values[-1] < 0.9 * values[0]).all())


@pytest.mark.parametrize("kind", KINDS)
def test_a_kept_step_goes_down_the_slope_of_the_objective(kind: TaskKind) -> None:
    support = vector_episodes(kind).support
    start, first, second = (_built(FineTune, steps=steps, rate=1e-3).adapt(support).parameters for steps in (0, 1, 2))
    learner = _built(FineTune)
    assert isinstance(learner, FineTune)
    for before, after, rate in ((start, first, 1e-3), (first, second, 1.5e-3)):
        own = {name: value.clone().requires_grad_() for name, value in before.items()}
        _objective(learner, own, support).sum().backward()
        for name, value in own.items():
            assert value.grad is not None
            torch.testing.assert_close(after[name], before[name] - rate * value.grad, atol=1e-11, rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_the_probe_is_optimal_for_the_head_so_the_first_step_moves_the_encoder_alone(kind: TaskKind) -> None:
    support = vector_episodes(kind).support
    start, moved = (_built(FineTune, steps=steps, rate=1e-3).adapt(support).parameters for steps in (0, 1))
    torch.testing.assert_close(moved["weight"], start["weight"], atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(moved["bias"], start["bias"], atol=1e-9, rtol=1e-9)
    assert float((moved["encoder.map.weight"] - start["encoder.map.weight"]).abs().max()) > 1e-5


def test_a_strong_anchor_keeps_the_encoder() -> None:
    support = vector_episodes("regression").support

    def moved(anchor: float) -> float:
        learner = _built(FineTune, anchor=anchor, steps=40)
        before = learner.encoder.map.weight.detach()
        return float((learner.adapt(support).parameters["encoder.map.weight"] - before).norm())

    assert moved(1000.0) < 0.05 * moved(0.01)
    assert moved(0.01) > 0.1


def _tilted(count: int, seed: int) -> LabelledBatch:
    """The target is coordinate 0."""
    x = torch.randn(3, count, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return vector_batch(x, x[..., 0] + 0.0)


def test_it_recovers_what_the_encoder_hardly_sees_where_the_probe_cannot() -> None:
    """The target is coordinate 0, which the encoder turns down to a fifth of the others."""
    torch.manual_seed(0)
    encoder = VectorEncoder().double()
    with torch.no_grad():
        encoder.map.weight[:, 0] *= 0.2
    support, query = _tilted(24, 0), _tilted(200, 1)

    def error(learner: FineTune | LinearProbe) -> float:
        law = learner.predict(learner.adapt(support), query.cases)
        assert isinstance(law, Normal)
        return float((law.mean - query.targets).square().mean().detach())

    probe = error(LinearProbe(encoder, 3).double())
    tuned = error(FineTune(encoder, 3, steps=60).double())
    assert probe > 0.8
    assert tuned < 0.5 * probe


def test_pre_training_loss_is_that_of_the_linear_probe() -> None:
    """Both pre-train alike: one head a task on the embedding of unit size."""
    episodes = vector_episodes("regression")
    torch.testing.assert_close(_built(FineTune).meta_loss(episodes), _built(LinearProbe).meta_loss(episodes))


def test_pre_training_lowers_its_loss() -> None:
    learner, episodes = _built(FineTune), vector_episodes("binary")
    optimiser = torch.optim.Adam(learner.parameters(), 0.05)
    first = float(learner.meta_loss(episodes).detach())
    for _ in range(60):
        loss = learner.meta_loss(episodes)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert first > 0.4 * math.log(2)
    assert float(loss.detach()) < 0.2 * first


def test_pre_training_on_multiclass_tasks_is_refused() -> None:
    with pytest.raises(TaskError, match="got multiclass"):
        _built(FineTune).meta_loss(vector_episodes("multiclass"))


def test_adapting_carries_no_gradient() -> None:
    state = _built(FineTune).adapt(vector_episodes("binary").support)
    assert not any(value.requires_grad for value in state.parameters.values())
