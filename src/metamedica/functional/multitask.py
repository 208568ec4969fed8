"""Multitask pre-training: one linear head per earlier task on a shared embedding."""

from dataclasses import replace

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn import functional

from metamedica.blocks import joined
from metamedica.errors import TaskError
from metamedica.functional.targets import scale_of, standardise
from metamedica.types import CaseBatch, EpisodeBatch, LabelledBatch

_LEAST_NOISE = 1e-3
_LEAST_SIZE = 1e-6


def unit_size(embedded: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
    """Return the embedding divided by its root mean square, so that heads and probes see directions only."""
    return embedded / (embedded.square().mean(-1, keepdim=True) + _LEAST_SIZE).sqrt()


def side_by_side(episodes: EpisodeBatch) -> LabelledBatch:
    """Return support and query in one batch, `[tasks, most cases]`: each task's support, its query, then its padding; targets as they are.

    Padding comes last so that a case's row, and with it its dropout within `task_random.TaskSeeds`, is that of its task alone.
    """
    support, query = episodes.support, episodes.query
    features = {name: joined(block, query.features[name]) for name, block in support.features.items()}
    mask = torch.cat([support.mask, query.mask], dim=1)
    targets = torch.cat([support.targets, query.targets], dim=1)
    both = replace(support, cases=CaseBatch(features, mask), targets=targets)
    if torch.compiler.is_compiling() or bool(mask.all()):  # a graph has fixed sizes, and no dropout
        return both
    order = torch.argsort(~mask, dim=1, stable=True)[:, : int(mask.sum(1).max())]
    rows = (order + mask.shape[1] * torch.arange(len(mask), device=mask.device)[:, None]).flatten()
    return both.map(lambda value: value.flatten(0, 1).index_select(0, rows).view(*order.shape, *value.shape[2:]))


def pooled(episodes: EpisodeBatch) -> LabelledBatch:
    """Return support and query side by side: what pre-training without episodes learns from.

    Regression targets are standardised again, over both: the scale of a small support alone is mostly noise.
    """
    both = side_by_side(episodes)
    return standardise(both, scale_of(both))


class TaskHeads(nn.Module):
    """A regression and a binary head per meta-training task (Caruana 1997; FS-Mol's GNN-MT), so that one model serves both kinds.

    Args:
        dim: length of the embedding.
        n_tasks: number of meta-training tasks; `task_index` runs below it.
    """

    def __init__(self, dim: int, n_tasks: int) -> None:
        super().__init__()
        self.n_tasks = n_tasks
        self.binary = nn.Parameter(torch.randn(n_tasks, dim) / dim**0.5)
        self.binary_bias = nn.Parameter(torch.zeros(n_tasks))
        self.regression = nn.Parameter(torch.randn(n_tasks, dim) / dim**0.5)
        self.regression_bias = nn.Parameter(torch.zeros(n_tasks))
        self.log_noise = nn.Parameter(torch.zeros(()))

    def loss(
        self, embedded: Float[Tensor, "tasks n dim"], batch: LabelledBatch, task_index: Shaped[Tensor, " tasks"]
    ) -> Float[Tensor, ""]:
        """Return the negative log-likelihood of the targets under each task's own head, mean over cases, then over tasks.

        Args:
            embedded: the embedding of `batch.cases`.
            batch: binary or regression; regression targets in standard units.
            task_index: `[tasks]`, int64, which head each task owns.

        Raises:
            TaskError: multiclass tasks (their number of classes differs, so they share no head), or a task without a head.
        """
        if batch.kind == "multiclass":
            raise TaskError(
                "multitask heads learn binary and regression tasks, got multiclass; train on the other tasks"
            )
        wrong = task_index[(task_index < 0) | (task_index >= self.n_tasks)]
        if len(wrong):
            raise TaskError(
                f"got task index {int(wrong[0])} for {self.n_tasks} heads; build the learner with n_tasks of the collection"
            )
        if batch.kind == "binary":
            weight, bias = self.binary[task_index], self.binary_bias[task_index]
        else:
            weight, bias = self.regression[task_index], self.regression_bias[task_index]
        output = torch.einsum("tnd,td->tn", embedded, weight) + bias[:, None]
        if batch.kind == "binary":
            each = functional.binary_cross_entropy_with_logits(output, batch.targets.to(output.dtype), reduction="none")
        else:
            variance = functional.softplus(self.log_noise) + _LEAST_NOISE
            each = 0.5 * ((batch.targets - output) ** 2 / variance + variance.log())
        each = each.masked_fill(~batch.mask, 0)
        return (each.sum(1) / batch.counts().clamp(min=1)).mean()
