"""Whole tasks: every case once, standardised, and a second time as classes."""

import numpy as np
import pytest
import torch

from metamedica.data.collection import Task, TaskCollection
from metamedica.data.whole_tasks import WholeTasks


@pytest.fixture
def collection() -> TaskCollection:
    features = {"x": torch.arange(20, dtype=torch.float32)[:, None]}
    rows = [np.arange(3, 12), np.arange(2), np.arange(6), np.arange(5, 15)]
    targets = [np.arange(9.0) + 4, np.zeros(2), np.full(6, 7.0), (np.arange(10) > 6).astype(np.int64)]
    tasks = {
        "potency": Task("potency", "regression", rows[0], targets[0], unit="-log10 M"),
        "small": Task("small", "regression", rows[1], targets[1]),
        "flat": Task("flat", "regression", rows[2], targets[2]),
        "toxic": Task("toxic", "binary", rows[3], targets[3], classes=("no", "yes")),
    }
    return TaskCollection("synthetic", [str(row) for row in range(20)], features=features, tasks=tasks)


def test_each_task_comes_whole_and_standardised_and_what_says_nothing_is_left_out(collection: TaskCollection) -> None:
    tasks = WholeTasks(collection, collection.names(), binary=False)
    assert len(tasks) == 2
    potency, toxic = tasks
    assert torch.equal(potency.features["x"][0, :, 0], torch.arange(3.0, 12.0))
    assert float(potency.targets.mean()) == pytest.approx(0, abs=1e-6)
    assert float(potency.targets.std()) == pytest.approx(1)
    assert bool(potency.mask.all())
    assert toxic.kind == "binary"
    assert toxic.targets[0].tolist() == [0] * 7 + [1] * 3


def test_regression_tasks_come_again_as_classes_about_their_median(collection: TaskCollection) -> None:
    tasks = WholeTasks(collection, collection.names(), binary=True)
    assert [task.kind for task in tasks] == ["regression", "binary", "binary"]
    assert tasks[2].targets[0].tolist() == [0] * 5 + [1] * 4
    assert tasks[2].n_classes == 2
    assert [task.kind for task in tasks[1:]] == ["binary", "binary"]


def test_a_task_whose_median_is_its_highest_value_comes_once() -> None:
    capped = Task("capped", "regression", np.arange(5), np.array([1.0, 2, 2, 2, 2]))
    one = TaskCollection("synthetic", list("abcde"), features={"x": torch.zeros(5, 1)}, tasks={"capped": capped})
    assert [task.kind for task in WholeTasks(one, ["capped"], binary=True)] == ["regression"]


def test_a_task_of_one_class_comes_where_one_is_enough() -> None:
    tasks = {
        "both": Task("both", "binary", np.arange(6), np.array([0, 1, 0, 1, 0, 1]), classes=("0", "1")),
        "one": Task("one", "binary", np.arange(6), np.zeros(6, dtype=np.int64), classes=("0", "1")),
        "flat": Task("flat", "regression", np.arange(6), np.ones(6)),
    }
    features = {"vector": torch.zeros(6, 2)}
    collection = TaskCollection("synthetic", list("abcdef"), features=features, tasks=tasks)
    names = list(tasks)
    assert [task.name for task in WholeTasks(collection, names, binary=False).tasks] == ["both"]
    assert [task.name for task in WholeTasks(collection, names, binary=False, least_classes=1).tasks] == ["both", "one"]
