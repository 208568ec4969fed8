"""The number of tasks at once that is picked is the fastest of those that were tried."""

import time

import pytest
import torch

from metamedica.functional.inner_loop.measure import fastest_chunk
from metamedica.learners.maml import Maml
from metamedica.testing import VectorEncoder, vector_episodes
from metamedica.types import EpisodeBatch


class _Slow(Maml):
    """Takes its time unless two tasks are at once."""

    def meta_loss(self, episodes: EpisodeBatch) -> torch.Tensor:
        until = time.process_time() + (0 if self.chunk == 2 else 0.2)
        while time.process_time() < until:
            pass
        return super().meta_loss(episodes)


@pytest.mark.parametrize("chunks", [(1, 2, 3), (3, 2, 1)])
def test_the_fastest_is_picked_and_the_learner_is_left_as_it_is(chunks: tuple[int, ...]) -> None:
    learner = _Slow(VectorEncoder(), steps=1).double()
    assert fastest_chunk(learner, vector_episodes("binary"), chunks=chunks) == 2
    assert fastest_chunk(learner, vector_episodes("binary"), chunks=(2, 1, 3)) == 2
    assert learner.chunk is None
    assert all(value.grad is None for value in learner.parameters())
