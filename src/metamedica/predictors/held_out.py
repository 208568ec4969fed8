"""What a method says of each labelled case while it does not know it: what calibration, conformal sets and abstention learn from."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor
from torch.distributions import Categorical, Normal

from metamedica.predictors.folds import folds
from metamedica.predictors.method import Method, adapted
from metamedica.types import CaseBatch, LabelledBatch, Law

MOST_FOLDS = 32
"""A larger support is hidden in so many parts, a smaller one case by case."""
_AT_ONCE = 256
"""Supports that are adapted to in one batch."""


@dataclass(frozen=True)
class HeldOut:
    """The law of every support case by the method adapted to the others.

    Args:
        law: batch shape `[tasks, cases]`, in the tasks' units; anything where not `known`.
        targets: of the cases.
        known: where there is a case, and hiding it leaves a support that the method can learn from.
        mask: where there is a case.
    """

    law: Law
    targets: Shaped[Tensor, "tasks cases"]
    known: Bool[Tensor, "tasks cases"]
    mask: Bool[Tensor, "tasks cases"]

    def log_likelihood(self) -> Float[Tensor, " tasks"]:
        """Return the mean log-likelihood of each task's known cases; 0 where there is none."""
        each = self.law.log_prob(self.targets).masked_fill(~self.known, 0)
        return each.sum(1) / self.known.sum(1).clamp(min=1)


def held_out(
    method: Method, support: LabelledBatch, *, unlabelled: CaseBatch | None = None, most_folds: int = MOST_FOLDS
) -> HeldOut:
    """Return what the method says of each support case when it is hidden, alone or with few others.

    Args:
        method: a learner, or a guarded one, whose weights are then decided anew on each rest.
        support: of every task, in its own unit.
        unlabelled: further cases of the same tasks that the method knows, without label.
        most_folds: parts that a large support is hidden in.
    """
    tasks, n = support.mask.shape
    known = torch.zeros_like(support.mask)
    first = torch.zeros(tasks, n, support.n_classes or 1)
    second = torch.ones(tasks, n)
    for part in folds(support, min(n, most_folds), at_once=_AT_ONCE):
        others = None if unlabelled is None else unlabelled.map(lambda value, of=part.task: value[of])  # type: ignore[misc]
        with torch.no_grad():
            law = adapted(method, part.rest, others).predict(part.hidden.cases)
        pair, place = part.hidden.mask.nonzero(as_tuple=True)
        at = (part.task[pair], place)
        known[at] = True
        if isinstance(law, Categorical):
            first[at] = law.logits[pair, place].to(first.dtype)
        else:
            first[at] = law.mean[pair, place, None].to(first.dtype)
            second[at] = law.stddev[pair, place].to(second.dtype)
    found: Law = (
        Normal(first[..., 0], second, validate_args=False)
        if support.kind == "regression"
        else Categorical(logits=first, validate_args=False)
    )
    return HeldOut(found, support.targets, known, support.mask)
