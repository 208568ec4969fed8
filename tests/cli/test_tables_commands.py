"""Clinical tables from the command line: declared tasks, a new clinic, and what a user may bring by mistake, told without a patient's value."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from metamedica.storage import read_bundle

Run = Callable[..., Any]
EXAMPLES = Path(__file__).parents[2] / "examples"
CLINIC = EXAMPLES / "clinic.yaml"
FIT = ("--modality", "tables", "--task", "site", "--target", "died")
ADAPT = ("--model", "heart", "--target", "narrowed", "--positive", "yes")
PERSON = "Smithers"
SCHEMA = (
    "columns:\n"
    "  age: {type: numeric, unit: years, range: [0, 120]}\n"
    "  glucose: {type: numeric, unit: mmol/L, range: [1, 50]}\n"
)


def hospitals() -> pd.DataFrame:
    """Return 120 made-up stays in three hospitals."""
    rng = np.random.default_rng(0)
    died = rng.random(120) < 0.4
    return pd.DataFrame(
        {
            "site": [f"S{number // 40}" for number in range(120)],
            "age": np.where(died, rng.normal(60, 10, 120), rng.normal(50, 10, 120)).round(),
            "glucose": np.where(died, rng.normal(8, 1.5, 120), rng.normal(6, 1.5, 120)).clip(2).round(1),
            "potassium": rng.normal(4, 0.4, 120).round(2),
            "sodium": rng.normal(140, 4, 120).round(1),
            "smoker": rng.choice(["yes", "no"], 120),
            "ward": rng.choice(["A", "B", "C"], 120),
            "died": died.astype(int),
        }
    )


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write a frame, or text, beside the folder that the command may write to."""
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()

    def file(content: pd.DataFrame | str | bytes, name: str = "t.csv") -> Path:
        path = tmp_path / "in" / name
        if isinstance(content, pd.DataFrame):
            content.to_csv(path, index=False)
        else:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return file


@pytest.fixture
def told(refused: Run, tmp_path: Path) -> Callable[..., str]:
    """Run a command with --out that must be refused; return its sentence, which shows no patient; nothing was written."""

    def sentence(*arguments: str | Path, out: str = "m") -> str:
        outcome = refused(*arguments, "--out", tmp_path / "out" / out)
        assert list((tmp_path / "out").iterdir()) == []
        assert PERSON not in outcome.err
        return str(outcome.err)

    return sentence


def _checked(run: Run, path: Path, *more: str | Path) -> dict[str, Any]:
    shown = run("data", "check", path, *FIT, *more, "--json")
    assert shown.code == 0, shown.err
    assert PERSON not in shown.out
    told: dict[str, Any] = json.loads(shown.out)
    return told


# Declared tasks.


def test_declared_tasks_are_fitted_with_the_learner_of_tables_and_what_was_left_out_is_told(
    run: Run, tmp_path: Path
) -> None:
    shown = run("fit", "--config", CLINIC, "--set", "trees=4", "--out", tmp_path / "m", "--json")
    assert shown.code == 0, shown.err
    result = json.loads(shown.out)
    assert (result["learner"], result["tasks"], result["cases"]) == ("bayesian_model_averaging", 2, 39)
    assert result["left_out"]["cannot come back (exclusion 1)"] == 4
    assert result["columns"]["case"] == ["age", "sex", "glucose", "smoker", "frailty"]
    document = read_bundle(tmp_path / "m", "model")[1]["model"]
    assert document["spec"]["learner"] == document["record"]["parameters"]["learner"] == "bayesian_model_averaging"
    assert dict(document["modality"]["settings"]["schema"])["glucose"]["unit"] == "mmol/L"
    card = (tmp_path / "m" / "CARD.md").read_text(encoding="utf-8")
    assert "39 cases, 39 values" in card
    assert "hashes" not in card
    assert "- Left out: 4 cannot come back (exclusion 1)" in card


def test_declared_tasks_are_checked_and_a_person_is_told_the_same(run: Run) -> None:
    shown = run("data", "check", "--config", CLINIC)
    assert shown.code == 0, shown.err
    assert "clinic.yaml: cases in 5 columns" in shown.out
    assert "2 tasks, 39 distinct cases, 39 values" in shown.out
    assert "4 cannot come back (exclusion 1)" in shown.out


def test_declared_tasks_lie_below_the_root_that_is_named(run: Run, refused: Run, tmp_path: Path) -> None:
    (tmp_path / "d.yaml").write_text(CLINIC.read_text(encoding="utf-8"), encoding="utf-8")
    assert "clinic.csv" in refused("data", "check", "--config", tmp_path / "d.yaml").err
    shown = run("data", "check", "--config", tmp_path / "d.yaml", "--root", EXAMPLES, "--json")
    assert json.loads(shown.out)["cases"] == 39


def test_declared_tasks_judge_a_model_of_tables(run: Run, tmp_path: Path) -> None:
    shown = run(
        "evaluate", "--config", CLINIC, "--baseline", "linear", "--shots", "6", "--draws", 2, "--out", tmp_path / "e", "--json"
    )  # fmt: skip
    assert shown.code == 0, shown.err
    result = json.loads(shown.out)
    assert sorted(result["tasks"]) == ["medicine", "surgery"]
    assert result["left_out"]["without a label"] == 2


@pytest.mark.mirror
def test_a_public_collection_is_fitted_by_its_name_and_the_card_carries_its_attribution(
    run: Run, tmp_path: Path
) -> None:
    shown = run("fit", "--config", "heart", "--learner", "linear", "--out", tmp_path / "m", "--json")
    assert shown.code == 0, shown.err
    assert json.loads(shown.out)["cases"] == 920
    card = (tmp_path / "m" / "CARD.md").read_text(encoding="utf-8")
    assert "Janosi" in card
    assert "CC BY 4.0" in card


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([], "give either the FILE of a table or a declaration (--config)"),
        (["table.csv", "--config", CLINIC], "give either the FILE of a table or a declaration (--config)"),
        (["--config", "nowhere"], "'nowhere' is neither a YAML file nor a declared public collection; those are: "),
        (["--config", "nowhere.yaml"], "nowhere.yaml"),
        (["--config", CLINIC, "--target", "back", "--group", "patient"], "these options say too: target, group"),
        (["--config", CLINIC, "--modality", "molecules"], "--config declares tables and --modality molecules came"),
        (["--config", CLINIC, "--variant", "late"], "late"),
        (["--config", "heart", "--root", "."], "leave out --root"),
        (["table.csv", "--root", "."], "--root and --variant are for a declaration"),
    ],
)
def test_a_declaration_and_other_options_that_do_not_go_together_are_refused(
    told: Callable[..., str], write: Callable[..., Path], more: list[str | Path], said: str
) -> None:
    table = write(hospitals(), "table.csv")
    assert said in told("fit", *(table if each == "table.csv" else each for each in more))


# A new clinic.


def test_the_model_that_ships_is_adapted_to_a_new_clinic_and_names_the_rows_of_its_file(
    run: Run, tmp_path: Path
) -> None:
    adapted = run("adapt", EXAMPLES / "new_clinic.csv", *ADAPT, "--out", tmp_path / "p", "--json")
    assert adapted.code == 0, adapted.err
    result = json.loads(adapted.out)
    assert result["labelled_cases"] == 20
    assert result["remarks"] == [
        "row 8, column 'chol': outside 60 to 700 mg/dL, and read as missing",
        "column 'thal': the column is not there, and is read as missing throughout",
    ]
    others = EXAMPLES / "new_patients.csv"
    predicted = run("predict", others, "--predictor", tmp_path / "p", "--out", tmp_path / "r.csv", "--json")
    assert predicted.code == 0, predicted.err
    table = pd.read_csv(tmp_path / "r.csv").sort_values("row")
    assert table["troponin"].tolist() == pd.read_csv(others)["troponin"].tolist()
    assert table["p_yes"].between(0, 1).all()
    assert table["p_yes"].nunique() == 40


@pytest.mark.parametrize("label", [0, 1])
def test_a_clinic_whose_patients_are_all_of_one_class_is_adapted_to_with_a_warning(
    run: Run, write: Callable[..., Path], tmp_path: Path, label: int
) -> None:
    clinic = pd.read_csv(EXAMPLES / "new_clinic.csv").assign(narrowed=label)
    adapt = ("adapt", write(clinic), "--model", "heart", "--target", "narrowed")
    shown = run(*adapt, "--out", tmp_path / "p", "--json")
    assert shown.code == 0, shown.err
    assert f"note: the labelled cases are all of one class, '{label}', so they do not show" in shown.err
    assert json.loads(shown.out)["classes"] == ["0", "1"]
    both = run("adapt", EXAMPLES / "new_clinic.csv", *ADAPT, "--out", tmp_path / "both", "--json")
    assert "all of one class" not in both.err
    others = EXAMPLES / "new_patients.csv"
    for name in ("p", "both"):
        assert run("predict", others, "--predictor", tmp_path / name, "--out", tmp_path / f"{name}.csv").code == 0
    moved = pd.read_csv(tmp_path / "p.csv")["p_1"].mean() - pd.read_csv(tmp_path / "both.csv")["p_yes"].mean()
    assert moved * (2 * label - 1) > 0.05


def test_rows_that_cannot_be_read_are_named_or_left_out_when_asked(
    run: Run, told: Callable[..., str], write: Callable[..., Path], tmp_path: Path
) -> None:
    clinic = pd.read_csv(EXAMPLES / "new_clinic.csv").astype(object)
    clinic.loc[0, "narrowed"] = None
    clinic.loc[3, "age"] = PERSON
    path = write(clinic)
    sentence = told("adapt", path, *ADAPT)
    assert "1 of 19 labelled rows cannot be read: row 5, column 'age': a text came and a number was wanted" in sentence
    shown = run("adapt", path, *ADAPT, "--skip-invalid", "--out", tmp_path / "p", "--json")
    assert json.loads(shown.out)["left_out"] == {"missing targets": 1, "invalid cases": 1}
    assert json.loads(shown.out)["labelled_cases"] == 18
    others = pd.read_csv(EXAMPLES / "new_patients.csv").astype(object)
    others.loc[3, "age"] = PERSON
    predict = ("predict", write(others, "u.csv"), "--predictor", tmp_path / "p")
    assert "u.csv: 1 of 40 cases cannot be read: row 5, column 'age': a text came" in told(*predict, out="r.csv")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda t: t.assign(narrowed="no"),
            "the label 'no' came, and the classes of the earlier tasks are 0, 1; give labelled",
        ),
        (
            lambda t: t.assign(narrowed="yes"),
            "the label 'yes' came, and the classes of the earlier tasks are 0, 1; give",
        ),
        (lambda t: t.assign(narrowed=None), "t.csv has no measured value in narrowed"),
        (lambda t: t.head(1), "got 1 labelled case; give at least 2"),
        (lambda t: t.assign(narrowed=["perhaps", *t["narrowed"][1:]]), "has 3 labels (no, perhaps, yes) in narrowed"),
        (lambda t: t.assign(note=[f"{PERSON} {n}" for n in range(20)]), "t.csv, column 'note': 20 different texts"),
        (lambda t: t.assign(seen=["2024-01-10", "2024-02-11"] * 10), "t.csv, column 'seen' holds dates"),
        (lambda t: t[["troponin", "narrowed"]], "t.csv has none of the columns age, sex, cp"),
        (
            lambda t: pd.concat([t, t]).assign(dead=lambda u: (u["narrowed"] == "yes").map({True: "d", False: "a"})),
            "the column 'dead' of the labelled cases tells the two classes apart without error",
        ),
    ],
)
def test_a_clinic_that_a_model_cannot_be_adapted_to_is_told_why(
    told: Callable[..., str], write: Callable[..., Path], change: Callable[[pd.DataFrame], pd.DataFrame], said: str
) -> None:
    assert said in told("adapt", write(change(pd.read_csv(EXAMPLES / "new_clinic.csv"))), *ADAPT)


# Tables to fit on.


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.assign(note=[f"{PERSON} {n}" for n in range(120)]), "column 'note': 120 different texts in 120 cells look like identifiers"),
        (lambda t: t.assign(seen=[f"2024-0{1 + n % 9}-{10 + n % 18}" for n in range(120)]), "column 'seen' holds dates; give the time since"),
        (lambda t: t.assign(age=[*t["age"][:5].astype(str), PERSON, *t["age"][6:].astype(str)]), "column 'age': 119 of 120 cells are numbers and"),
        (lambda t: t.assign(died=0), "t.csv has no task with cases of two classes"),
        (lambda t: t.assign(died=1), "t.csv has no task with cases of two classes"),
        (lambda t: t.assign(site=[f"P{n}" for n in range(120)]), "t.csv has no task with cases of two classes"),
        (lambda t: t.assign(died=None), "t.csv has no measured value in died"),
        (lambda t: t.assign(died=[PERSON, *t["died"][1:].astype(str)]), "row 2, column 'died': the target is a text and 119 others are numbers"),
        (lambda t: t.assign(dead=t["died"]), "the column 'dead' tells the two classes of 'died' apart without error: it seems"),
        (lambda t: t.assign(left=t["died"].map({1: "home", 0: "ward"})), "the column 'left' tells the two classes"),
        (lambda t: t.assign(died=[f"{PERSON} {n}" for n in range(120)]), "so they are no labels either"),
        (lambda t: t.head(0), "t.csv has a header and no row"),
        (lambda t: t.rename(columns={"glucose": "age"}), "2 columns called 'age'"),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_learned_from_is_refused_with_the_column_or_row(
    told: Callable[..., str], write: Callable[..., Path], change: Callable[[pd.DataFrame], pd.DataFrame], said: str
) -> None:
    assert said in told("fit", write(change(hospitals())), *FIT)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "t.csv is empty; give a table with a header and at least one row"),
        (b"\x00\x01PK\x03" * 50, "t.csv holds binary data; give a table as CSV, TSV or Parquet"),
        ("site,age,died\nA,50,1\nA,51\n", "row 3 has 2 cells and the header has 3"),
    ],
)
def test_a_file_that_is_no_table_is_refused(
    told: Callable[..., str], write: Callable[..., Path], content: str | bytes, said: str
) -> None:
    assert said in told("fit", write(content), *FIT)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("binary", "has 40 labels and a binary task has two"),
        ("regression", "row 2, column 'died': a text came and a finite number was wanted (120 such cells)"),
    ],
)
def test_a_column_of_names_taken_for_the_target_is_refused_without_showing_one(
    told: Callable[..., str], write: Callable[..., Path], kind: str, said: str
) -> None:
    table = write(hospitals().assign(died=[f"{PERSON} {n}" for n in range(120)]))
    assert said in told("fit", table, *FIT, "--kind", kind)


def test_text_in_the_encoding_of_an_office_program_is_read(run: Run, write: Callable[..., Path]) -> None:
    table = hospitals().assign(ward=["Süd", "Nord"] * 60)
    for encoding in ("latin-1", "utf-16"):
        assert _checked(run, write(table.to_csv(index=False).encode(encoding)))["cases"] == 120


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        (SCHEMA + "  hba1c: numeric\n", "the schema names the column 'hba1c' and t.csv does not have it"),
        (SCHEMA + "  died: numeric\n", "the schema describes the column 'died', which is no part of a case here"),
        ("columns:\n  age: nummeric\n", "s.yaml, column 'age': type"),
        ("columns:\n  age: boolean\n", "column 'age' is declared boolean and it is not clear which of its"),
        (
            "columns:\n  ward: numeric\n",
            "120 of 120 rows cannot be read: row 2, column 'ward': a text came and a number",
        ),
        ("columns: [\n", "s.yaml, line 2 is not well-formed YAML"),
        ("age\n", "s.yaml holds no columns"),
        (None, "cannot be read (No such file or directory)"),
    ],
)
def test_a_schema_that_does_not_fit_is_refused_by_column_and_setting(
    told: Callable[..., str], write: Callable[..., Path], tmp_path: Path, schema: str | None, said: str
) -> None:
    table = write(hospitals())
    path = tmp_path / "in" / "s.yaml" if schema is None else write(schema, "s.yaml")
    assert said in told("fit", table, *FIT, "--schema", path)


def test_glucose_in_another_unit_is_told_for_all_hospitals_and_for_one(run: Run, write: Callable[..., Path]) -> None:
    schema = write(SCHEMA, "s.yaml")
    for who, share in ((slice(None), "100%"), (slice(40, 79), "33%")):
        table = hospitals()
        table.loc[who, "glucose"] = (table.loc[who, "glucose"] * 18.016).clip(lower=51).round(1)
        first, *rest = _checked(run, write(table), "--schema", schema)["remarks"]
        assert first.startswith(f"column 'glucose': {share} of the numbers are outside 1 to 50 mmol/L")
        assert "would fit if divided by 18.016: this looks like mg/dL where mmol/L was declared" in first
        assert len(rest) == 2


def test_what_can_be_learned_from_is_checked_and_the_odd_is_told(run: Run, write: Callable[..., Path]) -> None:
    table = hospitals()
    table.loc[table["site"] == "S1", "died"] = 1
    table.loc[[0, 1], "site"] = ["alone", "solo"]
    table.loc[5, "died"] = np.nan
    twins = table[table["site"] == "S0"].tail(3).assign(site="S2")
    result = _checked(run, write(pd.concat([table.assign(lactate=None), twins.assign(lactate=None)])))
    assert {row["task"]: row["cases"] for row in result["tasks"]} == {
        "alone": 1,
        "solo": 1,
        "S0": 37,
        "S1": 40,
        "S2": 43,
    }
    assert result["left_out"] == {"missing targets": 1}
    assert result["equal_rows"] == [{"left": "S0", "right": "S2", "rows": 3}]
    empty, single = result["remarks"]
    assert empty == "column 'lactate': the column is empty, and is read as missing throughout"
    assert (
        single == "3 tasks show one class only ('alone', 'solo', 'S1'), which tells no more than how rare the other is"
    )


def test_hundreds_of_columns_take_seconds(run: Run, write: Callable[..., Path]) -> None:
    wide = pd.DataFrame(np.random.default_rng(0).normal(size=(120, 300)).round(2)).add_prefix("c")
    path = write(pd.concat([hospitals(), wide], axis=1))
    started = time.monotonic()
    assert len(_checked(run, path)["columns"]["case"]) == 306
    assert time.monotonic() - started < 20
