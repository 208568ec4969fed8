"""Class membership of a padded support, and laws over classes that the support may not show."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Categorical
from torch.nn import functional

from metamedica.errors import TaskError
from metamedica.types import LabelledBatch

HALF = 0.5
"""Pseudo-cases per class (Krichevsky & Trofimov 1981): a class with k of n cases has probability (k + 1/2) / (n + C/2)."""


def membership(support: LabelledBatch, dtype: torch.dtype) -> Float[Tensor, "tasks n classes"]:
    """Return 1 where a case has a class, 0 elsewhere and where padded.

    Raises:
        TaskError: the support has no classes (regression).
    """
    if support.n_classes is None:
        raise TaskError("got a regression support where classes were wanted; choose a learner for regression")
    return (functional.one_hot(support.targets, support.n_classes) * support.mask[..., None]).to(dtype)


def check_two_classes(members: Float[Tensor, "tasks n classes"]) -> Float[Tensor, "tasks classes"]:
    """Return how many cases each class has, for methods that compare classes.

    Raises:
        TaskError: a task's support shows fewer than two classes.
    """
    counts = members.sum(1)
    if torch.compiler.is_compiling() or bool(counts.all()):  # a graph has no branches
        return counts
    few = torch.count_nonzero(counts, dim=-1) < 2
    if bool(few.any()):
        task = int(torch.nonzero(few)[0, 0])
        raise TaskError(f"the support of task {task} has one class only; give at least one case of two classes")
    return counts


def smoothed(
    probability: Float[Tensor, "tasks m classes"], counts: Float[Tensor, "tasks classes"]
) -> Float[Tensor, "tasks m classes"]:
    """Return (n p + 1/2) / (n + C/2): an estimate from n cases never reaches 0 or 1, and ranks stay as they are."""
    n = counts.sum(-1)[:, None, None]
    return (n * probability + HALF) / (n + HALF * counts.shape[-1])


def law_of_shown(logits: Float[Tensor, "tasks m classes"], counts: Float[Tensor, "tasks classes"]) -> Categorical:
    """Return the softmax over the classes that the support shows; each other class has probability (1/2) / (n + C/2).

    Args:
        logits: scores; those of classes without a support case are not read.
        counts: support cases per class; at least one class is shown.
    """
    absent = (counts == 0)[:, None, :]
    if not torch.compiler.is_compiling() and not bool(absent.any()):
        return Categorical(logits=logits, validate_args=False)
    share = HALF / (counts.sum(-1) + HALF * counts.shape[-1])[:, None, None]
    left = (1 - share * absent.sum(-1, keepdim=True)).log()
    shown = torch.log_softmax(logits.masked_fill(absent, -torch.inf), dim=-1) + left
    return Categorical(logits=torch.where(absent, share.log(), shown), validate_args=False)
