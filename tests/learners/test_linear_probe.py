"""The probe against scikit-learn on the embedding, and pre-training on tasks that share one hidden direction."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from torch import Tensor
from torch.distributions import Categorical, Normal

from metamedica.errors import TaskError
from metamedica.functional.ridge import RidgeFit
from metamedica.learners.linear import Linear
from metamedica.learners.linear_probe import LinearProbe
from metamedica.testing import VectorEncoder, VectorRaw, vector_batch, vector_episodes
from metamedica.types import Encoder, EpisodeBatch, Features, LabelledBatch

WIDE = 24
KNOWN_TASKS = 30


def _embedding(learner: LinearProbe, batch: LabelledBatch) -> np.ndarray:
    """The normalised embedding of the first task, written out."""
    mapped = learner.encoder.map
    vector = np.tanh(
        batch.features["vector"][0].numpy() @ mapped.weight.detach().numpy().T + mapped.bias.detach().numpy()
    )
    return vector / np.sqrt((vector**2).mean(1, keepdims=True) + 1e-6)


def _learner() -> LinearProbe:
    torch.manual_seed(0)
    return LinearProbe(VectorEncoder(), 3).double()


def test_the_mean_is_scikit_learns_ridge_on_the_embedding_of_unit_size() -> None:
    episodes, learner = vector_episodes("regression"), _learner()
    fit = learner.adapt(episodes.support)
    assert isinstance(fit, RidgeFit)
    known = Ridge(alpha=float(fit.penalty[0])).fit(
        _embedding(learner, episodes.support), episodes.support.targets[0].numpy()
    )
    law = learner.predict(fit, episodes.query.cases)
    want = known.predict(_embedding(learner, episodes.query))
    np.testing.assert_allclose(law.mean[0].detach().numpy(), want, atol=1e-9)


@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression"])
def test_the_probe_is_the_linear_model_from_scratch_on_the_embedding(kind: str) -> None:
    episodes, learner = vector_episodes(kind), _learner()

    class Embedded(VectorRaw):
        def flat(self, features: Features) -> Tensor:
            vector = learner.encoder(features).detach()
            return vector / (vector.square().mean(-1, keepdim=True) + 1e-6).sqrt()

    scratch = Linear(Embedded()).double()
    found = learner.predict(learner.adapt(episodes.support), episodes.query.cases)
    want = scratch.predict(scratch.adapt(episodes.support), episodes.query.cases)
    if isinstance(found, Categorical):
        torch.testing.assert_close(found.probs.detach(), want.probs)
    else:
        torch.testing.assert_close(found.stddev.detach(), want.stddev)
        torch.testing.assert_close(found.mean.detach(), want.mean)


def test_the_embedding_is_frozen_in_adaptation() -> None:
    assert not any(value.requires_grad for value in _learner().adapt(vector_episodes("regression").support))


def test_pre_training_needs_binary_or_regression_tasks() -> None:
    with pytest.raises(TaskError, match="got multiclass; train on the other tasks"):
        _learner().meta_loss(vector_episodes("multiclass"))


def test_pre_training_needs_a_head_for_every_task() -> None:
    torch.manual_seed(0)
    with pytest.raises(TaskError, match="got task index 2 for 2 heads"):
        LinearProbe(VectorEncoder(), 2).double().meta_loss(vector_episodes("binary"))


class Hidden:
    """Tasks whose target is slope x g(direction . x), with g(u) = tanh(2 u), slope of either sign, and noise of 0.1."""

    def __init__(self) -> None:
        direction = torch.randn(WIDE, generator=torch.Generator().manual_seed(5))
        self.direction = direction / direction.norm()

    def episodes(self, count: int, n_support: int, n_query: int, seed: int, *, classes: bool = False) -> EpisodeBatch:
        random = torch.Generator().manual_seed(seed)
        x = torch.randn(count, n_support + n_query, WIDE, generator=random)
        slope = torch.randn(count, 1, generator=random).sign()
        clean = slope * torch.tanh(2 * (x @ self.direction))
        noisy = clean + 0.1 * torch.randn(clean.shape, generator=random)
        y = (noisy > 0).long() if classes else noisy

        def part(rows: slice) -> LabelledBatch:
            return vector_batch(x[:, rows], y[:, rows].clone(), n_classes=2 if classes else None)

        return EpisodeBatch(part(slice(0, n_support)), part(slice(n_support, None)), torch.arange(count))


class Oracle(VectorRaw):
    """Knows the direction and the shape of the curve: what pre-training can at best find."""

    def flat(self, features: Features) -> Tensor:
        return torch.tanh(2 * (features["vector"] @ Hidden().direction))[..., None]


def _squared_error(learner: Linear | LinearProbe, episodes: EpisodeBatch) -> float:
    learner.eval()
    with torch.no_grad():
        law = learner.predict(learner.adapt(episodes.support), episodes.query.cases)
    assert isinstance(law, Normal)
    return float((law.mean - episodes.query.targets).square().mean())


def _error_rate(learner: Linear | LinearProbe, episodes: EpisodeBatch) -> float:
    learner.eval()
    with torch.no_grad():
        law = learner.predict(learner.adapt(episodes.support), episodes.query.cases)
    assert isinstance(law, Categorical)
    return float((law.probs.argmax(-1) != episodes.query.targets).double().mean())


def _pre_trained(encoder: Encoder, *, classes: bool, steps: int = 250) -> LinearProbe:
    torch.manual_seed(0)
    learner, tasks = LinearProbe(encoder, KNOWN_TASKS), Hidden().episodes(KNOWN_TASKS, 32, 32, 0, classes=classes)
    optimiser = torch.optim.AdamW(learner.parameters(), 0.02, weight_decay=0.1)
    for _ in range(steps):
        loss = learner.meta_loss(tasks)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return learner


def test_pre_training_comes_near_the_oracle_that_knows_the_hidden_direction_and_beats_no_pre_training() -> None:
    new = Hidden().episodes(100, 8, 40, 1)
    torch.manual_seed(0)
    encoder = VectorEncoder(WIDE, 8)
    untrained = _squared_error(LinearProbe(encoder, KNOWN_TASKS), new)
    scratch = _squared_error(Linear(VectorRaw(WIDE)), new)
    trained = _squared_error(_pre_trained(encoder, classes=False), new)
    oracle = _squared_error(Linear(Oracle(WIDE)), new)
    assert oracle < 0.05
    assert trained < 2.5 * oracle
    assert trained < 0.3 * scratch
    assert trained < 0.3 * untrained


def test_pre_training_on_classes_finds_the_hidden_direction_too() -> None:
    new = Hidden().episodes(100, 8, 40, 1, classes=True)
    torch.manual_seed(0)
    scratch = _error_rate(Linear(VectorRaw(WIDE)), new)
    trained = _error_rate(_pre_trained(VectorEncoder(WIDE, 8), classes=True), new)
    oracle = _error_rate(Linear(Oracle(WIDE)), new)
    assert oracle < 0.1
    assert trained < oracle + 0.06
    assert trained < 0.5 * scratch


def test_a_constant_embedding_says_the_mean() -> None:
    learner = _learner()
    with torch.no_grad():
        learner.encoder.map.weight.zero_()
    episodes = vector_episodes("regression")
    law = learner.predict(learner.adapt(episodes.support), episodes.query.cases)
    mean = episodes.support.targets.mean(1, keepdim=True).expand(3, 5)
    torch.testing.assert_close(law.mean.detach(), mean, atol=1e-9, rtol=0)
