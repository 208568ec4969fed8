"""The meta-model `toxicity`: its split, the command that makes it, on made-up assays, and the model that ships."""

import json
import sys
from itertools import combinations
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmark_modules import ROOT, load_benchmark
from made_up_molecules import molecules, scores
from metamedica.data.catalogue import tox21, toxcast
from metamedica.data.splits import rows_of
from metamedica.meta_learner import MetaLearner, shipped_models
from metamedica.types import META_SPLITS

SPLIT = ROOT / "benchmarks" / "toxicity_split.json"


@pytest.fixture
def split(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return load_benchmark("toxicity_split", monkeypatch)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return load_benchmark("make_toxicity", monkeypatch)


def _table(names: list[str], seeds: list[int], *, flipped: float = 0.0) -> pd.DataFrame:
    """Return made-up assays as the catalogue gives them: text, "" where not measured."""
    smiles = molecules()
    columns = {}
    for name, seed in zip(names, seeds, strict=True):
        random = np.random.default_rng([seed, len(name)])
        active = scores(smiles, seed=seed) > 0.3
        active ^= random.random(len(smiles)) < flipped
        columns[name] = np.where(random.random(len(smiles)) < 0.05, "", np.where(active, "1", "0"))
    frame = pd.DataFrame({"smiles": smiles, **columns})
    frame.attrs.update(source="made up", split=dict.fromkeys(names, "meta_train"))
    return frame


ASSAYS = [f"assay {number}" for number in range(7)]
TWINS = [f"twin of {name}" for name in ASSAYS]


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch, split: ModuleType, tmp_path: Path) -> ModuleType:
    """Seven assays in place of Tox21's, and the same ones under other names, with 5 % of the labels flipped, in place of ToxCast's."""
    seeds = list(range(len(ASSAYS)))
    monkeypatch.setattr(tox21, "table", lambda: _table(ASSAYS, seeds))
    monkeypatch.setattr(toxcast, "table", lambda: _table(TWINS, seeds, flipped=0.05))
    monkeypatch.setattr(split, "PATH", tmp_path / "split.json")
    split.main()
    return split


# The split.


def test_agreement_is_the_correlation_of_the_labels_that_two_assays_share(made_up: ModuleType) -> None:
    tasks = made_up.load()
    found = made_up.agreement(tasks)
    labels = pd.DataFrame({name: pd.Series(task.targets, index=task.rows) for name, task in tasks.tasks.items()})
    np.testing.assert_allclose(found, labels.astype(float).corr().to_numpy(), atol=1e-12)


def test_too_few_shared_molecules_or_positives_tell_no_agreement(made_up: ModuleType) -> None:
    tasks = made_up.load()
    few = tasks.without_rows(np.arange(made_up.LEAST_SHARED, 400), tasks=[ASSAYS[0]])
    assert few[ASSAYS[0]].rows.max() < made_up.LEAST_SHARED
    at = few.names().index(ASSAYS[0])
    assert not made_up.agreement(few)[at].any()
    positives = tasks[ASSAYS[1]].rows[tasks[ASSAYS[1]].targets == 1]
    rare = tasks.without_rows(positives[made_up.LEAST_OF_A_CLASS - 1 :], tasks=[ASSAYS[1]])
    assert not made_up.agreement(rare)[rare.names().index(ASSAYS[1])].any()


def test_twins_of_an_assay_are_dealt_together_and_no_molecule_stands_on_two_sides(made_up: ModuleType) -> None:
    dealt = made_up.drawn(made_up.load())
    assert all(dealt.names(side) for side in META_SPLITS)
    for name, twin in zip(ASSAYS, TWINS, strict=True):
        assert dealt.split[name] == dealt.split[twin]
    apart = made_up.load_disjoint()
    sides = [set(rows_of(apart, apart.names(side)).tolist()) for side in META_SPLITS]
    for left, right in combinations(sides, 2):
        assert not left & right
    assert [round(len(side) / 400, 2) for side in sides] == [0.6, 0.15, 0.25]


def test_the_committed_split_deals_every_assay_once() -> None:
    listed: dict[str, list[str]] = json.loads(SPLIT.read_text(encoding="utf-8"))
    assert tuple(listed) == META_SPLITS
    every = [name for names in listed.values() for name in names]
    assert len(every) == len(set(every)) == 530
    assert [len(listed[side]) for side in META_SPLITS] == [369, 55, 106]
    assert all(names == sorted(names) for names in listed.values())


@pytest.mark.mirror
def test_the_committed_split_is_the_one_that_its_command_draws(split: ModuleType) -> None:
    tasks = split.load()
    dealt = split.drawn(tasks)
    listed = json.loads(SPLIT.read_text(encoding="utf-8"))
    assert {side: sorted(dealt.names(side)) for side in META_SPLITS} == listed
    agreement = split.agreement(tasks)
    side = np.array([dealt.split[name] for name in tasks.names()])
    assert agreement[side[:, None] != side].max() <= split.AGREEING
    twins = agreement[: len(tox21.table().columns) - 1, len(tox21.table().columns) - 1 :].max(1)
    assert twins.min() > split.AGREEING  # every assay of Tox21 stands in ToxCast too


# The command.


def _run(command: ModuleType, monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["make", *map(str, arguments)])
    code: int = command.main()
    return code


def test_a_quick_run_writes_a_model_that_adapts_and_prints_its_figures(
    made_up: ModuleType, command: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    monkeypatch.setattr(command, "QUICK_ASSAYS", 2)
    out, parts = tmp_path / "model", tmp_path / "parts"
    assert _run(command, monkeypatch, "--quick", "--out", out, "--parts", parts) == 0
    printed = capsys.readouterr().out
    told = json.loads(printed.splitlines()[-1])
    assert told["quick"] is True
    assert 0 < told["megabytes"] < command.LARGEST_MB
    for head in ("ΔAUPRC", "ROC-AUC"):
        assert f"| method | labels | {head} | 95 % interval | toxicity minus it | 95 % interval | assays |" in printed
    assert printed.count("| **toxicity** |") == 2 * len(command.SHOTS)
    assert printed.count("| random_forest |") == printed.count("| tanimoto_gp |") == 2 * len(command.SHOTS)
    card = (out / "CARD.md").read_text(encoding="utf-8")
    assert all(line in card for line in printed.splitlines()[:-1])
    for word in (command.COMMAND, "SIDER", tox21.ATTRIBUTION, toxcast.LICENCE, "not a medical device"):
        assert word in card
    predictor = MetaLearner.load(out).adapt(molecules()[:40:3], [0, 1] * 7)
    assert predictor.predict_proba(molecules()[100:110]).shape == (10, 2)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a finished training is not done again")

    monkeypatch.setattr(MetaLearner, "fit", refuse)
    assert _run(command, monkeypatch, "--quick", "--out", out, "--parts", parts) == 0
    assert capsys.readouterr().out == printed


def test_a_quick_run_does_not_replace_what_ships(
    command: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        _run(command, monkeypatch, "--quick")
    assert "name another folder with --out" in capsys.readouterr().err


def test_without_the_data_the_command_says_what_to_set(
    command: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("METAMEDICA_DATA", raising=False)
    with pytest.raises(SystemExit, match="METAMEDICA_DATA is not set"):
        _run(command, monkeypatch, "--quick", "--out", tmp_path / "model", "--parts", tmp_path / "parts")


# What ships.


def test_the_shipped_model_holds_what_its_figures_say_and_no_more_than_25_megabytes(command: ModuleType) -> None:
    assert "toxicity" in shipped_models()
    found = json.loads(command.FIGURES.read_text(encoding="utf-8"))
    size = sum(path.stat().st_size for path in command.FOLDER.iterdir())
    assert size < command.LARGEST_MB * 1e6
    card = (command.FOLDER / "CARD.md").read_text(encoding="utf-8")
    told = command.about(found)
    for line in (told.data, told.source, told.licence, told.attribution, told.command, *told.figures, *told.limits):
        assert line in card
    listed: dict[str, list[str]] = json.loads(SPLIT.read_text(encoding="utf-8"))
    model = MetaLearner.load("toxicity")
    taught = model.model_.record["split"]
    assert all(name in listed[side] for name, side in taught.items())
    assert set(model.model_.earlier.names) <= set(listed["meta_train"])
    assert model.guard
    assert "binary" in model.model_.gates


def test_a_new_assay_is_served_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from metamedica.cli import main

    smiles = molecules()
    chosen = list(range(0, 400, 16))
    active = (scores(smiles, seed=3) > 0).astype(int)
    pd.DataFrame({"smiles": np.array(smiles)[chosen], "toxic": active[chosen]}).to_csv(
        tmp_path / "assay.csv", index=False
    )
    pd.DataFrame({"smiles": smiles[1:50]}).to_csv(tmp_path / "library.csv", index=False)
    out = tmp_path / "predictor"
    assert main(["adapt", str(tmp_path / "assay.csv"), "--model", "toxicity", "--target", "toxic", "--out", str(out), "--json"]) == 0  # fmt: skip
    told = json.loads(capsys.readouterr().out)
    assert told["kind"] == "binary"
    ranked = tmp_path / "ranked.csv"
    assert main(["predict", str(tmp_path / "library.csv"), "--predictor", str(out), "--out", str(ranked)]) == 0
    frame = pd.read_csv(ranked)
    assert len(frame) == 49
    labels = active[[smiles.index(each) for each in frame["case"]]]
    assert np.corrcoef(frame["p_1"], labels)[0, 1] > 0.2
