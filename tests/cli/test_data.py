"""`metamedica data`: what is in a table, and which public collections are known."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from metamedica import registry

Run = Callable[..., Any]


def test_check_counts_tasks_cases_and_values(run: Run, assays: Path) -> None:
    told = json.loads(run("data", "check", assays, "--task", "assay", "--unit", "-log10 M", "--json").out)
    table = pd.read_csv(assays)
    assert (len(told["tasks"]), told["cases"], told["values"]) == (8, table["smiles"].nunique(), len(table))
    first = told["tasks"][0]
    values = table.loc[table["assay"] == "A0", "pki"]
    assert (first["task"], first["kind"], first["cases"], first["unit"]) == ("A0", "regression", 24, "-log10 M")
    assert np.allclose([first["q05"], first["median"], first["q95"]], values.quantile([0.05, 0.5, 0.95]))


def test_check_tells_a_person_the_same(run: Run, assays: Path) -> None:
    shown = run("data", "check", assays, "--task", "assay")
    assert shown.code == 0
    assert "cases in 'smiles', targets in 'pki', regression" in shown.out
    assert "8 tasks, 45 distinct cases, 192 values" in shown.out
    assert "Leakage" in shown.out


def test_check_counts_what_is_left_out(run: Run, refused: Run, assays: Path, tmp_path: Path) -> None:
    text = assays.read_text() + "C1CC,A0,5.0\nCCCCCCC,A1,\n"
    (tmp_path / "t.csv").write_text(text)
    assert "row 194 ('C1CC')" in refused("data", "check", tmp_path / "t.csv", "--task", "assay").err
    told = json.loads(run("data", "check", tmp_path / "t.csv", "--task", "assay", "--skip-invalid", "--json").out)
    assert told["left_out"]["invalid cases"] == 1
    assert told["left_out"]["missing targets"] == 1
    assert told["values"] == 192


def test_check_reports_cases_on_both_sides_of_a_split(run: Run, assays: Path, tmp_path: Path) -> None:
    table = pd.read_csv(assays)
    table["side"] = np.where(table["assay"].isin(["A6", "A7"]), "meta_test", "meta_train")
    table.to_csv(tmp_path / "t.csv", index=False)
    shown = run("data", "check", tmp_path / "t.csv", "--task", "assay", "--target", "pki", "--split", "side", "--json")
    told = json.loads(shown.out)
    train, test = (set(part["smiles"]) for _, part in table.groupby(table["side"] == "meta_test"))
    assert told["leakage"]["split"] is True
    assert told["leakage"]["tasks"] == {"meta_train": 6, "meta_test": 2}
    (shared,) = told["leakage"]["shared"]
    assert shared["cases"] == len(train & test)
    assert {row["task"]: row["split"] for row in told["tasks"]}["A7"] == "meta_test"


def test_check_counts_the_labels_of_classes(run: Run, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("smiles,NR-AR,SR-p53\nCCO,1,0\nCCN,0,\nCCC,1,1\n")
    shown = run("data", "check", tmp_path / "t.csv", "--targets", "all", "--json")
    told = json.loads(shown.out)
    assert told["columns"]["kind"] == "binary"
    assert [row["classes"] for row in told["tasks"]] == [{"0": 1, "1": 2}, {"0": 1, "1": 1}]
    assert "0: 1, 1: 2" in run("data", "check", tmp_path / "t.csv", "--targets", "all").out


def test_list_names_every_collection_of_the_folder(run: Run) -> None:
    told = json.loads(run("data", "list", "--json").out)
    assert [each["name"] for each in told["collections"]] == registry.names("data.catalogue")
    assert all(each["about"] and each["licence"] and each["source"] for each in told["collections"])
    for name in registry.names("data.catalogue"):
        assert name in run("data", "list").out


def test_show_reads_a_collection_that_is_installed(run: Run) -> None:
    told = json.loads(run("data", "show", "freewilson", "--json").out)
    assert told["there"] is True
    assert told["rows"] == 1017
    assert "BSD" in run("data", "show", "freewilson").out


def test_show_says_how_to_get_a_collection_that_is_not_there(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("METAMEDICA_DATA", raising=False)
    shown = run("data", "show", "chembl691")
    assert shown.code == 0
    assert "METAMEDICA_DATA" in shown.out
    assert json.loads(run("data", "show", "chembl691", "--json").out)["there"] is False


def test_an_unknown_collection_is_refused_with_the_known_ones(refused: Run) -> None:
    assert "choose one of: bccd_crops" in refused("data", "show", "chembl9000").err
