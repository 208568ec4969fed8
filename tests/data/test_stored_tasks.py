"""Tasks survive the way to arrays and JSON values and back."""

import json

import numpy as np

from metamedica.data import stored_tasks
from metamedica.data.task import Task


def test_tasks_of_every_kind_come_back_as_they_were() -> None:
    tasks = {
        "a": Task("a", "regression", np.array([0, 2]), np.array([1.5, -2.0]), unit="mM", groups=("x", "y")),
        "b": Task("b", "binary", np.array([1, 0, 2]), np.array([0, 1, 1]), classes=("no", "yes"), family="f"),
    }
    about, arrays = stored_tasks.written(tasks)
    back = stored_tasks.read(json.loads(json.dumps(about)), arrays)
    assert list(back) == ["a", "b"]
    for name, task in tasks.items():
        assert back[name].rows.tolist() == task.rows.tolist()
        assert back[name].targets.tolist() == task.targets.tolist()
        assert (back[name].kind, back[name].classes, back[name].unit) == (task.kind, task.classes, task.unit)
        assert (back[name].family, back[name].groups) == (task.family, task.groups)


def test_no_task_is_no_array() -> None:
    about, arrays = stored_tasks.written({})
    assert stored_tasks.read(about, arrays) == {}
