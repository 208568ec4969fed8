"""Golden figures: every published file is whole, its settings build a learner, and the measure is what it says."""

import importlib
import json
import re
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from metamedica import registry
from metamedica.data.generated_functions import FunctionPlan, Sinusoids
from metamedica.storage import read_bundle

ROOT = Path(__file__).parents[2]
FILES = {path.stem: path for path in sorted((ROOT / "benchmarks" / "published").glob("*.toml"))}
READ = {"table", "quoted", "plot", "recalled", "text", "none"}
"""How the number is known: seen in the paper's table, quoted by another text, read off a plot, from memory; a claim in words; no number."""
PAPER = {"title": str, "authors": str, "year": int, "arxiv": str, "where": str, "read": str, "checked": str, "setting": str}  # fmt: skip


@pytest.fixture
def golden(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.golden")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks._golden_run")


def _file(name: str) -> dict[str, Any]:
    return tomllib.loads(FILES[name].read_text("utf-8"))


# The files.


@pytest.mark.parametrize("name", FILES)
def test_a_published_file_names_its_paper_its_place_its_seeds_and_its_command(name: str) -> None:
    file = _file(name)
    assert file["command"] == f"python -m benchmarks.golden --only {name}"
    assert file["departs"]
    assert all(each.strip() for each in file["departs"])
    for key, kind in PAPER.items():
        assert isinstance(file["paper"][key], kind), key
        assert file["paper"][key], key
    assert re.fullmatch(r"\d{4}\.\d{5}", file["paper"]["arxiv"])
    assert file["paper"]["read"] in READ
    assert re.match(rf"[a-z]+{file['paper']['year']}_", name)
    assert file["method"]["learner"] in registry.names("learners")
    assert file["method"]["learner"] in name
    assert file["training"]["loss"] in ("own", "squared error")
    assert file["training"]["seeds"] == list(range(len(file["training"]["seeds"]))) != []


@pytest.mark.parametrize("name", FILES)
def test_a_papers_number_lies_in_its_interval_and_none_is_told_where_none_was_read(name: str) -> None:
    file = _file(name)
    assert len({figure["name"] for figure in file["figures"]}) == len(file["figures"]) > 0
    for figure in file["figures"]:
        assert figure["metric"] in ("squared error", "divergence")
        if "paper" in figure:
            low, high = figure["interval"]
            assert low < figure["paper"] < high
        assert ("paper" in figure) == (file["paper"]["read"] in ("table", "quoted", "plot", "recalled"))


@pytest.mark.parametrize("name", FILES)
def test_every_figure_of_a_file_has_been_measured_and_judged_as_the_command_does(name: str) -> None:
    file = _file(name)
    measured = {each["name"]: each for each in file["ours"]}
    assert list(measured) == [figure["name"] for figure in file["figures"]]
    for figure in file["figures"]:
        ours = measured[figure["name"]]
        assert ours["interval"][0] <= ours["value"] <= ours["interval"][1]
        wanted = figure.get("interval")
        assert ours.get("met") == (None if wanted is None else ours["value"] <= wanted[1])


def test_the_tables_hold_what_the_files_hold() -> None:
    table = json.loads((ROOT / "benchmarks" / "results" / "golden.json").read_text("utf-8"))
    lines = {line["name"]: line for line in table["goals"]}
    assert len(lines) == sum(len(_file(name)["figures"]) for name in FILES)
    text = (ROOT / "benchmarks" / "results" / "golden.md").read_text("utf-8")
    for name in FILES:
        for ours in _file(name)["ours"]:
            line = lines[f"{name}: {ours['name']}"]
            assert (line["value"], line["interval"]) == (ours["value"], ours["interval"])
            assert f"| {name}: {ours['name']} |" in text


# The run.


@pytest.mark.parametrize("name", FILES)
def test_a_file_builds_its_tasks_and_its_learner_and_the_two_fit(run: ModuleType, name: str) -> None:
    file = _file(name)
    learner = run.learner_of(file["method"])
    for figure in file["figures"]:
        found = run.errors(learner, file, figure, tasks=4)
        assert found.shape[0] >= 4
        assert np.isfinite(found).all()


@pytest.mark.parametrize("name", ["finn2017_maml_sinusoid_5_shot", "bruinsma2022_attentive_neural_process_gp_eq"])
def test_training_is_taken_from_a_finished_part_and_is_the_same_bits_without_it(
    run: ModuleType, tmp_path: Path, name: str
) -> None:
    file = _file(name)
    first = run.trained(file, 0, parts=tmp_path / "one", iterations=3)
    (part,) = (tmp_path / "one").iterdir()
    kept = read_bundle(part, run.KIND)[0]["learner"]
    written = part.stat().st_mtime_ns
    again = run.trained(file, 0, parts=tmp_path / "one", iterations=3)
    anew = run.trained(file, 0, parts=tmp_path / "two", iterations=3)
    assert part.stat().st_mtime_ns == written
    for key, value in first.state_dict().items():
        assert torch.equal(value, kept[key])
        assert torch.equal(value, again.state_dict()[key])
        assert torch.equal(value, anew.state_dict()[key])
    run.trained(file, 1, parts=tmp_path / "one", iterations=3)
    assert len(list((tmp_path / "one").iterdir())) == 2


def test_training_on_other_tasks_is_another_part(run: ModuleType, tmp_path: Path) -> None:
    file = _file("finn2017_maml_sinusoid_5_shot")
    run.trained(file, 0, parts=tmp_path, iterations=2)
    run.trained({**file, "task": {**file["task"], "support": 6}}, 0, parts=tmp_path, iterations=2)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_linear_head_with_a_learned_prior_learns_sinusoids_in_a_few_seconds(run: ModuleType, tmp_path: Path) -> None:
    """A tiny run of a golden figure: a twenty-fifth of the training, and far below what averaging the support gives (about 4)."""
    file = _file("patacchiola2020_empirical_bayes_head_sinusoid")
    learner = run.trained(file, 0, parts=tmp_path, iterations=120)
    assert run.errors(learner, file, file["figures"][0], tasks=200).mean() < 1.5


def test_the_error_of_a_network_is_that_of_its_own_predictions_at_the_steps_asked_for(run: ModuleType) -> None:
    file = _file("finn2017_maml_sinusoid_5_shot")
    learner = run.learner_of(file["method"]).eval()
    episodes = Sinusoids(
        FunctionPlan(tasks_per_batch=5, support=(5, 5), query=5, places=(-5.0, 5.0)), seed=run.TEST_SEED
    ).batch(0)
    for steps in (0, 1, 3):
        other = run.at_steps(learner, file["method"], steps)
        with torch.no_grad():
            means = other.predict(other.adapt(episodes.support), episodes.query.cases).mean
        want = (means - episodes.query.targets).square().mean(1)
        found = run.errors(learner, file, {"metric": "squared error", "steps": steps}, tasks=5)
        np.testing.assert_allclose(found, want, rtol=1e-6)
    assert learner.steps == 1  # unchanged


# Means and ratios.


def test_an_interval_over_tasks_and_seeds_covers_the_truth_about_as_often_as_it_says(run: ModuleType) -> None:
    random = np.random.default_rng(0)
    hits = 0
    for _ in range(400):
        tasks, seeds = random.normal(size=(1, 200)), 0.1 * random.normal(size=(5, 1))
        _, low, high = run.mean_with_interval(3.0 + tasks + seeds + 0.3 * random.normal(size=(5, 200)))
        hits += low <= 3.0 <= high
    assert 0.88 <= hits / 400 <= 0.99


def test_a_ratio_is_that_of_the_means_and_its_interval_that_of_the_bootstrap(run: ModuleType) -> None:
    random = np.random.default_rng(0)
    base = random.gamma(2.0, size=(1, 1500))
    values = 0.5 * base + 0.2 * random.gamma(2.0, size=(1, 1500))
    mean, low, high = run.mean_with_interval(run.relative(values, base))
    assert mean == pytest.approx(values.mean() / base.mean())
    drawn = random.integers(0, 1500, size=(2000, 1500))
    ratios = values[0][drawn].mean(1) / base[0][drawn].mean(1)
    np.testing.assert_allclose([low, high], np.quantile(ratios, [0.025, 0.975]), atol=0.01)


# The verdict.


def test_a_figure_is_met_within_the_interval_or_below_it_and_told_where_the_paper_has_none(golden: ModuleType) -> None:
    file = {"figures": [{"name": "a", "paper": 1.0, "interval": [0.9, 1.1]}, {"name": "b"}]}
    for value, met in ((1.05, True), (0.2, True), (1.2, False)):
        lines = golden.goals_of("x", file, {"a": (value, value - 0.1, value + 0.1), "b": (5.0, 4.0, 6.0)})
        assert [line["met"] for line in lines] == [met, None]
        assert (lines[0]["goal"], lines[0]["paper"], lines[0]["name"]) == (1.1, 1.0, "x: a")


def test_what_is_written_below_the_mark_is_read_again_and_the_rest_stays(
    golden: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "li2017_meta_sgd_sinusoid"
    before = FILES[name].read_text("utf-8")
    (tmp_path / f"{name}.toml").write_text(before, encoding="utf-8")
    monkeypatch.setattr(golden, "PUBLISHED", tmp_path)
    file = golden.published()[name]
    measured = {figure["name"]: (0.8, 0.7, 0.9) for figure in file["figures"]}
    golden.write_ours(name, golden.goals_of(name, file, measured))
    after = (tmp_path / f"{name}.toml").read_text("utf-8")
    assert after.partition(golden.MARK)[0] == before.partition(golden.MARK)[0]
    ours = golden.published()[name]["ours"]
    assert [each["met"] for each in ours] == [True, False, False]
    assert all(each["value"] == 0.8 and each["interval"] == [0.7, 0.9] for each in ours)
