"""Tables of different columns in one collection, and back."""

import numpy as np
import pandas as pd
import pytest
import torch

from metamedica.data.any_tables import any_tables, table_of
from metamedica.data.causal_tables import DrawnTable
from metamedica.data.collection import TaskCollection
from metamedica.data.synthetic import linear_tasks
from metamedica.errors import InputError, TaskError


def _table(rows: int, columns: int) -> DrawnTable:
    cells = torch.from_numpy(np.random.default_rng(columns).normal(size=(rows, columns))).float()
    return DrawnTable(cells, torch.arange(rows) % 2)


def test_tables_of_different_columns_become_one_collection_and_come_back() -> None:
    tables = {"a": _table(120, 6), "b": _table(30, 2)}
    tasks = any_tables(tables, split={"a": "meta_train", "b": "meta_valid"})
    assert tasks.names("meta_valid") == ["b"]
    assert tasks.features["cells"].shape == (150, 6)
    back = table_of(tasks, "b")
    assert torch.equal(back.cells[:, :2], tables["b"].cells)
    assert not back.cells[:, 2:].any()
    assert torch.equal(back.labels, tables["b"].labels)
    assert tasks.reader().name == "any_table"


def test_of_one_patients_rows_a_table_keeps_the_first() -> None:
    frame = pd.DataFrame({"age": [50, 51, 60, 70], "who": ["p", "p", "q", "r"], "dead": [0, 0, 1, 1]})
    tasks = TaskCollection.from_table(
        frame, modality="any_table", case=["age"], target="dead", group="who", kind="binary", name="t"
    )
    assert table_of(tasks, "t").labels.tolist() == [0, 1, 1]


def test_no_table_and_an_unknown_name_are_refused() -> None:
    with pytest.raises(InputError, match="got no table"):
        any_tables({})
    tasks = TaskCollection("synthetic", ["0"], features={"vector": torch.zeros(1, 1)}, tasks={})
    with pytest.raises(TaskError, match="there is no task"):
        table_of(tasks, "a")


def test_a_task_of_another_modality_is_refused() -> None:
    linear = linear_tasks(1, 8).collection
    with pytest.raises(InputError, match="got a regression task of synthetic; give a binary one of any_table"):
        table_of(linear, linear.names()[0])
