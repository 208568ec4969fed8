"""Batches of tasks of very different sizes, parted so that little is padded."""

import torch
from jaxtyping import Int
from torch import Tensor

from metamedica.types import EpisodeBatch, LabelledBatch

MOST_WASTE = 1.3
"""A batch is parted where it has this many times more padded cells than its parts would have."""


def parts_by_size(episodes: EpisodeBatch) -> list[Int[Tensor, " tasks"]]:
    """Return the rows of the tasks that belong together: supports between two powers of two; all tasks where parting would not pay.

    A loss that is a mean over tasks is that of the parts, each weighted by its share of the tasks.
    """
    ends = _ends(episodes.support.mask)
    level = torch.ceil(torch.log2(ends.clamp(min=1).double())).long()
    rows = [torch.nonzero(level == each)[:, 0] for each in torch.unique(level)]
    whole = _cells(episodes, torch.arange(len(ends)))
    return rows if whole > MOST_WASTE * sum(_cells(episodes, each) for each in rows) else [torch.arange(len(ends))]


def part_of(episodes: EpisodeBatch, rows: Int[Tensor, " tasks"]) -> EpisodeBatch:
    """Return these tasks, their padding cut to the longest of them."""
    return EpisodeBatch(
        _cut(episodes.support, rows),
        _cut(episodes.query, rows),
        episodes.task_index[rows.to(episodes.task_index.device)],
    )


def _ends(mask: Tensor) -> Int[Tensor, " tasks"]:
    """Return one more than the place of each task's last case."""
    return (mask.cpu() * torch.arange(1, mask.shape[1] + 1)).amax(1)


def _cells(episodes: EpisodeBatch, rows: Tensor) -> int:
    return sum(len(rows) * int(_ends(side.mask)[rows].max()) for side in (episodes.support, episodes.query))


def _cut(batch: LabelledBatch, rows: Tensor) -> LabelledBatch:
    longest = max(1, int(_ends(batch.mask)[rows].max()))
    whole = len(rows) == len(batch.mask)
    if whole and longest == batch.mask.shape[1]:
        return batch
    here = rows.to(batch.mask.device)
    return batch.map(lambda value: (value if whole else value[here])[:, :longest])
