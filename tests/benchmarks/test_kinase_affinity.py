"""The command that trains `kinase-affinity`, on made-up panels: which kinases belong together, what stands apart, and what it writes."""

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmark_modules import load_benchmark
from made_up_molecules import molecules, scores
from metamedica.data.catalogue import davis, kiba
from metamedica.data.splits import rows_of
from metamedica.meta_learner import MetaLearner, shipped_models
from metamedica.types import META_SPLITS

GENES = [f"GEN{letter}" for letter in "ABCDEF"]
SMILES = molecules()[:260]


def _sequence(seed: int) -> str:
    return "".join(np.random.default_rng(seed).choice(list("ACDEFGHIKLMNPQRSTVWY"), size=300))


def _panel(names: list[str], seeds: list[int], smiles: list[str], sequences: dict[str, str]) -> pd.DataFrame:
    """Return a made-up panel as the catalogue gives it."""
    tables = [
        pd.DataFrame(
            {
                "smiles": smiles,
                "target": name,
                "sequence": sequences[name],
                "value": [f"{v:.3f}" for v in 6 + scores(smiles, seed=seed)],
            }
        )
        for name, seed in zip(names, seeds, strict=True)
    ]
    frame = pd.concat(tables, ignore_index=True)
    frame.attrs["source"] = "made up"
    return frame


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Six genes in Davis, the first with a mutant, and the same proteins by accession in KIBA, one of them with a short tail."""
    module = load_benchmark("_kinase_tasks", monkeypatch)
    of_davis = ["GENA(T1I)p", *GENES]
    accessions = [f"P{number:05}" for number in range(len(GENES))]
    seeds = list(range(len(GENES)))
    proteins = [_sequence(seed) for seed in seeds]
    genes = dict(zip(of_davis, [proteins[0], *proteins], strict=True))
    monkeypatch.setattr(davis, "table", lambda: _panel(of_davis, [0, *seeds], SMILES[:80], genes))
    monkeypatch.setattr(davis, "sequences", lambda: genes)
    known = {**dict(zip(accessions, proteins, strict=True)), "P00003": proteins[3] + _sequence(99)[:100]}
    monkeypatch.setattr(kiba, "table", lambda: _panel(accessions, seeds, SMILES[60:], known))
    monkeypatch.setattr(kiba, "sequences", lambda: known)
    return module


@pytest.mark.parametrize(
    ("kinase", "gene"),
    [("ABL1", "ABL1"), ("ABL1(E255K)p", "ABL1"), ("ABL1p", "ABL1"), ("CDK4-cyclinD1", "CDK4"), ("JAK1(JH2domain-pseudokinase)", "JAK1")],
)  # fmt: skip
def test_a_kinase_is_told_by_its_gene(tasks: ModuleType, kinase: str, gene: str) -> None:
    assert tasks.gene(kinase) == gene


def test_forms_of_a_gene_and_like_sequences_are_one_group_and_others_are_not(tasks: ModuleType) -> None:
    first, second = _sequence(1), _sequence(2)
    sequences = {"A": first, "A(T1I)": second, "long": first + second[:250], "other": _sequence(3), "tiny": "MK"}
    found = tasks.kinase_groups(sequences, {"A": "A", "A(T1I)": "A"})
    assert found["A"] == found["A(T1I)"] == found["long"]
    assert len({found["A"], found["other"], found["tiny"]}) == 3
    apart = tasks.kinase_groups({name: sequences[name] for name in ("A", "A(T1I)")}, {})
    assert apart["A"] != apart["A(T1I)"]


def test_the_same_kinase_of_both_panels_stands_on_one_side(tasks: ModuleType) -> None:
    both = tasks.dealt(tasks.load())
    assert len(both) == 13
    assert all(both.names(side) for side in META_SPLITS)
    for at, gene in enumerate(GENES):
        assert both.split[gene] == both.split[f"P{at:05}"]
    assert both.split["GENA(T1I)p"] == both.split["GENA"]
    units = {name: both[name].unit for name in ("GENB", "P00001")}
    assert units == {"GENB": davis.UNIT, "P00001": kiba.UNIT}
    assert tasks.of_panel(both, "davis", "meta_test") == [n for n in both.names("meta_test") if n.startswith("GEN")]
    kept = tasks.all_earlier(both)
    assert kept.names("meta_valid") == both.names("meta_valid")
    assert len(kept.names("meta_train")) == len(both) - len(both.names("meta_valid"))


def test_new_compounds_stand_in_no_earlier_task_and_each_panel_keeps_half_of_its_own(tasks: ModuleType) -> None:
    both = tasks.dealt(tasks.load())
    apart = tasks.new_compounds(both)
    test, valid, train = (set(rows_of(apart, apart.names(side)).tolist()) for side in reversed(META_SPLITS))
    assert not test & (valid | train)
    assert not valid & train
    for name in apart.names("meta_test"):
        size = 80 / 2 if name.startswith("GEN") else 200 / 2
        assert abs(len(apart[name]) - size) <= 6


def _run(command: ModuleType, monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["make", *map(str, arguments)])
    code: int = command.main()
    return code


def test_a_quick_run_writes_a_model_of_all_kinases_to_the_folder_and_goes_on_from_finished_parts(
    tasks: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = load_benchmark("make_kinase_affinity", monkeypatch)
    monkeypatch.setattr(command, "QUICK_KINASES", 1)
    monkeypatch.setattr(command, "FIGURES", tmp_path / "figures.json")
    out, parts = tmp_path / "mine", tmp_path / "parts"
    assert _run(command, monkeypatch, "--quick", "--out", out, "--parts", parts) == 0
    printed = capsys.readouterr().out
    assert json.loads(printed.splitlines()[-1])["quick"] is True
    assert not (tmp_path / "figures.json").exists()
    for title in ("Davis", "KIBA"):
        for setting in command.SETTINGS:
            assert f"### {title}, {setting}" in printed
    assert printed.count("| **kinase-affinity** | 16 |") == 4 * len(command.COLUMNS)
    card = (out / "CARD.md").read_text(encoding="utf-8")
    assert all(line in card for line in printed.splitlines()[:-1])
    for word in ("not stated by its source", "do not ship", "metamedica adapt --about", davis.ATTRIBUTION):
        assert word in card
    model = MetaLearner.load(out)
    assert len(model.model_.earlier.names) == 13  # those that chose teach too
    assert set(model.model_.usual_scale) == {davis.UNIT, kiba.UNIT}
    numbers = model.adapt(SMILES[:16], (6 + scores(SMILES[:16], seed=5)).tolist(), unit=davis.UNIT)
    assert numbers.predict(SMILES[20:30]).shape == (10,)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a finished training is not done again")

    monkeypatch.setattr(MetaLearner, "fit", refuse)
    assert _run(command, monkeypatch, "--quick", "--out", out, "--parts", parts) == 0
    assert capsys.readouterr().out == printed


def test_the_command_wants_a_folder(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    command = load_benchmark("make_kinase_affinity", monkeypatch)
    with pytest.raises(SystemExit):
        _run(command, monkeypatch)
    assert "--out" in capsys.readouterr().err


def test_no_weights_of_kinases_ship() -> None:
    assert "kinase-affinity" not in shipped_models()
