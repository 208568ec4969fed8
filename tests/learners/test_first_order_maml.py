"""First-order MAML adapts as MAML does; its meta-gradient is the query gradient at the adapted parameters."""

import pytest
import torch
from torch.distributions import Normal

from gradient_world import meta_gradient
from metamedica.errors import TaskError
from metamedica.learners.first_order_maml import FirstOrderMaml
from metamedica.learners.maml import Maml
from metamedica.testing import N_TASKS, VectorEncoder, vector_batch, vector_episodes
from metamedica.types import EpisodeBatch, TaskKind

KINDS: tuple[TaskKind, ...] = ("binary", "multiclass", "regression")


def _built(made: type[FirstOrderMaml] | type[Maml], *, steps: int = 3, rate: float = 0.3) -> FirstOrderMaml | Maml:
    torch.manual_seed(0)
    return made(VectorEncoder(dim=3), steps=steps, rate=rate, max_classes=3).double()


@pytest.mark.parametrize("kind", KINDS)
def test_it_adapts_as_maml_does(kind: TaskKind) -> None:
    episodes = vector_episodes(kind)
    ours, theirs = _built(FirstOrderMaml).adapt(episodes.support), _built(Maml).adapt(episodes.support)
    assert set(ours.parameters) == set(theirs.parameters)
    for name, value in theirs.parameters.items():
        torch.testing.assert_close(ours.parameters[name], value, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(_built(FirstOrderMaml).meta_loss(episodes), _built(Maml).meta_loss(episodes))


@pytest.mark.parametrize("kind", KINDS)
def test_the_meta_gradient_is_the_mean_query_gradient_at_the_adapted_parameters(kind: TaskKind) -> None:
    learner, episodes = _built(FirstOrderMaml), vector_episodes(kind)
    found = meta_gradient(learner, episodes)
    adapted = _built(Maml).adapt(episodes.support).parameters
    own = {name: value.detach().requires_grad_() for name, value in adapted.items()}
    losses = []
    for task in range(N_TASKS):
        x, y = episodes.query.features["vector"][task], episodes.query.targets[task]
        vector = torch.tanh(x @ own["encoder.map.weight"][task].T + own["encoder.map.bias"][task])
        output = vector / 3**0.5 @ own["weight"][task].T + own["bias"][task]
        if kind == "regression":
            losses.append(-Normal(output[:, 0], torch.exp(0.5 * own["log_variance"][task])).log_prob(y).mean())
        else:
            losses.append(torch.nn.functional.cross_entropy(output, y))
    torch.stack(losses).mean().backward()
    names = {"weight": f"heads.{kind}.weight", "bias": f"heads.{kind}.bias", "log_variance": "heads.log_variance"}
    assert set(found) == {names.get(name, name) for name in own}
    for name, value in own.items():
        assert value.grad is not None
        torch.testing.assert_close(found[names.get(name, name)], value.grad.sum(0), atol=1e-10, rtol=1e-8)


def test_the_meta_gradient_differs_from_mamls_unless_the_steps_are_short() -> None:
    episodes = vector_episodes("regression")

    def apart(rate: float) -> float:
        ours, theirs = (meta_gradient(_built(made, rate=rate), episodes) for made in (FirstOrderMaml, Maml))
        assert set(ours) == set(theirs)
        away = torch.cat([(ours[name] - theirs[name]).flatten() for name in ours]).norm()
        return float(away / torch.cat([value.flatten() for value in theirs.values()]).norm())

    assert apart(0.3) > 0.05
    assert apart(0.0003) < 1e-3


def test_without_steps_the_meta_gradient_is_mamls() -> None:
    episodes = vector_episodes("binary")
    ours, theirs = (meta_gradient(_built(made, steps=0), episodes) for made in (FirstOrderMaml, Maml))
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value)


def test_a_task_of_more_classes_than_the_head_is_refused() -> None:
    support = vector_episodes("multiclass").support
    batch = vector_batch(support.features["vector"], support.targets, n_classes=4)
    with pytest.raises(TaskError, match="got 4 classes for a head of 3"):
        _built(FirstOrderMaml).adapt(batch)


def test_meta_training_makes_a_few_steps_go_further() -> None:
    """Tasks share one curve but for a factor of either sign, which six noisy cases show; the noise has variance 0.09."""
    slope = torch.randn(4, generator=torch.Generator().manual_seed(3))

    def episodes(count: int, seed: int) -> EpisodeBatch:
        random = torch.Generator().manual_seed(seed)
        x = torch.randn(count, 26, 4, generator=random)
        y = (0.5 + torch.rand(count, 1, generator=random)) * torch.randn(count, 1, generator=random).sign()
        y = y * torch.tanh(x @ slope) + 0.3 * torch.randn(count, 26, generator=random)
        known, asked = (vector_batch(x[:, part], y[:, part].clone()) for part in (slice(6), slice(6, 26)))
        return EpisodeBatch(known, asked, torch.arange(count))

    def error() -> float:
        with torch.no_grad():
            law = learner.predict(learner.adapt(new.support), new.query.cases)
        return float((law.mean - new.query.targets).square().mean())

    torch.manual_seed(0)
    learner, new = FirstOrderMaml(VectorEncoder(4, 16), rate=0.2, steps=5), episodes(100, 1)
    scratch = error()
    optimiser = torch.optim.Adam(learner.parameters(), 0.02)
    for step in range(120):
        loss = learner.meta_loss(episodes(16, 100 + step))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learner.parameters(), 10.0)
        optimiser.step()
    assert error() - 0.09 < 0.25 * (scratch - 0.09)
