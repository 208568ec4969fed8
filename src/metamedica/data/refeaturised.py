"""A collection whose cases are read as a model reads them: by its columns of tables, by its network of images."""

from metamedica.data.collection import TaskCollection
from metamedica.errors import InputError
from metamedica.storage import digest_of
from metamedica.types import Modality


def refeaturised(collection: TaskCollection, reader: Modality) -> TaskCollection:
    """Return the collection with its cases as this modality reads them (a model's columns); itself where that makes no difference.

    Raises:
        InputError: another modality, or cases that do not fit its columns.
    """
    if reader.name != collection.modality:
        raise InputError(
            f"the collection holds {collection.modality} and {reader.name} were wanted; give a collection of {reader.name}"
        )
    if not reader.settings() or digest_of(reader.settings()) == digest_of(collection.settings):
        return collection
    read = reader.prepare(collection.canonical)
    if read.problems:
        first = read.problems[0]
        raise InputError(
            f"{len(read.problems):,} of {len(collection.canonical):,} cases do not fit the model's columns; the first: {first.text!r}, {first.reason}"
        )
    if read.row != list(range(len(collection.canonical))):
        raise InputError(
            "cases that differ in the collection are equal as the model reads them; make the collection again with its settings"
        )
    return TaskCollection(
        collection.modality,
        read.canonical,
        features=read.features,
        tasks=collection.tasks,
        split=collection.split,
        left_out=collection.left_out,
        settings=reader.settings(),
        remarks=[f"column {remark.text!r}: {remark.reason}" for remark in read.remarks],
    )
