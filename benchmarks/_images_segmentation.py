"""Segmentation from a few images and masks, for the benchmark of images: white blood cells under another stain, and vessels of the retina.

Protocols. Cells: 16 images of stain 1 with masks (background, cytoplasm, nucleus), drawn at random; judged is the whole cell on all 100 images of
stain 2. Once more after half of those images, without their masks, have taught the stain; judged is the other half, and the other way round.
Vessels: DRIVE at half size, green channel; 1, 5 or all 20 images of the training part; judged inside the field of view on the 20 of the test part.
Dice is a mean over judged images; its 95 % interval comes from drawing supports and judged images anew, 2,000 times. All 20 images are one support,
so there the interval is that of judged images. Floors are those of a random forest on pixels, at the same supports.
Settings were chosen without judged images: for vessels on the last 6 images of DRIVE's training part after learning from others of it, for cells on
stain 1 alone and on cells of stain 1 laid, in other colours and sizes, over blood smears of another collection (`rbc_diseases`; decisions/0020).
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, gaussian_gradient_magnitude
from sklearn.ensemble import RandomForestClassifier

from benchmarks._record import PARTS, SOURCE, say, version_of
from metamedica.applications.segmentation import SegmentationPredictor, Segmenter
from metamedica.applications.segmentation.augmentation import Expected
from metamedica.applications.segmentation.measures import dice
from metamedica.applications.segmentation.unet import Schedule
from metamedica.storage import replace_file

Array: TypeAlias = NDArray[Any]
FOREST_PIXELS = 20_000
_SCALES = (1.0, 2.0, 4.0)
CELLS = "white cells, stain 1 to 2"
VESSELS = "DRIVE vessels"
TAUGHT = "white cells, stain 1 to 2, and 50 of stain 2 without a mask"
SCHEDULES: Mapping[str, Schedule] = {CELLS: Schedule(steps=150), VESSELS: Schedule(steps=150)}
"""Chosen within 25 CPU minutes for all."""
METHODS: Mapping[str, tuple[str, ...] | None] = {CELLS: None, VESSELS: ("prototype", "ridge", "logistic", "boosted")}
"""To choose among; None is all. A network is left out of vessels for its time, a minute a draw; it was not tried beside the trees there."""
GOALS: Mapping[tuple[str, int], float | None] = {
    (CELLS, 16): 0.82,
    (TAUGHT, 16): None,
    (VESSELS, 1): 0.66,
    (VESSELS, 5): 0.73,
    (VESSELS, 20): 0.77,
}
FLOORS: Mapping[tuple[str, int], float] = {
    (CELLS, 16): 0.587,
    (TAUGHT, 16): 0.587,
    (VESSELS, 1): 0.517,
    (VESSELS, 5): 0.648,
    (VESSELS, 20): 0.702,
}
"""Floors as they were first measured; each run measures them again."""


@dataclass(frozen=True)
class Images:
    """Images, the class of each pixel, and the pixels that count."""

    images: Array
    masks: Array
    regions: Array

    def at(self, places: Array) -> "Images":
        """Return some of them."""
        return Images(self.images[places], self.masks[places], self.regions[places])


@dataclass(frozen=True)
class Question:
    """One protocol: what supports are drawn from, what is judged, the names of the classes, and what the segmenter is told of judged images."""

    name: str
    source: Images
    judged: Images
    classes: tuple[str, ...]
    expected: Expected


def cells(root: Path) -> Question:
    """Return the question of cells; `root` is the folder of images."""
    stains = []
    for number in (1, 2):
        with np.load(root / "wbc_seg" / f"wbc_dataset{number}_96.npz") as held:
            masks = held["masks"].astype(np.int64)
            stains.append(Images(held["images"], masks, np.ones(masks.shape, dtype=bool)))
    return Question(CELLS, stains[0], stains[1], ("background", "cytoplasm", "nucleus"), "recoloured")


def vessels(root: Path) -> Question:
    """Return the question of vessels; `root` is the folder of images."""
    with np.load(root / "drive_vessels" / "drive_green_half_282x292.npz") as held:
        every = Images(held["images"], (held["vessels"] > 127).astype(np.int64), held["fov"] > 127)
        training = held["split"] == "training"
    return Question(
        VESSELS,
        every.at(np.flatnonzero(training)),
        every.at(np.flatnonzero(~training)),
        ("background", "vessel"),
        "alike",
    )


Predict: TypeAlias = Callable[[Array, Array], Array]


def _ours(question: Question, support: Images, seed: int, schedule: Schedule) -> SegmentationPredictor:
    predictor = Segmenter(schedule=schedule, seed=seed).adapt(
        list(support.images),
        list(support.masks),
        classes=question.classes,
        regions=list(support.regions),
        methods=METHODS[question.name],
        expected=question.expected,
    )
    say(f"  {predictor.method}, on hidden images {predictor.dice}")
    return predictor


def _predict(predictor: SegmentationPredictor) -> Predict:
    return lambda image, region: predictor.predict(image, region=region).mask > 0


def _taught(predictor: SegmentationPredictor, judged: Images, seed: int) -> list[float]:
    """Return Dice of each judged image after the images beside it, every second one, have taught without masks."""
    found = np.zeros(len(judged.images))
    for half in (0, 1):
        others, asked = np.arange(1 - half, len(found), 2), np.arange(half, len(found), 2)
        after = predictor.taught(list(judged.images[others]), seed=seed)
        say(f"  {after.method}, learned from {after.n_unlabelled} images without a mask")
        found[asked] = _each(_predict(after), judged.at(asked))
    return [float(each) for each in found]


def _pixel_features(image: Array) -> Array:
    """Return intensity, blur, edges and texture at three scales (as scikit-image's `multiscale_basic_features`), `[pixels, features]`."""
    channels = [image.astype(float)] if image.ndim == 2 else [image[..., at].astype(float) for at in range(3)]
    found = []
    for channel in channels:
        found.append(channel)
        for scale in _SCALES:
            smooth = gaussian_filter(channel, scale)
            slopes = np.gradient(smooth)
            across, mixed, along = np.gradient(slopes[0])[0], np.gradient(slopes[0])[1], np.gradient(slopes[1])[1]
            root = np.sqrt(((across - along) / 2) ** 2 + mixed**2)
            middle = (across + along) / 2
            found += [smooth, gaussian_gradient_magnitude(channel, scale), middle + root, middle - root]
    return np.stack(found, axis=-1).reshape(-1, len(found))


def _forest(support: Images, seed: int) -> Predict:
    rng = np.random.default_rng(seed)
    features = np.concatenate([_pixel_features(image) for image in support.images])[support.regions.ravel()]
    labels = (support.masks > 0).ravel()[support.regions.ravel()]
    some = rng.permutation(len(labels))[:FOREST_PIXELS]
    forest = RandomForestClassifier(50, min_samples_leaf=2, max_features="sqrt", random_state=seed, n_jobs=1)
    forest.fit(features[some], labels[some])

    def predict(image: Array, region: Array) -> Array:
        found: Array = forest.predict(_pixel_features(image)).reshape(region.shape) & region
        return found

    return predict


def measured(question: Question, shots: int, draw: int, *, schedule: Schedule | None = None) -> dict[str, Any]:
    """Return one draw's figures: Dice of each judged image by the segmenter and by the forest, and CPU seconds of both."""
    places = np.random.default_rng([draw, shots]).permutation(len(question.source.images))[:shots]
    support, judged = question.source.at(places), question.judged
    began = time.process_time()
    ours = _ours(question, support, draw, schedule or SCHEDULES[question.name])
    found: dict[str, Any] = {"task": question.name, "shots": shots, "draw": draw, "method": ours.method}
    found["dice"] = _each(_predict(ours), judged)
    found["seconds"] = time.process_time() - began
    if question.expected == "recoloured":
        found["taught"] = _taught(ours, judged, draw)
    began = time.process_time()
    found["forest"] = _each(_forest(support, draw), judged)
    found["forest_seconds"] = time.process_time() - began
    say(
        f"{question.name}, {shots} shots, draw {draw}: {np.mean(found['dice']):.3f}, forest {np.mean(found['forest']):.3f}"
    )
    return found


def _each(predict: Predict, judged: Images) -> list[float]:
    pairs = zip(judged.images, judged.masks, judged.regions, strict=True)
    return [dice(predict(image, region) & region, (mask > 0) & region) for image, mask, region in pairs]


def interval(dices: Array, *, seed: int = 0) -> list[float]:
    """Return the 95 % interval of a mean over `[draws, images]`, both drawn anew 2,000 times."""
    rng = np.random.default_rng(seed)
    draws, images = dices.shape
    means = [dices[rng.integers(draws, size=draws)][:, rng.integers(images, size=images)].mean() for _ in range(2000)]
    return [float(each) for each in np.quantile(means, [0.025, 0.975])]


def row(found: Sequence[Mapping[str, Any]], *, taught: bool = False) -> dict[str, Any]:
    """Return the row of a task and number of shots from its draws; `taught`: after images without a mask."""
    task, shots = (TAUGHT if taught else found[0]["task"]), found[0]["shots"]
    ours, forest = (np.array([each[name] for each in found]) for name in ("taught" if taught else "dice", "forest"))
    value, wanted = float(ours.mean()), GOALS[task, shots]
    return {
        "task": task,
        "shots": shots,
        "dice": value,
        "interval": interval(ours),
        "floor": float(forest.mean()),
        "floor_interval": interval(forest),
        "first_floor": FLOORS[task, shots],
        "goal": wanted,
        "met": None if wanted is None else value >= wanted,
        "supports": len(found),
        "judged": ours.shape[1],
        "methods": ["self-trained"] if taught else sorted({each["method"] for each in found}),
        "each": [round(float(each), 4) for each in ours.mean(1)],
        "seconds": float(np.mean([each["seconds"] for each in found])),
    }


def rows(root: Path, *, fresh: bool = False) -> list[dict[str, Any]]:
    """Return the five rows of the full run; finished draws are kept under results/parts and taken from there unless `fresh`.

    Args:
        root: the folder of images, METAMEDICA_DATA/images.
        fresh: measure all anew.
    """
    plan = [(cells, 16, 5), (vessels, 1, 5), (vessels, 5, 5), (vessels, 20, 1)]
    found = []
    for build, shots, draws in plan:
        question = build(root)
        each = [_kept(question, shots, draw, fresh=fresh) for draw in range(draws)]
        found.append(row(each))
        if "taught" in each[0]:
            found.append(row(each, taught=True))
    return found


def quick_rows(root: Path) -> list[dict[str, Any]]:
    """Return the row of cells from one draw, a network of few steps and 16 judged images, in well under a minute."""
    question = cells(root)
    some = Question(
        question.name, question.source, question.judged.at(np.arange(16)), question.classes, question.expected
    )
    found = [measured(some, 16, 0, schedule=Schedule(steps=12, crops=4, width=8))]
    return [row(found), row(found, taught=True)]


def _kept(question: Question, shots: int, draw: int, *, fresh: bool) -> dict[str, Any]:
    settings = {
        "schedule": repr(SCHEDULES[question.name]),
        "forest": FOREST_PIXELS,
        "bench": Path(__file__).read_text(encoding="utf-8"),
    }
    version = version_of(SOURCE, "applications/segmentation/segmenter.py", settings=settings)
    name = f"segmentation-{question.name.split()[0].lower()}-{shots}-{draw}-{version}.json"
    path = PARTS / name
    if path.exists() and not fresh:
        kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return kept
    found = measured(question, shots, draw)
    replace_file(path, (json.dumps(found) + "\n").encode())
    return found
