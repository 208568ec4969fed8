"""The loss of left out cases by hand, and against prototypes computed anew for every case."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from metamedica.functional.left_out_prototypes import left_out_loss


def test_the_loss_of_three_cases_on_a_line_by_hand() -> None:
    """0 and 2 against 5: without itself either is 2 from its own mean, and 5 or 3 from the other; 5 stands alone and is not asked."""
    embedded = torch.tensor([[0.0], [2.0], [5.0]])
    members = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    want = (math.log1p(math.exp((4 - 25) / 3)) + math.log1p(math.exp((4 - 9) / 3))) / 2
    assert float(left_out_loss(embedded, members, torch.tensor(3.0))) == pytest.approx(want, rel=1e-5)


def test_one_case_a_class_asks_for_nothing_and_has_no_slope() -> None:
    embedded = torch.randn(2, 3, requires_grad=True)
    loss = left_out_loss(embedded, torch.eye(2), torch.tensor(1.0))
    (slope,) = torch.autograd.grad(loss, embedded)
    assert float(loss.detach()) == 0
    assert not bool(slope.any())


@given(st.integers(0, 1000), st.lists(st.integers(0, 3), min_size=3, max_size=12))
def test_it_is_what_prototypes_without_the_case_say(seed: int, labels: list[int]) -> None:
    """Of four classes some are not shown; three rows of padding follow."""
    random = torch.Generator().manual_seed(seed)
    known = torch.tensor(labels)
    embedded = torch.randn(len(labels) + 3, 2, generator=random, dtype=torch.float64)
    members = torch.cat([functional.one_hot(known, 4), torch.zeros(3, 4)]).double()
    shown, losses = torch.tensor(sorted(set(labels))), []
    for case, label in enumerate(labels):
        others = torch.arange(len(labels)) != case
        if bool((known[others] == label).any()):
            means = torch.stack([embedded[: len(labels)][others & (known == other)].mean(0) for other in shown])
            scores = -(embedded[case] - means).square().sum(-1) / 0.7
            losses.append(functional.cross_entropy(scores[None], (shown == label).nonzero()[:, 0]))
    want = torch.stack(losses).mean() if losses else torch.zeros((), dtype=torch.float64)
    torch.testing.assert_close(left_out_loss(embedded, members, torch.tensor(0.7).double()), want, atol=1e-6, rtol=1e-6)
