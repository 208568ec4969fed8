"""Reptile's gradient against its definition, with a narrow and with a wide network."""

import math

import pytest
import torch

from gradient_world import network, task_loss, walked
from metamedica.encoders.mlp import MLP
from metamedica.functional.inner_loop.choice import form_for
from metamedica.functional.inner_loop.loop import Constant, InnerLoop
from metamedica.functional.inner_loop.networks import start_parameters
from metamedica.functional.multitask import side_by_side
from metamedica.learners.reptile import Reptile
from metamedica.testing import N_TASKS, vector_batch, vector_episodes
from metamedica.types import EpisodeBatch, TaskKind


@pytest.mark.parametrize("width", [4, 200])
@pytest.mark.parametrize("classes", [None, 2])
def test_the_gradient_is_the_mean_way_from_the_ends_back_to_the_start(width: int, classes: int | None) -> None:
    torch.manual_seed(0)
    learner = Reptile(MLP({"vector": width}, hidden=(5,), dim=3, dropout=0.0), rate=0.2, steps=4).double()
    vectors = torch.randn(N_TASKS, 20, width, dtype=torch.float64)
    targets = torch.randn(N_TASKS, 20).double() if classes is None else torch.randint(2, (N_TASKS, 20))
    support, query = (
        vector_batch(vectors[:, rows], targets[:, rows], n_classes=classes) for rows in (slice(0, 8), slice(8, 20))
    )
    episodes = EpisodeBatch(support, query, torch.arange(N_TASKS))
    both = side_by_side(episodes)
    assert (type(form_for(learner.encoder, learner.loop(both.kind), both)).__name__ == "WideChain") == (width == 200)
    start = start_parameters(learner.encoder, learner.heads, both.kind)
    loss = learner.meta_loss(episodes)
    found = torch.autograd.grad(loss, list(start.values()))
    ends = [walked(learner.encoder, start, both, task, InnerLoop(4, Constant(0.2))) for task in range(N_TASKS)]
    for (name, value), slope in zip(start.items(), found, strict=True):
        want = torch.stack([value - end[name] for end in ends]).mean(0) / 0.2
        torch.testing.assert_close(slope, want.detach(), atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize("kind", ["binary", "regression"])
def test_the_value_is_the_negative_log_likelihood_before_the_last_step(kind: TaskKind) -> None:
    learner, episodes = Reptile(network(), rate=0.2, steps=4).double(), vector_episodes(kind)
    both = side_by_side(episodes)
    start = start_parameters(learner.encoder, learner.heads, kind)
    each = [
        task_loss(learner.encoder, walked(learner.encoder, start, both, task, InnerLoop(3, Constant(0.2))), both, task)
        for task in range(N_TASKS)
    ]
    left_out = 0.5 * math.log(2 * math.pi) if kind == "regression" else 0.0
    assert learner.meta_loss(episodes).item() == pytest.approx(torch.stack(each).mean().item() + left_out)
