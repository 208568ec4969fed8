"""Single cohorts: each entry reads, asks a question that no one column answers, and says whose patients it has."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from metamedica.data.single_tables import entries, files, single_tables
from metamedica.errors import FileFormatError, InputError


def _best_alone(frame: pd.DataFrame, columns: list[str]) -> tuple[float, str]:
    """Return the highest AUC of a column on its own: by its order, missing first or last, or for texts by each level's rate."""
    label = frame["label"]
    scores = {}
    for name in columns:
        values = frame[name]
        if not pd.api.types.is_numeric_dtype(values):
            values = label.groupby(values.fillna("(missing)").to_numpy()).transform("mean")
        for last, fill in enumerate((values.min() - 1, values.max() + 1)):
            scores[name, last] = values.fillna(fill)
    ranks = pd.DataFrame(scores).rank()
    positive = int(label.sum())
    area = (ranks[(label == 1).to_numpy()].sum() - positive * (positive + 1) / 2) / (positive * (len(label) - positive))
    best = np.maximum(area, 1 - area)
    return float(best.max()), str(best.idxmax()[0])


def test_there_are_more_than_fifty_questions_on_as_many_cohorts() -> None:
    held = entries()
    assert len(held) == 57
    origins = {name: entry.origin for name, entry in held.items()}
    assert len(set(origins.values())) == 52
    together = {origin: sorted(name for name in origins if origins[name] == origin) for origin in origins.values()}
    assert {origin: names for origin, names in together.items() if len(names) > 1} == {
        "garvan": ["ann_thyroid", "thyroid_hypothyroid", "thyroid_sick"],
        "vertebral": ["vertebral_abnormal", "vertebral_hernia"],
        "spect": ["spect", "spectf"],
        "acs": ["acs_shock", "acs_stemi"],
    }
    assert origins["heart_statlog"] == "uci_heart"  # of data/catalogue/heart
    assert all(entry.about.endswith(".") for entry in held.values())
    assert {f"{entry.folder}/{entry.table}" for entry in held.values()} == set(files())
    assert all(len(digest) == 64 for digest in files().values())


@pytest.mark.mirror
@pytest.mark.parametrize("name", entries())
def test_no_column_of_a_table_tells_the_label_on_its_own(name: str) -> None:
    (found,) = single_tables([name])
    frame, entry = found.frame, entries()[name]
    assert found.origin == entry.origin
    assert set(frame["label"]) == {0, 1}
    assert frame["label"].value_counts().min() >= 20
    assert len(frame) >= 85
    area, column = _best_alone(frame, found.roles["case"])
    assert entry.near_separable or area <= 0.995, column
    unlike = [column for column in found.roles["case"] if frame[column].dtype == object and frame[column].is_unique]
    assert unlike == []  # a text that is different in each row is an identifier
    assert found.roles["group"] == ("group" if entry.group else None)


def test_a_column_that_tells_the_label_is_seen() -> None:
    frame = pd.DataFrame(
        {"label": [0, 0, 1, 1], "a": [1.0, 2, 2, 1], "b": [9.0, 9, None, None], "c": ["x", "y", "x", "z"]}
    )
    assert _best_alone(frame, ["a", "b"]) == (1.0, "b")
    assert _best_alone(frame, ["a", "c"]) == (0.875, "c")
    assert _best_alone(frame, ["a"]) == (0.5, "a")


@pytest.mark.mirror
def test_the_known_counts_of_some_tables_are_found() -> None:
    counts = {
        "heart_statlog": (270, 120), "pima_diabetes": (768, 268), "breast_cytology_wisconsin": (699, 241),
        "hepatitis": (155, 32), "haberman": (306, 81), "spectf": (267, 212), "appendicitis": (106, 21), "saheart": (462, 160),
        "heart_failure": (299, 96), "chronic_kidney": (400, 250), "breast_blood_coimbra": (116, 64), "icu_death": (200, 40),
        "parkinson_speech": (252, 188), "primary_tumor": (339, 84), "thyroid_sick": (3772, 231), "arrhythmia": (452, 207),
    }  # fmt: skip
    found = {table.name: (len(table.frame), int(table.frame["label"].sum())) for table in single_tables(list(counts))}
    assert found == counts


@pytest.mark.mirror
def test_zeros_that_mean_missing_are_missing() -> None:
    (pima,) = single_tables(["pima_diabetes"])
    assert pima.frame[["plas", "pres", "skin", "insu", "mass"]].isna().sum().tolist() == [5, 35, 227, 374, 11]
    assert (pima.frame["preg"] == 0).any()


def test_an_unknown_name_an_absent_mirror_and_another_file_are_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="there is no single table 'flu'; choose one of: arrhythmia, audiology"):
        list(single_tables(["flu"]))
    monkeypatch.delenv("METAMEDICA_DATA", raising=False)
    with pytest.raises(
        InputError, match=r"haberman is read from a local mirror .*holds clinical/uci_weka/haberman\.csv\.gz"
    ):
        list(single_tables(["haberman"]))
    monkeypatch.setenv("METAMEDICA_DATA", str(tmp_path))
    (tmp_path / "clinical" / "uci_weka").mkdir(parents=True)
    (tmp_path / "clinical" / "uci_weka" / "haberman.csv.gz").write_bytes(b"another")
    with pytest.raises(FileFormatError, match=r"haberman\.csv\.gz .* is not the known file"):
        list(single_tables(["haberman"]))
