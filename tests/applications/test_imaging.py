"""Reading images with a few labelled ones: every image has its answer, sets, reasons and likeness, and a page that shows them."""

from pathlib import Path

import numpy as np
import pytest

from metamedica.applications.imaging import read_images, write_reading
from metamedica.errors import CaseError, InputError, TaskError
from metamedica.meta_learner import MetaLearner, shipped_models
from metamedica.predictors.predictor import Predictor

pytestmark = pytest.mark.skipif("cells" not in shipped_models(), reason="the model cells does not ship")


def _cells(n: int, *, round_one: bool, seed: int) -> list[np.ndarray]:
    """Dark discs, or bars, on a light ground with noise."""
    random, found = np.random.default_rng(seed), []
    y, x = np.mgrid[:64, :64] - 31.5
    for _ in range(n):
        inside = np.hypot(x, y) < random.uniform(12, 17)
        if not round_one:
            turn = random.uniform(0, np.pi)
            along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
            inside = (np.abs(along) < random.uniform(22, 27)) & (np.abs(across) < random.uniform(5, 7))
        image = np.where(inside[..., None], [150, 90, 110], [225, 220, 215]) + random.normal(0, 6, (64, 64, 3))
        found.append(image.clip(0, 255).astype(np.uint8))
    return found


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    """Adapted to five discs and five bars."""
    images = [*_cells(5, round_one=True, seed=0), *_cells(5, round_one=False, seed=1)]
    return MetaLearner.load("cells").adapt(images, ["disc"] * 5 + ["bar"] * 5, positive="bar")


def test_ten_labelled_images_tell_discs_from_bars_and_the_page_shows_every_image(
    predictor: Predictor, tmp_path: Path
) -> None:
    images = [*_cells(6, round_one=True, seed=2), *_cells(6, round_one=False, seed=3)]
    truths = ["disc"] * 6 + ["bar"] * 6
    reading = read_images(predictor, images, truths=truths, explained=1, coalitions=130)
    assert reading.support == {"disc": 5, "bar": 5}
    assert [each.prediction for each in reading.answers] == truths
    assert reading.confusion().loc["disc", "disc"] == 6
    assert reading.confusion().to_numpy().sum() == 12
    assert "network that was trained on 1,050 of chula_rbc12_cells" in reading.trust
    (explained,) = [each for each in reading.answers if each.explanation is not None]
    assert explained.explanation is not None
    assert explained.explanation.contributions.shape == (64,)
    assert explained.grad_cam is not None
    assert explained.grad_cam.label == explained.explanation.label == explained.prediction
    assert reading.no_grad_cam == ""
    assert all(len(each.looks_like) == 3 for each in reading.answers)
    write_reading(reading, tmp_path / "page.html", title="Discs <and> bars")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Discs &lt;and&gt; bars" in page
    assert "12 of 12 images are called what they are" in page
    assert page.count("image 1") >= 1
    assert "this part looks like that part of labelled image" in page
    assert "Occlusion: what each patch adds to the whole answer" in page
    assert page.count("Grad-CAM: ") == 1
    assert "the network&#39;s share alone" in page
    assert "http:" not in page.replace("http://www.w3.org", "")  # nothing is fetched
    assert "https:" not in page
    assert reading.as_dict()["images"][0]["truth"] == "disc"


def test_most_of_the_reasons_lie_on_the_object(predictor: Predictor) -> None:
    (image,) = _cells(1, round_one=False, seed=5)
    (explanation,) = predictor.explain([image], coalitions=400)
    weight = np.abs(explanation.contributions).reshape(8, 8)
    inside = np.asarray(image.mean(2) < 170).reshape(8, 8, 8, 8).mean((1, 3)) > 0.1
    assert weight[inside].mean() > 1.5 * weight[~inside].mean()  # grey levels of the whole image have a say too


def test_images_without_classes_are_read_and_broken_ones_are_named(predictor: Predictor) -> None:
    images = [*_cells(2, round_one=True, seed=2), b"PK\x03\x04"]
    with pytest.raises(CaseError, match=r"1 of 3 images cannot be read; the first, image 3: .* zip"):
        read_images(predictor, images, explained=0)
    reading = read_images(predictor, images, explained=0, skip_invalid=True)
    assert [name for name, _ in reading.left_out] == ["image 3"]
    assert [each.name for each in reading.answers] == ["image 1", "image 2"]
    with pytest.raises(TaskError, match="no image came with its class"):
        reading.confusion()


def test_what_does_not_fit_is_refused(predictor: Predictor) -> None:
    images = _cells(2, round_one=True, seed=2)
    for given, error, told in (
        ({"names": ["one"]}, InputError, "got 1 names for 2 images; give one each"),
        ({"truths": ["disc"]}, InputError, "got 1 classes for 2 images"),
        ({"truths": ["disc", "ring"]}, TaskError, "image 2 is said to be 'ring', and the classes are disc, bar"),
    ):
        with pytest.raises(error, match=told):
            read_images(predictor, images, **given)
    with pytest.raises(InputError, match="no image came"):
        read_images(predictor, [])
    table = MetaLearner.load("heart")
    assert table.model_.modality.name == "tables"
