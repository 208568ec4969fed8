"""Tasks as the arrays and JSON values that a file keeps, and back."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metamedica.data.task import Task


def written(tasks: Mapping[str, Task]) -> tuple[list[dict[str, Any]], dict[str, Tensor]]:
    """Return what is said of each task, and `rows` and `targets` of all tasks one after the other."""
    about = [
        {
            "name": task.name,
            "cases": len(task),
            "kind": task.kind,
            "classes": task.classes,
            "unit": task.unit,
            "family": task.family,
            "groups": task.groups,
            "about": task.about,
        }
        for task in tasks.values()
    ]
    rows = np.concatenate([np.empty(0, np.int64), *(task.rows for task in tasks.values())])
    targets = np.concatenate([np.empty(0), *(task.targets.astype(np.float64) for task in tasks.values())])
    return about, {"rows": torch.from_numpy(rows), "targets": torch.from_numpy(targets)}


def read(about: list[dict[str, Any]], stored: dict[str, Tensor]) -> dict[str, Task]:
    """Return the tasks that `written` told.

    Raises:
        KeyError, TypeError, TaskError: the parts do not fit together.
    """
    rows, targets = stored["rows"].numpy(), stored["targets"].numpy()
    tasks: dict[str, Task] = {}
    start = 0
    for each in about:
        end = start + each["cases"]
        here = targets[start:end]
        tasks[each["name"]] = Task(
            each["name"],
            each["kind"],
            rows[start:end],
            here if each["kind"] == "regression" else here.astype(np.int64),
            None if each["classes"] is None else tuple(each["classes"]),
            each["unit"],
            each["family"],
            None if each["groups"] is None else tuple(each["groups"]),
            each.get("about"),  # none in collections of before
        )
        start = end
    return tasks
