"""Earlier tasks played as new ones: a few cases of each class are labelled, others come without label, in shares of the classes drawn by chance."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from metamedica.types import LabelledBatch

SHOTS = (1, 5)
"""Labelled cases a class; half of the smallest class where it has fewer than twice as many."""
CONCENTRATION = 2
"""Of the Dirichlet law of the shares (Veilleux et al. 2021, arXiv:2110.12358, section 3): a share is the sum of so many exponential numbers."""
_DRAWS = 4
_MOST = 75


class Play(NamedTuple):
    """Draws of one task, as a batch."""

    support: LabelledBatch
    others: LabelledBatch
    """At most 75 and at most half of the other cases."""


def plays(task: LabelledBatch) -> Iterator[Play]:
    """Yield draws of a task, the same ones every time; classes of one case are left out, and a task of one class gives none.

    Args:
        task: a batch of one whole task without padding, with classes.
    """
    labels = task.targets[0].cpu()
    counts = torch.bincount(labels, minlength=task.n_classes or 0)
    shown = (counts > 1).nonzero()[:, 0]
    if len(shown) < 2:
        return
    here = (counts[labels] > 1).nonzero()[:, 0]
    random = torch.Generator().manual_seed(len(labels))
    for shots in sorted({min(shots, int(counts[shown].min()) // 2) for shots in SHOTS}):
        drawn = [_drawn(here, labels, counts, shots, random) for _ in range(_DRAWS)]
        support, others = (torch.stack(rows).to(task.targets.device) for rows in zip(*drawn, strict=True))
        yield Play(_rows(task, support), _rows(task, others))


def _drawn(here: Tensor, labels: Tensor, counts: Tensor, shots: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
    order = here[torch.randperm(len(here), generator=random)]
    place = torch.zeros(len(order), dtype=torch.int64)
    for label in torch.unique(labels[here]):
        mine = labels[order] == label
        place[mine] = torch.arange(int(mine.sum()))
    support, rest = order[place < shots], order[place >= shots]
    gamma = torch.empty(CONCENTRATION, len(counts)).exponential_(generator=random).sum(0)
    chance = (gamma / (counts - shots).clamp(min=1))[labels[rest]]
    number = min(_MOST, (len(rest) + 1) // 2)
    return support, rest[torch.multinomial(chance, number, generator=random)]


def _rows(task: LabelledBatch, rows: Tensor) -> LabelledBatch:
    return task.map(lambda value: value[0][rows])
