"""Masks that belong to the task: their law, and what may not change them."""

import itertools
import math

import pytest
import torch
from scipy.stats import chi2
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from metamedica.encoders.mlp import MLP
from metamedica.errors import TrainingError
from metamedica.functional.inner_loop.chain import links_of, run
from metamedica.functional.inner_loop.choice import chain_of, form_for
from metamedica.functional.inner_loop.forms import AnyNetwork
from metamedica.functional.inner_loop.loop import Constant, InnerLoop
from metamedica.functional.inner_loop.networks import KindHeads, start_parameters
from metamedica.functional.task_random import TaskSeeds, hashed, over_tasks, repeatable
from metamedica.testing import vector_episodes
from metamedica.types import EpisodeBatch

SEEDS = torch.tensor([3, -(2**62), 7, 0, 12])
NETWORK = nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.3), nn.Tanh(), nn.Dropout(0.5)).double()


def _masks(shape: tuple[int, ...], *, rate: float = 0.5, seeds: Tensor = SEEDS, calls: int = 1) -> Tensor:
    """What is kept, one call after another on a new leading axis."""
    with TaskSeeds(seeds):
        return torch.stack([functional.dropout(torch.ones(shape), rate) > 0 for _ in range(calls)])


def _vectors() -> Tensor:
    return torch.randn(5, 8, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_the_hash_is_splitmix64() -> None:
    """The first outputs of its generator from state 1234567, as in the reference test vectors of Vigna's splitmix64.c."""
    step = 0x9E3779B97F4A7C15 - 2**64
    found = hashed(1234567 + torch.arange(1, 6) * step)
    want = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]
    assert [value % 2**64 for value in found.tolist()] == want


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_the_share_that_is_kept_is_the_one_asked_for_and_the_mean_stays(rate: float) -> None:
    with TaskSeeds(SEEDS):
        found = functional.dropout(torch.ones(5, 40, 1001), rate)
    kept = (found > 0).double()
    assert float(kept.mean()) == pytest.approx(1 - rate, abs=4 * math.sqrt(rate * (1 - rate) / kept.numel()))
    torch.testing.assert_close(found[found > 0], torch.full((int(kept.sum()),), 1 / (1 - rate)), rtol=1e-4, atol=0)


def test_places_calls_tasks_and_neighbours_are_independent_by_chi_square() -> None:
    """Each group of four elements along every axis is one of 16 patterns, all equally likely."""
    keep = _masks((8, 64, 64), seeds=torch.arange(8), calls=8).long()  # [calls, tasks, cases, columns]
    for axis in range(4):
        groups = keep.movedim(axis, -1).reshape(-1, keep.shape[axis] // 4, 4)
        pattern = (groups * torch.tensor([1, 2, 4, 8])).sum(-1).flatten()
        count = torch.bincount(pattern, minlength=16).double()
        expected = len(pattern) / 16
        statistic = float(((count - expected).square() / expected).sum())
        assert 0.001 < chi2.sf(statistic, 15) < 0.999, f"axis {axis}: {count.tolist()}"


def test_no_place_of_a_row_is_kept_more_often_than_the_others() -> None:
    keep = _masks((50, 200, 37), seeds=torch.arange(50), rate=0.3).double()[0].flatten(0, 1)
    share = keep.mean(0)
    statistic = float(((share - 0.7).square() * len(keep) / (0.7 * 0.3)).sum())
    assert 0.001 < chi2.sf(statistic, 37) < 0.999


def test_a_task_has_the_same_masks_alone_in_another_batch_and_beside_longer_tasks() -> None:
    want = _masks((5, 6, 9), calls=3)
    assert torch.equal(_masks((1, 6, 9), seeds=SEEDS[[2]], calls=3)[:, 0], want[:, 2])
    assert torch.equal(_masks((3, 6, 9), seeds=SEEDS[[4, 2, 0]], calls=3), want[:, [4, 2, 0]])
    assert torch.equal(_masks((5, 11, 9), calls=3)[:, :, :6], want)
    others = [*want[:, 2].unbind(), *want[:2, 3].unbind(), *_masks((5, 6, 9), seeds=SEEDS + 1, calls=3)[:, 2].unbind()]
    for one, other in itertools.combinations(others, 2):
        assert 0.25 < float((one == other).double().mean()) < 0.75


@pytest.mark.parametrize("chunk", [None, 1, 2])
def test_masks_under_vmap_are_those_of_the_plain_batch(chunk: int | None) -> None:
    x = _vectors()
    weight = NETWORK[0].weight.detach().expand(5, 6, 4)

    def output(weight: Tensor, x: Tensor) -> Tensor:
        out: Tensor = torch.func.functional_call(NETWORK, {"0.weight": weight}, (x,))
        return out

    with TaskSeeds(SEEDS):
        want = repeatable(NETWORK)(x)
    with TaskSeeds(SEEDS):
        found = over_tasks(output, in_dims=(0, 0), chunk=chunk)(weight, x)
    assert torch.equal(found == 0, want == 0)
    torch.testing.assert_close(found, want)


def test_gradients_pass_through_the_masks_of_the_forward_pass() -> None:
    x = _vectors().requires_grad_()
    with TaskSeeds(SEEDS):
        out = functional.dropout(x, 0.4)
        (slope,) = torch.autograd.grad(out.square().sum(), x, create_graph=True)
    keep = (out / x).detach()
    torch.testing.assert_close(slope, 2 * x * keep**2)
    torch.testing.assert_close(torch.autograd.grad(slope.sum(), x)[0], 2 * keep**2)
    plain = x.detach().clone()
    with TaskSeeds(SEEDS):
        assert functional.dropout(plain, 0.4, inplace=True) is plain
    assert torch.equal(plain, out)


def test_what_is_computed_again_has_the_masks_of_the_first_time() -> None:
    x = _vectors().requires_grad_()
    with TaskSeeds(SEEDS):
        want = torch.autograd.grad(repeatable(NETWORK)(x).square().sum(), x)[0]
    with TaskSeeds(SEEDS):
        loss = checkpoint(repeatable(NETWORK), x, use_reentrant=False).square().sum()
        NETWORK(x)
    torch.testing.assert_close(torch.autograd.grad(loss, x)[0], want)


def test_outside_of_the_context_dropout_is_pytorchs_own() -> None:
    x = torch.ones(5, 4, 4)
    want = []
    for _ in range(2):
        torch.manual_seed(0)
        want.append(functional.dropout(x, 0.5))
        with TaskSeeds(SEEDS):
            functional.dropout(x, 0.5)
    assert torch.equal(*want)
    torch.manual_seed(0)
    assert torch.equal(repeatable(nn.Dropout(0.5))(x), want[0])
    torch.manual_seed(0)
    first, second = (over_tasks(nn.Dropout(0.5), in_dims=(0,))(x) for _ in range(2))
    assert not torch.equal(first, second)


def test_evaluation_mode_and_rates_of_0_and_1_are_pytorchs() -> None:
    x = torch.randn(5, 3)
    with TaskSeeds(SEEDS):
        assert torch.equal(functional.dropout(x, 0.5, False), x)
        assert torch.equal(functional.dropout(x, 0.0), x)
        assert not functional.dropout(x, 1.0).any()
        with pytest.raises(ValueError, match="between 0 and 1"):
            functional.dropout(x, 1.5)


def test_what_cannot_be_seeded_by_task_is_refused() -> None:
    with pytest.raises(TrainingError, match="one int64 seed per task"):
        TaskSeeds(torch.zeros(3))
    image = torch.ones(5, 3, 4, 4)
    with TaskSeeds(SEEDS):
        with pytest.raises(TrainingError, match=r"shape \(4, 5\) among 5 tasks.*leading axis"):
            functional.dropout(torch.ones(4, 5))
        with pytest.raises(TrainingError, match=r"dropout2d.*use torch.nn.Dropout"):
            nn.Dropout2d()(image)
        with pytest.raises(TrainingError, match="inside attention"):
            functional.scaled_dot_product_attention(image, image, image, dropout_p=0.1)
        assert torch.equal(nn.Dropout2d().eval()(image), image)
        functional.scaled_dot_product_attention(image, image, image)


def _meta_gradient(encoder: MLP, heads: KindHeads, episodes: EpisodeBatch, seeds: Tensor, form: str) -> Tensor:
    start, loop = start_parameters(encoder, heads, "binary"), InnerLoop(2, Constant(0.3))
    with TaskSeeds(seeds):
        made = form_for(encoder, loop, episodes.support) if form == "chain" else AnyNetwork(encoder, loop, chunk=2)
        law = made.law(made.adapt(start, episodes.support), episodes.query.cases)
        loss = -episodes.query.log_likelihood(law).sum()
    return torch.cat([slope.flatten() for slope in torch.autograd.grad(loss, list(start.values()))])


@pytest.mark.parametrize("form", ["chain", "any network"])
def test_a_meta_gradient_with_dropout_is_the_sum_of_those_of_the_tasks_alone(form: str) -> None:
    torch.manual_seed(0)
    encoder = MLP({"vector": 4}, hidden=(6, 5), dim=3, dropout=0.4).double().train()
    heads = KindHeads(3, max_classes=2).double()
    episodes, seeds = vector_episodes("binary"), SEEDS[:3]
    assert chain_of(encoder) is not None
    both = _meta_gradient(encoder, heads, episodes, seeds, form)
    alone = []
    for task in range(3):
        own = [part.map(lambda value, task=task: value[[task]]) for part in (episodes.support, episodes.query)]
        alone.append(_meta_gradient(encoder, heads, EpisodeBatch(*own, torch.tensor([0])), seeds[[task]], form))
    torch.testing.assert_close(both, torch.stack(alone).sum(0), atol=1e-12, rtol=1e-10)
    assert not torch.allclose(both, _meta_gradient(encoder, heads, episodes, seeds + 1, form))


def test_a_chain_of_layers_draws_the_masks_of_its_modules() -> None:
    links = links_of(NETWORK, "")
    assert links is not None
    parameters = dict(NETWORK.named_parameters())
    with TaskSeeds(SEEDS):
        found, _ = run(links, parameters, _vectors())
    with TaskSeeds(SEEDS):
        torch.testing.assert_close(found, NETWORK(_vectors()))
