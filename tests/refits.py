"""Labelled cases told by a refit without each of them: what leave-one-out in closed form is held against."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from metamedica.testing import VectorRaw
from metamedica.types import CaseBatch, Features, LabelledBatch, Learner, TaskKind


class TwoLengths(VectorRaw):
    """Vectors compared by RBF kernels of length 1 and 3."""

    def kernels(self, left: Features, right: Features) -> Tensor:
        squares = torch.cdist(left["vector"], right["vector"]) ** 2
        return torch.stack([torch.exp(-0.5 * squares / length**2) for length in (1.0, 3.0)], dim=-3)


def few_cases(kind: TaskKind, n: int = 9) -> LabelledBatch:
    """Return labelled cases of one task, in double precision."""
    random = np.random.default_rng(0)
    x = torch.from_numpy(random.normal(size=(1, n, 3)))
    classes = {"binary": 2, "multiclass": 3, "regression": None}[kind]
    y = x[..., 0] if classes is None else torch.arange(n)[None] % classes
    return LabelledBatch(CaseBatch({"vector": x}, torch.ones(1, n, dtype=torch.bool)), y, kind, classes)


def told_by_refits(learner: Learner[Any], support: LabelledBatch) -> Tensor:
    """Return the log-likelihood of each case of the first task under the learner adapted to the others."""
    found = []
    for case in range(support.cases.n_cases):
        others = [each for each in range(support.cases.n_cases) if each != case]
        rest, one = (support.map(lambda value, rows=rows: value[:, rows]) for rows in (others, [case]))
        found.append(learner.predict(learner.adapt(rest), one.cases).log_prob(one.targets)[0, 0])
    return torch.stack(found)
