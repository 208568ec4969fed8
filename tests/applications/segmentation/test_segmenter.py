"""A predictor from a few drawn images and masks: right, calibrated, repeatable, saved and loaded; bad input is refused in one sentence."""

from pathlib import Path

import numpy as np
import pytest
from tests.drawn_cells import drawn

from metamedica.applications.segmentation import SegmentationPredictor, SegmentationTask, Segmenter
from metamedica.applications.segmentation.earlier import MetaSchedule
from metamedica.applications.segmentation.measures import dice
from metamedica.applications.segmentation.unet import Schedule
from metamedica.errors import BundleError, CaseError, InputError, TaskError

SHORT = Schedule(steps=6, crops=2, side=32, width=4)
HEADS = ("prototype", "logistic")
CLASSES = ("background", "cytoplasm", "nucleus")


@pytest.fixture(scope="module")
def predictor() -> SegmentationPredictor:
    pairs = [drawn(seed) for seed in range(3)]
    return Segmenter(schedule=SHORT).adapt([image for image, _ in pairs], [mask for _, mask in pairs], classes=CLASSES)


def test_three_drawn_cells_teach_to_segment_another(predictor: SegmentationPredictor) -> None:
    image, mask = drawn(99)
    found = predictor.predict(image)
    assert set(predictor.dice) == {"prototype", "ridge", "logistic", "boosted", "network"}
    assert predictor.dice[predictor.method] >= max(predictor.dice.values()) - 0.015
    assert dice(found.mask > 0, mask > 0) > 0.85
    assert dice(found.mask == 2, mask == 2) > 0.7


def test_probabilities_sum_to_one_and_entropy_lies_between_0_and_1(predictor: SegmentationPredictor) -> None:
    found = predictor.predict(drawn(98)[0])
    assert found.probabilities.shape == (3, 32, 32)
    np.testing.assert_allclose(found.probabilities.sum(0), 1, atol=1e-5)
    assert found.uncertainty.min() >= 0
    assert found.uncertainty.max() <= 1
    edge = (found.mask != np.roll(found.mask, 1, axis=0)) & (found.mask > 0)
    assert found.uncertainty[edge].mean() > found.uncertainty.mean()


def test_a_region_is_kept_to(predictor: SegmentationPredictor) -> None:
    image, _ = drawn(97)
    region = np.zeros((32, 32), dtype=bool)
    region[:, :16] = True
    found = predictor.predict(image, region=region)
    assert not found.mask[:, 16:].any()
    assert (found.probabilities[0, :, 16:] == 1).all()
    assert found.mask[:, :16].any()


def test_the_same_seed_gives_the_same_network_and_another_seed_another() -> None:
    image, mask = drawn(1)
    said = [
        Segmenter(schedule=SHORT, seed=seed).adapt([image], [mask], classes=CLASSES, methods=["network"]).predict(image)
        for seed in (0, 0, 1)
    ]
    assert (said[0].probabilities == said[1].probabilities).all()
    assert (said[0].probabilities != said[2].probabilities).any()


def test_one_image_is_judged_by_its_halves() -> None:
    image, mask = drawn(2)
    predictor = Segmenter().adapt([image], [mask], classes=CLASSES, methods=HEADS)
    assert set(predictor.dice) == set(HEADS)
    assert predictor.n_images == 1


def test_a_predictor_comes_back_from_disk_with_the_same_answers(
    predictor: SegmentationPredictor, tmp_path: Path
) -> None:
    image = drawn(96)[0]
    network = Segmenter(schedule=SHORT).adapt([image], [drawn(96)[1]], classes=CLASSES, methods=["network"])
    for each in (predictor, network):
        folder = tmp_path / each.method
        each.save(folder)
        again = SegmentationPredictor.load(folder)
        assert (again.predict(image).probabilities == each.predict(image).probabilities).all()
        assert again.report() == each.report()
        assert again.bands == each.bands


def test_a_damaged_predictor_is_refused(predictor: SegmentationPredictor, tmp_path: Path) -> None:
    predictor.save(tmp_path / "p")
    file = tmp_path / "p" / "weights.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(BundleError, match="changed or damaged"):
        SegmentationPredictor.load(tmp_path / "p")


def test_earlier_tasks_offer_a_start_that_is_saved(tmp_path: Path) -> None:
    pairs = [drawn(seed, colour=True) for seed in range(2)]
    earlier = SegmentationTask([image for image, _ in pairs], [np.minimum(mask, 1) for _, mask in pairs])
    segmenter = Segmenter(schedule=SHORT, meta=MetaSchedule(steps=2, crops=2)).fit([earlier])
    segmenter.save(tmp_path / "s")
    image, mask = drawn(5)
    answers = [
        each.adapt([image], [mask], classes=CLASSES, methods=["transferred"]).predict(image).probabilities
        for each in (segmenter, Segmenter.load(tmp_path / "s"))
    ]
    assert (answers[0] == answers[1]).all()


def test_a_start_without_earlier_tasks_is_refused() -> None:
    image, mask = drawn(5)
    with pytest.raises(InputError, match="choose among prototype, ridge, logistic, boosted, network"):
        Segmenter().adapt([image], [mask], classes=CLASSES, methods=["transferred"])
    with pytest.raises(TaskError, match="got no earlier task"):
        Segmenter().fit([])


def _bad() -> dict[str, tuple[list[np.ndarray], list[np.ndarray], str]]:
    image, mask = drawn(0)
    holed = image.copy()
    holed[0, 0] = np.nan
    return {
        "no image": ([], [], "got no image"),
        "fewer masks": ([image], [], "1 images, 0 masks"),
        "size of the mask": ([image], [mask[:-1]], "mask 1 is 31 x 32, its image 32 x 32"),
        "undeclared value": ([image], [mask + 1], "holds the value 3, declared are 0 ... 2"),
        "no whole number": ([image], [mask + 0.5], "no whole numbers"),
        "one class": ([image], [np.zeros_like(mask)], "every labelled pixel of the support is of class 0"),
        "nothing labelled": ([image], [np.full_like(mask, -1)], "no labelled pixel"),
        "NaN": ([holed], [mask], "1 values that are NaN"),
        "grey and colour": ([image, np.stack([image] * 3, -1)], [mask, mask], "grey and colour images"),
        "tiny": ([image[:8, :8]], [mask[:8, :8]], "8 x 8 pixels"),
        "flat": ([np.ones((32, 32))], [mask], "one value in every pixel"),
        "channels": ([np.stack([image] * 4, -1)], [mask], "shape"),
        "words": ([np.full((32, 32), "a")], [mask], "give numbers"),
    }


@pytest.mark.parametrize("case", sorted(_bad()))
def test_a_support_that_cannot_be_used_is_refused(case: str) -> None:
    images, masks, sentence = _bad()[case]
    with pytest.raises((CaseError, TaskError), match=sentence):
        Segmenter().adapt(images, masks, classes=CLASSES)


def test_a_region_of_another_size_or_without_pixel_is_refused() -> None:
    image, mask = drawn(0)
    with pytest.raises(CaseError, match="the region of image 1 is 2 x 2"):
        Segmenter().adapt([image], [mask], classes=CLASSES, regions=[np.ones((2, 2))])
    with pytest.raises(CaseError, match="holds no pixel"):
        Segmenter().adapt([image], [mask], classes=CLASSES, regions=[np.zeros((32, 32))])


def test_a_colour_image_is_refused_after_a_grey_support(predictor: SegmentationPredictor) -> None:
    with pytest.raises(CaseError, match="the image is colour, the support was grey"):
        predictor.predict(drawn(0, colour=True)[0])


def test_an_image_may_show_no_structure_where_another_does() -> None:
    pairs = [drawn(seed) for seed in range(2)]
    empty = np.full((32, 32), 0.9) + 0.05 * np.random.default_rng(0).standard_normal((32, 32))
    predictor = Segmenter().adapt(
        [*(image for image, _ in pairs), empty],
        [*(mask for _, mask in pairs), np.zeros((32, 32), dtype=int)],
        classes=CLASSES,
        methods=HEADS,
    )
    assert (predictor.predict(empty).mask > 0).mean() < 0.05
