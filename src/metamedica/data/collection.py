"""A collection: tasks that share a modality, their distinct cases featurised once, and their meta-split."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pandas import DataFrame

from metamedica import registry, storage
from metamedica.data import stored_tasks
from metamedica.data.measurements import Duplicates
from metamedica.data.reading import read_tasks
from metamedica.data.roles import Columns
from metamedica.data.task import IntArray, TargetArray, Task
from metamedica.errors import BundleError, InputError, TaskError
from metamedica.types import META_SPLITS, Features, MetaSplit, Modality, Progress, TaskKind

__all__ = ["IntArray", "TargetArray", "Task", "TaskCollection"]

_KIND = "collection"


class TaskCollection:
    """Tasks that share a modality, with their distinct cases featurised once.

    Nothing is changed in place: every method returns a new collection that shares the features.

    Args:
        modality: the modality's name.
        canonical: one canonical text per distinct case.
        features: blocks `[cases, size]`.
        tasks: by name.
        split: task name -> meta-split; empty when none was drawn.
        left_out: what was left out on the way here -> how many.
        settings: of the modality, as it read these cases (`Modality.settings`).
        remarks: cells that were read otherwise than they stand in the table, and how.

    Raises:
        TaskError: the parts do not fit together.
    """

    def __init__(
        self,
        modality: str,
        canonical: Sequence[str],
        *,
        features: Features,
        tasks: Mapping[str, Task],
        split: Mapping[str, MetaSplit] | None = None,
        left_out: Mapping[str, int] | None = None,
        settings: Mapping[str, Any] | None = None,
        remarks: Sequence[str] = (),
    ) -> None:
        self.modality = modality
        self.remarks = list(remarks)
        self.settings = dict(settings or {})
        self.canonical = canonical if isinstance(canonical, list) else list(canonical)
        self.features = features
        self.tasks = dict(tasks)
        self.split: dict[str, MetaSplit] = dict(split or {})
        self.left_out = {what: count for what, count in (left_out or {}).items() if count}
        self._check()

    def _check(self) -> None:
        n = len(self.canonical)
        for block, values in self.features.items():
            if values.shape[0] != n:
                raise TaskError(
                    f"feature block {block!r} has {values.shape[0]} rows for {n} cases; give one row per case"
                )
        for name, task in self.tasks.items():
            if task.name != name:
                raise TaskError(f"the task under the name {name!r} is called {task.name!r}; use one name")
            if len(task.rows) and (task.rows.min() < 0 or task.rows.max() >= n):
                raise TaskError(f"task {name!r} names a case outside rows 0 to {n - 1}; give rows of this collection")
        for name, split in self.split.items():
            if name not in self.tasks:
                raise TaskError(
                    f"the split names task {name!r}, which the collection does not have; take it out of the split"
                )
            if split not in META_SPLITS:
                raise TaskError(f"task {name!r} has split {split!r}; use one of: {', '.join(META_SPLITS)}")

    @classmethod
    def from_table(
        cls,
        table: str | Path | DataFrame,
        *,
        modality: str,
        case: str | Sequence[str],
        kind: TaskKind,
        target: str | None = None,
        task: str | None = None,
        targets: Sequence[str] | None = None,
        unit: str | None = None,
        group: str | None = None,
        family: str | None = None,
        split: str | None = None,
        about: str | None = None,
        positive: str | None = None,
        schema: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        skip_invalid: bool = False,
        duplicates: Duplicates = "error",
        name: str | None = None,
        n_jobs: int | None = None,
        cache: bool = True,
        progress: Progress | None = None,
    ) -> "TaskCollection":
        """Return the tasks of a table, with their distinct cases featurised once.

        Long form: a row a measurement, `target` names the column of targets and `task` that of task names. Wide form:
        a column a task, named by `targets`; an empty cell was not measured. `left_out` counts what is left out.

        Args:
            table: a file (`data/tables.read_table`) or a data frame.
            modality: name of the modality that reads the cases.
            case: column of the raw cases; several columns where a case is a row of them.
            kind: of all tasks of the table.
            target: column of the targets (long form).
            task: column of the task names (long form); None where the table is one task.
            targets: columns of the targets (wide form).
            unit: of regression targets.
            group: column of groups (patients, series) that a support and a query must not share.
            family: column of the tasks' families, one a task (long form).
            split: column of meta_train, meta_valid, meta_test (or train, valid, test), one a task (long form).
            about: column of what a task is about (amino acids of its target, words of its assay), one a task (long form).
            positive: the label that is class 1 of a binary task; not needed for 0/1, false/true, no/yes,
                inactive/active, negative/positive in any case of letters.
            schema: what the columns of such cases hold (`modalities/tables/schema.py`), those that are declared; the others are inferred.
            settings: of the modality's constructor (side, window and network of images); None for its defaults.
            skip_invalid: leave out cases that cannot be read, instead of stopping.
            duplicates: what to do when one task has a case twice with different targets: "error" stops; "mean" and
                "median" merge numbers, and leave a case with different labels out. Equal targets are always merged.
            name: of the task where there is no task column; None takes the target column's.
            n_jobs: worker processes of featurising; every core for None.
            cache: keep features on the disk and take them from there (`data/cache`).
            progress: called as `progress(done, total, message)`.

        Raises:
            FileFormatError: the file cannot be read, or lacks a column.
            CaseError: cases cannot be read (told before anything starts: the first rows, texts and reasons, and how
                many), or the same case has different targets.
            TaskError: a target is no number or not a label of its kind of task, or nothing was measured.
            InputError: columns or choices that do not go together.
        """
        read = read_tasks(
            table,
            Columns(
                case if isinstance(case, str) else tuple(case),
                target,
                task,
                None if targets is None else tuple(targets),
                group,
                family,
                split,
                about,
            ),
            modality=modality,
            kind=kind,
            unit=unit,
            positive=positive,
            settings=settings,
            schema=schema,
            name=name,
            skip_invalid=skip_invalid,
            duplicates=duplicates,
            n_jobs=n_jobs,
            cache=cache,
            progress=progress,
        )
        return cls(
            modality,
            read.canonical,
            features=read.features,
            tasks={each.name: each for each in read.tasks},
            split=read.split,
            left_out=read.left_out,
            settings=read.settings,
            remarks=read.remarks,
        )

    def reader(self) -> Modality:
        """Return the modality as it read these cases."""
        return registry.modality(self.modality, self.settings)

    def __len__(self) -> int:
        return len(self.tasks)

    def __getitem__(self, name: str) -> Task:
        """Return a task by name.

        Raises:
            TaskError: there is no such task.
        """
        if name not in self.tasks:
            some = ", ".join(list(self.tasks)[:5]) + (" ..." if len(self.tasks) > 5 else "")
            raise TaskError(f"there is no task {name!r} in the collection; it has: {some or 'none'}")
        return self.tasks[name]

    def __repr__(self) -> str:
        sizes = ", ".join(f"{len(self.names(split))} {split}" for split in META_SPLITS if self.names(split))
        return (
            f"<TaskCollection of {len(self.tasks)} {self.modality} tasks, {len(self.canonical)} cases, "
            f"{self.n_values} values{'; ' + sizes if sizes else ''}>"
        )

    @property
    def n_values(self) -> int:
        """Number of labelled cases, summed over tasks."""
        return sum(len(task) for task in self.tasks.values())

    def names(self, split: MetaSplit | None = None) -> list[str]:
        """Return the names of the tasks, all or those of one meta-split, in the order of the collection."""
        if split is None:
            return list(self.tasks)
        return [name for name in self.tasks if self.split.get(name) == split]

    def select(self, names: Iterable[str]) -> "TaskCollection":
        """Return the collection of these tasks, in this order; the features are shared.

        Raises:
            TaskError: there is no such task.
        """
        chosen = {name: self[name] for name in names}
        return self._with(chosen)

    def with_split(self, split: Mapping[str, MetaSplit]) -> "TaskCollection":
        """Return the collection with this meta-split (task name -> split) in place of its own.

        Raises:
            TaskError: an unknown task or split.
        """
        return self._changed(split=split)

    def with_blocks(self, blocks: Features) -> "TaskCollection":
        """Return the collection with these blocks `[cases, size]` beside its own.

        Raises:
            TaskError: a block has not one row per case.
        """
        return self._changed(features={**self.features, **blocks})

    def with_left_out(self, counts: Mapping[str, int]) -> "TaskCollection":
        """Return the collection that also tells what was left out before it was made."""
        return self._with(self.tasks, counts)

    def without_rows(
        self, rows: Iterable[int] | NDArray[np.int64], *, tasks: Iterable[str], note: str = "removed values"
    ) -> "TaskCollection":
        """Return the collection without these cases in these tasks; a task left with no case is dropped and counted.

        Args:
            rows: rows of the collection's cases.
            tasks: names of the tasks that lose them.
            note: under which name `left_out` counts the values.

        Raises:
            TaskError: an unknown task.
            InputError: a row outside the collection.
        """
        gone = np.zeros(len(self.canonical), dtype=bool)
        index = rows if isinstance(rows, np.ndarray) else np.fromiter(rows, np.int64)
        if len(index) and (index.min() < 0 or index.max() >= len(gone)):
            raise InputError(f"got a row outside 0 to {len(gone) - 1}; give rows of this collection's cases")
        gone[index] = True
        changed = dict(self.tasks)
        emptied = removed = 0
        for name in dict.fromkeys(tasks):
            task = self[name]
            keep = np.flatnonzero(~gone[task.rows])
            if len(keep) == len(task):
                continue
            removed += len(task) - len(keep)
            changed[name] = task.take(keep)
            if not len(keep):
                del changed[name]
                emptied += 1
        return self._with(changed, {note: removed, "emptied tasks": emptied})

    def without_tasks(self, names: Iterable[str], *, note: str = "removed tasks") -> "TaskCollection":
        """Return the collection without these tasks.

        Args:
            names: of the tasks that go.
            note: under which name `left_out` counts them.

        Raises:
            TaskError: an unknown task.
        """
        gone = {self[name].name for name in names}
        return self._with({name: task for name, task in self.tasks.items() if name not in gone}, {note: len(gone)})

    def binarised(
        self, threshold: float | Literal["median"], *, within: tuple[float, float] | None = None
    ) -> "TaskCollection":
        """Return the collection with regression tasks as binary ones: class 1 is strictly above the threshold.

        Args:
            threshold: in the tasks' unit, or "median" for each task's own median. Tasks with classes stay as they are.
            within: lowest and highest threshold, in the tasks' unit: one beyond is moved there. None: anywhere.

        Raises:
            InputError: a threshold that is not a number, or a lowest one above the highest.
        """
        return self._with({name: task.binarised(threshold, within=within) for name, task in self.tasks.items()})

    def _with(self, tasks: Mapping[str, Task], left_out: Mapping[str, int] | None = None) -> "TaskCollection":
        counts = dict(self.left_out)
        for what, count in (left_out or {}).items():
            counts[what] = counts.get(what, 0) + count
        split = {name: split for name, split in self.split.items() if name in tasks}
        return self._changed(tasks=tasks, split=split, left_out=counts)

    def _changed(
        self,
        *,
        features: Features | None = None,
        tasks: Mapping[str, Task] | None = None,
        split: Mapping[str, MetaSplit] | None = None,
        left_out: Mapping[str, int] | None = None,
    ) -> "TaskCollection":
        return TaskCollection(
            self.modality,
            self.canonical,
            features=self.features if features is None else features,
            tasks=self.tasks if tasks is None else tasks,
            split=self.split if split is None else split,
            left_out=self.left_out if left_out is None else left_out,
            settings=self.settings,
            remarks=self.remarks,
        )

    def save(self, folder: str | Path) -> None:
        """Write the collection, features included, to a folder, whole or not at all.

        Raises:
            BundleError: the folder holds something else.
            OSError: the disk is full or read-only; nothing partial stays behind.
        """
        about, arrays = stored_tasks.written(self.tasks)
        settings, of_modality = storage.apart(self.settings)
        document = {
            "modality": self.modality,
            "version": _version(self.modality),
            "settings": settings,
            "remarks": self.remarks,
            "tasks": about,
            "split": self.split,
            "left_out": self.left_out,
        }
        storage.write_bundle(
            Path(folder),
            _KIND,
            {
                "features": self.features,
                "tasks": arrays,
                **({"modality": of_modality} if of_modality else {}),
            },
            {"collection": document, "canonical": self.canonical},
        )

    @classmethod
    def load(cls, folder: str | Path) -> "TaskCollection":
        """Return a saved collection.

        Raises:
            BundleError: not a collection, damaged, or featurised by another version of its modality.
        """
        tensors, documents = storage.read_bundle(Path(folder), _KIND)
        try:
            about = documents["collection"]
            version = _version(about["modality"])
            if about["version"] != version:
                raise BundleError(
                    f"{folder} was featurised by version {about['version']} of the modality {about['modality']!r} and "
                    f"this is version {version}; make it again from its table"
                )
            return cls(
                about["modality"],
                documents["canonical"],
                features=tensors["features"],
                tasks=stored_tasks.read(about["tasks"], tensors["tasks"]),
                split=about["split"],
                left_out=about["left_out"],
                settings=storage.together(about.get("settings"), tensors.get("modality", {})),
                remarks=about.get("remarks", ()),
            )
        except (KeyError, TypeError, TaskError) as error:
            raise BundleError(f"{folder} is not a whole collection ({error}); make it again from its table") from None


def _version(modality: str) -> str | None:
    """Return the version of a modality, None where it has none of that name (synthetic tasks)."""
    try:
        return registry.modality(modality).version
    except InputError:
        return None
