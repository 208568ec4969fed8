"""Images in tasks of two classes, seen through a small network: what heat maps are tried on."""

from typing import Any

import numpy as np
import pytest
import torch
from tests.tiny_predictors import narrow_images

from metamedica import registry
from metamedica.data.collection import Task, TaskCollection
from metamedica.meta_learner import MetaLearner
from metamedica.modalities.images import Images, patches
from metamedica.modalities.images import modality as image_modality
from metamedica.modalities.images.network import Network
from metamedica.modalities.images.outline import SIZE as OUTLINE
from metamedica.predictors.calibration import Calibration
from metamedica.predictors.predictor import Predictor

SIDE = 64
SQUARE = 20


def planted(n: int, *, seed: int) -> tuple[list[np.ndarray], list[str], list[tuple[int, int]]]:
    """Return noise with a square of standing or lying stripes somewhere, in turn, which of them it is, and the square's top left corner."""
    random = np.random.default_rng(seed)
    images, labels, corners = [], [], []
    stripes = np.where(np.arange(SQUARE) // 2 % 2, 235, 20)
    for number in range(n):
        image = random.integers(90, 160, (SIDE, SIDE)).astype(np.uint8)
        top, left = (int(each) for each in random.integers(0, SIDE - SQUARE + 1, 2))
        image[top : top + SQUARE, left : left + SQUARE] = stripes[:, None] if number % 2 else stripes
        images.append(image)
        labels.append("lying" if number % 2 else "standing")
        corners.append((top, left))
    return images, labels, corners


def narrow(patch: pytest.MonkeyPatch, *, grid: int = 2) -> None:
    """Read images by few numbers that are quick to make, and their patches as a grid of so many a side."""
    narrow_images(patch)
    patch.setattr(image_modality, "outlines", lambda squares: np.zeros((len(squares), OUTLINE), np.float32))
    patch.setattr(patches, "GRID", grid)


def network(*, side: int = SIDE, width: int = 8) -> Network:
    """Return a residual network with weights by chance."""
    settings = {"layers": 10, "width": width, "groups": 2}
    torch.manual_seed(0)
    made = registry.encoder_class("resnet")((3, side, side), **settings)
    dim = 8 * width
    return Network("resnet", settings, side, dict(made.state_dict()), torch.zeros(dim), torch.ones(dim), {})


def stripes_network() -> Network:
    """Return a residual network that is known: maps 0 and 1 answer to standing stripes of two phases, 2 and 3 to lying ones."""
    settings = {"layers": 10, "width": 4, "norm": "fixed"}
    made = registry.encoder_class("resnet")((3, SIDE, SIDE), **settings)
    weights = {name: torch.zeros_like(value) for name, value in made.state_dict().items()}
    for name, value in weights.items():
        if name.endswith(("norm.weight", "norm.variance")):
            value.fill_(1.0)
        if "shortcut.convolution" in name:  # the four maps go on, every second place of them
            value[:4, :4, 0, 0] = torch.eye(4)
    edge = torch.tensor([[-1.0, 0.0, 1.0]]).expand(3, 3)
    weights["stem.convolution.weight"] += torch.stack([edge, -edge, edge.T, -edge.T])[:, None] / 9
    weights["stem.norm.bias"] -= 1.0  # noise says nothing
    spread = torch.full((32,), 0.05)
    return Network("resnet", settings, SIDE, weights, torch.zeros(32), spread, {})


def tasks(*, seen: Network | None, n_tasks: int = 3, n_cases: int = 16) -> TaskCollection:
    """Return tasks of planted squares; the last one is meta-valid."""
    images, labels, _ = planted(n_tasks * n_cases, seed=3)
    reader = Images(side=SIDE, network=seen)
    prepared = reader.prepare(images)
    assert len(prepared.canonical) == len(images)
    made, classes = {}, ("lying", "standing")
    for number in range(n_tasks):
        rows = np.arange(number * n_cases, (number + 1) * n_cases)
        values = np.array([classes.index(labels[row]) for row in rows])
        made[f"t{number}"] = Task(f"t{number}", "binary", rows, values, classes=classes)
    split = {name: "meta_valid" if name == f"t{n_tasks - 1}" else "meta_train" for name in made}
    return TaskCollection(
        "images", prepared.canonical, features=prepared.features, tasks=made, split=split, settings=reader.settings()  # type: ignore[arg-type]
    )  # fmt: skip


def predictor(
    learner: str, *, seen: Network | None, guard: bool = False, calibration: Calibration = "none", **settings: Any
) -> Predictor:
    """Return a learner after a step, or as many as are asked for, adapted to twelve images of planted squares."""
    usual = {"steps": 1, "tasks_per_batch": 2, "support": (6,), "query": 4, "binary_share": 0.0}
    model = MetaLearner(learner, guard=guard, **{**usual, **settings}).fit(tasks(seen=seen))
    images, labels, _ = planted(12, seed=8)
    return model.adapt(images, labels, positive="standing", calibration=calibration)
