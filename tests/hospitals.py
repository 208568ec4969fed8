"""Tasks of a known hierarchy: hospitals that share the effects of four columns and differ in their level, slope and effects."""

import torch
from torch import Tensor

from metamedica.testing import SIZE, vector_batch
from metamedica.types import EpisodeBatch, LabelledBatch, TaskKind

EFFECTS = torch.tensor([1.2, -0.8, 0.5, 0.0], dtype=torch.float64)


def hospitals(
    count: int,
    n: int,
    *,
    seed: int = 0,
    kind: TaskKind = "binary",
    level: float = 1.0,
    own: float = 0.0,
    common: float = 1.0,
    noise: float = 0.5,
) -> list[LabelledBatch]:
    """Return tasks of n cases, each a batch of its own, in double precision.

    Args:
        count: of tasks.
        n: cases of each.
        seed: of all that is drawn.
        kind: binary, or regression with this noise's standard deviation.
        level: standard deviation of a task's level.
        own: standard deviation of a task's own effect of each column.
        common: factor of the shared effects.
        noise: of a regression target.
    """
    random = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    tasks = []
    for _ in range(count):
        x = draw(1, n, SIZE)
        score = x @ (common * EFFECTS + own * draw(SIZE)) + level * draw(1)
        if kind == "regression":
            tasks.append(vector_batch(x, score + noise * draw(1, n)))
            continue
        labels = (torch.rand(1, n, generator=random, dtype=torch.float64) < torch.sigmoid(score)).long()
        tasks.append(vector_batch(x, labels, n_classes=2))
    return tasks


def parted(task: LabelledBatch, shots: int, *, index: int = 0) -> EpisodeBatch:
    """Return a task's first cases as support and the others as query."""
    support, query = task.map(lambda v: v[:, :shots]), task.map(lambda v: v[:, shots:])
    return EpisodeBatch(support, query, torch.tensor([index]))
