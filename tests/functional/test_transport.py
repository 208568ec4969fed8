"""Entropic transport: with little blur the best assignment, its marginals right, and no trace of padding."""

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from metamedica.functional.transport import transported, usual_cost


def _normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_with_little_blur_every_case_goes_where_the_best_assignment_puts_it() -> None:
    source, target = _normal(8, 2), _normal(8, 2, seed=1)
    cost = torch.cdist(source, target).square().numpy()
    want = target[torch.from_numpy(linear_sum_assignment(cost)[1])]
    nearest = target[torch.from_numpy(cost.argmin(1))]
    assert not torch.equal(want, nearest)
    found = transported(source, target[None], torch.ones(1, 8).double(), blur=1e-3, rounds=5000)[0]
    torch.testing.assert_close(found, want, atol=0.01, rtol=0)


def test_it_is_the_barycentric_map_of_sinkhorns_plain_iterations() -> None:
    source, target = _normal(6, 2), _normal(5, 2, seed=1)
    kernel = np.exp(-torch.cdist(source, target).square().numpy() / 0.5)
    one, other = np.ones(6), np.ones(5)
    for _ in range(500):
        one = 1 / 6 / (kernel @ other)
        other = 1 / 5 / (kernel.T @ one)
    plan = one[:, None] * kernel * other
    np.testing.assert_allclose(plan.sum(1), 1 / 6, atol=1e-10)
    found = transported(source, target[None], torch.ones(1, 5).double(), blur=0.5, rounds=500)[0]
    np.testing.assert_allclose(found, 6 * plan @ target.numpy(), atol=1e-9)
    # The whole of the source lands on the whole of the target.
    torch.testing.assert_close(found.mean(0), target.mean(0), atol=1e-9, rtol=0)


def test_padding_and_other_tasks_change_nothing_and_no_case_moves_nothing() -> None:
    source, target = _normal(6, 2), _normal(3, 5, 2, seed=1)
    weight = torch.ones(3, 5).double()
    weight[1, 3:], weight[2] = 0, 0
    found = transported(source, target, weight, blur=0.3, rounds=20)
    alone = transported(source, target[1:2, :3], weight[1:2, :3], blur=0.3, rounds=20)
    torch.testing.assert_close(found[1], alone[0])
    assert torch.equal(found[2], source)
    assert torch.equal(transported(source, target[:1, :0], weight[:1, :0], blur=0.3, rounds=20)[0], source)


def test_the_usual_cost_is_the_mean_over_all_pairs() -> None:
    source = _normal(7, 3)
    torch.testing.assert_close(usual_cost(source), torch.cdist(source, source).square().mean())
    assert float(usual_cost(torch.ones(4, 2))) == 1.0
