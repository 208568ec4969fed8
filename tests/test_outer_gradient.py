"""The gradient of a batch taken in parts is that of the whole batch, for every learner."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import tiny_learning
import tiny_training as tiny
from metamedica import registry
from metamedica.compiled import CompiledGradient
from metamedica.encoders.conv4 import Conv4
from metamedica.encoders.mlp import MLP
from metamedica.errors import InputError, TrainingError
from metamedica.functional.targets import standardise_episodes
from metamedica.outer_gradient import outer_gradient, parts_for
from metamedica.schedule import TrainingSettings
from metamedica.training import train
from metamedica.types import CaseBatch, EpisodeBatch, LabelledBatch, Learner, TaskKind

WHOLE = TrainingSettings()


@pytest.fixture(params=[torch.float32, torch.float64], ids=["float32", "float64"])
def tolerance(request: pytest.FixtureRequest) -> Iterator[float]:
    """Torch's default type is another one during the test; how near its gradients must come."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(request.param)
    yield 1e-6 if request.param == torch.float32 else 1e-10
    torch.set_default_dtype(before)


def _gradient(
    name: str, kind: TaskKind, settings: TrainingSettings, *, seed: int = 0, dropout: float = 0.0
) -> tuple[Tensor, float]:
    learner = tiny_learning.learner(name, dropout=dropout).train()
    loss = outer_gradient(learner, tiny_learning.sampler(kind).roster(1), [seed, 1], settings)
    return tiny_learning.gradient(learner), loss


@pytest.mark.parametrize(("name", "kind"), tiny_learning.every())
def test_a_batch_in_three_parts_has_the_gradient_of_the_whole(name: str, kind: TaskKind, tolerance: float) -> None:
    whole, loss = _gradient(name, kind, WHOLE)
    parts, sum_of_parts = _gradient(name, kind, replace(WHOLE, accumulate=3))  # 2, 2 and 3 tasks
    assert whole.any()
    tiny_learning.check_equal(parts, whole, tolerance)
    assert sum_of_parts == pytest.approx(loss, rel=tolerance, abs=tolerance)


@pytest.mark.parametrize("name", ["prototypical", "maml", "deep_kernel", "attentive_neural_process"])
def test_dropout_belongs_to_the_task_and_not_to_the_part_that_it_is_in(name: str, tolerance: float) -> None:
    kind: TaskKind = "binary" if name == "prototypical" else "regression"
    whole, _ = _gradient(name, kind, WHOLE, dropout=0.4)
    parts, _ = _gradient(name, kind, replace(WHOLE, accumulate=20), dropout=0.4)  # more parts than tasks: one each
    tiny_learning.check_equal(parts, whole, tolerance)
    other, _ = _gradient(name, kind, WHOLE, dropout=0.4, seed=1)
    assert not torch.allclose(other, whole, rtol=1e-3)


def test_the_gradient_is_that_of_the_loss_of_the_whole_batch() -> None:
    learner, plain = tiny.learner(dropout=0.0).train(), tiny.learner(dropout=0.0).train()
    loss = outer_gradient(learner, tiny.sampler().roster(3), [0, 3], WHOLE)
    expected = plain.meta_loss(standardise_episodes(tiny.sampler().batch(3)))
    expected.backward()
    assert loss == float(expected.detach())
    assert torch.equal(tiny_learning.gradient(learner), tiny_learning.gradient(plain))


def test_a_parameter_that_the_batch_does_not_reach_has_no_gradient() -> None:
    learner = tiny.learner(dropout=0.0).train()
    kinds = {tiny.sampler().batch(number).support.kind: number for number in range(20)}
    outer_gradient(learner, tiny.sampler().roster(kinds["binary"]), [0], replace(WHOLE, accumulate=2))
    assert learner.log_noise.grad is None
    assert learner.body[0].weight.grad is not None


def test_a_training_in_parts_ends_with_the_weights_of_one_that_takes_batches_whole() -> None:
    weights = []
    for accumulate in (1, 2, 4):
        model = tiny.learner()
        train(model, tiny.sampler(), tiny.validation(), replace(tiny.SHORT, accumulate=accumulate))
        weights.append(model.state_dict())
    for other in weights[1:]:
        for name, value in weights[0].items():
            torch.testing.assert_close(other[name], value, rtol=1e-5, atol=1e-5)


class _Summed(tiny.Tiny):
    """Its loss is a sum over tasks."""

    def meta_loss(self, episodes: EpisodeBatch) -> Tensor:
        return super().meta_loss(episodes) * len(episodes.task_index)


def test_a_loss_that_is_no_mean_over_tasks_is_refused_where_a_batch_is_divided_and_only_there() -> None:
    with pytest.raises(
        TrainingError, match=r"^the loss of _Summed on two tasks is .* train in one process with accumulate 1"
    ):
        train(_Summed(), tiny.sampler(), [], replace(tiny.SHORT, accumulate=2))
    assert train(_Summed(), tiny.sampler(), [], tiny.SHORT).steps == tiny.SHORT.steps


@pytest.mark.parametrize(("name", "kind"), tiny_learning.every())
def test_parts_by_size_have_the_gradient_of_the_padded_batch(
    name: str, kind: TaskKind, tolerance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, loss = _gradient(name, kind, WHOLE, dropout=0.3 if name == "maml" else 0.0)
    parts = [torch.tensor([5, 0, 3]), torch.tensor([1, 2, 4, 6])]
    monkeypatch.setattr(f"{outer_gradient.__module__}.parts_by_size", lambda episodes: parts)
    parted, sum_of_parts = _gradient(name, kind, WHOLE, dropout=0.3 if name == "maml" else 0.0)
    tiny_learning.check_equal(parted, whole, tolerance)
    assert sum_of_parts == pytest.approx(loss, rel=tolerance, abs=tolerance)


def test_tasks_that_adapt_one_after_another_keep_one_graph_at_a_time() -> None:
    random = torch.Generator().manual_seed(0)

    def side(n: int) -> LabelledBatch:
        images = torch.randn(5, n, 256, generator=random)
        targets = (torch.arange(n) % 2).repeat(5, 1)
        return LabelledBatch(CaseBatch({"image": images}, torch.ones(5, n, dtype=torch.bool)), targets, "binary", 2)

    episodes = EpisodeBatch(side(4), side(3), torch.arange(5))

    def sizes(name: str, **settings: Any) -> list[int]:
        learner = registry.learner_class(name)(encoder=Conv4((1, 16, 16)), **settings)
        return [len(part) for part in parts_for(learner, episodes)]

    assert sizes("maml") == [1] * 5
    assert sizes("maml", chunk=2) == [2, 2, 1]
    assert sizes("anil") == sizes("prototypical") == [4, 1]
    assert sizes("conditional_neural_process") == [5]
    network = registry.learner_class("maml")(encoder=MLP({"image": 256}), chunk=2)
    assert [len(part) for part in parts_for(network, episodes)] == [5]


class _Graph(CompiledGradient):
    """Serves binary tasks, without compiling."""

    def __init__(self, learner: Learner[Any]) -> None:
        super().__init__(learner)
        self.served = 0

    def serves(self, episodes: EpisodeBatch) -> bool:
        return episodes.support.kind == "binary"

    def __call__(self, episodes: EpisodeBatch, *, share: float = 1.0) -> Tensor:
        self.served += 1
        loss = self.learner.meta_loss(episodes) * share
        loss.backward()
        return loss.detach()


@pytest.mark.parametrize("kind", ["binary", "regression"])
def test_a_compiled_step_is_taken_where_it_is_served(kind: TaskKind) -> None:
    settings, learner = replace(WHOLE, accumulate=2), tiny_learning.learner("maml").train()
    graph, roster = _Graph(learner), tiny_learning.sampler(kind).roster(1)
    loss = outer_gradient(learner, roster, [0, 1], settings, graph=graph)
    want, plain = _gradient("maml", kind, settings)
    assert graph.served == (2 if kind == "binary" else 0)
    assert loss == pytest.approx(plain, rel=1e-6)
    tiny_learning.check_equal(tiny_learning.gradient(learner), want, 1e-6)


def test_steps_are_compiled_in_single_precision_only() -> None:
    with pytest.raises(InputError, match="got compiled steps in bf16; compile in float32, or round without compiling"):
        TrainingSettings(compiled=True, precision="bf16")
