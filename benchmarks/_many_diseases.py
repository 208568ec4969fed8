"""Single tables of many diseases, divided by cohort once and for all: what the model of any table learns from, is chosen by, and is judged on."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from metamedica.data.collection import TaskCollection
from metamedica.data.single_tables import SingleTable, entries, single_tables
from metamedica.modalities.any_table import AnyTable
from metamedica.reports.judging import Protocol
from metamedica.types import MetaSplit

N_JUDGED = 14
"""Cohorts that are judged, and never looked at before."""
N_VALID = 9
"""Cohorts that training and settings are chosen by."""


def origins() -> dict[str, str]:
    """Return the cohort of each table by its name."""
    return {name: str(entry.origin) for name, entry in entries().items()}


def parts() -> dict[str, MetaSplit]:
    """Return the side of each table: cohorts in the order of a hash of their names, the first of them judged, the next ones meta-valid."""
    order = sorted(
        set(origins().values()), key=lambda name: hashlib.sha256(f"many diseases {name}".encode()).hexdigest()
    )
    place = {origin: number for number, origin in enumerate(order)}

    def side(origin: str) -> MetaSplit:
        if place[origin] < N_JUDGED:
            return "meta_test"
        return "meta_valid" if place[origin] < N_JUDGED + N_VALID else "meta_train"

    return {name: side(origin) for name, origin in origins().items()}


def tables(split: MetaSplit) -> Iterator[tuple[str, TaskCollection]]:
    """Yield name and collection of each table on one side, read as `any_table`."""
    for table in single_tables([name for name, side in parts().items() if side == split]):
        yield table.name, _read(table)


def _read(table: SingleTable, schema: object = None) -> TaskCollection:
    roles = table.roles if schema is None else {**table.roles, "schema": schema}
    return TaskCollection.from_table(table.frame, modality="any_table", **roles)


@dataclass(frozen=True)
class JudgedTable:
    """A judged table: types of columns are known, as a data dictionary tells them; scales and levels are those of the labelled patients alone."""

    table: SingleTable
    whole: TaskCollection

    @property
    def name(self) -> str:
        return self.table.name

    def read(self, protocol: Protocol, shots: int, *, seed: int) -> TaskCollection:
        """Return the table as it is read by the support of the first draw of a seed.

        Raises:
            TaskError: the table is too small.
        """
        (task,) = self.whole.tasks.values()
        support = protocol.support(task, shots, draw=0, seed=seed)
        reader = self.whole.reader()
        assert isinstance(reader, AnyTable)
        assert len(task) == len(self.table.frame), "every patient of a single table has a label"
        types = {name: {"type": column.type} for name, column in reader.schema.columns.items()}
        known = self.table.frame.iloc[support][self.table.roles["case"]]
        return _read(self.table, AnyTable(types).fitted(known, source=self.name).schema.as_dict())


def judged_tables(split: MetaSplit = "meta_test") -> Iterator[JudgedTable]:
    """Yield the tables of one side to be judged on."""
    for table in single_tables([name for name, side in parts().items() if side == split]):
        yield JudgedTable(table, _read(table))
