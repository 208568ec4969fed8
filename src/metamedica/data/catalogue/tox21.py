"""Tox21: 7,831 compounds in 12 assays of nuclear receptors and stress response, active or not, with the few-shot split of PAR."""

import pandas as pd

from metamedica.data.catalogue import _wide
from metamedica.data.collection import TaskCollection
from metamedica.types import Progress

NAME = "tox21"
SOURCE = f"https://github.com/GLambard/Molecules_Dataset_Collection at commit beb35cd, originals/tox21.csv; {_wide.SPLIT_SOURCE}"
LICENCE = "not stated by its source (Tox21: agencies of the US government); MIT (the repository)"
ATTRIBUTION = (
    "Contains data of the Tox21 Data Challenge 2014 (NIH, EPA and FDA), in the selection of MoleculeNet "
    "(Wu et al. 2018)."
)
_FILES = {
    "molecules/tox21/tox21.csv.gz": "c1c8ca1ec4044198b8940b2b00e2275192e8c6f814d648f2e9c13e90186b1a21",
    "molecules/tox21/tasks.csv": "adc545f4336c7dd4e4007c66621a23ac7ca6caef2f0383b30a36a719427dbf8b",
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
    """Return the tasks as binary tasks with the published split (9 meta-train, 3 meta-test: SR-HSE, SR-MMP, SR-p53).

    Raises:
        InputError: METAMEDICA_DATA is not set, or has no such file.
        FileFormatError: a file is not the known one.
    """
    return _wide.collection(table(), n_jobs=n_jobs, progress=progress)
