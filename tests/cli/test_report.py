"""`metamedica report`: the page of a predictor, of a model at a site, of molecules; and what is refused with nothing written."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.made_up_hospitals import hospital, hospitals

from metamedica.cli import main

Run = Callable[..., Any]
SCHEMA = "columns:\n  age: {type: numeric, unit: years}\n  sex: {type: categorical, levels: [f, m], sensitive: true}\n"


def _sexed(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(sex=np.where(np.arange(len(frame)) % 2, "f", "m"))


def _ran(*arguments: str | Path) -> None:
    assert main([str(each) for each in arguments]) == 0


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of six hospitals, a predictor for another, and tables of its patients and of three more sites."""
    folder = tmp_path_factory.mktemp("reports")
    _sexed(hospitals()).to_csv(folder / "earlier.csv", index=False)
    (folder / "schema.yaml").write_text(SCHEMA, encoding="utf-8")
    new = _sexed(hospital("new", 0.3, 110, seed=50)).drop(columns="site")
    new[:20].to_csv(folder / "labelled.csv", index=False)
    new[20:].to_csv(folder / "judged.csv", index=False)
    sites = [hospital(f"S{number}", 0.35, 45, seed=60 + number) for number in range(3)]
    _sexed(pd.concat(sites)).to_csv(folder / "sites.csv", index=False)
    table = ("--modality", "tables", "--task", "site", "--target", "died", "--schema", folder / "schema.yaml")
    _ran("fit", folder / "earlier.csv", *table, "--set", "trees=4", "--out", folder / "model", "--json")
    _ran(
        "adapt",
        folder / "labelled.csv",
        "--model",
        folder / "model",
        "--target",
        "died",
        "--out",
        folder / "p",
        "--json",
    )
    return folder


@pytest.fixture
def told(refused: Run, place: Path, tmp_path: Path) -> Callable[..., str]:
    """Run a report that must be refused; return its sentence; nothing was written."""

    def sentence(what: str, *arguments: str | Path | int) -> str:
        outcome = refused("report", place / what, *arguments, "--out", tmp_path / "r.html")
        assert not (tmp_path / "r.html").exists()
        return str(outcome.err)

    return sentence


def test_a_predictor_is_judged_and_has_its_page(run: Run, place: Path, tmp_path: Path) -> None:
    cases = ("--cases", place / "judged.csv", "--target", "died")
    shown = run(
        "report",
        place / "p",
        *cases,
        "--sensitive",
        "sex,age",
        "--cut",
        "age=60",
        "--patient",
        "3",
        "--out",
        tmp_path / "r.html",
    )
    assert shown.code == 0, shown.err
    assert "Adapted to 20 labelled cases and judged on 90 others" in shown.out
    assert "not a medical device" in " ".join(shown.out.split())
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    for said in (
        "not a medical device",
        "By age (cut at 60, as declared)",
        "60 and above",
        "Case 3.",
        "TRIPOD+AI",
    ):
        assert said in page, said


def test_a_machine_is_told_the_figures(run: Run, place: Path, tmp_path: Path) -> None:
    cases = ("--cases", place / "judged.csv", "--target", "died", "--no-patient")
    result = json.loads(run("report", place / "p", *cases, "--out", tmp_path / "r.html", "--json").out)
    assert (result["kind"], result["labelled"], result["judged"]) == ("binary", 20, 90)
    value, low, high = result["figures"]["roc_auc"]
    assert low <= value <= high
    assert set(result["before"]) == set(result["figures"])
    assert "One patient" not in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_a_model_is_adapted_to_each_site_and_reported_at_one(run: Run, place: Path, tmp_path: Path) -> None:
    sites = ("--cases", place / "sites.csv", "--target", "died", "--site", "site", "--at", "S1", "--robust")
    shown = run("report", place / "model", *sites, "--out", tmp_path / "r.html")
    assert shown.code == 0, shown.err
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    for said in (
        "Worst site: S",
        "When the data are poor",
        "label noise",
        "linear, local",
        "Each site was adapted to on its own",
    ):
        assert said in page, said


def test_a_declaration_names_the_sites_of_a_model(run: Run, place: Path, tmp_path: Path) -> None:
    (place / "sites.yaml").write_text(
        "name: sites\ntable: sites.csv\ncolumns: [age, marker, sex]\nlabel: {column: died, positive: 'yes'}\ntask: site\n",
        encoding="utf-8",
    )
    (place / "earlier.yaml").write_text(
        "name: earlier\ntable: earlier.csv\ncolumns: [age, marker, sex]\nlabel: {column: died, positive: 'yes'}\ntask: site\n",
        encoding="utf-8",
    )
    fit = ("fit", "--config", place / "earlier.yaml", "--set", "trees=4", "--out", tmp_path / "m")
    assert run(*fit).code == 0
    shown = run(
        "report", tmp_path / "m", "--config", place / "sites.yaml", "--at", "S0", "--out", tmp_path / "r.html", "--json"
    )
    assert shown.code == 0, shown.err
    assert json.loads(shown.out)["judged"] == 25


def test_molecules_have_a_page_too(run: Run, predictor: Path, library: Path, tmp_path: Path) -> None:
    table = pd.read_csv(library)
    table["pki"] = 6 + 0.1 * table["smiles"].str.len()
    table.to_csv(tmp_path / "judged.csv", index=False)
    shown = run(
        "report", predictor, "--cases", tmp_path / "judged.csv", "--target", "pki", "--out", tmp_path / "r.html"
    )
    assert shown.code == 0, shown.err
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "Predicted against measured" in page
    assert "of the judged cases equal one that the predictor was adapted to" in page


@pytest.mark.parametrize(
    ("what", "more", "said"),
    [
        ("p", ("--cases", "judged.csv", "--target", "death"), "judged.csv has no column 'death'; it has: age, marker"),
        (
            "p",
            ("--cases", "judged.csv", "--target", "died", "--patient", "91"),
            "there is no judged case 91; there are 90",
        ),
        (
            "p",
            ("--cases", "judged.csv", "--target", "died", "--sensitive", "income"),
            "have no sensitive column 'income'",
        ),
        (
            "p",
            ("--cases", "judged.csv", "--target", "died", "--coverage", "1.0"),
            "--coverage got 1; give a number between 0 and 1",
        ),
        (
            "p",
            ("--cases", "judged.csv", "--target", "died", "--coverage", "0"),
            "--coverage got 0; give a number between 0 and 1",
        ),
        (
            "p",
            ("--cases", "judged.csv", "--target", "died", "--threshold", "1"),
            "--threshold got 1; give a risk between 0 and 1",
        ),
        (
            "p",
            ("--cases", "judged.csv", "--target", "died", "--cut", "age"),
            "write it as column=bounds, such as --cut age=50,65",
        ),
        ("p", ("--cases", "judged.csv", "--target", "died", "--at", "S1"), "--at and --robust are for a model"),
        (
            "p",
            ("--cases", "judged.csv", "--target", "died", "--patient", "1", "--no-patient"),
            "--patient came with --no-patient",
        ),
        ("p", (), "give the labelled cases to judge on: either a table (--cases) or a declaration (--config)"),
        ("p", ("--cases", "absent.csv"), "absent.csv is not there; check the path"),
        (
            "model",
            ("--cases", "sites.csv", "--target", "died", "--site", "site"),
            "3 sites came (S0, S1, S2); name the one",
        ),
        (
            "model",
            ("--cases", "sites.csv", "--target", "died", "--site", "site", "--at", "S9"),
            "there is no site 'S9'",
        ),
        ("model", ("--cases", "sites.csv", "--target", "died", "--site", "ward", "--at", "S1"), "has no column 'ward'"),
        ("nothing", ("--cases", "judged.csv"), "nothing"),
    ],
)
def test_what_cannot_be_reported_is_one_sentence_and_leaves_no_page(
    told: Callable[..., str], place: Path, what: str, more: tuple[str, ...], said: str
) -> None:
    arguments = [place / each if each.endswith(".csv") else each for each in more]
    assert said in told(what, *arguments)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda frame: frame.assign(died="no"),
            "all 90 judged cases are 'no'; a report needs judged cases of both classes",
        ),
        (lambda frame: frame.assign(died=""), "no row has a value in 'died'"),
        (
            lambda frame: frame.assign(died=frame["died"].replace("yes", "perhaps")),
            "is none of the predictor's, which are 'no', 'yes'",
        ),
        (lambda frame: frame.assign(age=60, marker=2.0, sex="m"), "predicts the same"),
        (
            lambda frame: frame.drop(columns=["age", "marker", "sex"]).assign(other=1),
            "none of the columns age, marker, sex",
        ),
    ],
)
def test_labels_and_predictions_that_say_nothing_are_refused(
    told: Callable[..., str], place: Path, tmp_path: Path, change: Callable[[pd.DataFrame], pd.DataFrame], said: str
) -> None:
    change(pd.read_csv(place / "judged.csv")).to_csv(tmp_path / "changed.csv", index=False)
    sentence = told("p", "--cases", tmp_path / "changed.csv", "--target", "died")
    assert said in sentence
    assert "perhaps" not in sentence


def test_the_audit_that_is_asked_without_a_declared_column_is_refused(
    refused: Run, run: Run, place: Path, tmp_path: Path
) -> None:
    fit = (
        "fit",
        place / "earlier.csv",
        "--modality",
        "tables",
        "--task",
        "site",
        "--target",
        "died",
        "--set",
        "trees=4",
    )
    assert run(*fit, "--out", tmp_path / "m").code == 0
    assert (
        run(
            "adapt", place / "labelled.csv", "--model", tmp_path / "m", "--target", "died", "--out", tmp_path / "p"
        ).code
        == 0
    )
    cases = ("--cases", place / "judged.csv", "--target", "died", "--out", tmp_path / "r.html")
    said = refused("report", tmp_path / "p", *cases, "--fairness").err
    assert (
        "no sensitive column is declared, so fairness cannot be audited; mark the column with sensitive: true" in said
    )
    assert not (tmp_path / "r.html").exists()
    assert run("report", tmp_path / "p", *cases).code == 0
    assert "Not told apart: no sensitive column is declared" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_a_page_that_is_there_is_replaced_only_where_that_is_said(
    refused: Run, run: Run, place: Path, tmp_path: Path
) -> None:
    (tmp_path / "r.html").write_text("mine", encoding="utf-8")
    cases = ("--cases", place / "judged.csv", "--target", "died", "--out", tmp_path / "r.html")
    assert "is there already" in refused("report", place / "p", *cases).err
    assert (tmp_path / "r.html").read_text(encoding="utf-8") == "mine"
    assert run("report", place / "p", *cases, "--overwrite").code == 0
