"""Rounded steps: what is rounded, what is not, by how much, and what is refused."""

import pytest
import torch
from torch import Tensor

import tiny_learning
import tiny_training as tiny
from metamedica import precision as module
from metamedica import registry
from metamedica.encoders.message_passing import MessagePassing
from metamedica.errors import InputError
from metamedica.outer_gradient import outer_gradient
from metamedica.precision import check_precision, forward_in
from metamedica.schedule import TrainingSettings
from metamedica.types import Features, TaskKind

CPU = torch.device("cpu")
ROUNDED = TrainingSettings(precision="bf16")
MOST = 0.06
"""Of the gradient's length. Two bfloat16 numbers beside each other are 0.008 apart."""


@pytest.mark.parametrize(("name", "kind"), tiny_learning.encoded())
def test_bf16_gives_every_learner_with_an_encoder_its_gradient_up_to_rounding(name: str, kind: TaskKind) -> None:
    roster = tiny_learning.sampler(kind).roster(1)
    exact, rounded = tiny_learning.learner(name).train(), tiny_learning.learner(name).train()
    check_precision("bf16", rounded, CPU)
    loss = outer_gradient(exact, roster, [0], TrainingSettings())
    near = outer_gradient(rounded, roster, [0], ROUNDED)
    wanted, found = tiny_learning.gradient(exact), tiny_learning.gradient(rounded)
    assert found.dtype == torch.float32
    assert 0 < (found - wanted).norm() < MOST * wanted.norm()
    assert near == pytest.approx(loss, rel=0.02, abs=0.02)


def test_linear_algebra_after_the_encoder_stays_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    learner = tiny_learning.learner("ridge_head").train()
    seen: list[tuple[str, torch.dtype]] = []
    encode, factor = type(learner.encoder).forward, torch.linalg.cholesky_ex

    def watched_encode(self: torch.nn.Module, features: Features) -> Tensor:
        found: Tensor = encode(self, features)
        seen.append(("inside", found.dtype))
        return found

    def watched(name: str, real: object) -> object:
        def call(matrix: Tensor, *rest: object, **named: object) -> object:
            seen.append((name, matrix.dtype))
            assert not torch.is_autocast_enabled("cpu")
            return real(matrix, *rest, **named)  # type: ignore[operator]

        return call

    monkeypatch.setattr(type(learner.encoder), "forward", watched_encode)
    monkeypatch.setattr(torch.linalg, "cholesky", watched("factor", torch.linalg.cholesky))
    monkeypatch.setattr(torch.linalg, "cholesky_ex", watched("factor", factor))
    outer_gradient(learner, tiny_learning.sampler("regression").roster(1), [0], ROUNDED)
    assert ("inside", torch.bfloat16) in seen
    assert {dtype for name, dtype in seen if name == "factor"} == {torch.float32}


def test_an_encoder_of_graphs_runs_in_bf16_and_gives_float32() -> None:
    torch.manual_seed(0)
    learner = registry.learner_class("prototypical")(MessagePassing((5, 3), (4, 2), width=8, dim=5))
    atoms = torch.tensor([[1, 0, 2, 1, 3, 2, 1, 2], [4, 0, 2, 1, 3, 0, 0, 0]])
    bonds = torch.tensor([[0, 1, 1, 0, 1, 2, 2, 1, 2, 3, 3, 0], [0, 1, 1, 1, 1, 2, 1, 0, 2, 0, 3, 1]])
    graphs = {"atoms": atoms, "bonds": bonds}
    wanted = learner.encoder(graphs)
    with forward_in("bf16", learner, CPU):
        found = learner.encoder(graphs)
    assert found.dtype == torch.float32
    assert not torch.equal(found, wanted)
    torch.testing.assert_close(found, wanted, rtol=0.05, atol=0.02)


def test_the_learner_is_as_it_was_afterwards_also_after_an_error() -> None:
    learner = tiny_learning.learner("prototypical")
    before = {name: dict(vars(each)) for name, each in learner.named_modules()}
    with pytest.raises(InputError, match="the encoder needs a block 'vector'"), forward_in("bf16", learner, CPU):
        learner.encoder({})
    assert {name: dict(vars(each)) for name, each in learner.named_modules()} == before
    assert not torch.is_autocast_enabled("cpu")


def test_float32_touches_nothing() -> None:
    learner = tiny_learning.learner("maml")
    with forward_in("float32", learner, CPU):
        assert not torch.is_autocast_enabled("cpu")
        assert "forward" not in vars(learner.encoder)


@pytest.mark.parametrize("allowed", [True, False])
def test_tf32_is_set_for_a_while_and_put_back(allowed: bool) -> None:
    def state() -> tuple[object, ...]:
        matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
        if hasattr(matmul, "fp32_precision"):
            return matmul.fp32_precision, cudnn.conv.fp32_precision
        return matmul.allow_tf32, cudnn.allow_tf32

    before = state()
    with module._tf32_settings(allowed):
        assert state() == (("tf32", "tf32") if allowed else ("ieee", "ieee")) or state() == (allowed, allowed)
    assert state() == before


def test_what_the_device_or_the_learner_cannot_have_is_refused() -> None:
    with pytest.raises(InputError, match=r"^got precision tf32 on cpu, and only NVIDIA GPUs .* choose float32 or bf16"):
        check_precision("tf32", tiny_learning.learner("maml"), CPU)
    with pytest.raises(InputError, match="got precision bf16 for Tiny, which has no learned encoder"):
        check_precision("bf16", tiny.learner(), CPU)
    check_precision("float32", tiny.learner(), CPU)
    with pytest.raises(InputError, match="got precision 'half'; give one of float32, tf32, bf16"):
        TrainingSettings(precision="half")  # type: ignore[arg-type]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("precision", ["tf32", "bf16"])
@pytest.mark.parametrize(("name", "kind"), tiny_learning.encoded())
def test_a_gpu_gives_every_learner_with_an_encoder_its_gradient_up_to_rounding(
    name: str, kind: TaskKind, precision: module.Precision
) -> None:
    roster = tiny_learning.sampler(kind).roster(1)
    exact, rounded = tiny_learning.learner(name).train(), tiny_learning.learner(name).train().to("cuda")
    check_precision(precision, rounded, torch.device("cuda"))
    outer_gradient(exact, roster, [0], TrainingSettings())
    outer_gradient(rounded, roster, [0], TrainingSettings(precision=precision))
    wanted, found = tiny_learning.gradient(exact), tiny_learning.gradient(rounded).cpu()
    assert (found - wanted).norm() < MOST * wanted.norm()
