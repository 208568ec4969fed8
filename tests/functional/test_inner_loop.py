"""Inner loops against closed forms on quadratics and explicit loops with autograd."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Categorical, Normal

from metamedica.errors import TaskError
from metamedica.functional.inner_loop import (
    AdaptedNetworks,
    KindHeads,
    Parameters,
    adapt_tasks,
    descend,
    descend_if_better,
    embed,
    encoder_parameters,
    head_output,
    law_of_tasks,
    start_parameters,
    straight_through,
    support_loss,
)
from metamedica.testing import SIZE, VectorEncoder, vector_episodes
from metamedica.types import TaskKind

KINDS: tuple[TaskKind, ...] = ("binary", "multiclass", "regression")


def _quadratic(curvature: Tensor) -> Callable[[Parameters], Tensor]:
    def loss(own: Parameters) -> Tensor:
        return 0.5 * (curvature * own["x"].square()).sum()

    return loss


@given(st.floats(0.01, 0.5), st.integers(0, 8), st.floats(-3, 3))
def test_steps_on_a_quadratic_follow_its_closed_form(rate: float, steps: int, start: float) -> None:
    curvature = torch.tensor([0.5, 2.0], dtype=torch.float64)
    found = descend(_quadratic(curvature), {"x": torch.full((2,), start).double()}, rate=rate, steps=steps)["x"]
    torch.testing.assert_close(found, torch.full((2,), start).double() * (1 - rate * curvature) ** steps)


def test_the_end_depends_on_the_start_as_second_order_finite_differences_say() -> None:
    def end(start: Tensor) -> Tensor:
        def loss(own: Parameters) -> Tensor:
            return (torch.sin(own["x"]) * own["x"].square()).sum() + own["x"].prod()

        return descend(loss, {"x": start}, rate=0.1, steps=3)["x"]

    start = torch.tensor([0.4, -0.7, 1.1], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(end, (start,))
    assert torch.autograd.gradgradcheck(end, (start,))


def test_steps_are_taken_where_gradients_are_off() -> None:
    start = {"x": torch.ones(2, dtype=torch.float64)}
    with torch.no_grad():
        found = descend(_quadratic(torch.ones(2).double()), start, rate=0.5, steps=1)["x"]
    assert found.tolist() == [0.5, 0.5]
    assert start["x"].tolist() == [1.0, 1.0]


@given(st.integers(0, 1000), st.floats(1e-4, 1e4), st.integers(0, 25))
def test_the_loss_never_rises_whatever_the_first_rate(seed: int, rate: float, steps: int) -> None:
    random = torch.Generator().manual_seed(seed)
    curvature = torch.rand(3, generator=random, dtype=torch.float64) * 10
    loss = _quadratic(curvature)
    start = {"x": torch.randn(3, generator=random, dtype=torch.float64)}
    fewer = descend_if_better(loss, start, rate=rate, steps=steps)
    more = descend_if_better(loss, start, rate=rate, steps=steps + 1)
    assert float(loss(more)) <= float(loss(fewer)) <= float(loss(start))


def test_a_rate_far_too_long_or_short_still_comes_to_the_minimum() -> None:
    loss = _quadratic(torch.tensor([0.5, 2.0], dtype=torch.float64))
    start = {"x": torch.ones(2, dtype=torch.float64)}
    for rate in (1e3, 1e-3):
        assert float(loss(descend_if_better(loss, start, rate=rate, steps=60))) < 1e-6


def test_a_refused_step_halves_the_rate_and_a_kept_one_lengthens_it_by_half() -> None:
    """On x^2 / 2 from 1 with rate 3: -2 is refused; rate 1.5 gives -0.5; rate 2.25 gives 0.625, refused; then rate 1.125."""
    loss = _quadratic(torch.ones(1, dtype=torch.float64))
    start = {"x": torch.ones(1, dtype=torch.float64)}
    ends = [float(descend_if_better(loss, start, rate=3.0, steps=steps)["x"]) for steps in range(5)]
    assert ends == [1.0, 1.0, -0.5, -0.5, -0.5 + 1.125 * 0.5]


def test_a_start_at_the_minimum_is_kept_and_no_gradient_is_carried() -> None:
    start = {"x": torch.zeros(2, dtype=torch.float64, requires_grad=True)}
    end = descend_if_better(_quadratic(torch.ones(2).double()), start, rate=1.0, steps=5)["x"]
    assert end.tolist() == [0.0, 0.0]
    assert not end.requires_grad


def test_the_first_order_approximation_has_the_values_of_the_end_and_the_gradient_of_the_start() -> None:
    start = {"x": torch.tensor([1.0, 2.0], requires_grad=True)}
    found = straight_through({"x": torch.tensor([[5.0, 6.0], [7.0, 8.0]])}, start)["x"]
    assert found.tolist() == [[5, 6], [7, 8]]
    (found * torch.tensor([[1.0, 10.0], [100.0, 1000.0]])).sum().backward()
    assert start["x"].grad is not None
    assert start["x"].grad.tolist() == [101, 1010]


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
def test_the_support_loss_is_the_negative_log_likelihood_of_the_real_cases(kind: TaskKind) -> None:
    encoder, heads = _network()
    with torch.no_grad():
        heads.log_variance.fill_(0.4)
    support = vector_episodes(kind).support
    features, targets = {"vector": support.features["vector"][0]}, support.targets[0]
    start = start_parameters(encoder, heads, kind)
    mask = torch.arange(8) < 6
    output = head_output(encoder, start, features)[:6]
    if support.n_classes is None:
        goals = targets[:, None]
        law = Normal(output[:, 0], torch.exp(0.5 * heads.log_variance))
        want = -law.log_prob(targets[:6]).mean() - 0.5 * math.log(2 * math.pi)
    else:
        goals = torch.nn.functional.one_hot(targets, support.n_classes).double()
        want = -Categorical(logits=output[:, : support.n_classes]).log_prob(targets[:6]).mean()
    torch.testing.assert_close(support_loss(encoder, start, features, goals * mask[:, None], mask), want)


@pytest.mark.parametrize("kind", KINDS)
def test_all_tasks_at_once_are_adapted_as_an_explicit_loop_with_autograd_does(kind: TaskKind) -> None:
    encoder, heads = _network()
    support = vector_episodes(kind).support
    start = start_parameters(encoder, heads, kind)
    found = adapt_tasks(encoder, start, support, rate=0.2, steps=3, chunk=None)
    for task in range(3):
        own = {name: value.detach().clone().requires_grad_() for name, value in start.items()}
        x, y = support.features["vector"][task], support.targets[task]
        for _ in range(3):
            z = torch.tanh(x @ own["encoder.map.weight"].T + own["encoder.map.bias"])
            output = z / 6**0.5 @ own["weight"].T + own["bias"]
            if kind == "regression":
                variance = own["log_variance"].exp()
                loss = (0.5 * (y - output[:, 0]) ** 2 / variance + 0.5 * variance.log()).mean()
            else:
                loss = torch.nn.functional.cross_entropy(output[:, : support.n_classes], y)
            slopes = torch.autograd.grad(loss, list(own.values()))
            own = {
                name: (value - 0.2 * slope).detach().requires_grad_()
                for (name, value), slope in zip(own.items(), slopes, strict=True)
            }
        for name, value in own.items():
            torch.testing.assert_close(found[name][task], value, atol=1e-10, rtol=1e-10)


def test_chunks_of_tasks_and_padding_change_nothing() -> None:
    encoder, heads = _network()
    support = vector_episodes("binary").support
    start = start_parameters(encoder, heads, "binary")
    whole = adapt_tasks(encoder, start, support, rate=0.2, steps=2, chunk=None)
    chunked = adapt_tasks(encoder, start, support, rate=0.2, steps=2, chunk=2)
    longer = support.map(lambda value: torch.cat([value, value.new_zeros(3, 2, *value.shape[2:])], 1))
    longer.features["vector"][:, 8:] = 1e3
    again = adapt_tasks(encoder, start, longer, rate=0.2, steps=2, chunk=None)
    for name, value in whole.items():
        torch.testing.assert_close(chunked[name], value, atol=1e-12, rtol=1e-12)
        torch.testing.assert_close(again[name], value, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_without_steps_every_task_has_the_law_of_the_start(kind: TaskKind) -> None:
    encoder, heads = _network()
    episodes = vector_episodes(kind)
    start = start_parameters(encoder, heads, kind)
    adapted = adapt_tasks(encoder, start, episodes.support, rate=0.2, steps=0, chunk=None)
    law = law_of_tasks(
        encoder, AdaptedNetworks(adapted, episodes.support.n_classes), episodes.query.features, chunk=None
    )
    output = head_output(encoder, start, episodes.query.features)
    if kind == "regression":
        assert isinstance(law, Normal)
        torch.testing.assert_close(law.loc, output[..., 0])
        torch.testing.assert_close(law.scale, torch.ones_like(law.loc))
    else:
        assert isinstance(law, Categorical)
        torch.testing.assert_close(law.probs, torch.softmax(output[..., : episodes.support.n_classes], -1))
