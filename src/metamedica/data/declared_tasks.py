"""What a declaration reads -> a collection of tasks."""

from metamedica.data.collection import TaskCollection
from metamedica.data.declared import Declared
from metamedica.types import Progress


def declared_tasks(
    declared: Declared, *, n_jobs: int | None = None, progress: Progress | None = None
) -> TaskCollection:
    """Return the tasks that a declaration reads, their rows featurised by the declared schema.

    Args:
        declared: as `data.declared.read_declared` returns it.
        n_jobs: worker processes of featurising; every core for None.
        progress: called as `progress(done, total, message)`.

    Returns:
        Tasks of the modality `tables`, whose `left_out` counts what the declaration left out too.

    Raises:
        InputError: a column that is neither numbers nor levels, or one that gives the label away.
        CaseError: rows that cannot be read.
        TaskError: no task with cases of two classes.
    """
    tasks = TaskCollection.from_table(
        declared.frame, modality="tables", **declared.roles(), n_jobs=n_jobs, progress=progress
    )
    return tasks.with_left_out(declared.left_out or {})
