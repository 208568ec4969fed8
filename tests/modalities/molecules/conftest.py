import csv
import gzip
import os
from pathlib import Path

import pytest

from metamedica.modalities.molecules import Molecules


@pytest.fixture(scope="session")
def series() -> list[str]:
    """The SMILES of 1,017 compounds of one chemical series that come with RDKit."""
    from rdkit import RDConfig

    file = Path(RDConfig.RDContribDir) / "FreeWilson" / "data" / "CHEMBL2321810.smi"
    return [line.split()[0] for line in file.read_text().splitlines() if line.strip()]


@pytest.fixture(scope="session")
def chembl() -> list[str]:
    """Every hundredth molecule of chembl691 on the mirror."""
    root = os.environ.get("METAMEDICA_DATA")
    if not root:
        pytest.skip("METAMEDICA_DATA does not point at a data mirror (molecules/chembl691)")
    with gzip.open(Path(root) / "molecules" / "chembl691" / "molecules.csv.gz", "rt") as file:
        return [row["smiles"] for row in csv.DictReader(file)][::100]


@pytest.fixture
def molecules() -> Molecules:
    return Molecules()


def linked_rings(count: int) -> str:
    """Six-membered rings head to tail in a large ring, which is then one of 2^count equivalent large rings."""
    middle = "C3CCC(CC3)" * (count - 2)
    return f"C12CCC(CC1){middle}C3CCC2CC3"


@pytest.fixture(scope="session")
def monster() -> str:
    """200 characters that take RDKit 16 seconds and 3 gigabytes."""
    return linked_rings(20)


@pytest.fixture(scope="session")
def harmless() -> str:
    """A molecule with too many ring closures to be read in this process, that is read at once elsewhere."""
    return "C1CC1" * 20
