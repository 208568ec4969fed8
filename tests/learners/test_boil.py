"""BOIL against a plain loop that moves the encoder only."""

import torch

from gradient_world import check_meta_gradient, network, walked
from metamedica.functional.inner_loop.chain_forms import all_laid_out
from metamedica.functional.inner_loop.loop import Constant, InnerLoop
from metamedica.functional.inner_loop.networks import start_parameters
from metamedica.learners.boil import Boil
from metamedica.testing import N_TASKS, vector_episodes


def test_the_encoder_takes_the_steps_and_the_head_stays() -> None:
    learner, support = Boil(network(), rate=0.4, steps=3).double(), vector_episodes("multiclass").support
    start = start_parameters(learner.encoder, learner.heads, "multiclass")
    found = all_laid_out(learner.adapt(support)).parameters
    for task in range(N_TASKS):
        want = walked(
            learner.encoder, start, support, task, InnerLoop(3, Constant(0.4), moves=lambda name: "." in name)
        )
        for name in want:
            if "." in name:
                torch.testing.assert_close(found[name][task], want[name], atol=1e-12, rtol=1e-10)
    assert found["weight"] is learner.heads.multiclass.weight


def test_the_meta_gradient_is_that_of_finite_differences() -> None:
    learner = Boil(network(), rate=0.4, steps=3).double()
    check_meta_gradient(learner, vector_episodes("binary"), ["encoder.layers.0.weight", "heads.binary.weight"])
