"""Kinase panels as DeepDTA lays them out: drugs, targets with their sequences, and one row a measured pair."""

from collections.abc import Mapping

import pandas as pd

from metamedica.data.mirror import mirrored
from metamedica.data.tables import read_table


def table(name: str, files: Mapping[str, str], *, source: str, value: str) -> pd.DataFrame:
    """Return one row a pair, as text: `smiles`, `target` (name of the kinase) and `value`.

    Args:
        name: of the collection.
        files: path below the mirror -> SHA-256 of drugs, targets and pairs.
        source: where the files come from.
        value: column of the measurement.

    Raises:
        InputError: METAMEDICA_DATA is not set, or has no such file.
        FileFormatError: a file is not the known one.
    """
    drugs, targets, pairs = (read_table(path) for path in mirrored(name, files, source=source))
    smiles = pairs["drug_index"].map(drugs.set_index("drug_index")["smiles"])
    target = pairs["target_index"].map(targets.set_index("target_index")["target"])
    frame = pd.DataFrame({"smiles": smiles, "target": target, "value": pairs[value]})
    frame.attrs["source"] = pairs.attrs["source"]
    return frame


def sequences(name: str, files: Mapping[str, str], *, source: str) -> dict[str, str]:
    """Return kinase -> its amino acids, one letter each; errors as those of `table`."""
    _, targets, _ = (read_table(path) for path in mirrored(name, files, source=source))
    return dict(zip(targets["target"], targets["sequence"], strict=True))
