"""A comparison set by hand, an explicit network on every pair, and tasks whose exact law is known."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical

from metamedica.errors import TaskError
from metamedica.learners.prototypical import Prototypical
from metamedica.learners.relation import Relation
from metamedica.testing import SIZE, VectorEncoder, VectorRaw, vector_batch, vector_episodes
from metamedica.types import EpisodeBatch, LabelledBatch

NOISE = 0.8


def _probabilities(learner: Relation | Prototypical, episodes: EpisodeBatch) -> Tensor:
    with torch.no_grad():
        law = learner.predict(learner.adapt(episodes.support), episodes.query.cases)
    assert isinstance(law, Categorical)
    return law.probs


def _city_block(size: int) -> Relation:
    """g = -|class - query| summed over coordinates: |a - b| = relu(a - b) + relu(b - a)."""
    learner = Relation(VectorRaw(size), hidden=2 * size).double()
    eye = torch.eye(size, dtype=torch.float64)
    with torch.no_grad():
        learner.of_class.weight.copy_(torch.cat([eye, -eye]))
        learner.of_class.bias.zero_()
        learner.of_query.weight.copy_(torch.cat([-eye, eye]))
        learner.score.weight.fill_(-1)
    return learner


def _by_hand(n_classes: int) -> list[float]:
    """Class 0 at (0, 0) and (2, 0), so about (1, 0); class 1 at (1, 3); asked at (2, 1): city-block distances 2 and 3."""
    points = torch.tensor([[[0.0, 0.0], [2.0, 0.0], [1.0, 3.0]]], dtype=torch.float64)
    support = vector_batch(points, torch.tensor([[0, 0, 1]]), n_classes=n_classes)
    asked = vector_batch(torch.tensor([[[2.0, 1.0]]], dtype=torch.float64), torch.zeros(1, 1))
    return _probabilities(_city_block(2), EpisodeBatch(support, asked, torch.arange(1)))[0, 0].tolist()


def test_a_comparison_set_to_the_city_block_distance_gives_its_softmax_by_hand() -> None:
    want = 1 / (1 + math.exp(-1))
    assert _by_hand(2) == pytest.approx([want, 1 - want])


def test_a_class_without_cases_has_half_a_case() -> None:
    """(1/2) / (3 + 3/2) = 1/9, and the others share the rest."""
    want = 8 / 9 / (1 + math.exp(-1))
    assert _by_hand(3) == pytest.approx([want, 8 / 9 - want, 1 / 9])


@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_scores_are_those_of_a_perceptron_on_the_concatenation_of_every_pair(kind: str) -> None:
    torch.manual_seed(0)
    learner, episodes = Relation(VectorEncoder(), hidden=7).double(), vector_episodes(kind)
    found = _probabilities(learner, episodes)
    first = torch.cat([learner.of_class.weight, learner.of_query.weight], 1).detach().numpy()
    bias, last = learner.of_class.bias.detach().numpy(), learner.score.weight.detach().numpy()[0]

    def embedded(batch: LabelledBatch, task: int) -> np.ndarray:
        return learner.encoder(batch.features)[task].detach().numpy()

    for task in range(3):
        known, labels = embedded(episodes.support, task), episodes.support.targets[task].numpy()
        for row, asked in enumerate(embedded(episodes.query, task)):
            pairs = [np.concatenate([known[labels == k].mean(0), asked]) for k in np.unique(labels)]
            votes = np.exp([last @ np.maximum(first @ pair + bias, 0) for pair in pairs])
            np.testing.assert_allclose(found[task, row].numpy(), votes / votes.sum(), rtol=1e-10)


def test_a_support_of_one_class_is_refused() -> None:
    support = vector_batch(torch.ones(1, 3, SIZE), torch.ones(1, 3, dtype=torch.int64), n_classes=2)
    with pytest.raises(TaskError, match="one class only"):
        Relation(VectorEncoder()).adapt(support)


def test_a_regression_task_is_refused_with_what_it_allows() -> None:
    with pytest.raises(TaskError, match="cannot learn a regression task; it allows binary, multiclass"):
        Relation(VectorEncoder()).double().adapt(vector_episodes("regression").support)


def _episodes(count: int, seed: int) -> EpisodeBatch:
    """Coordinate 0 is +1 or -1 by class, each task its own way round, plus noise; three louder coordinates say nothing."""
    random = torch.Generator().manual_seed(seed)
    labels = (torch.arange(24) % 2).expand(count, 24)
    x = 2 * torch.randn(count, 24, SIZE, generator=random)
    way = torch.where(torch.rand(count, 1, generator=random) < 0.5, -1.0, 1.0)
    x[..., 0] = way * (2 * labels - 1) + NOISE / 2 * x[..., 0]
    known, asked = (vector_batch(x[:, part], labels[:, part].clone(), n_classes=2) for part in (slice(8), slice(8, 24)))
    return EpisodeBatch(known, asked, torch.arange(count))


def _exact(episodes: EpisodeBatch) -> Tensor:
    """Return the probability of class 1 when family and coordinate are known: the two ways round, weighed by the support."""

    def log_odds(batch: LabelledBatch) -> Tensor:
        return 2 * batch.features["vector"][..., 0].double() / NOISE**2  # of +1 against -1

    toward = torch.sigmoid(((2 * episodes.support.targets - 1) * log_odds(episodes.support)).sum(1, keepdim=True))
    up = torch.sigmoid(log_odds(episodes.query))
    return toward * up + (1 - toward) * (1 - up)


def _figures(probability: Tensor, targets: Tensor) -> tuple[float, float]:
    """Return accuracy and negative log-likelihood, given the probability of class 1."""
    own = torch.where(targets == 1, probability, 1 - probability)
    return float((own > 0.5).double().mean()), -float(own.log().mean())


def test_meta_training_comes_near_the_exact_law_on_vectors_where_a_fixed_distance_cannot() -> None:
    torch.manual_seed(0)
    learner, fixed = Relation(VectorRaw()), Prototypical(VectorRaw())
    for made in (learner, fixed):
        optimiser = torch.optim.Adam(made.parameters(), 0.01)
        for step in range(250):
            loss = made.meta_loss(_episodes(16, 1000 + step))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    new = _episodes(300, 1)
    best, least = _figures(_exact(new), new.query.targets)
    accuracy, surprise = _figures(_probabilities(learner, new)[..., 1], new.query.targets)
    accuracy_of_fixed, _ = _figures(_probabilities(fixed, new)[..., 1], new.query.targets)
    assert best == pytest.approx(0.89, abs=0.01)  # the normal distribution function at 1 / NOISE
    assert best - 0.03 < accuracy < best + 0.01
    assert least < surprise < least + 0.04
    assert accuracy_of_fixed < best - 0.15
