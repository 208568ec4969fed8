"""The network of a task against its definition."""

import math

import pytest
import torch
from torch.distributions import Categorical, Normal
from torch.nn import functional

from metamedica.errors import TaskError
from metamedica.functional.inner_loop.networks import (
    KindHeads,
    embed,
    encoder_parameters,
    goals_of,
    head_output,
    output_loss,
    output_slopes,
    shares,
    start_parameters,
)
from metamedica.testing import SIZE, VectorEncoder, vector_episodes
from metamedica.types import TaskKind

KINDS: tuple[TaskKind, ...] = ("binary", "multiclass", "regression")


def _network() -> tuple[VectorEncoder, KindHeads]:
    torch.manual_seed(0)
    return VectorEncoder().double(), KindHeads(6, max_classes=5).double()


def test_a_task_of_more_classes_than_the_head_is_refused() -> None:
    _, heads = _network()
    heads.check_classes("multiclass", 5)
    heads.check_classes("regression", None)
    with pytest.raises(TaskError, match="got 6 classes for a head of 5"):
        heads.check_classes("multiclass", 6)


def test_a_task_starts_from_the_encoder_and_the_head_of_its_kind_themselves() -> None:
    encoder, heads = _network()
    start = start_parameters(encoder, heads, "regression")
    assert set(start) == {"encoder.map.weight", "encoder.map.bias", "weight", "bias", "log_variance"}
    assert start["encoder.map.weight"] is encoder.map.weight
    assert start["weight"] is heads.regression.weight
    assert "log_variance" not in start_parameters(encoder, heads, "binary")


def test_the_embedding_under_the_encoders_own_parameters_is_its_own() -> None:
    encoder, heads = _network()
    features = {"vector": torch.randn(3, SIZE, dtype=torch.float64)}
    torch.testing.assert_close(embed(encoder, encoder_parameters(encoder), features), encoder(features))
    moved = {name: value + 1 for name, value in start_parameters(encoder, heads, "binary").items()}
    want = torch.tanh(features["vector"] @ moved["encoder.map.weight"].T + moved["encoder.map.bias"])
    torch.testing.assert_close(embed(encoder, moved, features), want)
    output = want / 6**0.5 @ moved["weight"].T + moved["bias"]
    torch.testing.assert_close(head_output(encoder, moved, features), output)


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_is_the_negative_log_likelihood_of_the_real_cases(kind: TaskKind) -> None:
    encoder, heads = _network()
    with torch.no_grad():
        heads.log_variance.fill_(0.4)
    support = vector_episodes(kind).support
    features, targets = {"vector": support.features["vector"][0]}, support.targets[0]
    start = start_parameters(encoder, heads, kind)
    mask = torch.arange(8) < 6
    output = head_output(encoder, start, features)
    if support.n_classes is None:
        goals = targets[:, None]
        law = Normal(output[:6, 0], torch.exp(0.5 * heads.log_variance))
        want = -law.log_prob(targets[:6]).mean() - 0.5 * math.log(2 * math.pi)
    else:
        goals = functional.one_hot(targets, support.n_classes).double()
        want = -Categorical(logits=output[:6, : support.n_classes]).log_prob(targets[:6]).mean()
    torch.testing.assert_close(output_loss(output, start, goals * mask[:, None], mask), want)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("own_variance", [False, True])
def test_the_slopes_are_those_of_the_loss(kind: TaskKind, own_variance: bool) -> None:
    support = vector_episodes(kind).support
    torch.manual_seed(0)
    output = torch.randn(3, 8, 1 if kind == "regression" else 5, dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([8, 5, 1])[:, None] > torch.arange(8)
    goals = goals_of(support, torch.float64) * mask[..., None]
    log_variance = torch.tensor(
        [[0.3], [-0.2], [0.1]] if own_variance else [0.3], dtype=torch.float64, requires_grad=True
    )
    parameters = {"log_variance": log_variance} if kind == "regression" else {}
    slope, own = output_slopes(output, parameters, goals, shares(mask, torch.float64))
    for task in range(3):
        mine = {name: value[task] if own_variance else value for name, value in parameters.items()}
        loss = output_loss(output[task], mine, goals[task], mask[task])
        want = torch.autograd.grad(loss, [output, *mine.values()])
        torch.testing.assert_close(slope[task], want[0][task], atol=1e-14, rtol=1e-12)
        if mine:
            torch.testing.assert_close(own["log_variance"][task], want[1], atol=1e-14, rtol=1e-12)
