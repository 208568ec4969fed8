"""The demonstration from the command line: scene 2 as it ships, scene 1 with fewer compounds and a short training."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metamedica.applications import demo
from metamedica.data.catalogue import moleculeace
from metamedica.data.collection import TaskCollection
from metamedica.meta_learner import MetaLearner
from metamedica.types import Progress

KEPT = (demo.KAPPA, "CHEMBL236_Ki", "CHEMBL237_EC50", "CHEMBL1862_Ki")


def _few(*, progress: Progress | None = None) -> TaskCollection:
    """Four of the thirty sets, 120 compounds each."""
    table = moleculeace.table()
    rows = table[table["task"].isin(KEPT)].groupby("task").head(120)
    return TaskCollection.from_table(
        rows, modality="molecules", case="smiles", target="pki", task="task",
        kind="regression", unit=moleculeace.UNIT, duplicates="median", progress=progress,
    )  # fmt: skip


def _quick(seed: int = 0) -> MetaLearner:
    return MetaLearner(encoder_settings={"hidden": [16], "dim": 8}, steps=4, validate_every=4, support=(16,), seed=seed)


@pytest.fixture
def shortened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moleculeace, "load", _few)
    monkeypatch.setattr(demo, "meta_learner", _quick)


@pytest.mark.usefixtures("shortened")
def test_both_scenes_are_told_as_tables_sentences_and_a_page(run: Callable[..., Any], tmp_path: Path) -> None:
    outcome = run("demo", "--out", tmp_path / "demo", "--draws", 2)
    assert outcome.code == 0, outcome
    for word in ("Scene 1", "Scene 2", "Random forest", "Similarity search", "Trust:", "report.html"):
        assert word in outcome.out
    page = (tmp_path / "demo" / "report.html").read_text(encoding="utf-8")
    assert page.count('<p class="verdict">') == 2
    assert page.count('class="card"') == 16


@pytest.mark.usefixtures("shortened")
def test_on_one_series_the_default_does_no_harm_and_says_that_nobody_has_measured_it(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    outcome = run("demo", "--out", tmp_path, "--draws", 6, "--json")
    told = json.loads(outcome.out)["scenes"][1]
    assert told["task"] == "CHEMBL2321810"
    mean, low, high = told["against_tanimoto_gp"]
    assert low <= mean <= high
    assert mean > -demo.PAR
    assert "measured 0% of these cases" in told["verdict"]
    assert 0.1 < told["weight_on_earlier_tasks"]["largest"] < 0.9
    spearman = {row["method"]: row["spearman"] for row in told["methods"]}
    assert 0.45 < spearman["Tanimoto Gaussian process"] < 0.65
