"""Learners that read a case by its embedding alone: in training, support and query go through the encoder together.

One pass over all cases of an episode costs less than two over parts of them: every product with the encoder's weights is done once, and the
slopes of each parameter are summed once.
"""

from dataclasses import replace
from typing import Any

from jaxtyping import Float
from torch import Tensor

from metamedica.blocks import joined
from metamedica.functional.in_turn import tasks_at_once
from metamedica.functional.task_random import drops
from metamedica.types import CaseBatch, Encoder, EpisodeBatch, Features, LabelledBatch, Learner, TaskKind

EMBEDDING = "embedding"
"""Name of the block that holds cases which are embedded already: `[tasks, cases, dim]`."""
SOME_TASKS = 4
"""That go together through filters which they share, where tasks that adapt them go one after another."""


def embedding(encoder: Encoder, features: Features) -> Float[Tensor, "*batch dim"]:
    """Return the vector of each case; as it is, where it is known already."""
    found: Tensor = features[EMBEDDING] if EMBEDDING in features else encoder(features)
    return found


def embedded(encoder: Encoder, episodes: EpisodeBatch) -> EpisodeBatch:
    """Return the same episodes with each case as its embedding, all computed in one call."""
    own, asked = episodes.support, episodes.query
    both = {name: joined(block, asked.features[name]) for name, block in own.features.items()}
    vectors: Tensor = encoder(both)
    first, last = vectors[:, : own.cases.n_cases], vectors[:, own.cases.n_cases :]

    def side(cases: LabelledBatch, vectors: Tensor) -> LabelledBatch:
        return replace(cases, cases=CaseBatch({EMBEDDING: vectors}, cases.mask))

    return EpisodeBatch(side(own, first), side(asked, last), episodes.task_index)


class EmbedsOnce(Learner[Any]):
    """A learner with an `encoder` whose `adapt` and `predict` read features by `embedding` alone."""

    encoder: Encoder

    def tasks_at_once(self, kind: TaskKind) -> int | None:
        """Return how many tasks the encoder takes at a time."""
        return None if tasks_at_once(self.encoder) is None else SOME_TASKS

    def meta_loss(self, episodes: EpisodeBatch) -> Float[Tensor, ""]:
        """Return the query negative log-likelihood, mean over tasks."""
        # A case's dropout is that of its place in its task's block, which padding must not move.
        return super().meta_loss(episodes if drops(self.encoder) else embedded(self.encoder, episodes))
