"""Boosted trees over pixels: scikit-learn's own answers, classes that are not there, and what only trees can say."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tests.drawn_cells import drawn

from metamedica.applications.segmentation import SegmentationPredictor, Segmenter, boosted
from metamedica.applications.segmentation.cases import LabelledPicture, read_pairs
from metamedica.applications.segmentation.choice import choose
from metamedica.applications.segmentation.unet import Schedule


def _pairs(count: int, *, n_classes: int = 3, colour: bool = False) -> list[LabelledPicture]:
    found = [drawn(seed, colour=colour) for seed in range(count)]
    return read_pairs([image for image, _ in found], [mask for _, mask in found], n_classes)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_tensors_say_what_the_trees_of_scikit_learn_say(n_classes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    grown: list[Any] = []

    class Watched(boosted.HistGradientBoostingClassifier):  # type: ignore[misc]
        def fit(self, *given: Any) -> Any:
            grown.append(super().fit(*given))
            return grown[-1]

    monkeypatch.setattr(boosted, "HistGradientBoostingClassifier", Watched)
    pairs = [replace(each, classes=each.classes.clamp(max=n_classes - 1)) for each in _pairs(3)]
    model = boosted.fit_boosted_trees(pairs[:2], n_classes)
    new = pairs[2].picture
    theirs = grown[0].predict_proba(new.dense.float().flatten(1).T.numpy())
    ours = model.log_probabilities(new).exp().flatten(1).T.numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_a_class_without_a_labelled_pixel_is_never_said_by_trees() -> None:
    pairs = _pairs(2, n_classes=4)
    said = boosted.fit_boosted_trees(pairs, 4).log_probabilities(pairs[0].picture)
    assert float(said[3].exp().max()) < 1e-6
    assert (said.argmax(0) == 2).any()


def test_pixels_that_nobody_labelled_teach_trees_nothing() -> None:
    pair = _pairs(1)[0]
    left = torch.arange(32)[None, :].expand(32, 32) < 16
    half = replace(pair, classes=pair.classes.masked_fill(~left, -1))
    other = replace(pair, classes=torch.where(left, pair.classes, torch.full_like(pair.classes, -1)))
    said = [boosted.fit_boosted_trees([each], 3).log_probabilities(pair.picture) for each in (half, other)]
    assert torch.equal(said[0], said[1])


def test_a_ring_that_no_linear_head_can_tell_is_told_by_trees() -> None:
    rng = np.random.default_rng(0)
    images = [rng.uniform(0, 1, size=(48, 48)) for _ in range(2)]
    masks = [((image > 0.35) & (image < 0.65)).astype(int) for image in images]
    chosen = choose(
        read_pairs(images, masks, 2), 2, methods=["prototype", "ridge", "logistic", "boosted"], schedule=Schedule()
    )
    assert chosen.method == "boosted"
    assert chosen.dice["boosted"] > max(value for name, value in chosen.dice.items() if name != "boosted") + 0.1


def test_under_another_stain_trees_learn_from_copies_in_other_colours() -> None:
    pairs = _pairs(2, colour=True)
    alike, other = (boosted.fit_boosted_trees(pairs, 3, expected=expected) for expected in ("alike", "recoloured"))
    again = boosted.fit_boosted_trees(pairs, 3, expected="recoloured")
    said = [each.log_probabilities(pairs[0].picture) for each in (alike, other, again)]
    assert not torch.equal(said[0], said[1])
    assert torch.equal(said[1], said[2])


def test_adapted_trees_come_back_from_disk(tmp_path: Any) -> None:
    image, mask = drawn(4)
    predictor = Segmenter().adapt([image], [mask], classes=("background", "disc", "core"), methods=["boosted"])
    predictor.save(tmp_path / "trees")
    again = SegmentationPredictor.load(tmp_path / "trees")
    assert (again.predict(image).probabilities == predictor.predict(image).probabilities).all()
