"""One compound series on one target (ChEMBL document CHEMBL2321810, 1,017 compounds), as it ships inside the rdkit wheel."""

from pathlib import Path

import pandas as pd

from metamedica.data.collection import TaskCollection
from metamedica.data.mirror import known_files
from metamedica.errors import MissingExtraError
from metamedica.types import Progress

NAME = "freewilson"
SOURCE = "https://github.com/rdkit/rdkit, Contrib/FreeWilson/data (inside the rdkit wheel)"
LICENCE = "CC BY-SA 3.0 (ChEMBL); BSD-3-Clause (RDKit)"
ATTRIBUTION = (
    "Contains data of ChEMBL (https://www.ebi.ac.uk/chembl, EMBL-EBI, CC BY-SA 3.0), document CHEMBL2321810, as shipped "
    "with RDKit."
)
TASK = "CHEMBL2321810"
_FILES = {
    f"FreeWilson/data/{TASK}.smi": "3feff3aa19f16c7a3aa8695acddd442d1fb3d582485bb7fe8754e7b36dc1894f",
    f"FreeWilson/data/{TASK}_act.csv": "e74db717fa4704befa07eb41ad4845fa437bf3c12eb2b6a854576dbd2e8819fa",
}
UNIT = "-log10 M"


def files() -> dict[str, str]:
    """Return the path of each file that is read -> its SHA-256."""
    return dict(_FILES)


def table() -> pd.DataFrame:
    """Return one row a compound: `smiles`, `name` and `activity` (pIC50, -log10 M, 3.7 to 9).

    Raises:
        MissingExtraError: rdkit is not installed.
        InputError: this rdkit does not carry the series.
        FileFormatError: it carries another one under its name.
    """
    structures, activities = _paths()
    rows = [line.split() for line in structures.read_text(encoding="utf-8").splitlines()]
    smiles = pd.DataFrame(rows, columns=["smiles", "name"])
    values = pd.read_csv(activities, dtype={"Name": str}).rename(columns={"Name": "name", "Act": "activity"})
    return smiles.merge(values, on="name", how="left", validate="one_to_one")


def load(*, n_jobs: int | None = None, progress: Progress | None = None) -> TaskCollection:
    """Return the series as one regression task in -log10 M, "CHEMBL2321810".

    Raises:
        MissingExtraError: rdkit is not installed.
        InputError: this rdkit does not carry the series.
        FileFormatError: it carries another one under its name.
    """
    return TaskCollection.from_table(
        table(),
        modality="molecules",
        case="smiles",
        target="activity",
        kind="regression",
        unit=UNIT,
        name=TASK,
        duplicates="median",
        n_jobs=n_jobs,
        progress=progress,
    )


def _paths() -> list[Path]:
    try:
        from rdkit import RDConfig, __version__
    except ImportError:
        raise MissingExtraError("rdkit", "molecules") from None
    return known_files(
        Path(RDConfig.RDContribDir),
        _FILES,
        absent=lambda file: (
            f"rdkit {__version__} has no file Contrib/{file}; install rdkit 2025.3 to 2026.9, which has it"
        ),
        changed=lambda file: (
            f"Contrib/{file} of rdkit {__version__} is not the known file (its SHA-256 differs); install another release"
        ),
    )
