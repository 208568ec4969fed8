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
    if bool(episodes.support.mask.all()) and bool(episodes.query.mask.all()):
        return [torch.arange(len(episodes.task_index))]
    everything, sides = (
        torch.arange(len(episodes.task_index)),
        [_ends(side.mask) for side in (episodes.support, episodes.query)],
    )

    def cells(rows: Tensor) -> int:
        return sum(len(rows) * int(ends[rows].max()) for ends in sides)

    level = torch.ceil(torch.log2(sides[0].clamp(min=1).double())).long()
    parts = [torch.nonzero(level == each)[:, 0] for each in torch.unique(level)]
    return parts if cells(everything) > MOST_WASTE * sum(map(cells, parts)) else [everything]


def part_of(episodes: EpisodeBatch, rows: Int[Tensor, " tasks"]) -> EpisodeBatch:
    """Return these tasks, their padding cut to the longest of them."""
    support, query = _cut(episodes.support, rows), _cut(episodes.query, rows)
    if support is episodes.support and query is episodes.query:
        return episodes
    return EpisodeBatch(support, query, episodes.task_index[rows.to(episodes.task_index.device)])


def _ends(mask: Tensor) -> Int[Tensor, " tasks"]:
    """Return one more than the place of each task's last case."""
    return (mask.cpu() * torch.arange(1, mask.shape[1] + 1)).amax(1)


def _cut(batch: LabelledBatch, rows: Tensor) -> LabelledBatch:
    whole = len(rows) == len(batch.mask)
    if whole and bool(batch.mask[:, -1].any()):
        return batch
    longest = max(1, int(_ends(batch.mask)[rows].max()))
    here = rows.to(batch.mask.device)
    return batch.map(lambda value: (value if whole else value[here])[:, :longest])
