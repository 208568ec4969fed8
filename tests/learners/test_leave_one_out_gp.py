"""The average over kernels by leave-one-out probability against refitting without each case."""

import pytest
import torch

from metamedica.learners.leave_one_out_gp import LeaveOneOutGP
from metamedica.types import TaskKind
from refits import TwoLengths, few_cases, told_by_refits

NOISES = (0.1, 0.6)


@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression"])
def test_a_hidden_case_is_told_as_by_a_refit_without_it(kind: TaskKind) -> None:
    support = few_cases(kind)
    learner = LeaveOneOutGP(TwoLengths(), noises=NOISES).double()
    torch.testing.assert_close(learner.leave_one_out(support)[0], told_by_refits(learner, support), atol=1e-6, rtol=0.0)


def test_padding_changes_no_weight() -> None:
    support = few_cases("binary")
    learner = LeaveOneOutGP(TwoLengths(), noises=NOISES).double()
    padded = support.map(lambda value: torch.cat([value, torch.zeros_like(value[:, :3])], dim=1))
    one, other = (learner.adapt(each).posterior.log_weight for each in (support, padded))
    torch.testing.assert_close(one, other)
    torch.testing.assert_close(learner.leave_one_out(padded)[:, :9], learner.leave_one_out(support))
