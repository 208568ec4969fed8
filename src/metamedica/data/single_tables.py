"""Binary questions on single cohorts, many diseases in one list: `single_tables.yaml`, one declaration an entry.

They are what a learner over many diseases is meta-trained and judged on. A split goes by `origin`: entries with one origin share
patients.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from metamedica.data.declared import Declaration, read_declared
from metamedica.data.declared.files import declaration, read_yaml
from metamedica.data.mirror import VARIABLE, mirrored
from metamedica.errors import InputError

SOURCE = (
    "https://github.com/renatopp/arff-datasets at commit c59f172, https://github.com/EpistasisLab/pmlb at commit 7c1f4bd and "
    "https://github.com/vincentarelbundock/Rdatasets at commit 1dcc2bf"
)
_LIST = Path(__file__).with_name("single_tables.yaml")


@dataclass(frozen=True)
class SingleTable:
    """A question on one cohort.

    Args:
        name: of the question.
        frame: a row a patient: the columns of the cases, `label` (0 or 1), `case`, and `group` where patients are repeated.
        roles: what `TaskCollection.from_table(frame, modality="tables", ...)` is told of it.
        origin: the cohort; what has one origin shares patients.
    """

    name: str
    frame: pd.DataFrame
    roles: dict[str, Any]
    origin: str


@cache
def _list() -> tuple[dict[str, Declaration], dict[str, str]]:
    content = read_yaml(_LIST)
    entries = {
        name: declaration({"name": name, "origin": name, **content["defaults"], **entry}, where=f"{_LIST.name}, {name}")
        for name, entry in content["tables"].items()
    }
    return entries, content["files"]


def entries() -> dict[str, Declaration]:
    """Return the declaration of each question by name."""
    return dict(_list()[0])


def files() -> dict[str, str]:
    """Return the path of each file below the mirror -> its SHA-256."""
    return dict(_list()[1])


def single_tables(names: Sequence[str] | None = None) -> Iterator[SingleTable]:
    """Yield questions on single cohorts, one after another.

    Args:
        names: which ones, in this order; all of the list for None.

    Raises:
        InputError: there is none of a name, METAMEDICA_DATA is not set, or it has no such file.
        FileFormatError: a file is not the known one.
    """
    held = entries()
    for name in held if names is None else names:
        if name not in held:
            raise InputError(f"there is no single table {name!r}; choose one of: {', '.join(held)}")
        spec = held[name]
        path = f"{spec.folder}/{spec.table}"
        mirrored(name, {path: files()[path]}, source=SOURCE)
        found = read_declared(spec, root=os.environ[VARIABLE])
        assert found.origin is not None
        yield SingleTable(name, found.frame, found.roles(), found.origin)
