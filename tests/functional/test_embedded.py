"""Episodes whose cases go through the encoder together: the same loss and slopes as one side after the other, in one call."""

from typing import Any

import pytest
import torch
from torch import Tensor

from metamedica import registry
from metamedica.functional.embedded import EMBEDDING, EmbedsOnce, embedded, embedding
from metamedica.testing import VectorEncoder, vector_episodes
from metamedica.types import Features, Learner

LEARNERS = registry.learners_that(EmbedsOnce)


class Counting(VectorEncoder):
    """Counts its calls."""

    calls = 0

    def forward(self, features: Features) -> Tensor:
        self.calls += 1
        return super().forward(features)


def test_each_side_gets_the_vectors_of_its_own_cases() -> None:
    torch.manual_seed(0)
    episodes, encoder = vector_episodes("multiclass"), Counting().double()
    found = embedded(encoder, episodes)
    assert encoder.calls == 1
    for side, plain in ((found.support, episodes.support), (found.query, episodes.query)):
        assert list(side.features) == [EMBEDDING]
        torch.testing.assert_close(embedding(encoder, side.features), embedding(encoder, plain.features))
        assert torch.equal(side.mask, plain.mask)
        assert torch.equal(side.targets, plain.targets)


@pytest.mark.parametrize("name", LEARNERS)
def test_a_learner_has_the_loss_and_the_slopes_of_its_two_verbs_and_asks_the_encoder_once(name: str) -> None:
    torch.manual_seed(0)
    encoder = Counting()
    made: Any = registry.learner_class(name)
    learner, episodes = made(encoder=encoder).double(), vector_episodes("binary")
    loss = learner.meta_loss(episodes)
    assert encoder.calls == 1
    plain = Learner.meta_loss(learner, episodes)
    torch.testing.assert_close(loss, plain, rtol=1e-12, atol=1e-12)
    own = [value for value in learner.parameters() if value.requires_grad]
    found, want = (torch.autograd.grad(each, own, materialize_grads=True) for each in (loss, plain))
    torch.testing.assert_close(found, want, rtol=1e-10, atol=1e-10)
