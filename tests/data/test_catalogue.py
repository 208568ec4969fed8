"""The public collections: the known figures of their sources, and one clear sentence where a file is absent or another one."""

import gzip
import hashlib
from collections.abc import Iterable
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from metamedica.data import catalogue
from metamedica.data.catalogue import (
    chembl691,
    covid_ct,
    davis,
    drive_vessels,
    freewilson,
    kiba,
    moleculeace,
    tox21,
    toxcast,
)
from metamedica.data.collection import TaskCollection
from metamedica.errors import FileFormatError, InputError, TaskError

pytest.importorskip("rdkit")


@pytest.mark.parametrize("name", catalogue.names())
def test_every_collection_says_where_it_comes_from_and_what_its_licence_asks(name: str) -> None:
    entry = catalogue.entry(name)
    assert entry.name == name
    assert entry.source.startswith("https://")
    assert entry.licence
    assert ("ChEMBL" in entry.attribution) == ("CC BY-SA 3.0" in entry.licence)
    assert entry.attribution.startswith("Contains ")
    assert entry.files
    assert all(len(digest) == 64 for digest in entry.files.values())


def test_an_unknown_collection_gives_the_choices() -> None:
    with pytest.raises(
        InputError,
        match="there is no public collection 'zinc'; choose one of: bccd_crops, brain_tumor_mri, breast_us_busi",
    ):
        catalogue.load("zinc")


def test_moleculeace_has_thirty_sets_in_minus_log_molar() -> None:
    table = moleculeace.table()
    assert len(table) == 48_714
    assert table["task"].nunique() == 30
    sizes = table["task"].value_counts()
    assert dict(sizes) == dict(zip(moleculeace.sets()["task"], moleculeace.sets()["compounds"], strict=True))
    assert table["pki"].between(2, 13).all()
    kappa = table[table["task"] == "CHEMBL237_Ki"]
    assert len(kappa) == 2603
    assert 6.5 < kappa["pki"].median() < 8.5


def test_the_compound_series_is_one_regression_task() -> None:
    tasks = freewilson.load()
    (task,) = tasks.tasks.values()
    assert (task.name, task.kind, task.unit) == ("CHEMBL2321810", "regression", "-log10 M")
    assert len(freewilson.table()) == 1017
    assert 0.98 * 1017 < len(task) <= 1017
    assert 3.5 < task.targets.min() < task.targets.max() < 9.5


@pytest.mark.mirror
def test_chembl691_has_the_known_number_of_targets_molecules_and_values() -> None:
    table = chembl691.table()
    assert len(table) == 162_727
    assert table["target"].nunique() == 672
    assert table["pxc50"].astype(float).between(4, 11).all()


@pytest.mark.parametrize("name", sorted({*catalogue.names()} - {"freewilson", "moleculeace"}))
def test_without_the_mirror_a_collection_says_what_to_set(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("METAMEDICA_DATA", raising=False)
    with pytest.raises(
        InputError,
        match=rf"^{name} is read .*_DATA is not set; .* holds (molecules/{name}|clinical|images)/.* \(from http",
    ):
        catalogue.load(name)


def test_an_absent_or_changed_file_of_chembl691_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("METAMEDICA_DATA", str(tmp_path))
    with pytest.raises(InputError, match=r"has no file molecules/chembl691/molecules\.csv\.gz; put it there"):
        chembl691.load()
    place = tmp_path / "molecules" / "chembl691"
    place.mkdir(parents=True)
    (place / "molecules.csv.gz").write_bytes(b"another file")
    with pytest.raises(FileFormatError, match=r"molecules\.csv\.gz .* is not the known file .*copy it again"):
        chembl691.load()


def test_without_its_package_moleculeace_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(moleculeace, "distribution", absent)
    with pytest.raises(
        InputError, match=r"not installed; install them with: pip install --no-deps MoleculeACE==3\.0\.0"
    ):
        moleculeace.load()


def test_another_release_of_the_series_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freewilson, "_FILES", dict.fromkeys(freewilson.files(), "0" * 64))
    with pytest.raises(FileFormatError, match=r"is not the known file \(its SHA-256 differs\)"):
        freewilson.load()
    monkeypatch.setattr(freewilson, "_FILES", {"FreeWilson/data/none.smi": "0" * 64})
    with pytest.raises(InputError, match=r"has no file Contrib/FreeWilson/data/none\.smi; install rdkit"):
        freewilson.load()


def test_an_absent_or_changed_file_of_moleculeace_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    installed = SimpleNamespace(version="9.9", locate_file=lambda name: tmp_path / name)
    monkeypatch.setattr(moleculeace, "distribution", lambda name: installed)
    first = next(iter(moleculeace.files()))
    with pytest.raises(InputError, match=rf"installed MoleculeACE has no file {first}; install it again with: pip"):
        moleculeace.table()
    (tmp_path / first).parent.mkdir(parents=True)
    (tmp_path / first).write_bytes(b"another file")
    with pytest.raises(FileFormatError, match=rf"^{first} of MoleculeACE 9\.9 is not the known file .*==3\.0\.0$"):
        moleculeace.table()


def _mirror(monkeypatch: pytest.MonkeyPatch, root: Path, names: Iterable[str], texts: list[str]) -> dict[str, str]:
    """Make the mirror hold these texts under these names, and return the SHA-256 of each."""
    known = {}
    for name, text in zip(names, texts, strict=True):
        data = gzip.compress(text.encode(), mtime=0) if name.endswith(".gz") else text.encode()
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
        known[name] = hashlib.sha256(data).hexdigest()
    monkeypatch.setenv("METAMEDICA_DATA", str(root))
    return known


MOLECULES = """mol_id,smiles,a,b,c
1,CCO,0,1,0
2,OCC,0,0,0
3,CCN,1,,1
4,not a molecule,1,1,1
5,CCC,1,0,0
6,CCCC,0,1,1
"""
TASKS = "task_index,task,split\n0,a,meta_test\n1,b,meta_train\n2,c,dropped\n"


def test_a_wide_set_has_the_published_split_without_its_dropped_tasks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    small = replace(tox21.SET, digests=_mirror(monkeypatch, tmp_path, tox21.files(), [MOLECULES, TASKS]))
    assert list(small.table().columns) == ["smiles", "b", "a"]
    tasks = small.load(n_jobs=1)
    assert tasks.split == {"b": "meta_train", "a": "meta_test"}
    assert {name: [tasks.canonical[row] for row in task.rows] for name, task in tasks.tasks.items()} == {
        "b": ["CCC", "CCCC"],  # CCO has two labels there, CCN none
        "a": ["CCO", "CCN", "CCC", "CCCC"],
    }
    assert tasks["a"].targets.tolist() == [0, 1, 1, 0]
    assert tasks.left_out["invalid cases"] == 1
    assert tasks.left_out["cases with differing labels"] == 1


@pytest.mark.parametrize("module", [davis, kiba])
def test_a_panel_joins_drugs_targets_and_pairs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, module: ModuleType
) -> None:
    value = "pkd" if module is davis else "kiba_score"
    drugs = "drug_index,drug_id,smiles\n7,x,CCO\n8,y,CCN\n9,z,OCC\n"
    targets = "target_index,target,sequence\n0,ABC1,MKV\n1,XYZ,MAA\n"
    pairs = f"drug_index,target_index,{value}\n7,1,5.5\n8,1,7\n8,0,6\n7,0,8\n9,0,9\n"
    small = replace(module.PANEL, digests=_mirror(monkeypatch, tmp_path, module.files(), [drugs, targets, pairs]))
    tasks = small.load(n_jobs=1)
    found = {
        name: dict(zip([tasks.canonical[row] for row in task.rows], task.targets.tolist(), strict=True))
        for name, task in tasks.tasks.items()
    }
    assert found == {"XYZ": {"CCO": 5.5, "CCN": 7.0}, "ABC1": {"CCN": 6.0, "CCO": 8.5}}
    assert tasks["XYZ"].unit == module.UNIT
    assert {name: task.about for name, task in tasks.tasks.items()} == small.sequences()
    assert small.sequences() == {"ABC1": "MKV", "XYZ": "MAA"}


@pytest.mark.mirror
def test_the_wide_sets_and_panels_have_their_known_sizes() -> None:
    sizes = {tox21: (7_831, 12), toxcast: (8_615, 518)}
    for module, (molecules, tasks) in sizes.items():
        assert module.table().shape == (molecules, tasks + 1)
    assert (len(davis.table()), davis.table()["target"].nunique()) == (30_056, 442)
    assert (len(kiba.table()), kiba.table()["target"].nunique()) == (118_254, 229)
    assert set(kiba.sequences()) == set(kiba.table()["target"])


def test_a_compound_has_a_cliff_where_any_of_its_rows_has(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [("s_Ki", "CCO", 5.0, 0), ("s_Ki", "OCC", 6.0, 1), ("s_Ki", "CCN", 7.0, 0), ("t_Ki", "CCN", 5.0, 1)]
    frame = pd.DataFrame(rows, columns=["task", "smiles", "pki", "cliff"])
    monkeypatch.setattr(moleculeace, "table", lambda: frame.copy())
    families = pd.DataFrame({"task": ["s_Ki", "t_Ki"], "family": ["a", "b"]})
    monkeypatch.setattr(moleculeace, "_sets", lambda: families)
    tasks = moleculeace.load(n_jobs=1)
    flags = moleculeace.cliffs(tasks)
    assert {name: each.tolist() for name, each in flags.items()} == {"s_Ki": [True, False], "t_Ki": [True]}
    strange = replace(tasks["t_Ki"], rows=tasks["s_Ki"].rows[:1])
    moved = TaskCollection(tasks.modality, tasks.canonical, features=tasks.features, tasks={"t_Ki": strange})
    with pytest.raises(InputError, match="1 of the 1 compounds of task 't_Ki' are not in the MoleculeACE set"):
        moleculeace.cliffs(moved)
    assert tasks["s_Ki"].targets.tolist() == [5.5, 7.0]


@pytest.mark.mirror
def test_sets_of_images_are_one_task_with_their_classes_and_what_must_stay_together() -> None:
    tasks = catalogue.load("chula_rbc12_cells")
    (task,) = tasks.tasks.values()
    assert (task.kind, len(task.classes or ()), len(set(task.groups or ()))) == ("multiclass", 13, 513)
    assert len(task) == 1950 - sum(tasks.left_out.values())
    assert tasks.left_out.get("images equal to another", 0) < 20
    table = covid_ct.table()
    assert dict(table["split"].value_counts()) == {"train": 425, "test": 203, "val": 118}
    assert table.groupby("patient")["split"].nunique().max() == 1
    assert dict(table["class"].value_counts()) == {"NonCOVID": 397, "COVID": 349}


@pytest.mark.mirror
def test_a_set_with_masks_and_no_classes_has_arrays_and_no_task() -> None:
    with pytest.raises(TaskError, match="drive_vessels has masks and no classes"):
        catalogue.load("drive_vessels")
    assert drive_vessels.arrays()["vessels"].shape == (40, 292, 282)
    assert len(drive_vessels.table()) == 40
