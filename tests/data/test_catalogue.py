"""The public collections: the known figures of their sources, and one clear sentence where a file is absent or another one."""

from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest

from metamedica.data import catalogue
from metamedica.data.catalogue import chembl691, freewilson, moleculeace
from metamedica.errors import FileFormatError, InputError

pytest.importorskip("rdkit")


@pytest.mark.parametrize("name", catalogue.names())
def test_every_collection_says_where_it_comes_from_and_what_its_licence_asks(name: str) -> None:
    entry = catalogue.entry(name)
    assert entry.name == name
    assert entry.source.startswith("https://")
    assert "CC BY-SA 3.0" in entry.licence
    assert "ChEMBL" in entry.attribution
    assert entry.files
    assert all(len(digest) == 64 for digest in entry.files.values())


def test_an_unknown_collection_gives_the_choices() -> None:
    with pytest.raises(InputError, match="there is no public collection 'zinc'; choose one of: chembl691, freewilson"):
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


def test_without_the_mirror_chembl691_says_what_to_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("METAMEDICA_DATA", raising=False)
    with pytest.raises(InputError, match=r"METAMEDICA_DATA is not set; set it to a folder that holds molecules/"):
        chembl691.load()
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
