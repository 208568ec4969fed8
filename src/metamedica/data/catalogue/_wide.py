"""MoleculeNet sets in their few-shot layout: a row a molecule, a column a task (0, 1 or empty), and each task's side of the published split.

The split is that of PAR (Wang et al. 2021, NeurIPS; its code at commit 497b27f). It has no meta-valid tasks: where some are wanted,
`splits.draw_meta_valid` takes them from meta-train.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from metamedica.data.collection import TaskCollection
from metamedica.data.mirror import mirrored
from metamedica.data.tables import read_table
from metamedica.types import MetaSplit, Progress

SPLIT_SOURCE = "https://github.com/tata1661/PAR-NeurIPS21 at commit 497b27f (the split)"
_SIDES: tuple[MetaSplit, ...] = ("meta_train", "meta_test")


@dataclass(frozen=True)
class WideSet:
    """One of these sets in the local mirror.

    Args:
        name: of the collection.
        source: where its files come from.
        digests: path below the mirror -> SHA-256 of the molecules, then of the tasks.
    """

    name: str
    source: str
    digests: Mapping[str, str]

    def files(self) -> dict[str, str]:
        """Return the path of each file that is read -> its SHA-256."""
        return dict(self.digests)

    def table(self) -> pd.DataFrame:
        """Return one row a molecule, as text: `smiles` and a column for each task (0, 1 or empty), meta-train tasks first.

        Tasks that the published split drops are left out.

        Raises:
            InputError: METAMEDICA_DATA is not set, or has no such file.
            FileFormatError: a file is not the known one.
        """
        molecules, tasks = (read_table(path) for path in mirrored(self.name, self.digests, source=self.source))
        split = tasks.set_index("task")["split"]
        wanted = [task for side in _SIDES for task in split.index[split == side]]
        frame = molecules[["smiles", *wanted]]
        frame.attrs.update(source=molecules.attrs["source"], split={task: split[task] for task in wanted})
        return frame

    def load(self, *, n_jobs: int | None = None, progress: Progress | None = None) -> TaskCollection:
        """Return the tasks as binary tasks with the published split.

        Molecules that cannot be read are left out; of repeated ones, those with differing labels too. Both are counted in
        `left_out`.

        Args:
            n_jobs: worker processes of featurising; every core for None.
            progress: called as `progress(done, total, message)`.

        Raises:
            InputError: METAMEDICA_DATA is not set, or has no such file.
            FileFormatError: a file is not the known one.
        """
        frame = self.table()
        split: dict[str, MetaSplit] = frame.attrs["split"]
        tasks = TaskCollection.from_table(
            frame,
            modality="molecules",
            case="smiles",
            targets=list(split),
            kind="binary",
            skip_invalid=True,
            duplicates="median",
            n_jobs=n_jobs,
            progress=progress,
        )
        return tasks.with_split({task: side for task, side in split.items() if task in tasks.tasks})
