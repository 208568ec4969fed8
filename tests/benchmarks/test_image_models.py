"""The benchmark of images: groups on one side only, figures told as they are, shipped models held together with their commands."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark_modules import load_benchmark
from metamedica.meta_learner import MetaLearner, shipped_models


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), shots=st.integers(1, 4), classes=st.integers(2, 4))
def test_no_group_is_in_support_and_query_and_every_class_is_in_both(seed: int, shots: int, classes: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        episodes = load_benchmark("_images_episodes", patch)
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), 30)
    groups = random.integers(0, 12, len(labels)) + 100 * labels
    drawn = episodes.drawn("made up", [], labels, groups, shots=shots, episodes=4, seed=seed)
    for support, query in zip(drawn.supports, drawn.queries, strict=True):
        assert not set(groups[support]) & set(groups[query])
        assert (np.bincount(labels[support], minlength=classes) == shots).all()
        assert set(labels[query]) == set(range(classes))
        assert np.bincount(labels[query]).max() <= episodes.QUERIES


def test_episodes_are_scored_by_the_share_that_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    made, told = load_benchmark("_images_episodes", monkeypatch), load_benchmark("_images_classification", monkeypatch)
    labels = np.array([0, 1, 0, 1])
    supports = [np.array([0, 1])] * 2
    queries = [np.array([2, 3])] * 2
    judged = made.Judged("made up", 1, [], labels, 2, supports, queries)
    right, half = np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([[0.9, 0.1], [0.6, 0.4]])
    found = told._told([right, half], judged)
    assert found.accuracy == 0.75
    assert found.each.tolist() == [1.0, 0.5]
    assert found.auc == 1.0
    mean, low, high = told.paired(found, told._told([half, half], judged))
    assert mean == 0.25
    assert low < mean < high


def _row(method: str, accuracy: float) -> dict[str, Any]:
    return {
        "task": "COVID-CT", "shots": 10, "method": method, "accuracy": accuracy, "accuracy_interval": [accuracy - 0.01, accuracy + 0.01],
        "auc": None, "auc_interval": None, "minus_best_simple": [-0.02, -0.03, -0.01], "episodes": 600,
    }  # fmt: skip


def test_a_figure_below_its_goal_is_told_as_not_met_and_so_is_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    page = load_benchmark("_images_page", monkeypatch)
    found = {"scans": {"rows": [_row("ours", 0.6), _row("floor", 0.62)]}}
    goals = page.goals(found, default="ours")
    assert [each["met"] for each in goals] == [False, False]
    assert goals[0]["goal"] == 0.68
    text = page.markdown(found, goals, machine="a machine", stale=["scans"])
    assert "0 of 2 goals are met" in text
    assert "Stale, their code has changed since: scans" in text
    assert "| floor | 0.620 ±0.010 |" in text


def test_the_committed_page_is_that_of_the_committed_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    record = load_benchmark("_record", monkeypatch)
    page = load_benchmark("_images_page", monkeypatch)
    path: Path = record.RESULTS / "images.json"
    told = json.loads(path.read_text(encoding="utf-8"))
    text = page.markdown(told["parts"], told["goals"], machine=told["machine"], stale=told["stale"])
    assert (record.RESULTS / "images.md").read_text(encoding="utf-8") == text


@pytest.mark.parametrize("name", ["cells", "lung-ct"])
def test_a_shipped_model_of_images_was_made_by_its_command_with_its_settings(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert name in shipped_models()
    made = load_benchmark("make_image_models", monkeypatch)
    model = MetaLearner.load(name).model_
    network = model.modality.network  # type: ignore[attr-defined]
    wanted = made.MODELS[name].settings
    assert network.record["settings"]["steps"] == wanted.steps
    assert network.record["settings"]["supervised"] == wanted.supervised
    assert network.record["settings"]["contrast"] == wanted.contrast
    folder = made.ROOM / name
    assert sum(path.stat().st_size for path in folder.iterdir()) < made.LARGEST_MB * 1e6
    card = (folder / "CARD.md").read_text(encoding="utf-8")
    assert f"{made.COMMAND}{name}" in card
    for word in ("not a medical device", "Licence", "MIT" if name == "cells" else "Apache-2.0"):
        assert word in card
    assert len(model.earlier.known) == 0  # no hash of an image
