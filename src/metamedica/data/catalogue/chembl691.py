"""ChEMBL potencies (pXC50) of 85,271 molecules on 672 targets: 162,727 values, the set of DeepChem's ChEMBL examples.

Read from a local mirror: a folder with `molecules/chembl691/` that METAMEDICA_DATA points at. The repository has no file in
this layout, and no checksum of its own files was on record, so nothing is fetched here.
"""

import pandas as pd

from metamedica.data.collection import TaskCollection
from metamedica.data.mirror import mirrored
from metamedica.data.tables import read_table
from metamedica.types import Progress

NAME = "chembl691"
SOURCE = (
    "https://github.com/deepchem/deepchem at commit fbe3b91: datasets/chembl_5thresh.csv.gz and "
    "examples/chembl/year_sets/*.csv.gz, laid out as one row a molecule and one row a value"
)
LICENCE = "CC BY-SA 3.0 (ChEMBL); MIT (the repository)"
ATTRIBUTION = (
    "Contains data of ChEMBL (https://www.ebi.ac.uk/chembl, EMBL-EBI, CC BY-SA 3.0), in the selection of DeepChem's ChEMBL "
    "examples."
)
_FILES = {
    "molecules/chembl691/molecules.csv.gz": "ad45ce4d8ac2ef3dd7ce00c29822feb4e9237eddf6543233ceb4cbe6d92c1d30",
    "molecules/chembl691/activities.csv.gz": "eff5da37bc5859cb55df8cc508263c072cf03798cbdff5f0c0d26cf9e8374f15",
}
UNIT = "-log10 M"


def files() -> dict[str, str]:
    """Return the path of each file that is read -> its SHA-256."""
    return dict(_FILES)


def table() -> pd.DataFrame:
    """Return one row a value, as text: `smiles`, `target` (ChEMBL id) and `pxc50` (-log10 M, 4 to 11).

    Raises:
        InputError: METAMEDICA_DATA is not set, or has no such file.
        FileFormatError: a file is not the known one.
    """
    molecules, activities = (read_table(path) for path in mirrored(NAME, _FILES, source=SOURCE))
    smiles = activities["mol_id"].map(molecules.set_index("mol_id")["smiles"])
    frame = pd.DataFrame({"smiles": smiles, "target": activities["target"], "pxc50": activities["pxc50"]})
    frame.attrs["source"] = activities.attrs["source"]
    return frame


def load(*, n_jobs: int | None = None, progress: Progress | None = None) -> TaskCollection:
    """Return the 672 targets as regression tasks in -log10 M, without a meta-split.

    Raises:
        InputError: METAMEDICA_DATA is not set, or has no such file.
        FileFormatError: a file is not the known one.
    """
    return TaskCollection.from_table(
        table(),
        modality="molecules",
        case="smiles",
        target="pxc50",
        task="target",
        kind="regression",
        unit=UNIT,
        duplicates="median",
        n_jobs=n_jobs,
        progress=progress,
    )
