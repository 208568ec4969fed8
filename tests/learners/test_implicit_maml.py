"""The implicit meta-gradient against differences of the whole bilevel problem, solved anew for every difference."""

import pytest
import torch

from gradient_world import check_meta_gradient, network, task_loss
from metamedica.functional.inner_loop.networks import start_parameters
from metamedica.learners.implicit_maml import ImplicitMaml
from metamedica.testing import N_TASKS, VectorEncoder, vector_episodes
from metamedica.types import Encoder, TaskKind


@pytest.mark.parametrize("kind", ["binary", "regression"])
@pytest.mark.parametrize("encoder", [network, lambda: VectorEncoder(dim=3)])
def test_at_the_inner_optimum_the_meta_gradient_is_that_of_finite_differences(
    kind: TaskKind, encoder: type[Encoder]
) -> None:
    torch.manual_seed(0)
    learner = ImplicitMaml(encoder(), rate=0.15, steps=30, pull=5.0, solver_steps=25).double()
    weight = next(name for name, _ in learner.named_parameters() if name.startswith("encoder."))
    check_meta_gradient(learner, vector_episodes(kind), [weight, f"heads.{kind}.weight"], every=6)


def test_each_task_ends_where_the_pulled_loss_is_flat() -> None:
    learner, support = (
        ImplicitMaml(network(), rate=0.15, steps=50, pull=5.0).double(),
        vector_episodes("multiclass").support,
    )
    start = start_parameters(learner.encoder, learner.heads, "multiclass")
    found = learner.adapt(support).parameters
    for task in range(N_TASKS):
        own = {name: value[task].detach().requires_grad_() for name, value in found.items()}
        away = torch.stack([(own[name] - value.detach()).square().sum() for name, value in start.items()]).sum()
        slopes = torch.autograd.grad(task_loss(learner.encoder, own, support, task) + 2.5 * away, list(own.values()))
        assert max(float(slope.abs().max()) for slope in slopes) < 1e-7


def test_the_stronger_the_pull_the_nearer_the_end() -> None:
    support, ways = vector_episodes("binary").support, []
    for pull in (0.5, 2.0, 8.0):
        learner = ImplicitMaml(network(), rate=0.1, steps=60, pull=pull).double()
        start = start_parameters(learner.encoder, learner.heads, "binary")
        found = learner.adapt(support).parameters
        ways.append(sum((found[name] - value).square().sum().item() for name, value in start.items()))
    assert ways[0] > 2 * ways[1] > 4 * ways[2]
