"""Earlier tasks played as new ones: a few of their cases are labelled, the others asked, and the models have not seen the task."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Int64
from torch import Tensor

from metamedica.functional.pooling import Pool

SHOTS = (5, 20)
_DRAWS = 4


class Rehearsal(NamedTuple):
    """One task played as new, several draws at once; places in the pool."""

    fold: int
    """Whose models have not seen the task's cases."""
    support: Int64[Tensor, "draws n"]
    query: Int64[Tensor, "draws m"]
    share: float
    """Of the task's plays: it is played at several sizes."""


def rehearsals(pool: Pool) -> Iterator[Rehearsal]:
    """Yield draws of each earlier task (of each fold, where there is one task only), the same ones every time.

    A task of fewer than 10 cases is played with half of them labelled.
    """
    by_task = pool.n_tasks > 1
    groups = pool.task if by_task else pool.fold
    for group in range(int(groups.max()) + 1):
        rows = (groups == group).nonzero()[:, 0]
        if len(rows) < 2:
            continue
        random = torch.Generator().manual_seed(len(rows))
        sizes = sorted({min(shots, len(rows) // 2) for shots in SHOTS})
        for shots in sizes:
            order = torch.stack([torch.randperm(len(rows), generator=random) for _ in range(_DRAWS)])
            drawn = rows[order]
            yield Rehearsal(int(pool.fold[rows[0]]), drawn[:, :shots], drawn[:, shots:], 1 / len(sizes))
