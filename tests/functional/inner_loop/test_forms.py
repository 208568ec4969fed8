"""Every form of the inner loop against one plain loop: a task after another, a step after another, autograd with create_graph."""

import math

import pytest
import torch
from torch import Tensor

from gradient_world import task_loss, walked
from metamedica.encoders.mlp import MLP
from metamedica.functional.inner_loop.chain import Parameters
from metamedica.functional.inner_loop.chain_forms import Chain, HeadOnly, WideChain, all_laid_out
from metamedica.functional.inner_loop.choice import chain_of, first_order, form_for, form_of
from metamedica.functional.inner_loop.forms import AnyNetwork, Form
from metamedica.functional.inner_loop.loop import Constant, InnerLoop
from metamedica.functional.inner_loop.networks import KindHeads, start_parameters
from metamedica.functional.sparse import Entries
from metamedica.functional.task_random import TaskSeeds
from metamedica.testing import VectorEncoder
from metamedica.types import CaseBatch, EpisodeBatch, LabelledBatch, TaskKind

KINDS: tuple[TaskKind, ...] = ("binary", "multiclass", "regression")
NETWORKS = {
    "norm and GELU": {"hidden": (7, 6), "dim": 5, "dropout": 0.0},
    "plain ReLU": {
        "hidden": (8,),
        "dim": 8,
        "dropout": 0.0,
        "activation": "relu",
        "norm": "none",
        "ends": "activation",
    },
    "tanh, one layer": {"hidden": (), "dim": 9, "dropout": 0.0, "activation": "tanh", "ends": "activation"},
}
BLOCKS = {"counts": 30, "x": 4}


def _world(network: str, kind: TaskKind, dtype: torch.dtype = torch.float64) -> tuple[MLP, KindHeads, EpisodeBatch]:
    torch.manual_seed(0)
    encoder = MLP(BLOCKS, **NETWORKS[network]).to(dtype)  # type: ignore[arg-type]
    heads = KindHeads(encoder.dim, max_classes=4).to(dtype)
    with torch.no_grad():
        heads.log_variance.fill_(0.2)

    def part(sizes: list[int]) -> LabelledBatch:
        n = max(sizes)
        mask = torch.tensor(sizes)[:, None] > torch.arange(n)
        features = {"counts": torch.poisson(torch.full((3, n, 30), 0.3)).to(dtype), "x": torch.randn(3, n, 4).to(dtype)}
        if kind == "regression":
            return LabelledBatch(CaseBatch(features, mask), torch.randn(3, n).to(dtype) * mask, kind)
        classes = 2 if kind == "binary" else 3
        return LabelledBatch(CaseBatch(features, mask), torch.randint(classes, (3, n)) * mask, kind, classes)

    return encoder, heads, EpisodeBatch(part([6, 4, 1]), part([5, 5, 2]), torch.arange(3))


def _form(name: str, encoder: MLP, loop: InnerLoop, support: LabelledBatch) -> Form:
    if name == "any network":
        return AnyNetwork(encoder, loop)
    if name == "head only":
        return HeadOnly(encoder, loop)
    links = chain_of(encoder)
    assert links is not None
    return {"chain": Chain, "wide chain": WideChain}[name](encoder, loop, links)


def _query_loss(form: Form, start: Parameters, episodes: EpisodeBatch) -> Tensor:
    law = form.law(form.adapt(start, episodes.support), episodes.query.cases)
    return -episodes.query.log_likelihood(law).mean()


def _plain_loss(
    encoder: MLP, start: Parameters, episodes: EpisodeBatch, loop: InnerLoop, *, exact: bool = True
) -> Tensor:
    constant_part = 0.5 * math.log(2 * math.pi) if episodes.query.kind == "regression" else 0.0
    each = [
        task_loss(encoder, walked(encoder, start, episodes.support, task, loop, exact=exact), episodes.query, task)
        for task in range(3)
    ]
    return torch.stack(each).mean() + constant_part


FORMS = ("any network", "chain", "wide chain")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(("dtype", "close"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_the_exact_meta_gradient_is_that_of_the_plain_loop(
    form: str, kind: TaskKind, network: str, dtype: torch.dtype, close: float
) -> None:
    loop = InnerLoop(4, Constant(0.1))
    encoder, heads, episodes = _world(network, kind)
    start = start_parameters(encoder, heads, kind)
    want_loss = _plain_loss(encoder, start, episodes, loop)
    want = torch.autograd.grad(want_loss, list(start.values()))
    encoder, heads, episodes = _world(network, kind, dtype)
    start = start_parameters(encoder, heads, kind)
    loss = _query_loss(_form(form, encoder, loop, episodes.support), start, episodes)
    assert loss.item() == pytest.approx(want_loss.item(), rel=close)
    largest = max(float(slope.abs().max()) for slope in want)
    for slope, truth in zip(torch.autograd.grad(loss, list(start.values())), want, strict=True):
        torch.testing.assert_close(slope.double(), truth, atol=close * largest, rtol=0)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_after_every_step_each_task_has_the_parameters_of_the_plain_loop(form: str, kind: TaskKind) -> None:
    encoder, heads, episodes = _world("norm and GELU", kind)
    start = start_parameters(encoder, heads, kind)
    loop = InnerLoop(3, Constant(0.3))
    for step, adapted in enumerate(_form(form, encoder, loop, episodes.support).walk(start, episodes.support)):
        found = all_laid_out(adapted).parameters
        for task in range(3):
            want = walked(encoder, start, episodes.support, task, InnerLoop(step, Constant(0.3)))
            for name, value in want.items():
                torch.testing.assert_close(found[name].expand(3, *value.shape)[task], value, atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize("form", [*FORMS, "one after another"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("steps", [0, 1, 4])
def test_descending_ends_where_adapting_does_and_tells_the_loss_that_the_last_step_came_by(
    form: str, kind: TaskKind, steps: int
) -> None:
    encoder, heads, episodes = _world("norm and GELU", kind)
    start, support = start_parameters(encoder, heads, kind), episodes.support

    def made(steps: int) -> Form:
        loop = InnerLoop(steps, Constant(0.3))
        return (
            AnyNetwork(encoder, loop, chunk=1) if form == "one after another" else _form(form, encoder, loop, support)
        )

    with torch.no_grad():
        end, told = made(steps).descend(start, support)
        before = made(max(0, steps - 1)).adapt(start, support)
        want, found = all_laid_out(made(steps).adapt(start, support)).parameters, all_laid_out(end).parameters
        torch.testing.assert_close(told, support.log_likelihood(made(steps).law(before, support.cases)))
    for name, value in want.items():
        torch.testing.assert_close(found[name], value, atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize("form", FORMS)
def test_the_first_order_meta_gradient_is_that_of_the_plain_loop_without_second_derivatives(form: str) -> None:
    encoder, heads, episodes = _world("plain ReLU", "binary")
    start = start_parameters(encoder, heads, "binary")
    loop = InnerLoop(4, Constant(0.3))
    made = _form(form, encoder, loop, episodes.support)
    with torch.no_grad():
        adapted = made.adapt(start, episodes.support)
    law = made.law(first_order(adapted, start), episodes.query.cases)
    found = torch.autograd.grad(-episodes.query.log_likelihood(law).mean(), list(start.values()))
    want = torch.autograd.grad(_plain_loss(encoder, start, episodes, loop, exact=False), list(start.values()))
    for one, other in zip(found, want, strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize("form", ["any network", "chain"])
def test_rates_may_differ_by_step_and_entry_and_are_learned_through_the_steps(form: str) -> None:
    encoder, heads, episodes = _world("norm and GELU", "regression")
    start = start_parameters(encoder, heads, "regression")
    torch.manual_seed(1)
    rates = {name: (0.3 * torch.rand_like(value)).requires_grad_() for name, value in start.items()}
    loop = InnerLoop(3, lambda step, name: rates[name] / (1 + step))
    values = [*start.values(), *rates.values()]
    found = torch.autograd.grad(_query_loss(_form(form, encoder, loop, episodes.support), start, episodes), values)
    want = torch.autograd.grad(_plain_loss(encoder, start, episodes, loop), values)
    for one, other in zip(found, want, strict=True):
        torch.testing.assert_close(one, other, atol=1e-11, rtol=1e-9)
    assert type(form_for(encoder, loop, episodes.support)) is Chain


def test_a_wide_chain_takes_one_rate_per_step_and_layer() -> None:
    encoder, heads, episodes = _world("norm and GELU", "binary")
    start = start_parameters(encoder, heads, "binary")
    first = torch.tensor([0.3, 0.2, 0.1], dtype=torch.float64, requires_grad=True)
    loop = InnerLoop(3, lambda step, name: first[step] if name.endswith("bias") else 2 * first[step])
    made = form_for(encoder, loop, episodes.support)
    assert type(made) is WideChain
    found = torch.autograd.grad(_query_loss(made, start, episodes), first)[0]
    want = torch.autograd.grad(_plain_loss(encoder, start, episodes, loop), first)[0]
    torch.testing.assert_close(found, want, atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize(
    ("form", "head_only"),
    [("any network", True), ("any network", False), ("chain", True), ("chain", False), ("head only", True)],
)
def test_only_what_moves_is_moved(form: str, head_only: bool) -> None:
    encoder, heads, episodes = _world("norm and GELU", "multiclass")
    start = start_parameters(encoder, heads, "multiclass")
    loop = InnerLoop(3, Constant(0.3), moves=lambda name: name.startswith("encoder.") != head_only)
    made = _form(form, encoder, loop, episodes.support)
    adapted = made.adapt(start, episodes.support)
    for name, value in adapted.parameters.items():
        assert (value is start[name]) == (name.startswith("encoder.") == head_only)
    found = torch.autograd.grad(_query_loss(made, start, episodes), list(start.values()))
    want = torch.autograd.grad(_plain_loss(encoder, start, episodes, loop), list(start.values()))
    for one, other in zip(found, want, strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=1e-10)


def test_the_form_follows_the_network_and_its_width() -> None:
    encoder, _, episodes = _world("norm and GELU", "binary")
    loop = InnerLoop(1, Constant(0.1))
    wide = form_for(encoder, loop, episodes.support)
    assert type(wide) is WideChain
    many = episodes.support.map(lambda value: torch.cat([value] * 3, 1))
    assert type(form_for(encoder, loop, many)) is Chain
    assert type(form_for(VectorEncoder(), loop, episodes.support)) is AnyNetwork
    head_only = InnerLoop(1, Constant(0.1), moves=lambda name: not name.startswith("encoder."))
    for any_encoder in (encoder, VectorEncoder()):
        assert type(form_for(any_encoder, head_only, episodes.support)) is HeadOnly


def test_prediction_uses_the_form_that_adapted() -> None:
    encoder, heads, episodes = _world("norm and GELU", "binary")
    start, loop = start_parameters(encoder, heads, "binary"), InnerLoop(2, Constant(0.1))
    for support in (episodes.support, episodes.support.map(lambda value: torch.cat([value] * 3, 1))):
        made = form_for(encoder, loop, support)
        assert type(form_of(made.adapt(start, support), encoder, loop)) is type(made)


@pytest.mark.parametrize("form", FORMS)
def test_steps_are_taken_where_gradients_are_off_and_padding_and_chunks_change_nothing(form: str) -> None:
    encoder, heads, episodes = _world("norm and GELU", "binary")
    start, loop = start_parameters(encoder, heads, "binary"), InnerLoop(3, Constant(0.3))
    want = _query_loss(_form(form, encoder, loop, episodes.support), start, episodes)
    longer = episodes.support.map(lambda value: torch.cat([value, value.new_zeros(3, 2, *value.shape[2:])], 1))
    longer.features["x"][:, 6:] = 1e3
    with torch.no_grad():
        made = _form(form, encoder, loop, longer)
        if isinstance(made, AnyNetwork):
            made.chunk = 2
        found = _query_loss(made, start, EpisodeBatch(longer, episodes.query, episodes.task_index))
    torch.testing.assert_close(found, want.detach(), atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_a_pull_to_the_start_is_a_term_of_the_loss(form: str) -> None:
    encoder, heads, episodes = _world("norm and GELU", "binary")
    start = start_parameters(encoder, heads, "binary")
    loop = InnerLoop(4, Constant(0.2), pull=0.7)
    adapted = all_laid_out(_form(form, encoder, loop, episodes.support).adapt(start, episodes.support)).parameters
    for task in range(3):
        want = walked(encoder, start, episodes.support, task, loop, exact=False)
        for name, value in want.items():
            torch.testing.assert_close(adapted[name][task], value, atol=1e-12, rtol=1e-10)


def test_a_wide_sparse_block_is_adapted_by_its_entries_with_the_meta_gradient_of_the_plain_loop() -> None:
    encoder, heads, episodes = _world("norm and GELU", "binary")
    encoder = MLP({"bits": 400, "x": 4}, hidden=(6,), dim=5, dropout=0.0).double()
    random = torch.Generator().manual_seed(0)

    def part(batch: LabelledBatch, n: int) -> LabelledBatch:
        bits = (torch.rand(3, n, 400, generator=random) < 0.03).double()
        longer = batch.map(lambda value: torch.cat([value] * (n // value.shape[1] + 1), 1)[:, :n])
        return LabelledBatch(CaseBatch({**longer.features, "bits": bits}, longer.mask), longer.targets, "binary", 2)

    episodes = EpisodeBatch(part(episodes.support, 60), part(episodes.query, 50), episodes.task_index)
    start, loop = start_parameters(encoder, heads, "binary"), InnerLoop(4, Constant(0.3))
    made = form_for(encoder, loop, episodes.support)
    assert type(made) is WideChain
    assert isinstance(made.adapt(start, episodes.support).front.inputs[0], Entries)  # type: ignore[union-attr]
    found = torch.autograd.grad(_query_loss(made, start, episodes), list(start.values()))
    want = torch.autograd.grad(_plain_loss(encoder, start, episodes, loop), list(start.values()))
    for one, other in zip(found, want, strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize("form", ["chain", "wide chain", "head only"])
def test_steps_that_are_computed_again_give_the_same_bits_and_keep_less(form: str) -> None:
    encoder, heads, episodes = _world("norm and GELU", "binary")
    moves = (lambda name: not name.startswith("encoder.")) if form == "head only" else lambda name: True
    start, loop = start_parameters(encoder, heads, "binary"), InnerLoop(8, Constant(0.2), moves=moves)
    slopes, kept = [], []
    for again in (False, True):
        made, sizes = _form(form, encoder, loop, episodes.support), list[int]()
        made.checkpoint = again

        def pack(value: Tensor, sizes: list[int] = sizes) -> Tensor:
            sizes.append(value.numel())
            return value

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
            loss = _query_loss(made, start, episodes)
        slopes.append(torch.autograd.grad(loss, list(start.values())))
        kept.append(sum(sizes))
    assert all(torch.equal(one, other) for one, other in zip(*slopes, strict=True))
    assert kept[1] < 0.6 * kept[0]


@pytest.mark.parametrize("form", ["chain", "wide chain"])
def test_steps_that_are_computed_again_have_the_same_dropout_then(form: str) -> None:
    encoder, heads, episodes = _world("norm and GELU", "binary")
    encoder.layers[3].p = 0.4
    start = start_parameters(encoder, heads, "binary")
    made = _form(form, encoder, InnerLoop(3, Constant(0.2)), episodes.support)
    made.checkpoint = True

    def loss(way: float = 0.0) -> Tensor:
        with TaskSeeds(torch.arange(3)):
            return _query_loss(made, {name: value + way for name, value in start.items()}, episodes)

    slopes = torch.autograd.grad(loss(), list(start.values()))
    small = 1e-6
    want = (loss(small) - loss(-small)).item() / (2 * small)
    assert sum(float(slope.sum()) for slope in slopes) == pytest.approx(want, rel=1e-6)


@pytest.mark.parametrize("chunk", [None, 2, 1])
@pytest.mark.parametrize("steps", [1, 5])
def test_steps_of_any_network_that_are_computed_again_give_the_same_bits(chunk: int | None, steps: int) -> None:
    encoder, heads, episodes = _world("norm and GELU", "binary")
    own = {name: torch.full_like(value, 0.2) for name, value in start_parameters(encoder, heads, "binary").items()}
    rates = {name: value.requires_grad_() for name, value in own.items()}
    start = start_parameters(encoder, heads, "binary")
    # Learned rates, a pull to the start, and a head that no task moves: all that the steps read must get its slope.
    loop = InnerLoop(steps, lambda step, name: rates[name], moves=lambda name: not name.endswith("weight"), pull=0.1)
    inputs = [*start.values(), *(rate for name, rate in rates.items() if loop.moves(name))]
    slopes = []
    for again in (False, True):
        made = AnyNetwork(encoder, loop, chunk=chunk, checkpoint=again)
        slopes.append(torch.autograd.grad(_query_loss(made, start, episodes), inputs))
    assert all(float(slope.abs().max()) > 0 for slope in slopes[0])
    for one, other in zip(*slopes, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)


def test_steps_of_any_network_that_are_computed_again_keep_less() -> None:
    encoder, heads, episodes = _world("norm and GELU", "binary")
    start, kept = start_parameters(encoder, heads, "binary"), []
    for again in (False, True):
        made, sizes = AnyNetwork(encoder, InnerLoop(16, Constant(0.2)), chunk=1, checkpoint=again), list[int]()

        def pack(value: Tensor, sizes: list[int] = sizes) -> Tensor:
            sizes.append(value.numel())
            return value

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
            adapted = made.adapt(start, episodes.support)
        assert all(adapted.parameters[name].requires_grad for name in adapted.moved)
        kept.append(sum(sizes))
    assert kept[1] < 0.4 * kept[0]


def test_steps_of_any_network_that_are_computed_again_have_the_same_dropout_then() -> None:
    encoder, heads, episodes = _world("norm and GELU", "binary")
    encoder.layers[3].p = 0.4
    start = start_parameters(encoder, heads, "binary")
    found = []
    for again in (False, True):
        made = AnyNetwork(encoder, InnerLoop(4, Constant(0.2)), checkpoint=again)

        def loss(way: float = 0.0, made: AnyNetwork = made) -> Tensor:
            with TaskSeeds(torch.arange(3)):
                return _query_loss(made, {name: value + way for name, value in start.items()}, episodes)

        slopes = torch.autograd.grad(loss(), list(start.values()))
        small = 1e-6
        want = (loss(small) - loss(-small)).item() / (2 * small)
        found.append(float(sum(slope.sum() for slope in slopes)))
        assert found[-1] == pytest.approx(want, rel=1e-5)
