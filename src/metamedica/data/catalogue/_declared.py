"""Collections of clinical tables that are declared: `<name>.yaml` beside `<name>.py` says what is a case, a label, a task and a patient."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from metamedica.data.collection import TaskCollection
from metamedica.data.declared import Declared, read_declared
from metamedica.data.declared_tasks import declared_tasks
from metamedica.data.mirror import VARIABLE, mirrored
from metamedica.types import Progress


@dataclass(frozen=True)
class DeclaredSet:
    """One of these collections in the local mirror.

    Args:
        name: of the collection, and of its YAML file here.
        source: where its files come from.
        digests: path below the mirror -> SHA-256 of each file that the declaration reads.
    """

    name: str
    source: str
    digests: Mapping[str, str]

    def files(self) -> dict[str, str]:
        """Return the path of each file that is read -> its SHA-256."""
        return dict(self.digests)

    def declared(self, variant: str | None = None) -> Declared:
        """Return the tasks as they are declared, with their roles and the count of what was left out.

        Args:
            variant: one of the declaration's `variants`.

        Raises:
            InputError: METAMEDICA_DATA is not set, or has no such file.
            FileFormatError: a file is not the known one, or there is no such variant.
        """
        mirrored(self.name, self.digests, source=self.source)
        return read_declared(Path(__file__).with_name(f"{self.name}.yaml"), root=os.environ[VARIABLE], variant=variant)

    def table(self, variant: str | None = None) -> pd.DataFrame:
        """Return one row a labelled case: its columns, and `case`, `label`, `task`, `group`, `time` as far as they are declared.

        Args and raises as `declared`.
        """
        return self.declared(variant).frame

    def load(
        self, variant: str | None = None, *, n_jobs: int | None = None, progress: Progress | None = None
    ) -> TaskCollection:
        """Return the tasks, their cases featurised.

        Args:
            variant: one of the declaration's `variants`.
            n_jobs: worker processes of featurising; every core for None.
            progress: called as `progress(done, total, message)`.

        Raises:
            InputError: METAMEDICA_DATA is not set, or has no such file.
            FileFormatError: a file is not the known one, or there is no such variant.
        """
        return declared_tasks(self.declared(variant), n_jobs=n_jobs, progress=progress)
