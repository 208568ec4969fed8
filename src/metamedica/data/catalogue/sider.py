"""SIDER: 1,427 approved drugs and 27 classes of side effects, reported or not, with the few-shot split of PAR."""

import pandas as pd

from metamedica.data.catalogue import _wide
from metamedica.data.collection import TaskCollection
from metamedica.types import Progress

NAME = "sider"
SOURCE = f"https://github.com/GLambard/Molecules_Dataset_Collection at commit beb35cd, originals/sider.csv; {_wide.SPLIT_SOURCE}"
LICENCE = "CC BY-NC-SA 4.0 (SIDER: not for commercial use); MIT (the repository)"
ATTRIBUTION = (
    "Contains data of SIDER 4.1 (http://sideeffects.embl.de, Kuhn et al. 2016, CC BY-NC-SA 4.0), in the selection of "
    "MoleculeNet (Wu et al. 2018)."
)
_FILES = {
    "molecules/sider/sider.csv.gz": "ebf65c641eaaaf1702e39faaadde886bfc8c5245fa34c4a55087327dabddead7",
    "molecules/sider/tasks.csv": "1f7a6791cd8aa1ca487ff9b364273582d538a5091401c045c9ccad4dcbfc7e1e",
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
    """Return the tasks as binary tasks with the published split (21 meta-train, 6 meta-test).

    Raises:
        InputError: METAMEDICA_DATA is not set, or has no such file.
        FileFormatError: a file is not the known one.
    """
    return _wide.collection(table(), n_jobs=n_jobs, progress=progress)
