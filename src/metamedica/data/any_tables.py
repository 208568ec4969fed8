"""Tables of different columns in one collection: the columns lose their names, and a narrower table is filled up with zeros."""

from collections.abc import Mapping

import numpy as np
import torch

from metamedica.data.causal_tables import DrawnTable
from metamedica.data.collection import TaskCollection
from metamedica.data.task import Task
from metamedica.errors import InputError
from metamedica.types import MetaSplit

BLOCK = "cells"
MODALITY = "any_table"


def any_tables(tables: Mapping[str, DrawnTable], *, split: Mapping[str, MetaSplit] | None = None) -> TaskCollection:
    """Return a collection with a task a table, for learners that read columns without knowing them (modality `any_table`).

    Args:
        tables: name -> table.
        split: of the tasks.

    Raises:
        InputError: no table.
    """
    if not tables:
        raise InputError("got no table; give at least one")
    width = max(table.cells.shape[1] for table in tables.values())
    total = sum(len(table.labels) for table in tables.values())
    cells = torch.zeros(total, width)
    tasks, canonical, start = {}, [], 0
    for name, table in tables.items():
        rows = np.arange(start, start + len(table.labels))
        cells[start : start + len(rows), : table.cells.shape[1]] = table.cells
        tasks[name] = Task(name, "binary", rows, table.labels.numpy(), classes=("0", "1"))
        canonical += [f'{{"table": "{name}", "row": {row + 1}}}' for row in range(len(rows))]
        start += len(rows)
    return TaskCollection(MODALITY, canonical, features={BLOCK: cells}, tasks=tasks, split=dict(split or {}))


def table_of(tasks: TaskCollection, name: str) -> DrawnTable:
    """Return a binary task of a collection of modality `any_table` as a table; of the rows of one patient, the first.

    Raises:
        InputError: the collection is of another modality, or the task not binary.
    """
    task = tasks[name]
    if tasks.modality != MODALITY or task.kind != "binary":
        raise InputError(f"got a {task.kind} task of {tasks.modality}; give a binary one of {MODALITY}")
    keep = (
        np.arange(len(task))
        if task.groups is None
        else np.sort(np.unique(np.asarray(task.groups), return_index=True)[1])
    )
    cells = tasks.features[BLOCK][torch.from_numpy(task.rows[keep])].float()
    return DrawnTable(cells, torch.from_numpy(task.targets[keep]).long())
