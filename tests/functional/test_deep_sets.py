"""Means of masked sets by hand, and the layers of a perceptron."""

import torch
from torch.nn.functional import gelu

from metamedica.functional.deep_sets import beside, masked_mean, perceptron


def test_the_mean_counts_real_members_only_whatever_stands_in_the_padding() -> None:
    values = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [1e9, -1e9]], [[5.0, 7.0], [1e9, 1e9], [1e9, 1e9]]])
    mask = torch.tensor([[True, True, False], [True, False, False]])
    assert masked_mean(values, mask).tolist() == [[2.0, 4.0], [5.0, 7.0]]


def test_the_mean_of_an_empty_set_is_zero_and_has_a_finite_gradient() -> None:
    values = torch.ones(1, 2, 3, requires_grad=True)
    found = masked_mean(values, torch.zeros(1, 2, dtype=torch.bool))
    found.sum().backward()
    assert not found.any()
    assert values.grad is not None
    assert not values.grad.any()


def test_one_mask_serves_every_view_of_a_task() -> None:
    values, mask = torch.randn(2, 4, 5, 3), torch.rand(2, 5) < 0.5
    every = masked_mean(values, mask[:, None])
    for view in range(4):
        torch.testing.assert_close(every[:, view], masked_mean(values[:, view], mask))


def test_a_perceptron_is_linear_maps_with_a_gelu_between_and_none_behind() -> None:
    torch.manual_seed(0)
    made, x = perceptron(3, 5, 4, 2), torch.randn(7, 3)
    (first, second, third) = (made[place] for place in (0, 2, 4))
    want = gelu(gelu(x @ first.weight.T + first.bias) @ second.weight.T + second.bias) @ third.weight.T + third.bias
    torch.testing.assert_close(made(x), want)
    assert len(made) == 5


def test_vectors_stand_side_by_side_and_the_fewer_are_repeated() -> None:
    left, right = torch.randn(2, 1, 3, 4), torch.randn(2, 5, 1, 6)
    found = beside(left, right)
    assert found.shape == (2, 5, 3, 10)
    torch.testing.assert_close(found[1, 4, 2], torch.cat([left[1, 0, 2], right[1, 4, 0]]))
