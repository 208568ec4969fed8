"""MoleculeACE: 30 ChEMBL bioactivity sets (Ki or EC50, 48,714 values), as they ship inside its wheel.

The wheel's CSV files are found through `importlib.metadata`; its code is never imported, and its own requirements are not
needed.
"""

from functools import cache
from importlib import resources
from importlib.metadata import PackageNotFoundError, distribution
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from metamedica.data.collection import TaskCollection
from metamedica.data.mirror import known_files
from metamedica.errors import InputError
from metamedica.types import Progress

NAME = "moleculeace"
SOURCE = (
    "https://pypi.org/project/MoleculeACE/3.0.0 (https://github.com/molML/MoleculeACE); van Tilborg, Alenicheva and Grisoni "
    "2022, https://doi.org/10.1021/acs.jcim.2c01073"
)
LICENCE = "CC BY-SA 3.0 (ChEMBL); MIT (the distribution)"
ATTRIBUTION = (
    "Contains data of ChEMBL (https://www.ebi.ac.uk/chembl, EMBL-EBI, CC BY-SA 3.0), as curated for MoleculeACE (van Tilborg "
    "et al. 2022, MIT)."
)
UNIT = "-log10 M"
INSTALL = "pip install --no-deps MoleculeACE==3.0.0"
_FOLDER = "MoleculeACE/Data/benchmark_data"


@cache
def _sets() -> pd.DataFrame:
    return pd.read_csv(StringIO((resources.files(__package__) / "moleculeace.csv").read_text(encoding="utf-8")))


def sets() -> pd.DataFrame:
    """Return the 30 sets: `task`, `target` (name), `family` (receptor class), `measure` (Ki, EC50), `compounds`, `sha256`."""
    return _sets().copy()


def files() -> dict[str, str]:
    """Return the path in the distribution of each file that is read -> its SHA-256."""
    return {f"{_FOLDER}/{task}.csv": digest for task, digest in zip(_sets()["task"], _sets()["sha256"], strict=True)}


def table() -> pd.DataFrame:
    """Return one row a value: `task`, `smiles`, `pki` (pKi or pEC50, -log10 M), `cliff` (1: the compound has an activity cliff)
    and `split` ("train", "test": the paper's split of the compounds).

    Raises:
        InputError: MoleculeACE is not installed, or not whole.
        FileFormatError: it is another release.
    """
    parts = []
    for name, path in _paths().items():
        part = pd.read_csv(path)
        value = part["y"] + 9  # y is -log10 nM
        parts.append(
            pd.DataFrame(
                {
                    "task": name,
                    "smiles": part["smiles"],
                    "pki": value,
                    "cliff": part["cliff_mol"],
                    "split": part["split"],
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def load(*, n_jobs: int | None = None, progress: Progress | None = None) -> TaskCollection:
    """Return the 30 sets as regression tasks in -log10 M, named like "CHEMBL237_Ki", with receptor classes as families.

    Repeated compounds of a set are merged by their median. There is no meta-split.

    Raises:
        InputError: MoleculeACE is not installed, or not whole.
        FileFormatError: it is another release.
    """
    frame = table()
    frame["family"] = frame["task"].map(_sets().set_index("task")["family"])
    return TaskCollection.from_table(
        frame,
        modality="molecules",
        case="smiles",
        target="pki",
        task="task",
        family="family",
        kind="regression",
        unit=UNIT,
        duplicates="median",
        n_jobs=n_jobs,
        progress=progress,
    )


def cliffs(collection: TaskCollection) -> dict[str, NDArray[np.bool_]]:
    """Return task -> which of its compounds have an activity cliff, in the order of the task's cases.

    A repeated compound of a set has one where any of its rows has.

    Args:
        collection: what `load` returned, or a part of it with tasks whole.

    Raises:
        InputError: MoleculeACE is not installed, or not whole.
        FileFormatError: it is another release.
        TaskError: a task that is none of the sets.
        InputError: a compound that its set does not hold.
    """
    flags = TaskCollection.from_table(
        table(),
        modality="molecules",
        case="smiles",
        target="cliff",
        task="task",
        kind="regression",
        duplicates="mean",
        n_jobs=1,  # the features are cached
    )
    found = {}
    for name, task in collection.tasks.items():
        marked = flags[name]
        has = {flags.canonical[row]: value > 0 for row, value in zip(marked.rows, marked.targets, strict=True)}
        strange = sum(collection.canonical[row] not in has for row in task.rows)
        if strange:
            raise InputError(
                f"{strange} of the {len(task)} compounds of task {name!r} are not in the MoleculeACE set; give the collection as `load` returned it"
            )
        found[name] = np.array([has[collection.canonical[row]] for row in task.rows], dtype=bool)
    return found


def _paths() -> dict[str, Path]:
    try:
        installed = distribution("MoleculeACE")
    except PackageNotFoundError:
        raise InputError(f"the MoleculeACE sets are not installed; install them with: {INSTALL}") from None
    found = known_files(
        Path(str(installed.locate_file(""))),
        files(),
        absent=lambda file: f"the installed MoleculeACE has no file {file}; install it again with: {INSTALL}",
        changed=lambda file: (
            f"{file} of MoleculeACE {installed.version} is not the known file (its SHA-256 differs); "
            f"install the known one with: {INSTALL}"
        ),
    )
    return {path.stem: path for path in found}
