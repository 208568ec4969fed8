"""A support in parts: what is left when some of its cases are hidden, and those hidden, as one batch of tasks."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from metamedica.types import CaseBatch, LabelledBatch


@dataclass(frozen=True)
class Folds:
    """Pairs of a task and a fold, as batches whose leading axis is the pair.

    Args:
        rest: the support without the fold's cases.
        hidden: the fold's cases, at the same places.
        task: that each pair comes from, by its place in the support.
    """

    rest: LabelledBatch
    hidden: LabelledBatch
    task: Int64[Tensor, " pairs"]


def folds(
    support: LabelledBatch, n_folds: int, *, at_once: int | None = None, least_classes: int = 2
) -> Iterator[Folds]:
    """Yield the folds of every task, each case hidden once; a fold whose rest shows too few classes is left out, and so are its cases.

    Args:
        support: of every task.
        n_folds: at least 2; of as many folds as cases each hides one case.
        at_once: most pairs of a task and a fold in one batch, so that memory is bounded; None: all.
        least_classes: that the rest of a task with classes must show, for what learns from it.
    """
    n_tasks, n = support.mask.shape
    if n == 0:
        return
    fold = _fold_of_cases(support, n_folds)
    held = (fold[:, None, :] == torch.arange(n_folds)[None, :, None]) & support.mask[:, None, :]
    kept = support.mask[:, None, :] & ~held
    usable = (~too_few_left(support, kept, least_classes) & held.any(-1)).reshape(-1).nonzero()[:, 0]
    task = torch.arange(n_tasks).repeat_interleave(n_folds)
    held, kept = held.reshape(-1, n), kept.reshape(-1, n)
    for chosen in torch.split(usable, at_once or max(len(usable), 1)):
        if len(chosen):
            of = task[chosen]
            yield Folds(_part(support, of, kept[chosen]), _part(support, of, held[chosen]), of)


def _part(support: LabelledBatch, of: Tensor, mask: Tensor) -> LabelledBatch:
    """Return the support of tasks `of`, with only the cases of `mask`."""
    features = {name: block.index_select(0, of) for name, block in support.features.items()}
    targets = support.targets.index_select(0, of).masked_fill(~mask, 0)
    about = None if support.about is None else support.about.index_select(0, of)
    return replace(support, cases=CaseBatch(features, mask), targets=targets, about=about)


def _fold_of_cases(support: LabelledBatch, n_folds: int) -> Tensor:
    """Return `[tasks, n]` fold numbers that follow the cases, not their order: sorted by target, then by content, dealt in turn."""
    mask = support.mask
    content = torch.zeros(mask.shape, dtype=torch.float64)
    for block in support.features.values():
        flat = block.reshape(*mask.shape, -1).to(torch.float64)
        steps = torch.arange(1, flat.shape[-1] + 1, dtype=torch.float64)
        content = content + (flat * torch.frac(steps * 0.6180339887498949)).sum(-1)
    rank = torch.argsort(content, dim=1, stable=True)
    key = support.targets.gather(1, rank).to(torch.float64).masked_fill(~mask.gather(1, rank), float("inf"))
    order = rank.gather(1, torch.argsort(key, dim=1, stable=True))
    dealt = torch.arange(mask.shape[1]).expand_as(mask) % n_folds
    return torch.empty_like(dealt).scatter(1, order, dealt)


def too_few_left(
    support: LabelledBatch, kept: Bool[Tensor, "tasks folds n"], least_classes: int = 2
) -> Bool[Tensor, "tasks folds"]:
    """Return where the kept cases of a task with classes are of fewer classes than so many, or there is none."""
    if support.kind == "regression":
        return kept.sum(-1) < 1
    classes = torch.nn.functional.one_hot(support.targets, support.n_classes or 2).bool() & support.mask[..., None]
    return (classes[:, None] & kept[..., None]).any(2).sum(-1) < least_classes
