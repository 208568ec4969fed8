"""The exact meta-gradient against finite differences and an explicit loop, and a family of curves where a good start is all."""

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Normal

from gradient_world import check_meta_gradient, meta_gradient, network
from metamedica.errors import TaskError
from metamedica.learners.maml import Maml
from metamedica.testing import N_TASKS, VectorEncoder, vector_batch, vector_episodes
from metamedica.types import EpisodeBatch, TaskKind

KINDS: tuple[TaskKind, ...] = ("binary", "multiclass", "regression")


def _learner(*, steps: int = 3, rate: float = 0.3, max_classes: int = 3, chunk: int | None = None) -> Maml:
    torch.manual_seed(0)
    return Maml(VectorEncoder(dim=3), steps=steps, rate=rate, max_classes=max_classes, chunk=chunk).double()


@pytest.mark.parametrize("kind", KINDS)
def test_the_meta_gradient_is_that_of_finite_differences(kind: TaskKind) -> None:
    learner, episodes = _learner(), vector_episodes(kind)
    names = set(meta_gradient(learner, episodes))
    assert {name for name in names if name.startswith("encoder.")} == {"encoder.map.weight", "encoder.map.bias"}
    check_meta_gradient(learner, episodes, names, every=2)


@pytest.mark.parametrize("kind", KINDS)
def test_the_meta_gradient_is_that_of_an_explicit_loop_through_autograd(kind: TaskKind) -> None:
    learner, episodes = _learner(), vector_episodes(kind)
    head = {"binary": learner.heads.binary, "multiclass": learner.heads.multiclass}.get(kind, learner.heads.regression)
    start = [learner.encoder.map.weight, learner.encoder.map.bias, head.weight, head.bias, learner.heads.log_variance]

    def misfit(own: list[Tensor], x: Tensor, y: Tensor) -> Tensor:
        output = torch.tanh(x @ own[0].T + own[1]) / 3**0.5 @ own[2].T + own[3]
        if kind != "regression":
            return torch.nn.functional.cross_entropy(output, y) + 0 * own[4].sum()
        law = Normal(output[:, 0], torch.exp(0.5 * own[4]))
        return -law.log_prob(y).mean()

    losses = []
    for task in range(N_TASKS):
        own = list(start)
        for _ in range(3):
            loss = misfit(own, episodes.support.features["vector"][task], episodes.support.targets[task])
            slopes = torch.autograd.grad(loss, own, create_graph=True)
            own = [value - 0.3 * slope for value, slope in zip(own, slopes, strict=True)]
        losses.append(misfit(own, episodes.query.features["vector"][task], episodes.query.targets[task]))
    want = torch.stack(losses).mean()
    torch.testing.assert_close(learner.meta_loss(episodes), want)
    slopes = torch.autograd.grad(want, start)
    found = meta_gradient(learner, episodes)
    for value, slope in zip(start, slopes, strict=True):
        name = next(name for name, other in learner.named_parameters() if other is value)
        torch.testing.assert_close(found.get(name, torch.zeros_like(slope)), slope, atol=1e-10, rtol=1e-8)


def test_with_layer_norm_too_the_meta_gradient_is_that_of_finite_differences() -> None:
    learner = Maml(network(), steps=3, rate=0.3).double()
    check_meta_gradient(learner, vector_episodes("binary"), ["encoder.layers.0.weight"])


def test_more_steps_fit_the_support_better() -> None:
    support = vector_episodes("binary").support
    few, many = (
        support.log_likelihood(learner.predict(learner.adapt(support), support.cases))
        for learner in (_learner(steps=1), _learner(steps=30))
    )
    assert bool((many > few).all())


def test_chunks_of_tasks_give_the_same_meta_gradient() -> None:
    episodes = vector_episodes("regression")
    whole, chunked = meta_gradient(_learner(), episodes), meta_gradient(_learner(chunk=2), episodes)
    assert set(whole) == set(chunked)
    for name, value in whole.items():
        torch.testing.assert_close(chunked[name], value, atol=1e-12, rtol=1e-12)


def test_a_multiclass_head_gives_a_task_of_fewer_classes_only_those() -> None:
    episodes, learner = vector_episodes("multiclass"), _learner(max_classes=7)
    law = learner.predict(learner.adapt(episodes.support), episodes.query.cases)
    assert isinstance(law, Categorical)
    assert law.probs.shape == (N_TASKS, 5, 3)
    torch.testing.assert_close(law.probs.sum(-1), torch.ones(N_TASKS, 5).double())


def test_a_task_of_more_classes_than_the_head_is_refused() -> None:
    with pytest.raises(TaskError, match="got 3 classes for a head of 2; build the learner with more max_classes"):
        _learner(max_classes=2).adapt(vector_episodes("multiclass").support)


def curves(count: int, seed: int) -> EpisodeBatch:
    """Sine waves of unlike height and sign on [-2, 2] (Finn et al., section 5.1), 5 known points and 40 asked ones each."""
    random = torch.Generator().manual_seed(seed)
    x = 4 * torch.rand(count, 45, 1, generator=random) - 2
    height = (0.5 + torch.rand(count, 1, generator=random)) * torch.randn(count, 1, generator=random).sign()
    y = height * torch.sin(1.5 * x[..., 0])
    known, asked = (vector_batch(x[:, part], y[:, part].clone()) for part in (slice(5), slice(5, 45)))
    return EpisodeBatch(known, asked, torch.arange(count))


def squared_error(learner: Maml, episodes: EpisodeBatch) -> float:
    with torch.no_grad():
        law = learner.predict(learner.adapt(episodes.support), episodes.query.cases)
    assert isinstance(law, Normal)
    return float((law.mean - episodes.query.targets).square().mean())


def test_after_meta_training_five_steps_fit_a_curve_that_no_number_of_steps_fits_from_scratch() -> None:
    new = curves(100, 1)
    torch.manual_seed(0)
    learner = Maml(VectorEncoder(1, 24), rate=0.05)
    scratch = []
    for learner.steps in (0, 5, 20, 60):
        scratch.append(squared_error(learner, new))
    learner.rate, learner.steps = 0.2, 5
    scratch.append(squared_error(learner, new))
    optimiser = torch.optim.Adam(learner.parameters(), 0.02)
    for step in range(120):
        loss = learner.meta_loss(curves(16, 100 + step))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learner.parameters(), 10.0)
        optimiser.step()
    assert squared_error(learner, new) < 0.4 * min(scratch)


@pytest.mark.parametrize("chunk", [None, 1])
def test_steps_that_are_computed_again_give_the_same_meta_gradient(chunk: int | None) -> None:
    learner, episodes = _learner(steps=5, chunk=chunk), vector_episodes("multiclass")
    want = meta_gradient(learner, episodes)
    learner.checkpoint = True
    found = meta_gradient(learner, episodes)
    assert set(found) == set(want)
    for name, slope in want.items():
        torch.testing.assert_close(found[name], slope, rtol=1e-12, atol=1e-14)
