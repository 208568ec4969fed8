"""Kinase panels as DeepDTA lays them out: drugs, targets with their sequences, and one row a measured pair."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from metamedica.data.collection import TaskCollection
from metamedica.data.mirror import mirrored
from metamedica.data.tables import read_table
from metamedica.types import Progress


@dataclass(frozen=True)
class Panel:
    """One of these panels in the local mirror.

    Args:
        name: of the collection.
        source: where its files come from.
        digests: path below the mirror -> SHA-256 of drugs, targets and pairs.
        value: column of the measurement.
        unit: of the measurement.
    """

    name: str
    source: str
    digests: Mapping[str, str]
    value: str
    unit: str

    def files(self) -> dict[str, str]:
        """Return the path of each file that is read -> its SHA-256."""
        return dict(self.digests)

    def table(self) -> pd.DataFrame:
        """Return one row a pair, as text: `smiles`, `target` (name of the kinase), `sequence` (its amino acids) and `value` (in the panel's unit).

        Raises:
            InputError: METAMEDICA_DATA is not set, or has no such file.
            FileFormatError: a file is not the known one.
        """
        drugs, targets, pairs = (read_table(path) for path in mirrored(self.name, self.digests, source=self.source))
        smiles = pairs["drug_index"].map(drugs.set_index("drug_index")["smiles"])
        target, sequence = (
            pairs["target_index"].map(targets.set_index("target_index")[name]) for name in ("target", "sequence")
        )
        frame = pd.DataFrame({"smiles": smiles, "target": target, "sequence": sequence, "value": pairs[self.value]})
        frame.attrs["source"] = pairs.attrs["source"]
        return frame

    def sequences(self) -> dict[str, str]:
        """Return kinase -> its amino acids, one letter each; errors as those of `table`."""
        _, path, _ = mirrored(self.name, self.digests, source=self.source)
        targets = read_table(path)
        return dict(zip(targets["target"], targets["sequence"], strict=True))

    def load(self, *, n_jobs: int | None = None, progress: Progress | None = None) -> TaskCollection:
        """Return the kinases as regression tasks, each described by its amino acids, without a meta-split.

        Args:
            n_jobs: worker processes of featurising; every core for None.
            progress: called as `progress(done, total, message)`.

        Raises:
            InputError: METAMEDICA_DATA is not set, or has no such file.
            FileFormatError: a file is not the known one.
        """
        return TaskCollection.from_table(
            self.table(),
            modality="molecules",
            case="smiles",
            target="value",
            task="target",
            about="sequence",
            kind="regression",
            unit=self.unit,
            duplicates="median",
            n_jobs=n_jobs,
            progress=progress,
        )
