"""Heat maps of what a network sees: they lie on what tells the classes, answers fall sooner by them than by chance, and refusals are clear."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.image_networks import SIDE, SQUARE, narrow, network, planted, predictor, stripes_network
from tests.tiny_predictors import model

from metamedica.errors import CaseError, InputError, TaskError
from metamedica.modalities.images.heat import heated, over_image
from metamedica.predictors.explanation import Part
from metamedica.predictors.predictor import Predictor
from metamedica.reports.deletion import deletion_test
from metamedica.reports.grad_cam import GradCam, grad_cam, refusal

PLACES = 4


@pytest.fixture(scope="module", autouse=True)
def _cheap() -> None:
    with pytest.MonkeyPatch.context() as patch:
        narrow(patch, grid=PLACES)
        yield


@pytest.fixture(scope="module")
def taught() -> Predictor:
    """A residual network trained on tasks of planted squares."""
    settings = {"encoder": "resnet", "encoder_settings": {"layers": 10, "width": 8, "groups": 2}}
    return predictor("prototypical", seen=None, **settings, steps=40, learning_rate=0.01)


@pytest.fixture(scope="module")
def frozen() -> Predictor:
    return predictor("leave_one_out_gp", seen=network())


def test_the_heat_of_a_trained_encoder_lies_on_the_planted_square(taught: Predictor) -> None:
    images, labels, corners = planted(20, seed=50)
    assert taught.score(images, labels) >= 0.9
    inside = []
    for image, label, (top, left) in zip(images, labels, corners, strict=True):
        if label == "lying":  # told by what is not there, of which Grad-CAM shows nothing
            continue
        (found,) = grad_cam(taught, [image], label=label)
        assert found.through == "encoder"
        heat = over_image(found.heat, side=SIDE)
        row, column = np.unravel_index(int(heat.argmax()), heat.shape)
        inside.append(top - 8 <= row < top + SQUARE + 8 and left - 8 <= column < left + SQUARE + 8)
    assert np.mean(inside) >= 0.9, inside


def test_answers_fall_sooner_by_the_heat_than_by_chance_where_the_network_is_known() -> None:
    linear = {"encoder": "mlp", "encoder_settings": {"hidden": [], "dim": 16}}
    made = predictor("prototypical", seen=stripes_network(), **linear, steps=20)
    images, labels, corners = planted(20, seed=60)
    assert made.score(images, labels) == 1
    by_heat = []
    for image, label, (top, left) in zip(images, labels, corners, strict=True):
        (told,) = made.explain([image], label=label, coalitions=40)
        (found,) = grad_cam(made, [image], label=label)
        rows, columns = np.nonzero(
            found.heat
        )  # the places are every sixteenth pixel: stripes are seen there and nowhere else
        assert len(rows) > 0
        assert all(top - 2 <= 16 * row <= top + SQUARE + 1 for row in rows)
        assert all(left - 2 <= 16 * column <= left + SQUARE + 1 for column in columns)
        parts = tuple(Part(f"{at}", "", float(by), at) for at, by in enumerate(found.heat.ravel()))
        by_heat.append(replace(told, parts=parts))
    tested = deletion_test(by_heat, orders=6, seed=1)
    assert tested.better
    assert tested.share_better >= 0.7


def test_a_frozen_network_is_looked_through_by_the_slopes_of_its_vector(frozen: Predictor) -> None:
    images = planted(3, seed=70)[0]
    maps = grad_cam(frozen, [*images, images[0]], label="standing")
    assert [each.through for each in maps] == ["network"] * 4
    np.testing.assert_array_equal(maps[0].heat, maps[3].heat)
    modality, prepared = frozen.model.modality, frozen.model.prepare(images)
    slopes = frozen.slopes("network").in_block(prepared.features, 1)
    made = modality.network.built()  # type: ignore[attr-defined]
    for at, found in enumerate(maps[:3]):
        square = modality.squares([prepared.canonical[at]])  # type: ignore[attr-defined]
        pixels = (torch.from_numpy(square).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.25
        seen = made.maps(pixels)[0].detach()
        # the vector is the mean of the maps, so that each map weighs as its number's slope does
        want = torch.einsum("k,khw->hw", slopes[at], seen).clamp(min=0) / seen[0].numel()
        np.testing.assert_allclose(found.heat, want, rtol=1e-4, atol=3e-6)
        probability = frozen.predict_proba([images[at]])[0, 1]
        assert found.output == pytest.approx(np.log(probability / (1 - probability)), abs=1e-3)
        assert found.share == pytest.approx(found.output - found.unseen)
    other = grad_cam(frozen, images[:1], label="lying")[0]
    assert other.output == pytest.approx(-maps[0].output, abs=1e-3)
    assert grad_cam(frozen, images[:1])[0].label == "standing"  # as explain: the second of two classes


def test_captions_and_values_say_what_a_map_tells_and_what_not(frozen: Predictor) -> None:
    found = GradCam(frozen.support.canonical[0], "standing", "network", np.array([[0.0, 0.5]]), 2.0, 0.5)
    assert found.caption == (
        "Grad-CAM: where the network sees what speaks for standing, on 1 x 2 places; it tells of the network's share alone, which moves the "
        "log-odds from 0.50 to 2.00, and not of the other features"
    )
    assert "at none of its 1 x 2 places does the network see" in replace(found, heat=np.zeros((1, 2))).caption
    told = json.loads(json.dumps(found.as_dict()))
    assert told["heat"] == [[0.0, 0.5]]
    assert told["without_what_it_saw"] == 0.5
    assert found.figure(size=90).svg.count("<image") == 2
    assert replace(found, heat=np.zeros((1, 2))).drawn(size=90).count("<image") == 1


def test_a_predictor_without_a_network_refuses_in_one_sentence(frozen: Predictor) -> None:
    assert refusal(frozen) == ""
    image = planted(1, seed=1)[0]
    classical = predictor("leave_one_out_gp", seen=None)
    told = "this predictor sees images by classical features alone, so that there is no network for Grad-CAM to look through"
    assert refusal(classical).startswith(told)
    with pytest.raises(InputError, match=told):
        grad_cam(classical, image)
    assert "no answer of this predictor depends on what a network sees" in refusal(predictor("linear", seen=network()))
    with pytest.raises(InputError, match="no image came"):
        grad_cam(frozen, [])
    with pytest.raises(CaseError, match="case 2 cannot be read"):
        grad_cam(frozen, [*image, b"none"])
    with pytest.raises(TaskError, match="the label 'ring' is none of the task's"):
        grad_cam(frozen, image, label="ring")


def test_a_predictor_of_something_else_is_refused() -> None:
    made = Predictor.__new__(Predictor)
    made.model = model("linear", "tables", "binary")
    assert refusal(made) == "got a predictor of tables, and Grad-CAM looks at images; use explain"


def test_maps_that_are_none_are_refused() -> None:
    for wrong in (np.array([[np.nan]]), np.array([[-1.0]]), np.zeros((0, 2))):
        with pytest.raises(InputError, match="got a heat map of shape"):
            heated("", wrong, size=10)


def test_between_places_the_heat_is_bilinear() -> None:
    found = over_image(np.array([[0.0, 4.0]]), side=4)
    np.testing.assert_allclose(found, np.tile([0.0, 1.0, 3.0, 4.0], (4, 1)))
