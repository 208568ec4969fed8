"""KIBA: scores that join Ki, Kd and IC50 of 2,111 compounds on 229 kinases, 118,254 pairs."""

import pandas as pd

from metamedica.data.catalogue import _kinases
from metamedica.data.collection import TaskCollection
from metamedica.types import Progress

NAME = "kiba"
SOURCE = (
    "https://github.com/hkmztrk/DeepDTA at commit a546a84, data/kiba; "
    "Tang et al. 2014, https://doi.org/10.1021/ci400709d"
)
LICENCE = "not stated by its source"
ATTRIBUTION = "Contains KIBA scores (Tang et al. 2014), as laid out for DeepDTA (Öztürk et al. 2018)."
_FILES = {
    "molecules/kiba/drugs.csv": "f8d515663b9dc5699ab2fa8135a82d7b37e689707ca844c76f1a1082b6aa435a",
    "molecules/kiba/targets.csv.gz": "2c4b2147d245747549dcd0ff979fce7c3d57dd2dd3422dec34b676369034686d",
    "molecules/kiba/pairs.csv.gz": "9ac1e41ca10e78826b66cf37f63b184955b4007d0b61b29c9aeb0b14f3dae46d",
}
UNIT = "KIBA score"


def files() -> dict[str, str]:
    """Return the path of each file that is read -> its SHA-256."""
    return dict(_FILES)


def table() -> pd.DataFrame:
    """Return one row a pair, as text: `smiles`, `target` (name of the kinase) and `value`.

    The value is the KIBA score, transformed so that higher binds more strongly.

    Raises:
        InputError: METAMEDICA_DATA is not set, or has no such file.
        FileFormatError: a file is not the known one.
    """
    return _kinases.table(NAME, _FILES, source=SOURCE, value="kiba_score")


def sequences() -> dict[str, str]:
    """Return kinase -> its amino acids, one letter each; errors as those of `table`."""
    return _kinases.sequences(NAME, _FILES, source=SOURCE)


def load(*, n_jobs: int | None = None, progress: Progress | None = None) -> TaskCollection:
    """Return the 229 kinases as regression tasks, without a meta-split. They are named by UniProt accession.

    Raises:
        InputError: METAMEDICA_DATA is not set, or has no such file.
        FileFormatError: a file is not the known one.
    """
    return TaskCollection.from_table(
        table(),
        modality="molecules",
        case="smiles",
        target="value",
        task="target",
        kind="regression",
        unit=UNIT,
        duplicates="median",
        n_jobs=n_jobs,
        progress=progress,
    )
