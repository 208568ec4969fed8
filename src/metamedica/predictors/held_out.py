"""What a method says of each labelled case while it does not know it: what calibration, conformal sets and abstention learn from.

A case that is hidden takes something from the level of its class: of three positives, hiding one makes every other case look less positive too, so
that hidden cases fit worse than new ones will. `HeldOut.levelled` gives that back: what hiding a case added to the log-probabilities of the other
labelled cases, on average, is subtracted from its own. Jackknife+ (Barber et al. 2021) compares with new cases under each of the n methods to the
same end, at n times the cost of an answer; on targets with one positive in seven both cover as they say, and the jackknife as it is covers too much.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor
from torch.distributions import Categorical, Normal

from metamedica.predictors.folds import folds
from metamedica.predictors.method import Adapted, Method, adapted, least_classes_of
from metamedica.types import CaseBatch, LabelledBatch, Law

MOST_FOLDS = 32
"""A larger support is hidden in so many parts, a smaller one case by case."""
_LEAST = -30.0
"""Log-probability below which classes are not told apart."""
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
        added: mean over the task's other cases of what hiding the case added to their log-probabilities; None for regression.
    """

    law: Law
    targets: Shaped[Tensor, "tasks cases"]
    known: Bool[Tensor, "tasks cases"]
    mask: Bool[Tensor, "tasks cases"]
    added: Float[Tensor, "tasks cases classes"] | None = None

    @property
    def levelled(self) -> Law:
        """The laws with what hiding took from their level given back; regression laws as they are."""
        if self.added is None or not isinstance(self.law, Categorical):
            return self.law
        return Categorical(logits=self.law.logits - self.added, validate_args=False)

    def log_likelihood(self) -> Float[Tensor, " tasks"]:
        """Return the mean log-likelihood of each task's known cases; 0 where there is none."""
        each = self.law.log_prob(self.targets).masked_fill(~self.known, 0)
        return each.sum(1) / self.known.sum(1).clamp(min=1)


def held_out(
    method: Method,
    support: LabelledBatch,
    *,
    whole: Adapted | None = None,
    unlabelled: CaseBatch | None = None,
    most_folds: int = MOST_FOLDS,
) -> HeldOut:
    """Return what the method says of each support case when it is hidden, alone or with few others.

    Args:
        method: a learner, or a guarded one, whose weights are then decided anew on each rest.
        support: of every task, in its own unit.
        whole: the method adapted to the support, where the caller has it already.
        unlabelled: further cases of the same tasks that the method knows, without label.
        most_folds: parts that a large support is hidden in.
    """
    tasks, n = support.mask.shape
    known = torch.zeros_like(support.mask)
    size = support.n_classes or 1
    first, added, second = torch.zeros(tasks, n, size), torch.zeros(tasks, n, size), torch.ones(tasks, n)
    said: Tensor | None = None
    with torch.no_grad():
        for part in folds(support, min(n, most_folds), at_once=_AT_ONCE, least_classes=least_classes_of(method)):
            others = None if unlabelled is None else unlabelled.map(lambda value, of=part.task: value[of])  # type: ignore[misc]
            asked = CaseBatch(part.rest.features, part.rest.mask | part.hidden.mask)
            law = adapted(method, part.rest, others).predict(asked)
            pair, place = part.hidden.mask.nonzero(as_tuple=True)
            at = (part.task[pair], place)
            known[at] = True
            if isinstance(law, Categorical):
                if said is None:
                    said = _log_probability((whole or adapted(method, support, unlabelled)).predict(support.cases))
                first[at] = law.logits[pair, place].to(first.dtype)
                more = _log_probability(law) - said[part.task]
                stays = part.rest.mask[..., None]
                mean = more.masked_fill(~stays, 0).sum(1) / stays.sum(1).clamp(min=1)
                added[at] = mean[pair].to(added.dtype)
            else:
                first[at] = law.mean[pair, place, None].to(first.dtype)
                second[at] = law.stddev[pair, place].to(second.dtype)
    if support.kind == "regression":
        return HeldOut(Normal(first[..., 0], second, validate_args=False), support.targets, known, support.mask)
    return HeldOut(Categorical(logits=first, validate_args=False), support.targets, known, support.mask, added)


def _log_probability(law: Law) -> Float[Tensor, "pairs cases classes"]:
    assert isinstance(law, Categorical)
    return torch.log_softmax(law.logits, dim=-1).clamp(min=_LEAST)
