"""What an answer is made of: the last share takes nothing from earlier tasks."""

import torch

from metamedica import registry
from metamedica.functional.leaning import Leaning, WeighsItself


def test_the_learned_share_is_all_but_the_last() -> None:
    shares = {
        "as earlier tasks": torch.tensor([0.5, 0.1]),
        "own level": torch.tensor([0.3, 0.1]),
        "alone": torch.tensor([0.2, 0.8]),
    }
    assert torch.allclose(Leaning(shares, torch.zeros(2)).learned, torch.tensor([0.8, 0.2]))


def test_a_learner_that_weighs_itself_learns_from_tasks() -> None:
    found = registry.learners_that(WeighsItself)
    assert {"hierarchical_bayes", "bayesian_model_averaging"} <= set(found)
