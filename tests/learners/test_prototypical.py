"""Prototypes by hand."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical

from metamedica.errors import TaskError
from metamedica.learners.prototypical import Prototypical
from metamedica.testing import SIZE, VectorEncoder, vector_batch, vector_episodes
from metamedica.types import Encoder, EpisodeBatch, Features


class Same(Encoder):
    """The vectors as they are."""

    dim = 2

    def forward(self, features: Features) -> Tensor:
        return features["vector"]


def _probabilities(learner: Prototypical, n_classes: int = 2) -> Tensor:
    """Class 0 at (0, 0) and (2, 0), so about (1, 0); class 1 at (1, 3); asked at (1, 1)."""
    points = torch.tensor([[[0.0, 0.0], [2.0, 0.0], [1.0, 3.0]]])
    support = vector_batch(points, torch.tensor([[0, 0, 1]]), n_classes=n_classes)
    law = learner.predict(learner.adapt(support), vector_batch(torch.ones(1, 1, 2), torch.zeros(1, 1)).cases)
    assert isinstance(law, Categorical)
    return law.probs[0, 0].detach()


def test_probabilities_are_the_softmax_of_minus_squared_distances_by_hand() -> None:
    """Squared distances 1 and 4."""
    want = math.exp(-1) / (math.exp(-1) + math.exp(-4))
    assert _probabilities(Prototypical(Same())).tolist() == pytest.approx([want, 1 - want])


def test_the_temperature_divides_the_distances() -> None:
    want = 1 / (1 + math.exp(-3 / 2.5))
    assert _probabilities(Prototypical(Same(), temperature=2.5)).tolist() == pytest.approx([want, 1 - want])


def test_a_class_without_cases_has_half_a_case() -> None:
    """(1/2) / (3 + 3/2) = 1/9, and the others share the rest."""
    want = 8 / 9 / (1 + math.exp(-3))
    assert _probabilities(Prototypical(Same()), 3).tolist() == pytest.approx([want, 8 / 9 - want, 1 / 9])


def test_a_support_of_one_class_is_refused() -> None:
    support = vector_batch(torch.ones(1, 3, SIZE), torch.ones(1, 3, dtype=torch.int64), n_classes=2)
    with pytest.raises(TaskError, match="one class only"):
        Prototypical(VectorEncoder()).adapt(support)


def test_a_regression_task_is_refused_with_what_it_allows() -> None:
    with pytest.raises(TaskError, match="cannot learn a regression task; it allows binary, multiclass"):
        Prototypical(VectorEncoder()).double().adapt(vector_episodes("regression").support)


def _episodes(count: int, random: torch.Generator) -> EpisodeBatch:
    """Two classes that differ in coordinate 0; the other coordinates are three times as loud and say nothing."""
    labels = (torch.arange(12) % 2).expand(count, 12)
    points = 3 * torch.randn(count, 12, SIZE, generator=random)
    points[..., 0] = (2 * labels - 1) + 0.1 * points[..., 0]
    support = vector_batch(points[:, :4], labels[:, :4].clone(), n_classes=2)
    return EpisodeBatch(support, vector_batch(points[:, 4:], labels[:, 4:].clone(), n_classes=2), torch.arange(count))


def _accuracy(learner: Prototypical) -> float:
    episodes = _episodes(200, torch.Generator().manual_seed(99))
    with torch.no_grad():
        law = learner.predict(learner.adapt(episodes.support), episodes.query.cases)
    assert isinstance(law, Categorical)
    return float((law.probs.argmax(-1) == episodes.query.targets).double().mean())


def test_meta_training_finds_the_coordinate_that_tells_classes_apart() -> None:
    torch.manual_seed(0)
    learner, random = Prototypical(VectorEncoder()), torch.Generator().manual_seed(0)
    before = _accuracy(learner)
    optimiser = torch.optim.Adam(learner.parameters(), 0.05)
    for _ in range(80):
        loss = learner.meta_loss(_episodes(16, random))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert before < 0.75
    assert _accuracy(learner) > 0.95
