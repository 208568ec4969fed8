"""Prototypical network: softmax over minus squared distances to class means."""

from typing import ClassVar

import torch
from torch import nn

from metamedica.functional.classes import law_of_shown
from metamedica.functional.embedded import EmbedsOnce, embedding
from metamedica.functional.prototypes import Prototypes, prototypes_of, relative_squares
from metamedica.types import CaseBatch, Encoder, LabelledBatch, Law, Learner, Paper, TaskKind


class Prototypical(EmbedsOnce, Learner[Prototypes]):
    """p(class k) = softmax of -|z - mean_k|^2 / temperature (Snell et al., eq. 2).

    Deviates: the temperature is learned (the paper has none: 1); a class without support cases has probability
    (1/2) / (n + C/2) instead of none.

    Args:
        encoder: learned.
        temperature: at the start.
    """

    paper: ClassVar[Paper] = Paper(
        "Prototypical networks for few-shot learning", "Snell, Swersky and Zemel", 2017, "arXiv:1703.05175"
    )
    kinds: ClassVar[frozenset[TaskKind]] = frozenset({"binary", "multiclass"})

    def __init__(self, encoder: Encoder, *, temperature: float = 1.0) -> None:
        super().__init__()
        self.encoder = encoder
        self.log_temperature = nn.Parameter(torch.tensor(float(temperature)).log())

    def adapt(self, support: LabelledBatch) -> Prototypes:
        """Return the class means of each task.

        Raises:
            TaskError: regression, or a support of one class.
        """
        self.check_kind(support.kind)
        return prototypes_of(embedding(self.encoder, support.features), support)

    def predict(self, state: Prototypes, query: CaseBatch) -> Law:
        """Return the class probabilities of each query case."""
        squares = relative_squares(embedding(self.encoder, query.features), state.means)
        return law_of_shown(-squares * torch.exp(-self.log_temperature), state.counts)
