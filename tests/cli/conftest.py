"""A command run in this process, small tables of molecules, and one tiny model and predictor for the whole session."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from metamedica.cli import main

CORES = ("c1ccc({})cc1", "c1ccnc({})c1", "C1CCN({})CC1", "c1ccc2[nH]c({})cc2c1", "O=C(N{})c1ccccc1")
TAILS = ("C", "CC", "CCO", "C(F)(F)F", "CCN", "C(=O)O", "CCCC", "CC#N", "CCl", "C1CC1")
UNIT = "-log10 M"


def molecules() -> list[str]:
    """Return 50 small molecules, all different."""
    return [core.format(tail) for core in CORES for tail in TAILS]


def potency(smiles: str, slope: float) -> float:
    """Return a made-up value in -log10 M that a fingerprint can learn."""
    return round(6 + slope * (smiles.count("N") - smiles.count("F")) + 0.02 * len(smiles), 3)


@dataclass(frozen=True)
class Outcome:
    """What a command left: its exit code and what it printed."""

    code: int
    out: str
    err: str


Run = Callable[..., Outcome]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("COLUMNS", "80")

    def command(*arguments: str | Path | int) -> Outcome:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return Outcome(code, printed.out, printed.err)

    return command


@pytest.fixture
def refused(run: Run) -> Run:
    """Run a command that must be refused: exit code 2 and one clear sentence; return its outcome."""

    def command(*arguments: str | Path | int) -> Outcome:
        outcome = run(*arguments)
        assert outcome.code == 2, outcome
        lines = outcome.err.splitlines()
        assert len(lines) == 1
        assert lines[0].startswith("error: ")
        assert "Traceback" not in outcome.err
        assert not lines[0].startswith("error: unexpected")
        assert outcome.out == ""
        return outcome

    return command


@pytest.fixture(scope="session")
def assays(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight assays of 24 molecules each, a row a measurement."""
    rows = [
        {"smiles": smiles, "assay": f"A{number}", "pki": potency(smiles, 0.3 + 0.1 * number)}
        for number in range(8)
        for smiles in molecules()[number * 3 : number * 3 + 24]
    ]
    path = tmp_path_factory.mktemp("tables") / "assays.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen measured molecules of a new assay."""
    rows = [{"smiles": smiles, "pki": potency(smiles, -0.5)} for smiles in molecules()[::3][:16]]
    path = tmp_path_factory.mktemp("tables") / "measured.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fifty molecules with a name."""
    rows = [{"id": f"M{number}", "smiles": smiles} for number, smiles in enumerate(molecules())]
    path = tmp_path_factory.mktemp("tables") / "library.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


@pytest.fixture(scope="session")
def model(assays: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that needs no training: a Tanimoto Gaussian process."""
    folder = tmp_path_factory.mktemp("models") / "gp"
    assert (
        main(
            [
                "fit",
                str(assays),
                "--task",
                "assay",
                "--learner",
                "tanimoto_gp",
                "--unit",
                UNIT,
                "--out",
                str(folder),
                "--json",
            ]
        )
        == 0
    )
    return folder


@pytest.fixture(scope="session")
def predictor(model: Path, measured: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("predictors") / "new"
    assert main(["adapt", str(measured), "--model", str(model), "--unit", UNIT, "--out", str(folder), "--json"]) == 0
    return folder
