"""`metamedica predict`: a list of cases, ranked."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from metamedica.predictors.predictor import Predictor

Run = Callable[..., Any]


@pytest.fixture
def calls(run: Run, model: Path, measured: Path, tmp_path: Path) -> Path:
    """A predictor of a binary task with the labels dud and hit."""
    table = pd.read_csv(measured)
    labels = np.where(table["pki"] > table["pki"].median(), "hit", "dud")
    pd.DataFrame({"smiles": table["smiles"], "call": labels}).to_csv(tmp_path / "calls.csv", index=False)
    assert (
        run("adapt", tmp_path / "calls.csv", "--model", model, "--positive", "hit", "--out", tmp_path / "calls").code
        == 0
    )
    return tmp_path / "calls"


def test_the_table_holds_the_files_own_columns_and_the_predictions_best_first(
    run: Run, predictor: Path, library: Path, tmp_path: Path
) -> None:
    assert run("predict", library, "--predictor", predictor, "--out", tmp_path / "r.csv").code == 0
    table, given = pd.read_csv(tmp_path / "r.csv"), pd.read_csv(library)
    assert list(table.columns) == [
        "row",
        "id",
        "case",
        "canonical",
        "prediction",
        "low",
        "high",
        "nearest_labelled",
        "similarity",
    ]
    assert table["prediction"].is_monotonic_decreasing
    assert (table["low"] < table["prediction"]).all()
    assert (table["prediction"] < table["high"]).all()
    assert (given.loc[table["row"] - 2, "smiles"].to_numpy() == table["case"]).all()
    assert (given.loc[table["row"] - 2, "id"].to_numpy() == table["id"]).all()
    loaded = Predictor.load(predictor)
    assert np.allclose(table["prediction"], loaded.predict(table["case"].tolist()), atol=1e-5)
    assert np.allclose(table[["low", "high"]], loaded.predict_interval(table["case"].tolist()), atol=1e-5)


def test_the_order_of_the_file_can_be_kept_and_the_lowest_can_be_best(
    run: Run, predictor: Path, library: Path, tmp_path: Path
) -> None:
    assert run("predict", library, "--predictor", predictor, "--out", tmp_path / "k.csv", "--keep-order").code == 0
    assert pd.read_csv(tmp_path / "k.csv")["row"].tolist() == list(range(2, 52))
    assert run("predict", library, "--predictor", predictor, "--out", tmp_path / "l.csv", "--low-is-better").code == 0
    assert pd.read_csv(tmp_path / "l.csv")["prediction"].is_monotonic_increasing


def test_only_so_many_rows_are_written_as_were_asked_for(
    run: Run, predictor: Path, library: Path, tmp_path: Path
) -> None:
    shown = run("predict", library, "--predictor", predictor, "--out", tmp_path / "t.parquet", "--top", 3, "--json")
    told, table = json.loads(shown.out), pd.read_parquet(tmp_path / "t.parquet")
    assert len(table) == 3
    assert (told["cases"], told["written"]) == (50, 3)
    assert [row["id"] for row in told["first"]] == table["id"].tolist()


def test_a_wider_coverage_gives_wider_intervals(run: Run, predictor: Path, library: Path, tmp_path: Path) -> None:
    width = []
    for coverage in (0.5, 0.99):
        out = tmp_path / f"{coverage}.csv"
        assert run("predict", library, "--predictor", predictor, "--out", out, "--coverage", coverage).code == 0
        table = pd.read_csv(out)
        width.append(float((table["high"] - table["low"]).mean()))
    assert width[1] > 1.5 * width[0]


def test_classes_are_ranked_by_the_probability_of_the_positive_one(
    run: Run, calls: Path, library: Path, tmp_path: Path
) -> None:
    shown = run("predict", library, "--predictor", calls, "--out", tmp_path / "c.csv")
    assert shown.code == 0, shown.err
    assert "p_hit" in shown.out
    table = pd.read_csv(tmp_path / "c.csv")
    assert table["p_hit"].is_monotonic_decreasing
    assert np.allclose(table["p_hit"] + table["p_dud"], 1, atol=1e-6)
    assert ((table["p_hit"] > 0.5) == (table["prediction"] == "hit")).all()


def test_a_person_sees_the_first_ten_with_interval_and_nearest_measured_case(
    run: Run, predictor: Path, library: Path, tmp_path: Path
) -> None:
    shown = run("predict", library, "--predictor", predictor, "--out", tmp_path / "r.csv")
    assert "the first 10" in shown.out
    assert "90% intervals" in shown.out
    assert "-log10 M" in shown.out
    best = pd.read_csv(tmp_path / "r.csv").iloc[0]
    line = next(line for line in shown.out.splitlines() if line.strip().startswith(str(best["row"])))
    assert f"{best['prediction']:.3f}" in line
    assert best["nearest_labelled"][:8] in line
    assert max(len(line) for line in shown.out.splitlines() if str(tmp_path) not in line) <= 80  # a path is not folded


def test_a_smi_and_an_sdf_file_are_read_with_their_names(run: Run, predictor: Path, tmp_path: Path) -> None:
    from rdkit import Chem

    (tmp_path / "l.smi").write_text("CCOc1ccccc1 phenetole\nCCN ethylamine\n")
    with Chem.SDWriter(str(tmp_path / "l.sdf")) as writer:
        molecule = Chem.MolFromSmiles("CCOc1ccccc1")
        molecule.SetProp("_Name", "phenetole")
        writer.write(molecule)
    for name in ("l.smi", "l.sdf"):
        out = tmp_path / f"{name}.csv"
        assert run("predict", tmp_path / name, "--predictor", predictor, "--out", out).code == 0
        table = pd.read_csv(out).set_index("name")
        assert table.loc["phenetole", "canonical"] == "CCOc1ccccc1"


def test_cases_that_cannot_be_read_come_last_without_a_prediction(run: Run, predictor: Path, tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("smiles,id\nCCO,a\nC1CC,b\nCCN,c\n")
    shown = run(
        "predict", tmp_path / "l.csv", "--predictor", predictor, "--out", tmp_path / "r.csv", "--skip-invalid", "--json"
    )
    assert shown.code == 0, shown.err
    assert json.loads(shown.out)["left_out"] == {"invalid cases": 1}
    last = pd.read_csv(tmp_path / "r.csv").iloc[-1]
    assert last["id"] == "b"
    assert np.isnan(last["prediction"])
    assert "ring" in last["problem"]


def test_a_column_of_the_file_that_has_the_name_of_a_prediction_is_kept_apart(
    run: Run, predictor: Path, tmp_path: Path
) -> None:
    (tmp_path / "l.csv").write_text("smiles,prediction,row\nCCO,mine,7\n")
    assert run("predict", tmp_path / "l.csv", "--predictor", predictor, "--out", tmp_path / "r.csv").code == 0
    table = pd.read_csv(tmp_path / "r.csv")
    assert table["prediction (input)"].tolist() == ["mine"]
    assert table["row (input)"].tolist() == [7]
    assert table["prediction"].dtype == float


def test_a_cell_that_a_spreadsheet_would_run_is_not_written_as_it_came(
    run: Run, predictor: Path, tmp_path: Path
) -> None:
    (tmp_path / "l.csv").write_text('smiles,id\nCCO,"=HYPERLINK(""http://x"")"\n')
    assert run("predict", tmp_path / "l.csv", "--predictor", predictor, "--out", tmp_path / "r.csv").code == 0
    assert pd.read_csv(tmp_path / "r.csv")["id"][0].startswith("'=")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--coverage", "1.5"], "between 0 and 1"),
        (["--coverage", "nan"], "between 0 and 1"),
        (["--low-is-better", "--keep-order"], "name one of them"),
        (["--case", "zz"], "no column 'zz'"),
        (["--top", "0"], "--top"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(
    refused: Run, predictor: Path, library: Path, tmp_path: Path, more: list[str], said: str
) -> None:
    assert said in refused("predict", library, "--predictor", predictor, "--out", tmp_path / "r.csv", *more).err
    assert list(tmp_path.iterdir()) == []


def test_the_lowest_probability_is_never_the_best(refused: Run, calls: Path, library: Path, tmp_path: Path) -> None:
    assert (
        "leave it out"
        in refused("predict", library, "--predictor", calls, "--out", tmp_path / "r.csv", "--low-is-better").err
    )


def test_a_file_that_stands_there_is_kept(refused: Run, predictor: Path, library: Path, tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("mine")
    assert "--overwrite" in refused("predict", library, "--predictor", predictor, "--out", tmp_path / "r.csv").err
    assert (tmp_path / "r.csv").read_text() == "mine"
    assert (
        "the input itself" in refused("predict", library, "--predictor", predictor, "--out", library, "--overwrite").err
    )
    assert "unknown format" in refused("predict", library, "--predictor", predictor, "--out", tmp_path / "r.xlsx").err


@pytest.fixture
def few(library: Path, tmp_path: Path) -> Path:
    """Three cases of the library, with a column that has the name of the explanations'."""
    pd.read_csv(library).head(3).assign(explanation="mine").to_csv(tmp_path / "few.csv", index=False)
    return tmp_path / "few.csv"


def test_every_written_case_is_explained_in_the_table_and_in_a_file_of_json(
    run: Run, predictor: Path, few: Path, tmp_path: Path
) -> None:
    out, why = tmp_path / "r.csv", tmp_path / "why.json"
    done = run("predict", few, "--predictor", predictor, "--out", out, "--explain", why, "--top", 2, "--json")
    assert done.code == 0, done
    assert json.loads(done.out)["explained"] == 2
    table, told = pd.read_csv(out), json.loads(why.read_text())
    assert table["explanation"].str.startswith("Expected value in").all()
    assert (table["explanation (input)"] == "mine").all()
    assert [each["place"] for each in told] == [f"row {row}" for row in table["row"]]
    for each, predicted in zip(told, table["prediction"], strict=True):
        total = each["base"] + sum(part["contribution"] for part in each["parts"])
        assert total == pytest.approx(each["output"], abs=1e-8)
        assert each["output"] == pytest.approx(predicted, rel=1e-4)
        assert each["nearest"]


def test_explained_cases_make_a_page_with_each_case_drawn(run: Run, calls: Path, few: Path, tmp_path: Path) -> None:
    why = tmp_path / "why.html"
    assert run("predict", few, "--predictor", calls, "--out", tmp_path / "r.csv", "--explain", why).code == 0
    page = why.read_text()
    assert page.count("<svg") == 6
    assert "Log-odds of" in page
    assert "hit" in page
    assert "not a medical device" in page


def test_a_case_without_prediction_has_no_explanation(run: Run, predictor: Path, few: Path, tmp_path: Path) -> None:
    frame = pd.read_csv(few)
    frame.loc[1, "smiles"] = "not a molecule"
    frame.to_csv(few, index=False)
    out = tmp_path / "r.csv"
    done = run(
        "predict", few, "--predictor", predictor, "--out", out, "--explain", tmp_path / "w.json", "--skip-invalid"
    )
    assert done.code == 0, done
    assert pd.read_csv(out)["explanation"].isna().sum() == 1
    assert len(json.loads((tmp_path / "w.json").read_text())) == 2


def test_explanations_of_more_cases_than_a_page_holds_or_of_another_format_are_refused(
    refused: Run, predictor: Path, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metamedica.cli.predict._MOST_ON_A_PAGE", 2)
    outcome = refused(
        "predict", few, "--predictor", predictor, "--out", tmp_path / "r.csv", "--explain", tmp_path / "w.html"
    )
    assert "--explain got 3 cases and a .html file takes at most 2; add --top 2" in outcome.err
    outcome = refused(
        "predict", few, "--predictor", predictor, "--out", tmp_path / "r.csv", "--explain", tmp_path / "w.txt"
    )
    assert "--explain w.txt has an unknown format" in outcome.err
