"""Labelled cases as vectors a network reads, and what it answers as a law, the same for every kind of task.

Binary classes keep their names (1 is the active, the diseased case in every task), so that what is known of class 1 carries over.
The classes of a multiclass task share no meaning between tasks. Each has a *view* of the support in which a case is of this class
or not; the views go through the same network, and each gives one score. So the law follows any exchange of class names, and there
may be any number of classes. Binary and regression tasks have one view.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Categorical, Normal
from torch.nn.functional import softplus

from metamedica.functional.classes import membership
from metamedica.types import LabelledBatch, Law, TaskKind

LEAST_SCALE = 0.05
"""Smallest standard deviation, in standard units: no label of medicine is measured more exactly, and the loss stays bounded."""


def label_views(support: LabelledBatch, dtype: torch.dtype) -> Float[Tensor, "tasks views n size"]:
    """Return the label of each case in each view: `[is 0, is 1]`, `[is another class, is this class]` or the regression target."""
    if support.kind == "regression":
        return support.targets.to(dtype)[:, None, :, None]
    members = membership(support, dtype)
    if support.kind == "binary":
        return members[:, None]
    own = members.mT
    return torch.stack([support.mask[:, None].to(dtype) - own, own], dim=-1)


def normal_law(output: Float[Tensor, "tasks m 2"]) -> Normal:
    """Return the law of two numbers a case: mean, and a scale of `LEAST_SCALE` + softplus."""
    return Normal(output[..., 0], LEAST_SCALE + softplus(output[..., 1]), validate_args=False)


class CaseTokens(nn.Module):
    """An embedded case, with or without its label, as a vector: a linear map of the two side by side, one a kind of task.

    Args:
        dim: length of the embedding.
        width: length of the vector.
    """

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.case = nn.Linear(dim, width)
        self.binary = nn.Linear(2, width)
        self.multiclass = nn.Linear(2, width)
        self.regression = nn.Linear(1, width)

    def forward(
        self, embedded: Float[Tensor, "tasks n dim"], support: LabelledBatch
    ) -> Float[Tensor, "tasks views n width"]:
        """Return labelled cases; rows where padded hold anything."""
        labels: nn.Linear = getattr(self, support.kind)
        vectors: Tensor = self.case(embedded)[:, None] + labels(label_views(support, embedded.dtype))
        return vectors

    def unlabelled(self, embedded: Float[Tensor, "tasks m dim"]) -> Float[Tensor, "tasks 1 m width"]:
        """Return cases whose label is asked; they look the same in every view."""
        vectors: Tensor = self.case(embedded)[:, None]
        return vectors


class LawHead(nn.Module):
    """A vector per view and query case -> a law, by a linear map per kind of task.

    Args:
        width: length of the vector.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.binary = nn.Linear(width, 2)
        self.multiclass = nn.Linear(width, 1)
        self.regression = nn.Linear(width, 2)

    def forward(self, vectors: Float[Tensor, "tasks views m width"], kind: TaskKind) -> Law:
        """Return the law `[tasks, m]`; a multiclass task has as many classes as views."""
        head: nn.Linear = getattr(self, kind)
        output: Tensor = head(vectors)
        if kind == "regression":
            return normal_law(output[:, 0])
        return Categorical(logits=output[..., 0].mT if kind == "multiclass" else output[:, 0], validate_args=False)
