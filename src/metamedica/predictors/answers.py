"""The one number of a prediction that is explained: the log-odds of a class, or the expected value."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float64
from torch import Tensor
from torch.distributions import Categorical

from metamedica.errors import TaskError
from metamedica.functional.additive import Additive
from metamedica.predictors.method import Adapted, AdaptedLearner
from metamedica.types import CaseBatch, Features, Law, RawEncoder


def log_odds(law: Categorical, index: int) -> Float64[Tensor, "*cases"]:
    """Return log p / (1 - p) of a class, in double precision."""
    scores = law.logits.double()
    others = torch.cat([scores[..., :index], scores[..., index + 1 :]], dim=-1)
    found: Tensor = scores[..., index] - others.logsumexp(-1)
    return found


@dataclass(frozen=True)
class Sum:
    """An answer that is a weighted sum of the columns of `raw.flat`, in double precision."""

    raw: RawEncoder
    weight: Float64[Tensor, " flat"]
    intercept: Float64[Tensor, ""]

    def __call__(self, features: Features) -> Float64[Tensor, " cases"]:
        """Return the sum of each case."""
        flat: Tensor = self.raw.flat({name: block.double() for name, block in features.items()})
        return flat @ self.weight + self.intercept


@dataclass(frozen=True)
class Answer:
    """Featurised cases -> the number that is explained.

    Args:
        law: of featurised cases `[cases, size]`, batch shape `[cases]`.
        index: of the class whose log-odds are explained; None for the mean of a regression, in the task's unit.
        sum: the same number as a sum over columns, where the answer is one.
    """

    law: Callable[[Features], Law]
    index: int | None
    sum: Sum | None = None

    def __call__(self, features: Features) -> Float64[Tensor, " cases"]:
        """Return the number for each case."""
        if self.sum is not None:
            return self.sum(features)
        law = self.law(features)
        if isinstance(law, Categorical):
            assert self.index is not None
            return log_odds(law, self.index)
        return law.mean.double()


def sum_of(adapted: Adapted, *, index: int | None) -> Sum | None:
    """Return the answer of an adapted learner as a sum over columns; None where it is none, as that of a mixture.

    Args:
        adapted: to one task.
        index: of the class that is explained; None for regression.
    """
    if (
        not isinstance(adapted, AdaptedLearner)
        or not isinstance(adapted.learner, Additive)
        or index not in (None, 0, 1)
    ):
        return None
    found = adapted.learner.additive(adapted.state)
    if found is None:
        return None
    scale, shift = adapted.scale.scale[0].double(), adapted.scale.shift[0].double()
    sign = -1.0 if index == 0 else 1.0
    weight, intercept = sign * scale * found.weight[0], sign * scale * found.intercept[0] + shift
    return Sum(adapted.learner.raw, weight, intercept)


def law_of(adapted: Adapted) -> Callable[[Features], Law]:
    """Return what an adapted method says of featurised cases `[cases, size]` of its one task."""

    def law(features: Features) -> Law:
        blocks = {
            name: (block.float() if block.is_floating_point() else block)[None] for name, block in features.items()
        }
        size = len(next(iter(features.values())))
        found: Any = adapted.predict(CaseBatch(blocks, torch.ones(1, size, dtype=torch.bool)))
        if isinstance(found, Categorical):
            return Categorical(logits=found.logits[0], validate_args=False)
        return torch.distributions.Normal(found.mean[0], found.stddev[0], validate_args=False)

    return law


def class_index(classes: tuple[str, ...] | None, label: object | None) -> int | None:
    """Return the index of the class that is asked for: class 1 of a binary task where none is; None where each case has its own, or for regression.

    Raises:
        TaskError: a label that the task does not have, or one for a regression.
    """
    if label is None:
        return 1 if classes is not None and len(classes) == 2 else None
    if classes is None:
        raise TaskError(f"the label {str(label)[:40]!r} came, and a regression task has no classes; leave it out")
    if str(label) not in classes:
        raise TaskError(
            f"the label {str(label)[:40]!r} is none of the task's, which are {', '.join(classes)}; name one"
        )
    return classes.index(str(label))
