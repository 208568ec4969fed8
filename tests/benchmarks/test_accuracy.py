"""The accuracy of few-shot molecules: cells that come back as they were, comparisons with a known answer, pages that hold every figure."""

import json
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from benchmark_modules import ROOT, load_benchmark
from metamedica.data.collection import Task, TaskCollection

PUBLISHED = {path.stem: path for path in sorted((ROOT / "benchmarks" / "published" / "molecules").glob("*.toml"))}


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return load_benchmark("accuracy", monkeypatch)


@pytest.fixture
def cells(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    module = load_benchmark("_cells", monkeypatch)
    monkeypatch.setattr(module, "CELLS", tmp_path / "cells")
    return module


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return load_benchmark("_accuracy_tables", monkeypatch)


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return load_benchmark("_accuracy_pages", monkeypatch)


def _cell(cells: ModuleType, setting: str, method: str, values: list[float], **more: Any) -> Any:
    """Return a cell whose leading figure and ΔAUPRC are these values on as many tasks, at every support size."""
    of = cells.SETTINGS[setting]
    rows = [
        {"task": f"t{at}", "shots": shots, "draw": draw} | dict.fromkeys(of.columns, value + sign * 0.01)
        for shots in of.shots
        for at, value in enumerate(values)
        for draw, sign in enumerate((-1, 1))
    ]
    made = {"version": "1", "protocol": {"name": "p", "tasks_too_small": {}}, "minutes": 1.0} | more
    return cells.Cell.of(of, method, pd.DataFrame(rows), **made)


# Cells.


def test_a_cell_holds_means_over_draws_and_comes_back_as_it_was(cells: ModuleType) -> None:
    cell = _cell(cells, "davis", "linear", [0.2, float("nan"), 0.4])
    assert cell.figures["16"]["task"] == ["t0", "t1", "t2"]
    assert cell.figures["16"]["auprc"] == [0.2, None, 0.4]
    cells.write_cell(cell)
    assert cells.cell_of("davis", "linear") == cell
    assert cells.every_cell() == [cell]
    assert cell.frames()[16]["auprc"].isna().tolist() == [False, True, False]


def test_a_damaged_cell_is_said_and_measured_again(cells: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    cells.write_cell(_cell(cells, "davis", "linear", [0.2]))
    next(cells.CELLS.rglob("*.json")).write_text("{", encoding="utf-8")
    assert cells.cell_of("davis", "linear") is None
    assert "damaged, and measured again: davis, linear" in capsys.readouterr().err
    assert cells.cell_of("davis", "other") is None


def test_a_cell_of_this_version_is_finished_and_one_of_another_is_named_as_stale(
    bench: ModuleType, cells: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = cells.SETTINGS["davis"]
    assert not bench.finished(setting, "linear")
    cells.write_cell(_cell(cells, "davis", "linear", [0.2], version=bench.version_of_cell(setting, "linear")))
    assert bench.finished(setting, "linear")
    monkeypatch.setenv("FRESH", "1")
    assert not bench.finished(setting, "linear")
    monkeypatch.delenv("FRESH")
    cells.write_cell(_cell(cells, "davis", "linear", [0.2], version="old"))
    assert not bench.finished(setting, "linear")
    assert "stale, its code or data has changed: davis, linear" in capsys.readouterr().err


def test_settings_differ_in_their_versions_and_methods_too(bench: ModuleType, cells: ModuleType) -> None:
    versions = {name: setting.version() for name, setting in cells.SETTINGS.items()}
    assert len(set(versions.values())) == len(versions)
    davis = cells.SETTINGS["davis"]
    assert len({bench.version_of_cell(davis, method) for method in ("linear", "tanimoto_gp", "linear_probe")}) == 3


# Comparisons.


def test_differences_are_paired_signed_and_against_the_best_from_scratch(cells: ModuleType, tables: ModuleType) -> None:
    base = np.linspace(0.1, 0.5, 9)
    own = [
        _cell(cells, "davis", "tanimoto_gp", base.tolist()),
        _cell(cells, "davis", "linear", (base + 0.1).tolist()),
        _cell(cells, "davis", "linear_probe", np.where(np.arange(9) < 2, base - 0.1, base + 0.2).tolist()),
    ]
    told = tables.facts(own)
    line = tables.line_of(told, "davis", 16, "linear_probe")
    assert line["against_reference"]["mean"] == pytest.approx((2 * -0.1 + 7 * 0.2) / 9, abs=1e-4)
    assert line["against_best"] == line["against_best"] | {"baseline": "linear", "wins": 7, "losses": 2}
    low, high = line["against_best"]["interval"]
    assert low <= line["against_best"]["mean"] <= high
    assert line["against_best"]["mean"] == pytest.approx((2 * -0.2 + 7 * 0.1) / 9, abs=1e-4)
    assert line["harmed"] == pytest.approx(2 / 9, abs=1e-4)
    best = tables.line_of(told, "davis", 16, "linear")
    assert (best["against_best"], best["harmed"]) == (None, 0.0)
    assert [each["method"] for each in told["davis"]["shots"]["16"]] == ["linear_probe", "linear", "tanimoto_gp"]
    assert tables.line_of(told, "kiba", 16, "linear") is None


def test_lower_errors_are_better_and_harm_is_told_of_classes_only(cells: ModuleType, tables: ModuleType) -> None:
    own = [_cell(cells, "moleculeace", name, [value] * 4) for name, value in (("tanimoto_gp", 0.9), ("linear", 1.0))]
    told = tables.facts(own)
    lines = told["moleculeace"]["shots"]["64"]
    assert [each["method"] for each in lines] == ["tanimoto_gp", "linear"]
    assert lines[1]["against_best"]["mean"] == pytest.approx(-0.1)
    assert lines[1]["harmed"] is None


def test_the_goals_judge_the_method_that_ships_and_the_rows_without_support(
    cells: ModuleType, tables: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = np.linspace(0.1, 0.5, 30)
    own = [
        _cell(cells, "chembl691-unseen", "tanimoto_gp", base.tolist()),
        _cell(cells, "chembl691-unseen", "deep_kernel", (base + 0.009).tolist()),
        _cell(cells, "davis", "deep_kernel", [0.7] * 5),
        _cell(cells, "tox21", "no_support", [0.8549] * 3),
        _cell(cells, "sider", "no_support", [0.8] * 6),
        *(_cell(cells, "moleculeace", name, [value] * 4) for name, value in
          (("tanimoto_gp", 1.0), ("support_vector_regression", 0.9), ("deep_kernel", 0.86))),
    ]  # fmt: skip
    told = tables.facts(own)
    assert [each["met"] for each in tables.goals(told)] == [True, False]
    monkeypatch.setattr(tables, "DEFAULT", "deep_kernel")
    met = {each["name"].split(",")[0] + each["name"].split(":")[0][-3:]: each["met"] for each in tables.goals(told)[2:]}
    harm = {"settings and support sizes with the default below the best baseline": True, "share of tasks harmed": True}
    reached = {name: each for name, each in met.items() if "sizes" not in name and "share" not in name}
    assert len(met) == len(reached) + len(harm)
    assert reached == {
        "chembl691-unseen 16": False, "chembl691-unseen 64": True, "davis 16": True, "moleculeace 64": False
    }  # fmt: skip
    assert all(each["met"] for each in tables.goals(told) if each["name"].startswith(tuple(harm)))


def test_the_goal_with_molecules_seen_elsewhere_is_a_gain_over_the_embedding(
    cells: ModuleType, tables: ModuleType
) -> None:
    base = np.linspace(0.1, 0.5, 30)
    own = [
        _cell(cells, "chembl691-seen", name, (base + more).tolist())
        for name, more in (("tanimoto_gp", 0.0), ("deep_kernel", 0.01), ("default", 0.026))
    ]
    met = {each["name"]: (each["value"], each["met"]) for each in tables.goals(tables.facts(own))}
    told = "chembl691-seen, {}: gain over deep_kernel, delta_auprc"
    assert met[told.format(16)] == (pytest.approx(0.016), False)
    assert met[told.format(64)] == (pytest.approx(0.016), True)


def test_a_default_below_a_baseline_and_a_trust_that_knows_nothing_miss_their_goals(
    cells: ModuleType, tables: ModuleType
) -> None:
    n = 40
    rng = np.random.default_rng(0)
    gain, loss = rng.normal(size=n), np.full(n, 1.0)

    def cell(method: str, value: float, losses: Any, trust: Any = None) -> Any:
        made = _cell(cells, "chembl691-unseen", method, [value] * n)
        for table in made.figures.values():
            table["log_loss"] = list(losses)
            if trust is not None:
                table["trust"] = list(trust)
        return made

    def goals(trust: Any, value: float) -> dict[str, Any]:
        own = [cell("tanimoto_gp", 0.3, loss), cell("default", value, loss - gain, trust)]
        return {each["name"].split(",")[0].split(" of tasks")[0]: each for each in tables.goals(tables.facts(own))}

    good, bad = goals(gain, 0.32), goals(rng.normal(size=n), 0.25)
    for name in ("settings and support sizes with the default below the best baseline", "share", "rank correlation"):
        found = [[each for each in some.values() if each["name"].startswith(name)] for some in (good, bad)]
        assert [[each["met"] for each in some] for some in found] == [[True], [False]], name


# Pages.


def test_the_pages_hold_every_method_every_setting_and_every_published_figure(
    cells: ModuleType, tables: ModuleType, pages: ModuleType
) -> None:
    own = [
        _cell(cells, setting, method, [value, value + 0.02])
        for setting in cells.SETTINGS
        for method, value in (("tanimoto_gp", 0.31234), ("linear", 0.25))
    ] + [_cell(cells, "tox21", "no_support", [0.9, 0.9])]
    told = tables.facts(own)
    judged = tables.goals(told)
    text = pages.markdown(told, judged, machine="m", stale=["davis, linear"])
    board = pages.leaderboard(told, stale=["davis, linear"])
    for setting in cells.SETTINGS.values():
        assert f"## {setting.title} (`{setting.name}`)" in text
        assert setting.title in board
    assert text.count("| tanimoto_gp |") == sum(len(setting.shots) for setting in cells.SETTINGS.values())
    assert all(f"| {each['name']} |" in text for each in judged)
    for page in (text, board):
        assert "changed since: davis, linear" in page
    assert "**0.322**" in board
    assert "**0.900**" not in board  # what needs no support is not the best of a column
    for name in PUBLISHED:
        for row in pages.published(name)["rows"]:
            assert f"| {row['method']} |" in board
    for line in (*text.splitlines(), *board.splitlines()):
        if line.startswith("|---"):
            wide = line.count("|")
        elif line.startswith("| ") and not line.startswith(("| method", "| goal")):
            assert line.count("|") == wide, line


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_figure_names_its_source_and_a_known_or_told_setting(
    name: str, cells: ModuleType, pages: ModuleType
) -> None:
    file = tomllib.loads(PUBLISHED[name].read_text("utf-8"))
    assert all(isinstance(file[key], str) and file[key] for key in ("about", "figure", "protocol"))
    assert file["departs"]
    assert all(source["title"] and source["known"] for source in file["sources"].values())
    assert any(name in files for _, _, files in pages.GROUPS)
    methods = [row["method"] for row in file["rows"]]
    assert len(set(methods)) == len(methods)
    for row in file["rows"]:
        assert set(row["sources"]) <= set(file["sources"])
        assert set(row.get("apart", [])) <= set(row["values"])
        for key, value in row["values"].items():
            setting, _, size = key.partition("/")
            assert setting in cells.SETTINGS or setting.startswith("fsmol")
            assert size
            assert -1 < value * file["scale"] < 1.5


# Measuring.


@pytest.fixture
def small(cells: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Any:
    """SIDER's setting with two generated tasks of 24 molecules, and 10 more to learn from."""
    settings = load_benchmark("_settings", monkeypatch)
    rng = np.random.default_rng(0)
    counts = torch.tensor(rng.poisson(0.05, size=(60, 2048)), dtype=torch.uint8)
    features = {"counts": counts, "descriptors": torch.tensor(rng.normal(size=(60, 22)), dtype=torch.float32)}
    tasks = {
        name: Task(name, "binary", np.arange(60), rng.integers(0, 2, 60), classes=("0", "1"))
        for name in [f"t{number}" for number in range(12)]
    }
    split: dict[str, Any] = {name: "meta_test" if name in ("t0", "t1") else "meta_train" for name in tasks}
    made = TaskCollection("molecules", [f"C{n}" for n in range(60)], features=features, tasks=tasks, split=split)
    monkeypatch.setattr(settings, "_loaded", lambda name: made)
    return cells.SETTINGS["sider"], cells.SETTINGS["sider-unseen"]


def test_a_cell_is_measured_with_finished_parts_and_every_world(
    bench: ModuleType, small: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "_PARTS", tmp_path / "parts")
    whole, unseen = small
    cell = bench.measured(whole, "tanimoto_gp", draws=2)
    assert cell.figures["10"]["task"] == ["t0", "t1"]
    assert set(cell.figures["1"]) == {"task", *whole.columns} - {"trust"}  # of guarded methods
    assert cell.version == bench.version_of_cell(whole, "tanimoto_gp")
    parts = sorted((tmp_path / "parts").rglob("*.json"))
    assert len(parts) == 4
    for part in parts:  # they are read, and not made again
        found = json.loads(part.read_text("utf-8"))
        for row in found["rows"]:
            row["roc_auc"] = 0.75
        part.write_text(json.dumps(found), "utf-8")
    assert bench.measured(whole, "tanimoto_gp", draws=2).figures["10"]["roc_auc"] == [0.75, 0.75]
    halves = bench.measured(unseen, "tanimoto_gp", draws=2)
    assert halves.protocol["worlds"] == 2
    assert len(sorted((tmp_path / "parts").rglob("*.json"))) > 4


def test_unknown_settings_and_methods_end_with_one_sentence(bench: ModuleType) -> None:
    with pytest.raises(SystemExit, match="there is no setting 'mars'; choose from: chembl691-unseen"):
        bench.chosen(["mars"])
    with pytest.raises(SystemExit, match="there is no method 'magic'; choose from: random_forest"):
        bench.known_methods("tanimoto_gp,magic")
    assert bench.known_methods("linear,no_support") == ["linear", "no_support"]


def test_methods_are_asked_only_where_they_apply(bench: ModuleType, cells: ModuleType) -> None:
    settings = cells.SETTINGS
    assert not bench.applies(settings["tox21"], "support_vector_regression")
    assert bench.applies(settings["moleculeace"], "support_vector_regression")
    assert bench.applies(settings["muv"], "no_support")
    assert not bench.applies(settings["muv-unseen"], "no_support")
    assert not bench.applies(settings["moleculeace"], "prototypical")


def test_the_usual_spread_is_that_of_earlier_tasks_of_the_same_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_benchmark("_settings", monkeypatch)
    values = {"a": [0.0, 2.0, 4.0], "b": [1.0, 1.0, 4.0], "c": [0.0, 50.0, 100.0], "d": [5.0, 6.0, 7.0]}
    units = {"a": "M", "b": "M", "c": "g", "d": "M"}
    tasks = {
        name: Task(name, "regression", np.arange(3), np.array(each), unit=units[name]) for name, each in values.items()
    }
    split: dict[str, Any] = {"a": "meta_train", "b": "meta_train", "c": "meta_train", "d": "meta_test"}
    made = TaskCollection("synthetic", list("xyz"), features={}, tasks=tasks, split=split)
    world = settings.World("w", lambda: made, made, ["d"])
    assert world.usual_scale() == pytest.approx(
        np.sqrt((np.var(values["a"], ddof=1) + np.var(values["b"], ddof=1)) / 2)
    )
    assert settings.World("w", lambda: made.select(["c"]), made, ["d"]).usual_scale() is None
    assert settings.World("w", lambda: made, made.binarised("median"), ["d"]).usual_scale() is None


def test_mutants_of_a_kinase_are_of_its_gene(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_benchmark("_settings", monkeypatch)
    named = {
        "ABL1(F317I)p": "ABL1",
        "ABL1p": "ABL1",
        "ABL1": "ABL1",
        "p38-alpha": "p38",
        "RSK1(KinDom.1-N-terminal)": "RSK1",
    }
    assert {name: settings._gene(name) for name in named} == named
