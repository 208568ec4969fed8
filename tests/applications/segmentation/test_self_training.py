"""What images without a mask teach of another stain: better masks there, nothing where they need more tidying, nothing silent."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.drawn_cells import drawn

from metamedica.applications.segmentation import SegmentationPredictor, Segmenter
from metamedica.applications.segmentation.cases import Picture, read_pairs, read_picture
from metamedica.applications.segmentation.heads import PixelModel, fit_prototypes
from metamedica.applications.segmentation.judging import Calibration
from metamedica.applications.segmentation.measures import dice
from metamedica.applications.segmentation.self_training import MOST_IMAGES, self_trained
from metamedica.applications.segmentation.shape import Shape
from metamedica.applications.segmentation.unet import Schedule
from metamedica.errors import CaseError, InputError

HEADS = ("prototype", "ridge", "logistic")
CLASSES = ("background", "cytoplasm", "nucleus")
DISC = Shape(one_part=True, no_holes=True, radius=5.0)


class _Leaning(PixelModel):
    """A model that calls speckles of the background structure: right where it matters, and rough."""

    def __init__(self, inner: PixelModel, noise: float) -> None:
        self.inner, self.noise = inner, noise

    def log_probabilities(self, picture: Picture) -> torch.Tensor:
        said = self.inner.log_probabilities(picture)
        speckle = torch.randn(said.shape[1:], generator=torch.Generator().manual_seed(picture.pixels.numel()))
        return torch.log_softmax(said + self.noise * torch.stack([-speckle, speckle, 0 * speckle]), dim=0)

    def tensors(self) -> dict[str, torch.Tensor]:
        raise AssertionError("is not kept")


def _rough(noise: float) -> PixelModel:
    pairs = read_pairs(*zip(*(drawn(seed) for seed in range(4)), strict=True), n_classes=3)
    return _Leaning(fit_prototypes(pairs, 3), noise)


def _dice(model: PixelModel) -> float:
    found = []
    for seed in range(200, 210):
        image, mask = drawn(seed)
        found.append(dice((model.log_probabilities(read_picture(image)).argmax(0) > 0).numpy(), mask > 0))
    return float(np.mean(found))


def test_rough_masks_that_tidy_to_the_shape_teach_better_ones() -> None:
    rough = _rough(6.0)
    pictures = [read_picture(drawn(seed)[0]) for seed in range(100, 124)]
    taught = self_trained(rough, pictures, 3, calibration=Calibration(), shape=DISC)
    assert taught is not None
    assert _dice(taught) > _dice(rough) + 0.02
    again = self_trained(rough, pictures, 3, calibration=Calibration(), shape=DISC)
    assert again is not None
    assert torch.equal(again.log_probabilities(pictures[0]), taught.log_probabilities(pictures[0]))


def test_without_a_shape_in_common_nothing_is_learned() -> None:
    pictures = [read_picture(drawn(seed)[0]) for seed in range(100, 110)]
    assert self_trained(_rough(0.0), pictures, 3, calibration=Calibration(), shape=Shape()) is None


def test_masks_of_no_structure_teach_nothing() -> None:
    pictures = [read_picture(drawn(seed)[0]) for seed in range(100, 110)]
    assert self_trained(_rough(0.0), pictures, 3, calibration=Calibration(offset=100.0), shape=DISC) is None


def _recoloured(seed: int) -> tuple[np.ndarray, np.ndarray]:
    image, mask = drawn(seed, colour=True, side=48, radius=13.0)
    return image[..., [2, 0, 1]].clip(0) ** 1.5 + 0.02 * np.random.default_rng(seed).standard_normal(image.shape), mask


@pytest.fixture(scope="module")
def predictor() -> SegmentationPredictor:
    images, masks = zip(*(drawn(seed, colour=True, side=48, radius=13.0) for seed in range(6)), strict=True)
    return Segmenter(schedule=Schedule(steps=2)).adapt(
        images, masks, classes=CLASSES, methods=HEADS, expected="recoloured"
    )


def test_under_another_stain_all_answer_together_and_keep_the_shape(predictor: SegmentationPredictor) -> None:
    assert predictor.method == "vote"
    assert set(predictor.dice) == {*HEADS, "vote"}
    assert predictor.shape != Shape()
    assert predictor.calibration.offset == 0


def test_a_taught_predictor_is_another_one_and_comes_back_from_disk(
    predictor: SegmentationPredictor, tmp_path: Path
) -> None:
    said = []
    images = [_recoloured(seed)[0] for seed in range(100, 116)]
    taught = predictor.taught(images, progress=lambda done, total, message: said.append(message))
    assert said
    image, mask = _recoloured(7)
    before, after = (dice(each.predict(image).mask > 0, mask > 0) for each in (predictor, taught))
    assert after >= before - 0.02
    assert predictor.method == "vote"
    assert taught.report()["images_without_a_mask"] == (16 if taught.method == "self-trained" else 0)
    for each in (predictor, taught):
        each.save(tmp_path / each.method)
        again = SegmentationPredictor.load(tmp_path / each.method)
        assert (again.predict(image).probabilities == each.predict(image).probabilities).all()
        assert again.report() == each.report()


def test_of_many_images_so_many_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    rough = _rough(6.0)
    told = rough.log_probabilities
    monkeypatch.setattr(rough, "log_probabilities", lambda picture: seen.append(id(picture)) or told(picture))
    pictures = [read_picture(drawn(seed)[0]) for seed in range(100, 100 + MOST_IMAGES + 10)]
    self_trained(rough, pictures, 3, calibration=Calibration(), shape=DISC)
    assert len(set(seen)) == MOST_IMAGES


def test_images_that_cannot_teach_are_refused(predictor: SegmentationPredictor) -> None:
    colour = [_recoloured(seed)[0] for seed in range(8)]
    bad: list[tuple[Callable[[], object], type[Exception], str]] = [
        (lambda: predictor.taught(colour[:7]), InputError, "got 7 images without a mask; give at least 8"),
        (lambda: predictor.taught([*colour, colour[0][..., 0]]), CaseError, "unlabelled image 9 is grey, the support was colour"),
        (lambda: predictor.taught([*colour, np.ones((32, 32, 3))]), CaseError, "unlabelled image 9 has one value"),
    ]  # fmt: skip
    for call, error, sentence in bad:
        with pytest.raises(error, match=sentence):
            call()
    images, masks = zip(*(drawn(seed, colour=True) for seed in range(3)), strict=True)
    with pytest.raises(InputError, match='give them with expected="recoloured"'):
        Segmenter().adapt(images, masks, classes=CLASSES, methods=HEADS, unlabelled=colour)
