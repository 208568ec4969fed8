"""Davis: dissociation constants of 68 kinase inhibitors on 442 kinases and mutants, every pair measured."""

import pandas as pd

from metamedica.data.catalogue import _kinases
from metamedica.data.collection import TaskCollection
from metamedica.types import Progress

NAME = "davis"
SOURCE = (
    "https://github.com/hkmztrk/DeepDTA at commit a546a84, data/davis; "
    "Davis et al. 2011, https://doi.org/10.1038/nbt.1990"
)
LICENCE = "not stated by its source"
ATTRIBUTION = (
    "Contains data of Davis et al. 2011 (Nature Biotechnology 29), as laid out for DeepDTA (Öztürk et al. 2018)."
)
_FILES = {
    "molecules/davis/drugs.csv": "00f34178605632b2a66465e66c635cc7f18bc45ef0ba5c198e4a99448bef1401",
    "molecules/davis/targets.csv.gz": "74cb6dcfc1b6cb4b42fa38c5d7364dccb2336e57384df92a6638ff7fe16248aa",
    "molecules/davis/pairs.csv.gz": "2bf0020b67249c4e838ba1ed84a46ccf8fd2643a10bd823eedd8c5cc79bfa8bf",
}
UNIT = "-log10 M"


def files() -> dict[str, str]:
    """Return the path of each file that is read -> its SHA-256."""
    return dict(_FILES)


def table() -> pd.DataFrame:
    """Return one row a pair, as text: `smiles`, `target` (name of the kinase) and `value` (pKd, -log10 M; 5 where no binding was seen at 10 µM).

    Raises:
        InputError: METAMEDICA_DATA is not set, or has no such file.
        FileFormatError: a file is not the known one.
    """
    return _kinases.table(NAME, _FILES, source=SOURCE, value="pkd")


def sequences() -> dict[str, str]:
    """Return kinase -> its amino acids, one letter each; errors as those of `table`."""
    return _kinases.sequences(NAME, _FILES, source=SOURCE)


def load(*, n_jobs: int | None = None, progress: Progress | None = None) -> TaskCollection:
    """Return the 442 kinases as regression tasks, without a meta-split. Seven of ten values are 5: no binding seen.

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
