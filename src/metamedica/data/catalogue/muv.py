"""MUV: 93,127 compounds in 17 screens of PubChem with few actives each (about 27 of 14,800), with the few-shot split of PAR."""

import pandas as pd

from metamedica.data.catalogue import _wide
from metamedica.data.collection import TaskCollection
from metamedica.types import Progress

NAME = "muv"
SOURCE = f"https://github.com/deepchem/deepchem at commit fbe3b91, datasets/muv.csv.gz; {_wide.SPLIT_SOURCE}"
LICENCE = "not stated by its authors (drawn from PubChem BioAssay); MIT (the repository)"
ATTRIBUTION = "Contains the MUV sets (Rohrer and Baumann 2009), in the selection of MoleculeNet (Wu et al. 2018)."
_FILES = {
    "molecules/muv/muv.csv.gz": "91b291cc98817576fcc889177d5198950e1d42d2514f9a5eca8e7be2e186ef36",
    "molecules/muv/tasks.csv": "4cae6510da3e4356a79e668d54817ec1079360fd6c1234eee3b40ca7a5012c88",
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
    """Return the tasks as binary tasks with the published split (12 meta-train, 5 meta-test).

    Raises:
        InputError: METAMEDICA_DATA is not set, or has no such file.
        FileFormatError: a file is not the known one.
    """
    return _wide.collection(table(), n_jobs=n_jobs, progress=progress)
