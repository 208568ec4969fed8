"""ANIL against a plain loop that moves the head only."""

import torch

from gradient_world import check_meta_gradient, network, walked
from metamedica.functional.inner_loop.loop import Constant, InnerLoop
from metamedica.functional.inner_loop.networks import start_parameters
from metamedica.learners.anil import Anil
from metamedica.testing import N_TASKS, vector_episodes


def test_the_head_takes_the_steps_and_the_encoder_stays() -> None:
    learner, support = Anil(network(), rate=0.4, steps=3).double(), vector_episodes("multiclass").support
    start = start_parameters(learner.encoder, learner.heads, "multiclass")
    found = learner.adapt(support).parameters
    for task in range(N_TASKS):
        want = walked(
            learner.encoder, start, support, task, InnerLoop(3, Constant(0.4), moves=lambda name: "." not in name)
        )
        torch.testing.assert_close(found["weight"][task], want["weight"], atol=1e-12, rtol=1e-10)
        torch.testing.assert_close(found["bias"][task], want["bias"], atol=1e-12, rtol=1e-10)
    assert found["encoder.layers.0.weight"] is start["encoder.layers.0.weight"]


def test_the_meta_gradient_is_that_of_finite_differences() -> None:
    learner = Anil(network(), rate=0.4, steps=3).double()
    check_meta_gradient(learner, vector_episodes("regression"), ["encoder.layers.0.weight", "heads.regression.weight"])


def test_the_embedding_of_a_support_is_computed_once_whatever_the_steps() -> None:
    learner, calls = Anil(network(), steps=7).double(), []
    learner.encoder.register_forward_hook(lambda *_: calls.append(1))
    learner.adapt(vector_episodes("binary").support)
    assert len(calls) == 1
