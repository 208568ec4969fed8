"""Rows of one table as a model of another reads them."""

import pandas as pd
import pytest
import torch
from numpy.random import default_rng

from metamedica import registry
from metamedica.data.collection import TaskCollection
from metamedica.data.refeaturised import refeaturised
from metamedica.errors import InputError
from metamedica.modalities.tables import Tables


def _tasks() -> TaskCollection:
    random = default_rng(0)
    frame = pd.DataFrame({"age": random.normal(60, 10, 20), "ward": ["A", "B"] * 10, "y": random.integers(0, 2, 20)})
    return TaskCollection.from_table(
        frame, modality="tables", case=["age", "ward"], target="y", kind="binary", name="t"
    )


def test_the_blocks_are_those_of_the_models_columns() -> None:
    tasks = _tasks()
    reader = Tables({"age": {"type": "numeric", "typical": [0, 100]}, "bmi": {"type": "numeric", "typical": [20, 40]}})
    again = refeaturised(tasks, reader)
    assert again.features["numbers"].shape == (20, 2)
    assert torch.equal(again.features["missing"][:, 1], torch.ones(20, dtype=torch.uint8))
    assert again.settings == reader.settings()
    assert again["t"].targets.tolist() == tasks["t"].targets.tolist()
    assert {"column 'bmi': the column is not there, and is read as missing throughout"} <= set(again.remarks)


def test_the_same_columns_change_nothing() -> None:
    tasks = _tasks()
    assert refeaturised(tasks, tasks.reader()) is tasks


def test_cases_that_do_not_fit_are_refused() -> None:
    with pytest.raises(
        InputError, match="20 of 20 cases do not fit the model's columns; the first: 'ward', a text came"
    ):
        refeaturised(_tasks(), Tables({"ward": "numeric"}))
    pytest.importorskip("rdkit")
    with pytest.raises(InputError, match="the collection holds tables and molecules were wanted"):
        refeaturised(_tasks(), registry.modality("molecules"))
