"""Table rows on the way to tasks: each row is a case, meta-test rows teach nothing of the columns, leaks and unreadable rows are refused by place."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.random import default_rng

from metamedica.data.collection import TaskCollection
from metamedica.errors import CaseError, FileFormatError, InputError


def _hospitals(n: int = 40, **changes: Any) -> pd.DataFrame:
    random = default_rng(0)
    age = random.normal(60, 10, n)
    columns = {
        "age": age,
        "sex": random.choice(["m", "f"], n),
        "died": (age + random.normal(0, 10, n) > 60).astype(int),
        "site": np.array(["a", "b"])[np.arange(n) % 2],
    }
    return pd.DataFrame({**columns, **changes})


def _read(frame: pd.DataFrame | Path, **changes: Any) -> TaskCollection:
    told: dict[str, Any] = {
        "modality": "tables",
        "case": ["age", "sex"],
        "target": "died",
        "task": "site",
        "kind": "binary",
    }
    return TaskCollection.from_table(frame, **{**told, **changes})


def test_equal_rows_of_two_patients_stay_two_cases_with_their_own_labels() -> None:
    frame = pd.DataFrame(
        {"age": [50, 50, 61, 61], "sex": ["m"] * 4, "died": [0, 1, 1, 0], "site": ["a", "a", "b", "b"]}
    )
    tasks = _read(frame)
    assert len(tasks.canonical) == 4
    assert tasks["a"].targets.tolist() == [0, 1]
    assert sorted({*tasks["a"].rows.tolist(), *tasks["b"].rows.tolist()}) == [0, 1, 2, 3]


def test_a_saved_collection_reads_rows_as_before(tmp_path: Path) -> None:
    tasks = _read(_hospitals(), schema={"age": {"type": "numeric", "range": [0, 120], "unit": "years"}})
    tasks.save(tmp_path / "tasks")
    again = TaskCollection.load(tmp_path / "tasks")
    assert again.reader().settings() == tasks.reader().settings()
    before, after = (each.reader().prepare(_hospitals()[["age", "sex"]]).features for each in (tasks, again))
    assert all((before[name] == after[name]).all() for name in before)
    assert again.select(["a"]).reader().settings() == tasks.reader().settings()


def test_what_the_columns_hold_is_learned_outside_the_meta_test_tasks() -> None:
    frame = _hospitals()
    frame.loc[frame["site"] == "b", "age"] += 1000
    frame["split"] = np.where(frame["site"] == "b", "meta_test", "meta_train")
    schema = dict(_read(frame, split="split").reader().settings()["schema"])
    assert max(schema["age"]["typical"]) < 200


def test_a_column_that_only_meta_test_tasks_have_is_their_own() -> None:
    frame = _hospitals(troponin=default_rng(1).gamma(2.0, size=40))
    frame.loc[frame["site"] == "a", "troponin"] = np.nan
    frame["split"] = np.where(frame["site"] == "b", "meta_test", "meta_train")
    tasks = _read(frame, case=["age", "sex", "troponin"], split="split")
    assert tasks.features["own"].shape == (40, 2)  # the number, and whether it is missing
    assert tasks.features["missing"].shape == (40, 2)
    assert (tasks.features["own"][tasks["a"].rows, 1] == 1).all()
    assert (tasks.features["own"][tasks["b"].rows, 1] == 0).all()


@pytest.mark.parametrize("name", ["outcome", "discharged to"])
def test_a_column_that_holds_the_label_is_refused_by_name(name: str) -> None:
    frame = _hospitals()
    frame[name] = np.where(frame["died"] == 1, "cemetery", "home")
    with pytest.raises(InputError, match=f"the column '{name}' tells the two classes of 'died' apart without error"):
        _read(frame, case=["age", "sex", name])
    tasks = _read(
        frame,
        case=["age", "sex", name],
        schema={name: {"type": "categorical", "levels": ["home", "cemetery"], "separates": True}},
    )
    assert len(tasks) == 2


def test_a_leak_is_found_in_each_task_of_a_wide_table() -> None:
    frame = _hospitals().assign(ill=default_rng(2).integers(0, 2, 40), copy=lambda f: f["ill"] * 3.5)
    with pytest.raises(InputError, match="the column 'copy' tells the two classes of 'ill' apart"):
        _read(frame, case=["age", "copy"], target=None, task=None, targets=["died", "ill"])


def test_an_unreadable_cell_is_told_by_row_and_column_and_without_its_text(tmp_path: Path) -> None:
    frame = _hospitals().astype(object)
    frame.loc[3, "age"] = "Jane Doe"
    frame.to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(CaseError) as caught:
        _read(tmp_path / "t.csv", schema={"age": "numeric"})
    assert "t.csv: 1 of 40 rows cannot be read: row 5, column 'age': a text came and a number was wanted" in str(
        caught.value
    )
    assert "Jane" not in str(caught.value)
    tasks = _read(tmp_path / "t.csv", schema={"age": "numeric"}, skip_invalid=True)
    assert tasks.left_out == {"invalid cases": 1}
    assert tasks.n_values == 39


def test_cells_beyond_their_range_are_remarked_with_their_row(tmp_path: Path) -> None:
    frame = _hospitals()
    frame.loc[7, "age"] = 455
    frame.to_csv(tmp_path / "t.csv", index=False)
    tasks = _read(tmp_path / "t.csv", schema={"age": {"type": "numeric", "range": [0, 120], "unit": "years"}})
    assert tasks.remarks == ["row 9, column 'age': outside 0 to 120 years, and read as missing"]
    assert tasks.select(["a"]).remarks == tasks.remarks


def test_a_schema_that_does_not_fit_the_file_is_refused() -> None:
    with pytest.raises(InputError, match="the schema names the column 'bmi' and the table does not have it"):
        _read(_hospitals(), schema={"bmi": "numeric"})
    with pytest.raises(FileFormatError, match="has no column 'bmi'"):
        _read(_hospitals(), case=["age", "bmi"])
    with pytest.raises(InputError, match="there is no modality 'words'"):
        _read(_hospitals(), modality="words", schema={"age": "numeric"})


def test_thousands_of_columns_are_read() -> None:
    random = default_rng(0)
    wide = pd.DataFrame(random.normal(size=(40, 4_000)), columns=[f"gene {i}" for i in range(4_000)])
    frame = pd.concat([_hospitals()[["died", "site"]], wide], axis=1)
    tasks = _read(frame, case=list(wide.columns))
    assert tasks.features["numbers"].shape == (40, 4_000)


def test_a_site_of_one_class_is_kept_for_it_says_how_rare_the_other_is() -> None:
    frame = _hospitals()
    frame.loc[frame["site"] == "b", "died"] = 0
    tasks = _read(frame)
    assert tasks["b"].classes == ("0", "1")
    assert tasks["b"].targets.sum() == 0
    assert tasks.left_out == {}
