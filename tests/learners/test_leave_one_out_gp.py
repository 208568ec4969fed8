"""The average over kernels by leave-one-out probability against refitting without each case."""

import numpy as np
import pytest
import torch
from torch import Tensor

from metamedica.learners.leave_one_out_gp import LeaveOneOutGP
from metamedica.testing import VectorRaw
from metamedica.types import CaseBatch, Features, LabelledBatch, TaskKind

NOISES = (0.1, 0.6)


class TwoLengths(VectorRaw):
    """Vectors compared by RBF kernels of length 1 and 3."""

    def kernels(self, left: Features, right: Features) -> Tensor:
        squares = torch.cdist(left["vector"], right["vector"]) ** 2
        return torch.stack([torch.exp(-0.5 * squares / length**2) for length in (1.0, 3.0)], dim=-3)


def _support(kind: TaskKind, n: int = 9) -> LabelledBatch:
    random = np.random.default_rng(0)
    x = torch.from_numpy(random.normal(size=(1, n, 3)))
    classes = {"binary": 2, "multiclass": 3, "regression": None}[kind]
    y = x[..., 0] if classes is None else torch.arange(n)[None] % classes
    return LabelledBatch(CaseBatch({"vector": x}, torch.ones(1, n, dtype=torch.bool)), y, kind, classes)


@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression"])
def test_a_hidden_case_is_told_as_by_a_refit_without_it(kind: TaskKind) -> None:
    support = _support(kind)
    learner = LeaveOneOutGP(TwoLengths(), noises=NOISES).double()
    want = []
    for case in range(support.cases.n_cases):
        others = [each for each in range(support.cases.n_cases) if each != case]
        rest, one = (support.map(lambda value, rows=rows: value[:, rows]) for rows in (others, [case]))
        want.append(learner.predict(learner.adapt(rest), one.cases).log_prob(one.targets)[0, 0])
    torch.testing.assert_close(learner.leave_one_out(support)[0], torch.stack(want), atol=1e-6, rtol=0.0)


def test_padding_changes_no_weight() -> None:
    support = _support("binary")
    learner = LeaveOneOutGP(TwoLengths(), noises=NOISES).double()
    padded = support.map(lambda value: torch.cat([value, torch.zeros_like(value[:, :3])], dim=1))
    one, other = (learner.adapt(each).posterior.log_weight for each in (support, padded))
    torch.testing.assert_close(one, other)
    torch.testing.assert_close(learner.leave_one_out(padded)[:, :9], learner.leave_one_out(support))
