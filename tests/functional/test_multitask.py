"""Multitask heads against closed forms, and what pre-training without episodes pools."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from metamedica.errors import TaskError
from metamedica.functional.multitask import TaskHeads, pooled, side_by_side, unit_size
from metamedica.testing import N_TASKS, vector_batch, vector_episodes
from metamedica.types import CaseBatch, EpisodeBatch, LabelledBatch


def _heads(dim: int = 4, n_tasks: int = 3) -> TaskHeads:
    torch.manual_seed(0)
    return TaskHeads(dim, n_tasks).double()


@given(st.integers(0, 1000), st.floats(0.1, 1000), st.integers(1, 8))
def test_an_embedding_of_unit_size_keeps_its_direction_and_forgets_its_length(
    seed: int, length: float, dim: int
) -> None:
    vector = torch.randn(2, 3, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    vector = vector / vector.norm(dim=-1, keepdim=True) * length
    found = unit_size(vector)
    torch.testing.assert_close(found.square().mean(-1), torch.ones(2, 3).double(), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(torch.nn.functional.cosine_similarity(found, vector, -1), torch.ones(2, 3).double())


def test_an_embedding_of_zeros_stays_finite_with_its_gradient() -> None:
    zero = torch.zeros(1, 2, 3, dtype=torch.float64, requires_grad=True)
    unit_size(zero).sum().backward()
    assert zero.grad is not None
    assert bool(zero.grad.isfinite().all())
    assert not unit_size(zero).any()


@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression"])
def test_pooling_puts_support_and_query_side_by_side(kind: str) -> None:
    episodes = vector_episodes(kind)
    both = pooled(episodes)
    assert both.mask.shape == (N_TASKS, 13)
    assert both.kind == kind
    assert torch.equal(both.features["vector"][:, :8], episodes.support.features["vector"])
    assert torch.equal(both.features["vector"][:, 8:], episodes.query.features["vector"])
    if kind == "regression":
        together = torch.cat([episodes.support.targets, episodes.query.targets], 1)
        want = (together - together.mean(1, keepdim=True)) / together.std(1, keepdim=True)
        torch.testing.assert_close(both.targets, want)
    else:
        assert torch.equal(both.targets[:, 8:], episodes.query.targets)


def test_padding_of_either_part_does_not_count_in_the_pooled_scale() -> None:
    mask = torch.tensor([[True, True, False]])
    part = CaseBatch({"vector": torch.zeros(1, 3, 1)}, mask)
    support = LabelledBatch(part, torch.tensor([[1.0, 2.0, 0.0]]), "regression")
    query = LabelledBatch(part, torch.tensor([[3.0, 4.0, 0.0]]), "regression")
    both = pooled(EpisodeBatch(support, query, torch.tensor([0])))
    scale = math.sqrt(5 / 3)
    want = [-1.5 / scale, -0.5 / scale, 0.5 / scale, 1.5 / scale]
    assert both.targets[0].tolist() == pytest.approx(want)


def test_padding_comes_last_and_no_more_of_it_than_the_longest_task_needs() -> None:
    def part(first: int, sizes: list[int]) -> LabelledBatch:
        mask = torch.arange(4) < torch.tensor(sizes)[:, None]
        number = (first + torch.arange(8.0).view(2, 4)) * mask
        return LabelledBatch(CaseBatch({"vector": number[..., None]}, mask), number, "regression")

    both = side_by_side(EpisodeBatch(part(10, [1, 3]), part(20, [2, 3]), torch.arange(2)))
    assert both.mask.tolist() == [[True] * 3 + [False] * 3, [True] * 6]
    assert both.targets.tolist() == [[10, 20, 21, 0, 0, 0], [14, 15, 16, 24, 25, 26]]
    assert torch.equal(both.features["vector"][..., 0], both.targets)


def test_the_binary_loss_is_the_cross_entropy_of_each_tasks_own_head() -> None:
    heads, embedded = _heads(), torch.randn(2, 5, 4, dtype=torch.float64)
    targets, index = torch.tensor([[0, 1, 1, 0, 1], [1, 1, 0, 0, 0]]), torch.tensor([2, 0])
    with torch.no_grad():
        heads.binary_bias.copy_(torch.tensor([0.3, 0.0, -0.5]))
    found = heads.loss(embedded, vector_batch(embedded, targets, n_classes=2), index)
    each = []
    for task in range(2):
        for case in range(5):
            score = embedded[task, case] @ heads.binary[index[task]] + heads.binary_bias[index[task]]
            p = torch.sigmoid(score)
            each.append(-torch.log(p if targets[task, case] else 1 - p))
    torch.testing.assert_close(found, torch.stack(each).mean())


def test_the_regression_loss_is_the_gaussian_negative_log_likelihood_less_its_constant() -> None:
    heads, embedded = _heads(), torch.randn(2, 5, 4, dtype=torch.float64)
    targets, index = torch.randn(2, 5, dtype=torch.float64), torch.tensor([1, 2])
    found = heads.loss(embedded, vector_batch(embedded, targets), index)
    mean = torch.stack([embedded[i] @ heads.regression[task] for i, task in enumerate(index)])
    variance = math.log(2) + 1e-3  # softplus(0) and the least noise
    law = torch.distributions.Normal(mean, variance**0.5)
    torch.testing.assert_close(found, -law.log_prob(targets).mean() - 0.5 * math.log(2 * math.pi))


def test_padded_cases_do_not_count_and_each_task_counts_once() -> None:
    heads, embedded = _heads(), torch.randn(2, 4, 4, dtype=torch.float64)
    targets = torch.randn(2, 4, dtype=torch.float64)
    mask = torch.tensor([[True, False, False, False], [True] * 4])
    embedded[0, 1:] = 1e3
    batch = LabelledBatch(CaseBatch({"vector": embedded}, mask), targets.masked_fill(~mask, 0), "regression")
    found = heads.loss(embedded, batch, torch.tensor([0, 1]))
    alone = [
        heads.loss(embedded[:1, :1], vector_batch(embedded[:1, :1], targets[:1, :1]), torch.tensor([0])),
        heads.loss(embedded[1:], vector_batch(embedded[1:], targets[1:]), torch.tensor([1])),
    ]
    torch.testing.assert_close(found, (alone[0] + alone[1]) / 2)


def _gradient(kind: str, index: Tensor) -> dict[str, Tensor]:
    heads, embedded = _heads(), torch.randn(2, 5, 4, dtype=torch.float64)
    episodes = vector_episodes(kind).support.map(lambda value: value[:2, :5])
    heads.loss(embedded, episodes, index).backward()
    return {name: value.grad for name, value in heads.named_parameters() if value.grad is not None}


def test_only_the_heads_of_the_batchs_tasks_and_kind_get_a_gradient() -> None:
    gradient = _gradient("binary", torch.tensor([0, 2]))
    assert set(gradient) == {"binary", "binary_bias"}
    assert gradient["binary"].abs().sum(1).gt(0).tolist() == [True, False, True]
    gradient = _gradient("regression", torch.tensor([1, 1]))
    assert set(gradient) == {"regression", "regression_bias", "log_noise"}
    assert gradient["regression"].abs().sum(1).gt(0).tolist() == [False, True, False]


def test_multiclass_tasks_share_no_head_and_are_refused() -> None:
    episodes = vector_episodes("multiclass")
    with pytest.raises(TaskError, match="got multiclass"):
        _heads(SIZE := 4).loss(torch.zeros(N_TASKS, 8, SIZE).double(), episodes.support, torch.arange(N_TASKS))


@pytest.mark.parametrize("wrong", [-1, 3])
def test_a_task_without_a_head_is_refused_and_its_number_named(wrong: int) -> None:
    support = vector_episodes("regression").support
    with pytest.raises(TaskError, match=f"got task index {wrong} for 3 heads"):
        _heads().loss(torch.zeros(N_TASKS, 8, 4).double(), support, torch.tensor([0, wrong, 1]))
