"""The same patient in two tables is found by the cells."""

import pandas as pd
from numpy.random import default_rng

from metamedica.data.collection import TaskCollection
from metamedica.data.equal_rows import EqualRows, equal_rows


def _read(frame: pd.DataFrame) -> TaskCollection:
    cells = [name for name in frame.columns if name not in ("y", "site")]
    return TaskCollection.from_table(frame, modality="tables", case=cells, target="y", task="site", kind="binary")


def _frame(columns: int) -> pd.DataFrame:
    random = default_rng(0)
    frame = pd.DataFrame(random.normal(size=(30, columns)), columns=[f"lab {i}" for i in range(columns)])
    return frame.assign(y=random.integers(0, 2, 30), site=["a"] * 10 + ["b"] * 10 + ["c"] * 10)


def test_equal_rows_of_two_sites_are_counted() -> None:
    frame = _frame(6)
    labs = [f"lab {i}" for i in range(6)]
    frame.loc[10:12, labs] = frame.loc[0:2, labs].to_numpy()
    frame.loc[25, labs] = frame.loc[0, labs]
    assert equal_rows(_read(frame)) == [EqualRows("a", "b", 3), EqualRows("a", "c", 1), EqualRows("b", "c", 1)]


def test_rows_that_say_little_are_not_compared() -> None:
    frame = _frame(4)
    labs = [f"lab {i}" for i in range(4)]
    frame.loc[10:12, labs] = frame.loc[0:2, labs].to_numpy()
    assert equal_rows(_read(frame)) == []


def test_one_row_with_several_labels_is_no_twin() -> None:
    frame = _frame(6).assign(z=lambda f: f["y"].sample(frac=1, random_state=1).to_numpy())
    tasks = TaskCollection.from_table(
        frame, modality="tables", case=[f"lab {i}" for i in range(6)], targets=["y", "z"], kind="binary"
    )
    assert equal_rows(tasks) == []
