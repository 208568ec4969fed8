"""ToxCast: 8,615 compounds in 518 assays, active or not, with the few-shot split of PAR (99 of the 617 assays are dropped there)."""

import pandas as pd

from metamedica.data.catalogue import _wide
from metamedica.data.collection import TaskCollection
from metamedica.types import Progress

NAME = "toxcast"
SOURCE = f"https://github.com/deepchem/deepchem, examples/toxcast/processing/toxcast_data.csv.gz; {_wide.SPLIT_SOURCE}"
LICENCE = "not stated by its source (ToxCast: US EPA); MIT (the repository)"
ATTRIBUTION = (
    "Contains data of ToxCast (US EPA, Richard et al. 2016), in the selection of MoleculeNet (Wu et al. 2018)."
)
_FILES = {
    "molecules/toxcast/toxcast.csv.gz": "c0ed63d452ed54555ed09ba214a965c89ab2aeb57e2c18f2b0179135e0ece823",
    "molecules/toxcast/tasks.csv": "4cc437e100fe6737801d482e4bdef5e65404cae34482cdfa6f5bc268b6ea710b",
}


def files() -> dict[str, str]:
    """Return the path of each file that is read -> its SHA-256."""
    return dict(_FILES)


def table() -> pd.DataFrame:
    """Return one row a molecule, as text: `smiles` and a column for each task (0, 1 or empty), meta-train tasks first.

    Raises:
        InputError: METAMEDICA_DATA is not set, or has no such file.
        FileFormatError: a file is not the known one.
    """
    return _wide.table(NAME, _FILES, source=SOURCE)


def load(*, n_jobs: int | None = None, progress: Progress | None = None) -> TaskCollection:
    """Return the tasks as binary tasks with the published split (362 meta-train, 156 meta-test).

    Raises:
        InputError: METAMEDICA_DATA is not set, or has no such file.
        FileFormatError: a file is not the known one.
    """
    return _wide.collection(table(), n_jobs=n_jobs, progress=progress)
