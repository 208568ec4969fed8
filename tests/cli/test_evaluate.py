"""`metamedica evaluate` and `metamedica report`: figures, a page, and what the judged tasks share with those learned from."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from metamedica.cli import main
from metamedica.reports import html
from metamedica.reports.evaluation import Evaluation

Run = Callable[..., Any]
BASELINES = ("--baseline", "tanimoto_gp,linear", "--shots", "4,8", "--draws", 2)


@pytest.fixture(scope="module")
def split_assays(assays: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The eight assays with a column that says which are meta-test."""
    table = pd.read_csv(assays)
    table["side"] = table["assay"].map({"A0": "meta_test", "A7": "meta_test", "A1": "meta_valid"}).fillna("meta_train")
    path = tmp_path_factory.mktemp("split") / "assays.csv"
    table.to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def learned(split_assays: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that learned a little from the meta-train assays."""
    folder = tmp_path_factory.mktemp("learned") / "learned"
    fit = [
        "fit",
        str(split_assays),
        "--task",
        "assay",
        "--target",
        "pki",
        "--split",
        "side",
        "--unit",
        "-log10 M",
        "--out",
        str(folder),
    ]
    assert main([*fit, "--learner", "linear_probe", "--encoder-set", "hidden=[8]", "--steps", "3", "--json"]) == 0
    return folder


@pytest.fixture(scope="module")
def judged(split_assays: Path, learned: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("judged") / "out"
    evaluate = [
        "evaluate",
        str(split_assays),
        "--task",
        "assay",
        "--target",
        "pki",
        "--split-column",
        "side",
        "--model",
        str(learned),
    ]
    assert main([*evaluate, *map(str, BASELINES), "--unit", "-log10 M", "--out", str(folder), "--json"]) == 0
    return folder


def test_the_meta_test_tasks_are_judged_with_every_method_size_and_draw(judged: Path) -> None:
    evaluation = Evaluation.from_json(judged / "evaluation.json")
    assert evaluation.kind == "regression"
    assert evaluation.methods == ["learned", "tanimoto_gp", "linear"]
    assert set(evaluation.rows["task"]) == {"A0", "A7"}
    assert len(evaluation.rows) == 3 * 2 * 2 * 2
    assert (evaluation.rows["query"] == 24 - evaluation.rows["shots"]).all()


def test_the_page_is_whole_and_names_methods_leakage_and_examples(judged: Path) -> None:
    page = (judged / "report.html").read_text()
    assert page.rstrip().endswith("</html>")
    for text in ("learned", "tanimoto_gp", "Leakage", "Examples", "Trust", "occur in tasks that learned learned from"):
        assert text in page, text
    assert page.count("<svg") >= 8
    assert "<script" not in page


def test_the_page_can_be_made_again_from_the_figures(run: Run, judged: Path, tmp_path: Path) -> None:
    shown = run("report", judged / "evaluation.json", "--out", tmp_path / "again.html")
    assert shown.code == 0, shown.err
    assert (tmp_path / "again.html").read_text() == (judged / "report.html").read_text()


def test_an_evaluation_without_a_page_is_shown_too(run: Run, judged: Path, tmp_path: Path) -> None:
    Evaluation.from_json(judged / "evaluation.json").to_json(tmp_path / "plain.json")
    assert run("report", tmp_path / "plain.json", "--out", tmp_path / "plain.html", "--json").code == 0
    assert "tanimoto_gp" in (tmp_path / "plain.html").read_text()


def test_a_machine_gets_summary_pairs_and_notes(run: Run, split_assays: Path, learned: Path, tmp_path: Path) -> None:
    shown = run(
        "evaluate", split_assays, "--task", "assay", "--target", "pki", "--model", learned, *BASELINES, "--unit", "-log10 M",
        "--out", tmp_path / "e", "--json",
    )  # fmt: skip
    assert shown.code == 0, shown.err
    told = json.loads(shown.out)
    assert told["figure"] == "r2"
    assert sorted(told["tasks"]) == ["A0", "A7"]  # by the split that the model was fitted with
    assert "The meta-split is that of learned." in told["notes"]
    assert len(told["summary"]) == 3 * 2
    assert {(pair["method"], pair["baseline"], pair["shots"]) for pair in told["comparisons"]} == {
        ("learned", baseline, shots) for baseline in ("tanimoto_gp", "linear") for shots in (4, 8)
    }
    first = Evaluation.from_json(tmp_path / "e" / "evaluation.json").summary()
    assert np.isclose(told["summary"][0]["mean"], first["mean"][0])


def test_the_same_seed_gives_the_same_figures_and_another_seed_others(
    run: Run, split_assays: Path, tmp_path: Path
) -> None:
    figures = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        shown = run(
            "evaluate", split_assays, "--task", "assay", "--target", "pki", "--split-column", "side", "--baseline", "tanimoto_gp",
            "--shots", "4", "--draws", 2, "--seed", seed, "--out", tmp_path / name, "--json",
        )  # fmt: skip
        figures.append(json.loads(shown.out)["summary"][0]["mean"])
    assert figures[0] == figures[1]
    assert figures[0] != figures[2]


def test_a_person_reads_the_table_the_pairs_and_the_warning(
    run: Run, split_assays: Path, learned: Path, tmp_path: Path
) -> None:
    shown = run(
        "evaluate", split_assays, "--task", "assay", "--target", "pki", "--model", learned, *BASELINES, "--split", "all",
        "--out", tmp_path / "e",
    )  # fmt: skip
    assert shown.code == 0, shown.err
    assert "R²: mean over tasks" in shown.out
    assert "learned minus a baseline, paired over tasks" in shown.out
    assert "6 of the 8 judged tasks" in " ".join(shown.out.split())
    assert "too good" in shown.out
    assert max(len(line) for line in shown.out.splitlines() if str(tmp_path) not in line) <= 80  # a path is not folded


def test_values_can_be_judged_as_active_or_not(run: Run, split_assays: Path, tmp_path: Path) -> None:
    told = []
    for above in ("median", "6.5"):
        shown = run(
            "evaluate", split_assays, "--task", "assay", "--target", "pki", "--split-column", "side", "--baseline", "tanimoto_gp",
            "--shots", "4", "--draws", 2, "--active-above", above, "--out", tmp_path / above, "--json",
        )  # fmt: skip
        assert shown.code == 0, shown.err
        told.append(json.loads(shown.out))
    assert [each["figure"] for each in told] == ["delta_auprc", "delta_auprc"]
    assert told[0]["summary"][0]["mean"] != told[1]["summary"][0]["mean"]


def test_a_method_that_does_not_apply_is_named_with_its_reason(run: Run, split_assays: Path, tmp_path: Path) -> None:
    fit = (
        "fit",
        split_assays,
        "--task",
        "assay",
        "--target",
        "pki",
        "--learner",
        "prototypical",
        "--encoder-set",
        "hidden=[8]",
        "--steps",
        1,
    )
    assert run(*fit, "--out", tmp_path / "proto").code == 0
    shown = run(
        "evaluate", split_assays, "--task", "assay", "--target", "pki", "--split-column", "side", "--model", tmp_path / "proto",
        "--baseline", "tanimoto_gp", "--shots", "4", "--draws", 1, "--out", tmp_path / "e", "--json",
    )  # fmt: skip
    assert shown.code == 0, shown.err
    told = json.loads(shown.out)
    assert "regression" in told["skipped"]["proto"]
    assert {row["method"] for row in told["summary"]} == {"tanimoto_gp"}


def test_a_public_collection_can_be_judged_by_name(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from metamedica.data.catalogue import freewilson

    table = freewilson.table().head(40)
    monkeypatch.setattr(freewilson, "table", lambda: table)
    shown = run(
        "evaluate",
        "--catalogue",
        "freewilson",
        "--baseline",
        "tanimoto_gp",
        "--shots",
        "16",
        "--draws",
        1,
        "--out",
        tmp_path / "e",
        "--json",
    )
    assert shown.code == 0, shown.err
    assert json.loads(shown.out)["tasks"] == ["CHEMBL2321810"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--baseline", "none"], "nothing to judge"),
        (["--baseline", "magic"], "there is no learner 'magic'"),
        (["--baseline", "maml"], "fit it and name it with --model"),
        (["--shots", "1"], "--shots got '1'"),
        (["--shots", "64"], "too small for 64 shots"),
        (["--split", "meta_test"], "--split-column"),
        (["--split", "some"], "--split"),
        (["--tasks", "A99"], "there is no task 'A99'"),
        (["--active-above", "high"], "--active-above got 'high'"),
        (["--catalogue", "freewilson"], "one of the three"),
        (["--config", "clinic.yaml"], "one of the three"),
        (["--root", "."], "name it with --config"),
        (["--model", "nowhere"], "there is no model 'nowhere'"),
    ],
)
def test_an_evaluation_that_makes_no_sense_is_refused(
    refused: Run, assays: Path, tmp_path: Path, arguments: list[str], said: str
) -> None:
    sentence = refused("evaluate", assays, "--task", "assay", "--out", tmp_path / "e", *arguments).err
    assert said in sentence
    assert list(tmp_path.iterdir()) == []


def test_two_models_of_one_name_and_a_model_named_like_a_baseline_are_told_apart(
    run: Run, refused: Run, model: Path, split_assays: Path, tmp_path: Path
) -> None:
    for folder in ("one", "two"):
        shutil.copytree(model, tmp_path / folder / "linear")
    evaluate = (
        "evaluate",
        split_assays,
        "--task",
        "assay",
        "--target",
        "pki",
        "--split-column",
        "side",
        *BASELINES,
        "--json",
    )
    one = ("--model", tmp_path / "one" / "linear")
    assert (
        "two models are called 'linear'"
        in refused(*evaluate, *one, "--model", tmp_path / "two" / "linear", "--out", tmp_path / "e").err
    )
    told = json.loads(run(*evaluate, *one, "--out", tmp_path / "e").out)
    assert {row["method"] for row in told["summary"]} == {"linear (model)", "linear", "tanimoto_gp"}


def test_an_evaluation_that_stands_there_is_kept_until_asked(
    refused: Run, run: Run, split_assays: Path, tmp_path: Path
) -> None:
    evaluate = (
        "evaluate", split_assays, "--task", "assay", "--target", "pki", "--split-column", "side", "--baseline", "tanimoto_gp",
        "--shots", "4", "--draws", 1, "--out", tmp_path,
    )  # fmt: skip
    (tmp_path / "notes.txt").write_text("mine")
    assert run(*evaluate).code == 0
    assert "--overwrite" in refused(*evaluate).err
    assert run(*evaluate, "--overwrite").code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["evaluation.json", "notes.txt", "report.html"]


def test_nothing_stays_where_the_page_cannot_be_written(
    run: Run, split_assays: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(html, "write_page", full)
    shown = run(
        "evaluate", split_assays, "--task", "assay", "--target", "pki", "--split-column", "side", "--baseline", "tanimoto_gp",
        "--shots", "4", "--draws", 1, "--out", tmp_path / "e",
    )  # fmt: skip
    assert shown.code == 2
    assert "the disk is full" in shown.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "not readable JSON"),
        ("{}", "not an evaluation"),
        ("[1]", "not an evaluation"),
        ('{"format": 99}', "evaluat"),
    ],
)
def test_a_file_that_is_no_evaluation_is_refused(refused: Run, tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "e.json").write_text(content)
    assert said in refused("report", tmp_path / "e.json", "--out", tmp_path / "r.html").err
    assert not (tmp_path / "r.html").exists()


def test_a_page_of_another_version_or_with_a_case_that_is_none_is_refused(
    refused: Run, judged: Path, tmp_path: Path
) -> None:
    value = json.loads((judged / "evaluation.json").read_text())
    for page in (
        {**value["page"], "colour": "red"},
        {**value["page"], "examples": [{"case": "<script>", "lines": []}]},
    ):
        (tmp_path / "e.json").write_text(json.dumps({**value, "page": page}))
        refused("report", tmp_path / "e.json", "--out", tmp_path / "r.html")
        assert not (tmp_path / "r.html").exists()


def test_a_missing_evaluation_and_a_wrong_suffix_are_refused(refused: Run, judged: Path, tmp_path: Path) -> None:
    assert "there is no file" in refused("report", tmp_path / "none.json", "--out", tmp_path / "r.html").err
    assert "unknown format" in refused("report", judged / "evaluation.json", "--out", tmp_path / "r.pdf").err
