"""The gradient of an answer in what a network saw: finite differences agree, guards and calibration change what they must, and refusals are clear."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tests.image_networks import narrow, network, planted, predictor

from metamedica.errors import InputError, TaskError
from metamedica.meta_learner import MetaLearner
from metamedica.predictors.answers import log_odds
from metamedica.predictors.guard import AdaptedMixture
from metamedica.predictors.predictor import Predictor
from metamedica.predictors.slopes import Slopes
from metamedica.types import CaseBatch, Law

MLP = {"encoder": "mlp", "encoder_settings": {"hidden": [6], "dim": 5}}
VIT = {"encoder": "vit", "encoder_settings": {"patch": 8, "width": 8, "heads": 2, "depth": 2}}
"""Smooth, so that finite differences meet no corner."""


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    narrow(monkeypatch)


def _agrees(made: Predictor, block: str) -> None:
    features = made.model.prepare(planted(3, seed=5)[0]).features
    slopes = made.slopes(block).in_block(features, 1)
    assert bool((slopes.abs().amax(1) > 0).all())
    here = features[block]
    # along the slopes, so far that log-odds change by some hundred times their rounding and cross few corners
    step = 3e-4 / slopes.square().sum(1, keepdim=True) * slopes
    ends = [log_odds(made.law({**features, block: here + sign * step}), 1) for sign in (1, -1)]
    torch.testing.assert_close((ends[0] - ends[1]) / 2, torch.full((3,), 3e-4).double(), rtol=0.15, atol=0)


@pytest.mark.parametrize("learner", ["leave_one_out_gp", "prototypical"])
def test_slopes_in_what_a_frozen_network_sees_agree_with_finite_differences(learner: str) -> None:
    _agrees(predictor(learner, seen=network(), **({} if learner == "leave_one_out_gp" else MLP)), "network")


@pytest.mark.parametrize("learner", ["prototypical", "maml_plus_plus"])
def test_a_learned_encoder_is_looked_through_and_the_model_stays_as_it_was(learner: str) -> None:
    made = predictor(learner, seen=None, **VIT)
    before = {name: value.clone() for name, value in made.model.learner.state_dict().items()}
    images, features = planted(2, seed=5)[0], made.model.prepare(planted(2, seed=5)[0]).features
    heat = made.slopes("image").heat({name: block[:1] for name, block in features.items()}, 1)
    assert heat.shape == (8, 8)
    assert float(heat.min()) >= 0
    assert all(torch.equal(value, before[name]) for name, value in made.model.learner.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in made.model.learner.modules())
    assert np.array_equal(made.predict_proba(images), made.predict_proba(images))
    _agrees(made, "image")


def test_a_guard_passes_the_gradient_through_its_learned_part_alone() -> None:
    made = predictor("prototypical", seen=network(), guard=True, **MLP)
    assert isinstance(made._adapted, AdaptedMixture)
    _agrees(made, "network")
    features = made.model.prepare(planted(3, seed=5)[0]).features
    whole = made.slopes("network").in_block(features, 1)
    mixture = made._adapted
    weights = torch.zeros_like(mixture.weighed.weights)
    weights[:, -1] = 1
    scratch = AdaptedMixture(mixture.parts, replace(mixture.weighed, weights=weights))
    only = Slopes(made, scratch, "network").in_block(features, 1)
    assert float(only.abs().max()) == 0
    assert float(whole.abs().max()) > 0


def test_a_step_function_that_sets_probabilities_right_is_left_out() -> None:
    made, plain = (predictor("prototypical", seen=network(), calibration=how, **MLP) for how in ("isotonic", "none"))
    images = planted(3, seed=5)[0]
    features = made.model.prepare(images).features
    assert not np.allclose(made.predict_proba(images), plain.predict_proba(images))
    assert torch.equal(made.slopes("network").in_block(features, 1), plain.slopes("network").in_block(features, 1))


def _numbers_alone(made: Predictor) -> Any:
    """Return the adapted learner as one that answers by arrays, as trees do."""
    own, inner = made._adapted, made._adapted.learner  # type: ignore[attr-defined]

    class Arrays(type(inner)):  # type: ignore[misc]
        def predict(self, state: Any, query: CaseBatch) -> Law:
            arrays = {name: torch.from_numpy(block.numpy().copy()) for name, block in query.features.items()}
            return inner.predict(state, replace(query, features=arrays))

    learner = inner.__class__.__new__(Arrays)
    learner.__dict__.update(inner.__dict__)
    return type(own)(learner, own.state, own.scale)


def test_a_learner_without_a_gradient_and_a_block_that_nothing_reads_are_refused_in_a_sentence() -> None:
    made = predictor("prototypical", seen=network(), **MLP)
    with pytest.raises(InputError, match="the learner Arrays answers without a gradient, so that Grad-CAM cannot tell"):
        Slopes(made, _numbers_alone(made), "network")
    with pytest.raises(InputError, match="the learner 'prototypical' reads no block 'image'"):
        made.slopes("image")
    classical = predictor("linear", seen=network())
    with pytest.raises(
        InputError, match=r"no answer of this predictor depends on what a network sees \(block 'network'\)"
    ):
        classical.slopes("network")
    numbers = predictor("leave_one_out_gp", seen=network()).model
    support = planted(8, seed=2)[0]
    with pytest.raises(TaskError, match="got a regression task, and Grad-CAM tells of a class; use explain"):
        _regression(numbers, support).slopes("network")


def _regression(model: Any, images: list[np.ndarray]) -> Predictor:
    made = MetaLearner("leave_one_out_gp")
    made.model_ = model
    return made.adapt(images, np.linspace(1, 3, len(images)).tolist(), kind="regression")
