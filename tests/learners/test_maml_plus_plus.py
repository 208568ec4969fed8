"""MAML++ against MAML where they must agree, and against finite differences."""

import torch

from gradient_world import check_meta_gradient, network
from metamedica.learners.maml import Maml
from metamedica.learners.maml_plus_plus import MamlPlusPlus
from metamedica.testing import vector_episodes


def _pair(*, early: float, steps: int = 4) -> tuple[MamlPlusPlus, Maml]:
    ours, maml = (
        MamlPlusPlus(network(), rate=0.3, steps=steps, early=early).double(),
        Maml(network(), rate=0.3, steps=steps).double(),
    )
    maml.load_state_dict({name: value for name, value in ours.state_dict().items() if not name.startswith("rates")})
    return ours, maml


def test_without_early_losses_and_with_equal_rates_it_is_maml() -> None:
    ours, maml = _pair(early=0.0)
    episodes = vector_episodes("binary")
    losses = [learner.meta_loss(episodes) for learner in (ours, maml)]
    torch.testing.assert_close(losses[0], losses[1])
    for loss in losses:
        loss.backward()
    torch.testing.assert_close(
        ours.encoder.get_parameter("layers.0.weight").grad, maml.encoder.get_parameter("layers.0.weight").grad
    )


def test_the_loss_is_the_weighted_mean_of_the_losses_after_every_step() -> None:
    ours, maml = _pair(early=0.1)
    episodes = vector_episodes("regression")
    after = []
    for steps in (1, 2, 3, 4):
        maml.steps = steps
        after.append(maml.meta_loss(episodes))
    torch.testing.assert_close(ours.meta_loss(episodes), 0.1 * (after[0] + after[1] + after[2]) + 0.7 * after[3])


def test_the_meta_gradient_is_that_of_finite_differences_for_starts_and_rates() -> None:
    ours, _ = _pair(early=0.1, steps=3)
    names = ["encoder.layers.0.weight", "rates.encoder|layers|0", "rates.head"]
    check_meta_gradient(ours, vector_episodes("multiclass"), names)
