"""`metamedica adapt`: a few measured cases to a predictor."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.made_up_hospitals import COLUMNS, hospital, hospitals

from metamedica.data.collection import TaskCollection
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
    assert "The method starts from scratch with every task" in shown.out
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


@pytest.fixture(scope="module")
def heart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of six made-up hospitals that learns from patients without label."""
    folder = tmp_path_factory.mktemp("hospitals")
    tasks = TaskCollection.from_table(
        hospitals(), modality="tables", case=COLUMNS, target="died", task="site", kind="binary", positive="yes"
    )
    MetaLearner("label_shift", guard=False).fit(tasks).save(folder / "model")
    new = hospital("new", 0.9, 120, seed=9)
    new[COLUMNS].to_csv(folder / "patients.csv", index=False)
    new[[*COLUMNS, "died"]][:12].to_csv(folder / "known.csv", index=False)
    return folder


def test_patients_without_label_are_enough_for_a_model_that_learns_from_such(
    run: Run, heart: Path, tmp_path: Path
) -> None:
    patients = heart / "patients.csv"
    shown = run("adapt", "--unlabelled", patients, "--model", heart / "model", "--out", tmp_path / "p")
    assert shown.code == 0, shown.err
    assert "Adapted to 0 measured cases and 120 that nobody has measured (binary)." in shown.out
    same = MetaLearner.load(heart / "model").adapt(unlabelled=pd.read_csv(patients))
    rows = pd.read_csv(patients)[:5]
    assert (Predictor.load(tmp_path / "p").predict_proba(rows) == same.predict_proba(rows)).all()


def test_labelled_patients_and_others_are_taken_together(run: Run, heart: Path, tmp_path: Path) -> None:
    shown = run(
        "adapt", heart / "known.csv", "--target", "died", "--positive", "yes", "--unlabelled", heart / "patients.csv",
        "--model", heart / "model", "--out", tmp_path / "p", "--json",
    )  # fmt: skip
    assert shown.code == 0, shown.err
    told = json.loads(shown.out)
    assert (told["labelled_cases"], told["unlabelled_cases"]) == (12, 120)
    assert told["columns"]["target"] == "died"


def test_unlabelled_cases_for_a_model_that_cannot_use_them_and_no_case_at_all_are_refused(
    refused: Run, model: Path, library: Path, heart: Path, tmp_path: Path
) -> None:
    said = refused("adapt", "--unlabelled", library, "--model", model, "--out", tmp_path / "p").err
    assert "does not learn from such" in said
    assert "label_shift" in said
    assert "no case came" in refused("adapt", "--model", heart / "model", "--out", tmp_path / "p").err
