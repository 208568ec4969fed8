"""Single tables of many diseases, divided by cohort once and for all: what the model of any table learns from, is chosen by, and is judged on."""

import hashlib
from collections.abc import Iterator

from metamedica.data.collection import TaskCollection
from metamedica.data.single_tables import entries, single_tables
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
        yield table.name, TaskCollection.from_table(table.frame, modality="any_table", **table.roles)
