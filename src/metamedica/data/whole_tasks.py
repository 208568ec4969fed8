"""Whole tasks one after the other, standardised: what learners are given that are fitted in closed form."""

from collections.abc import Sequence
from typing import overload

import numpy as np

from metamedica.data.collection import TaskCollection
from metamedica.data.draws import LEAST_CASES, why_not_drawn
from metamedica.data.episodes import labelled
from metamedica.data.task import Task
from metamedica.functional.targets import scale_of, standardise
from metamedica.types import LabelledBatch


class WholeTasks(Sequence[LabelledBatch]):
    """Tasks of a collection, each a batch of its own, gathered when asked for; nothing is kept.

    Tasks with fewer than 4 cases are left out, and those with one target value only: measured tasks always, and tasks with classes unless a
    single one is enough.

    Args:
        collection: raw units.
        names: the tasks.
        binary: whether regression tasks come a second time, after all others, as binary ones: 1 above their median.
        least_classes: that a task with classes must show.
    """

    def __init__(
        self, collection: TaskCollection, names: Sequence[str], *, binary: bool, least_classes: int = 2
    ) -> None:
        self.collection = collection
        tasks = [task for task in (collection[name] for name in names) if _tells(task, least_classes)]
        if binary:
            tasks += [task.binarised("median") for task in tasks if task.kind == "regression"]
        self.tasks = [task for task in tasks if _tells(task, least_classes)]

    def __len__(self) -> int:
        return len(self.tasks)

    @overload
    def __getitem__(self, at: int) -> LabelledBatch: ...

    @overload
    def __getitem__(self, at: slice) -> list[LabelledBatch]: ...

    def __getitem__(self, at: int | slice) -> LabelledBatch | list[LabelledBatch]:
        """Return the task at this place, or the tasks of a slice."""
        if isinstance(at, slice):
            return [self[place] for place in range(len(self))[at]]
        task = self.tasks[at]
        batch = labelled(self.collection, [task], [np.arange(len(task))])
        return standardise(batch, scale_of(batch))


def _tells(task: Task, least_classes: int) -> bool:
    if task.kind != "regression" and least_classes < 2:
        return len(task) >= LEAST_CASES
    return why_not_drawn(task, None, LEAST_CASES) is None


def whole_task(tasks: TaskCollection, name: str) -> LabelledBatch:
    """Return all cases of a task as a batch of its own, in its unit."""
    task = tasks.tasks[name]
    return labelled(tasks, [task], [np.arange(len(task))])


def usual_scales(tasks: TaskCollection, names: Sequence[str]) -> dict[str, float]:
    """Return, per unit, the root mean variance of the regression tasks with that unit."""
    variances: dict[str, list[float]] = {}
    for name in names:
        task = tasks.tasks[name]
        if task.kind == "regression" and task.unit is not None and len(task.targets) > 2:
            variances.setdefault(task.unit, []).append(float(np.var(task.targets, ddof=1)))
    return {unit: float(np.sqrt(np.mean(values))) for unit, values in variances.items() if np.mean(values) > 0}
