"""`metamedica adapt`: a few measured cases to a predictor."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from metamedica.meta_learner import MetaLearner
from metamedica.predictors.predictor import Predictor

Run = Callable[..., Any]


def test_the_predictor_is_the_one_that_python_gives(predictor: Path, model: Path, measured: Path) -> None:
    table = pd.read_csv(measured)
    same = MetaLearner.load(model).adapt(table["smiles"].tolist(), table["pki"].tolist(), unit="-log10 M")
    queries = ["CCOc1ccccc1", "CCN1CCN(C)CC1"]
    assert np.allclose(Predictor.load(predictor).predict(queries), same.predict(queries), atol=1e-5)


def test_a_person_reads_the_verdict_and_what_it_rests_on(run: Run, model: Path, measured: Path, tmp_path: Path) -> None:
    shown = run("adapt", measured, "--model", model, "--unit", "-log10 M", "--out", tmp_path / "p")
    assert shown.code == 0
    assert "16 measured cases (regression, -log10 M" in shown.out
    assert "Leans on nothing learned" in shown.out
    assert "Nearest earlier tasks" in shown.out
    assert "tanimoto_gp" in shown.out
    assert "metamedica predict" in shown.out
    assert shown.err == ""


def test_a_machine_gets_the_same_and_no_labelled_case(run: Run, model: Path, measured: Path, tmp_path: Path) -> None:
    shown = run("adapt", measured, "--model", model, "--unit", "-log10 M", "--out", tmp_path / "p", "--json")
    told = json.loads(shown.out)
    assert told["labelled_cases"] == 16
    assert told["trust"]["weight"] == 0
    assert told["trust"]["nearest"]
    assert "c1ccc" not in shown.out


def test_a_unit_that_earlier_tasks_had_is_asked_for(run: Run, model: Path, measured: Path, tmp_path: Path) -> None:
    shown = run("adapt", measured, "--model", model, "--out", tmp_path / "p")
    assert shown.code == 0
    assert shown.err.startswith("note: earlier tasks were measured in '-log10 M'")


def test_labels_are_kept_and_the_positive_one_is_named(run: Run, model: Path, measured: Path, tmp_path: Path) -> None:
    table = pd.read_csv(measured)
    labels = np.where(table["pki"] > table["pki"].median(), "hit", "dud")
    pd.DataFrame({"smiles": table["smiles"], "call": labels}).to_csv(tmp_path / "calls.csv", index=False)
    shown = run(
        "adapt", tmp_path / "calls.csv", "--model", model, "--positive", "hit", "--out", tmp_path / "p", "--json"
    )
    assert shown.code == 0, shown.err
    assert json.loads(shown.out)["classes"] == ["dud", "hit"]
    loaded = Predictor.load(tmp_path / "p")
    assert loaded.classes == ("dud", "hit")
    assert loaded.score(table["smiles"].tolist(), labels.tolist()) == 1.0


def test_three_labels_are_a_multiclass_task(run: Run, model: Path, measured: Path, tmp_path: Path) -> None:
    table = pd.read_csv(measured)
    labels = [("low", "middle", "high")[number % 3] for number in range(len(table))]
    pd.DataFrame({"smiles": table["smiles"], "level": labels}).to_csv(tmp_path / "levels.csv", index=False)
    shown = run("adapt", tmp_path / "levels.csv", "--model", model, "--out", tmp_path / "p", "--json")
    assert shown.code == 0, shown.err
    told = json.loads(shown.out)
    assert (told["kind"], sorted(told["classes"])) == ("multiclass", ["high", "low", "middle"])


def test_an_empty_target_is_left_out_and_counted(run: Run, model: Path, measured: Path, tmp_path: Path) -> None:
    table = pd.read_csv(measured)
    table.loc[3, "pki"] = np.nan
    table.to_csv(tmp_path / "gap.csv", index=False)
    shown = run(
        "adapt", tmp_path / "gap.csv", "--model", model, "--unit", "-log10 M", "--out", tmp_path / "p", "--json"
    )
    told = json.loads(shown.out)
    assert told["labelled_cases"] == 15
    assert told["left_out"] == {"missing targets": 1}


def test_a_case_that_cannot_be_read_is_left_out_where_that_was_asked_for(
    run: Run, model: Path, measured: Path, tmp_path: Path
) -> None:
    text = measured.read_text() + "not a molecule,5.5\n"
    (tmp_path / "bad.csv").write_text(text)
    shown = run(
        "adapt",
        tmp_path / "bad.csv",
        "--model",
        model,
        "--unit",
        "-log10 M",
        "--skip-invalid",
        "--out",
        tmp_path / "p",
        "--json",
    )
    assert shown.code == 0, shown.err
    told = json.loads(shown.out)
    assert told["labelled_cases"] == 16
    assert told["left_out"]["invalid cases"] == 1


def test_repeated_values_are_merged_where_that_was_asked_for(
    run: Run, model: Path, measured: Path, tmp_path: Path
) -> None:
    table = pd.read_csv(measured)
    table.loc[len(table)] = [table["smiles"][0], table["pki"][0] + 1]
    table.to_csv(tmp_path / "twice.csv", index=False)
    shown = run(
        "adapt",
        tmp_path / "twice.csv",
        "--model",
        model,
        "--unit",
        "-log10 M",
        "--duplicates",
        "mean",
        "--out",
        tmp_path / "p",
        "--json",
    )
    assert shown.code == 0, shown.err
    batch = Predictor.load(tmp_path / "p").support.batch
    assert float(batch.targets[0, 0]) == pytest.approx(table["pki"][0] + 0.5)


def test_a_predictor_is_replaced_only_when_asked(
    run: Run, refused: Run, model: Path, measured: Path, tmp_path: Path
) -> None:
    adapt = ("adapt", measured, "--model", model, "--unit", "-log10 M", "--out", tmp_path / "p")
    assert run(*adapt).code == 0
    assert "--overwrite" in refused(*adapt).err
    assert run(*adapt, "--overwrite").code == 0
    assert "is no whole predictor" in refused("adapt", measured, "--model", model, "--out", model, "--overwrite").err
