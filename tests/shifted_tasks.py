"""Tasks on vectors that differ in one way: in prevalence, in how cases are measured, or in which cases come."""

from collections.abc import Sequence

import torch
from torch import Tensor

from metamedica.testing import SIZE, vector_batch
from metamedica.types import CaseBatch, LabelledBatch, Law

APART = torch.tensor([1.2, -0.8, 0.0, 0.4], dtype=torch.float64)
"""From the centre of all cases to that of the cases of class 1."""


def of_prevalence(prevalence: float, n: int, *, seed: int) -> LabelledBatch:
    """Return one task: each class normal about its own centre with variance 1, so that only the prevalence differs between tasks."""
    random = torch.Generator().manual_seed(seed)
    label = (torch.rand(n, generator=random) < prevalence).long()
    vectors = torch.randn(n, SIZE, generator=random, dtype=torch.float64) + (2 * label - 1)[:, None] * APART / 2
    return vector_batch(vectors[None], label[None], n_classes=2)


def changed(task: LabelledBatch, turn: Tensor, shift: Tensor) -> LabelledBatch:
    """Return the task with its cases x as  x turn + shift: another device, another unit."""
    return vector_batch(task.features["vector"] @ turn + shift, task.targets, n_classes=2)


def without_labels(task: LabelledBatch) -> LabelledBatch:
    """Return a support of the task that holds no case."""
    return task.map(lambda value: value[:, :0])


def cases_of(task: LabelledBatch, rows: Sequence[int] | slice) -> CaseBatch:
    """Return some cases of a task."""
    return task.cases.map(lambda value: value[:, rows])


def loss(law: Law, task: LabelledBatch) -> float:
    """Return the mean negative log-likelihood of a task's labels."""
    return -float(task.log_likelihood(law).mean())
