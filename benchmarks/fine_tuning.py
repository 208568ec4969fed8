"""What fine-tuning by support size gains on images that may be looked at, beside other learners: `python -m benchmarks.fine_tuning METHOD`.

Learned from: pairs of four common shapes of Chula and of BCCD. Chosen by (meta-valid): pairs of white cells, stain 1. Judged: three other
common shapes of Chula, three-way, the same episodes for every method. What `benchmarks/images.py` judges is not looked at. Prints a table row a
number of shots.
"""

import argparse
from collections.abc import Iterator
from itertools import combinations

import numpy as np
import torch

from benchmarks._images_classification import featurised, scored
from benchmarks._images_episodes import Judged, drawn
from benchmarks._images_sets import CELLS, Labelled, learned_from
from benchmarks._record import say
from metamedica.data.collection import TaskCollection
from metamedica.data.task import Task
from metamedica.learners.fine_tuned_prototypes import FineTunedPrototypes
from metamedica.meta_learner import MetaLearner
from metamedica.modalities.images import Images
from metamedica.predictors.method import LearnerMethod
from metamedica.predictors.model import LearnerSpec
from metamedica.types import Features, MetaSplit

LEARNED, HELD_OUT = (0, 1, 2, 3), (4, 5, 6)
"""Of the common shapes of Chula, by their position."""
SCRATCH = "leave_one_out_gp"
SHOTS = {1: 40, 5: 40, 20: 20}
"""Labelled images a class -> episodes."""
SIDE, WIDTH, STEPS = 32, 16, 150


def parts() -> Iterator[tuple[Labelled, tuple[int, ...], MetaSplit]]:
    """Yield each set with the classes of it that are learned from."""
    sets = {each.name: each for each in learned_from(CELLS)}
    yield sets["chula_rbc12_cells"], LEARNED, "meta_train"
    yield sets["bccd_crops"], (0, 1, 2), "meta_train"
    yield sets["wbc_stain1"], (0, 1, 2, 3), "meta_valid"


def collection(reader: Images) -> TaskCollection:
    """Return each pair of classes as a task."""
    kept = [(each, classes, split, np.isin(each.labels, classes)) for each, classes, split in parts()]
    prepared = reader.prepare([image for each, _, _, here in kept for image in each.pixels[here]])
    tasks: dict[str, Task] = {}
    splits: dict[str, MetaSplit] = {}
    at = 0
    for each, classes, split, here in kept:
        labels = each.labels[here]
        rows, first = np.unique(np.array(prepared.row[at : at + len(labels)]), return_index=True)
        at += len(labels)
        labels = labels[first]
        for pair in combinations(classes, 2):
            chosen = np.isin(labels, pair)
            names = (each.classes[pair[0]], each.classes[pair[1]])
            name = f"{each.name}: {names[0]} or {names[1]}"
            targets = np.searchsorted(pair, labels[chosen]).astype(np.int64)
            tasks[name] = Task(name, "binary", rows[chosen], targets, classes=names, family=each.name)
            splits[name] = split
    return TaskCollection(
        "images", prepared.canonical, features=prepared.features, tasks=tasks, split=splits, settings=reader.settings()
    )


def judged(shots: int) -> Judged:
    """Return the episodes on the held-out shapes."""
    held = next(each for each, _, _ in parts())
    here = np.isin(held.labels, HELD_OUT)
    _, labels = np.unique(held.labels[here], return_inverse=True)
    groups = np.arange(len(labels))
    name = "held-out shapes"
    return drawn(name, list(held.pixels[here]), labels, groups, shots=shots, episodes=SHOTS[shots], seed=5)


def features(reader: Images, task: Judged, *, pixels: bool) -> Features:
    """Return the blocks of every image, the pixels themselves among them where they are wanted."""
    if not pixels:
        return featurised(reader, task)
    prepared = reader.prepare(task.pixels)
    found = {**prepared.features, **reader.blocks(("image",), prepared.canonical)}
    return {name: block[torch.tensor(prepared.row)].float() for name, block in found.items()}


def main() -> None:
    """Fit one method and print how it does."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("method", help=f"a learner that has an encoder, or {SCRATCH}, from scratch at full size")
    asked.add_argument("--steps", type=int, default=STEPS, help="of the meta-training")
    asked.add_argument("--seed", type=int, default=0)
    given = asked.parse_args()
    learned = given.method != SCRATCH
    reader = Images(side=SIDE) if learned else Images()
    if learned:
        model = MetaLearner(
            given.method,
            encoder="conv4",
            encoder_settings={"width": WIDTH},
            steps=given.steps,
            support=(4, 10, 20, 40),
            query=24,
            tasks_per_batch=6,
            validate_every=50,
            guard=False,
            seed=given.seed,
        ).fit(collection(reader))
        learner = model.model_.learner
    else:
        learner = LearnerSpec(SCRATCH, "mlp", {}, {}, 1).build(reader).eval()
    if isinstance(learner, FineTunedPrototypes):
        say(f"gains vouched for, sizes {learner.sizes} by steps and rates:\n{learner.vouched.numpy().round(3)}")
    known: Features | None = None
    for shots in SHOTS:
        task = judged(shots)
        known = features(reader, task, pixels=learned) if known is None else known
        found = scored(LearnerMethod(learner), known, task)
        low, high = found.accuracy_interval
        say(f"| {given.method} | {shots} | {found.accuracy:.3f} ({low:.3f} to {high:.3f}) |")


if __name__ == "__main__":
    main()
