"""One file a named public collection: NAME, SOURCE, LICENCE, ATTRIBUTION, `files()`, `table()` and `load()`. The folder is the list."""

import importlib
from dataclasses import dataclass
from typing import Any

from metamedica import registry
from metamedica.data.collection import TaskCollection
from metamedica.data.declared import Declared
from metamedica.errors import InputError
from metamedica.types import Progress


@dataclass(frozen=True)
class Entry:
    """A public collection that is known by name.

    Args:
        name: what it is called here.
        about: one line.
        source: where it comes from.
        licence: of the data.
        attribution: the sentence that a work with these data must carry.
        files: path of each file that is read -> its SHA-256.
    """

    name: str
    about: str
    source: str
    licence: str
    attribution: str
    files: dict[str, str]


def names() -> list[str]:
    """Return the names of all public collections, sorted."""
    return registry.names("data.catalogue")


def entry(name: str) -> Entry:
    """Return what is known of a public collection.

    Raises:
        InputError: there is none of this name.
    """
    module = _module(name)
    about = str(module.__doc__).partition("\n")[0]
    return Entry(module.NAME, about, module.SOURCE, module.LICENCE, module.ATTRIBUTION, module.files())


def load(name: str, *, n_jobs: int | None = None, progress: Progress | None = None) -> TaskCollection:
    """Return a public collection.

    Args:
        name: one of `names()`.
        n_jobs: worker processes of featurising; every core for None.
        progress: called as `progress(done, total, message)`.

    Raises:
        InputError: there is none of this name, or its files are not here (the message says how to get them).
        FileFormatError: a file is not the known one.
    """
    collection = _module(name).load(n_jobs=n_jobs, progress=progress)
    assert isinstance(collection, TaskCollection)
    return collection


def declared_names() -> list[str]:
    """Return the names of the public collections of clinical tables that are declared in YAML, sorted."""
    return [name for name in names() if hasattr(_module(name), "declared")]


def declared(name: str, *, variant: str | None = None) -> Declared:
    """Return the tasks of a public collection as they are declared.

    Args:
        name: one of `declared_names()`.
        variant: one of the declaration's variants.

    Raises:
        InputError: there is none of this name, or its files are not here (the message says how to get them).
        FileFormatError: a file is not the known one, or there is no such variant.
    """
    if name not in declared_names():
        raise InputError(f"there is no declared collection {name!r}; choose one of: {', '.join(declared_names())}")
    found = _module(name).declared(variant)
    assert isinstance(found, Declared)
    return found


def _module(name: str) -> Any:
    if name not in names():
        raise InputError(f"there is no public collection {name!r}; choose one of: {', '.join(names())}")
    return importlib.import_module(f"{__name__}.{name}")
