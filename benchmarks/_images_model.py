"""The earlier tasks of images as a collection, and the meta-model that learns from them: what is judged, and what ships."""

from itertools import combinations

import numpy as np

from benchmarks._images_sets import CELLS, SCANS, learned_from
from metamedica.data.collection import TaskCollection
from metamedica.data.task import Task
from metamedica.meta_learner import MetaLearner
from metamedica.modalities.images import Images
from metamedica.modalities.images.network import Network

DOMAINS = {"scans": SCANS, "cells": CELLS}


def earlier_tasks(names: tuple[str, ...], network: Network | None) -> TaskCollection:
    """Return each set and each pair of its classes as a task; gates are fitted by leaving some out in turn, so that all are meta-train."""
    reader = Images() if network is None else Images(side=network.side, network=network)
    sets = list(learned_from(names))
    prepared = reader.prepare([image for each in sets for image in each.pixels])
    if prepared.problems:
        raise ValueError(f"{len(prepared.problems)} images cannot be read")
    tasks: dict[str, Task] = {}
    at = 0
    for each in sets:
        rows = np.array(prepared.row[at : at + len(each.labels)])
        at += len(each.labels)
        _, first = np.unique(rows, return_index=True)  # equal pixels are one case
        rows, labels = rows[first], each.labels[first]
        all_of_them = [tuple(range(len(each.classes)))] if len(each.classes) > 2 else []
        for chosen in (*all_of_them, *combinations(range(len(each.classes)), 2)):
            here = np.isin(labels, chosen)
            name = f"{each.name}: {' or '.join(each.classes[label] for label in chosen)}"
            tasks[name] = Task(
                name,
                "binary" if len(chosen) == 2 else "multiclass",
                rows[here],
                np.searchsorted(chosen, labels[here]).astype(np.int64),
                classes=tuple(each.classes[label] for label in chosen),
                family=each.name,
            )
    return TaskCollection(
        "images",
        prepared.canonical,
        features=prepared.features,
        tasks=tasks,
        split=dict.fromkeys(tasks, "meta_train"),
        settings=reader.settings(),
    )


def fitted(tasks: TaskCollection, learner: str, *, seed: int = 0, steps: int = 400) -> MetaLearner:
    """Return the meta-model of these tasks."""
    made = MetaLearner(learner, steps=steps, support=(4, 8, 16, 32), query=32, tasks_per_batch=8, seed=seed)
    return made.fit(tasks)
