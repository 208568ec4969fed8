"""Tasks -> episodes: support and query of a batch of tasks, padded, as a pure function of (seed, number)."""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from copy import copy
from dataclasses import asdict, dataclass

import numpy as np
import torch

from metamedica.blocks import SparseRows, SparseTable, as_block
from metamedica.data.collection import IntArray, TargetArray, Task, TaskCollection
from metamedica.data.draws import (
    LEAST_CASES,
    active_or_not,
    draw_positions,
    group_codes,
    support_size,
    why_not_drawn,
)
from metamedica.errors import TaskError
from metamedica.functional.descriptions import stacked
from metamedica.functional.sparse import is_mostly_zero
from metamedica.types import CaseBatch, EpisodeBatch, LabelledBatch, TaskKind

_CAP = 400


def gather(
    collection: TaskCollection,
    rows: Sequence[IntArray],
    *,
    width: int | None = None,
    tables: Mapping[str, SparseTable] | None = None,
) -> CaseBatch:
    """Return the cases at `rows[t]` of each task t, padded to `width` (by default to the longest): blocks `[tasks, cases, size]`.

    Integer blocks become floating point, for these rows only. Padding repeats row 0 of the collection, masked out.

    Args:
        collection: where the cases are.
        rows: of each task.
        width: cases a task, with padding.
        tables: block name -> the table of that block of the collection; blocks without one are tensors.

    Raises:
        TaskError: a row that the collection does not have.
    """
    longest = max((len(each) for each in rows), default=0)
    mask = np.arange(longest if width is None else width) < np.array([len(each) for each in rows])[:, None]
    index = np.zeros(mask.shape, dtype=np.int64)
    if mask.any():
        index[mask] = np.concatenate(rows)
    if index.size and not 0 <= index.min() <= index.max() < len(collection.canonical):
        raise TaskError(f"got a row outside 0 to {len(collection.canonical) - 1}; give rows of this collection's cases")
    flat = torch.from_numpy(index.reshape(-1))
    features = {}
    for name, block in collection.features.items():
        if tables is not None and name in tables:
            features[name] = as_block(SparseRows(tables[name], torch.from_numpy(np.where(mask, index + 1, 0))))
            continue
        values = block.index_select(0, flat)
        values = values if values.is_floating_point() else values.to(torch.get_default_dtype())
        features[name] = values.reshape(*index.shape, *block.shape[1:])
    return CaseBatch(features, torch.from_numpy(mask))


def labelled(collection: TaskCollection, tasks: Sequence[Task], index: Sequence[IntArray]) -> LabelledBatch:
    """Return the cases at positions `index[t]` within each task, with their targets in the task's unit.

    Raises:
        TaskError: no task, or tasks of different kinds.
    """
    kinds = {task.kind for task in tasks}
    if len(kinds) != 1:
        raise TaskError(
            f"a batch holds tasks of one kind, got {', '.join(sorted(kinds)) or 'no task'}; batch them apart"
        )
    n_classes = max((len(task.classes) for task in tasks if task.classes is not None), default=None)
    rows = [task.rows[each] for task, each in zip(tasks, index, strict=True)]
    targets = [task.targets[each] for task, each in zip(tasks, index, strict=True)]
    about = stacked([task.about for task in tasks])
    return _labelled(gather(collection, rows), targets, tasks[0].kind, n_classes, about)


def _labelled(
    cases: CaseBatch, targets: Sequence[TargetArray], kind: TaskKind, n_classes: int | None, about: torch.Tensor | None
) -> LabelledBatch:
    padded = torch.zeros(cases.mask.shape, dtype=torch.get_default_dtype() if kind == "regression" else torch.int64)
    padded[cases.mask] = torch.from_numpy(np.concatenate(targets)).to(padded.dtype)
    return LabelledBatch(cases, padded, kind, n_classes, about)


@dataclass(frozen=True)
class EpisodePlan:
    """How episodes are drawn.

    Args:
        support: support sizes in total; one is drawn per batch.
        query: most query cases a task.
        tasks_per_batch: tasks a batch.
        min_cases: a task with fewer cases is never drawn.
        binary_share: share of the batches in which regression tasks are seen as active / inactive, so that one learner
            serves both.

    Raises:
        TaskError: a size that no episode can have.
    """

    support: tuple[int, ...] = (8, 16, 32, 64)
    query: int = 32
    tasks_per_batch: int = 16
    min_cases: int = 16
    binary_share: float = 0.5

    def __post_init__(self) -> None:
        if not self.support or min(self.support) < 2 or self.query < 1 or self.tasks_per_batch < 1:
            raise TaskError(
                f"got {self}; give support sizes of at least 2, and at least 1 query case and 1 task a batch"
            )
        if self.min_cases < LEAST_CASES:
            raise TaskError(f"got min_cases {self.min_cases}; support and query together need at least {LEAST_CASES}")
        if not 0 <= self.binary_share <= 1:
            raise TaskError(f"got binary_share {self.binary_share}; give a share from 0 to 1")


@dataclass(frozen=True)
class _Deck:
    """A task made ready to be drawn from."""

    position: int
    task: Task
    codes: IntArray | None


@dataclass(frozen=True)
class Roster:
    """The tasks of one batch, all of one kind, before any case is drawn: their episodes are made at once or part by part.

    An episode depends on the roster's seeds and on its position alone, and padding on the sizes of all tasks, so a part holds the
    rows of the whole batch, bit for bit, and costs nothing for the tasks that it leaves out.

    Args:
        collection: where the cases are.
        decks: the tasks.
        seeds: with a task's position, decide its draw.
        support: support size in total.
        query: most query cases.
        binary: whether regression tasks are seen as active / inactive.
        tables: as of `gather`.
    """

    collection: TaskCollection
    decks: tuple[_Deck, ...]
    seeds: tuple[int, ...]
    support: int
    query: int
    binary: bool
    tables: Mapping[str, SparseTable] | None = None

    def __len__(self) -> int:
        """Return the number of tasks."""
        return len(self.decks)

    @property
    def names(self) -> list[str]:
        """The tasks in the order of the batch."""
        return [deck.task.name for deck in self.decks]

    def _widths(self) -> tuple[int, int]:
        """Return how many support and query cases a task of the whole batch has at most."""
        sizes = [(len(deck.task), support_size(len(deck.task), self.support, self.query)) for deck in self.decks]
        rests = [n - (size if deck.codes is None else 1) for deck, (n, size) in zip(self.decks, sizes, strict=True)]
        return max(size for _, size in sizes), max(min(self.query, rest) for rest in rests)

    def episodes(self, rows: range | None = None) -> EpisodeBatch:
        """Return the episodes at these positions of the batch, at least one; all by default."""
        rows = range(len(self)) if rows is None else rows
        kind: TaskKind = "binary" if self.binary else self.decks[0].task.kind
        classes = [len(deck.task.classes) for deck in self.decks if deck.task.classes is not None]
        n_classes = 2 if self.binary else max(classes, default=None)
        cases: tuple[list[IntArray], list[IntArray]] = ([], [])
        targets: tuple[list[TargetArray], list[TargetArray]] = ([], [])
        for position in rows:
            task, codes = self.decks[position].task, self.decks[position].codes
            rng = np.random.default_rng(np.random.SeedSequence(self.seeds, spawn_key=(position,)))
            values = active_or_not(task.targets, rng) if self.binary else task.targets
            labels = None if kind == "regression" else values.astype(np.int64, copy=False)
            for part, side in enumerate(
                draw_positions(labels, codes, len(task), support=self.support, query=self.query, rng=rng)
            ):
                cases[part].append(task.rows[side])
                targets[part].append(values[side])
        about = stacked([self.decks[position].task.about for position in rows])
        support, query = (
            _labelled(
                gather(self.collection, cases[part], width=width, tables=self.tables),
                targets[part],
                kind,
                n_classes,
                about,
            )
            for part, width in enumerate(self._widths())
        )
        index = torch.tensor([self.decks[position].position for position in rows], dtype=torch.int64)
        return EpisodeBatch(support, query, index)


class EpisodeSampler:
    """Episode batches as a pure function of (seed, number): the same in any order, on any rank, after any resume.

    Args:
        collection: raw units.
        names: the tasks to draw from; a task's position here is its `task_index`.
        plan: sizes.
        seed: with the batch's number, decides everything; at least 0.

    Attributes:
        left_out: task name -> why it is never drawn.

    Raises:
        TaskError: an unknown task, or no task that an episode can be drawn from.
    """

    def __init__(self, collection: TaskCollection, names: Sequence[str], plan: EpisodePlan, *, seed: int) -> None:
        self.collection = collection
        self.names = tuple(names)
        self.plan = plan
        self.seed = seed
        self.left_out: dict[str, str] = {}
        decks: dict[TaskKind, list[_Deck]] = {}
        for position, name in enumerate(self.names):
            task = collection[name]
            codes = group_codes(task)
            if reason := why_not_drawn(task, codes, plan.min_cases):
                self.left_out[name] = reason
            else:
                decks.setdefault(task.kind, []).append(_Deck(position, task, codes))
        if not decks:
            example = next((f"; for example {name!r} {reason}" for name, reason in self.left_out.items()), "")
            raise TaskError(
                f"none of the {len(self.names)} tasks gives an episode{example}: give larger tasks or lower min_cases"
            )
        self.decks = [(kind, decks[kind]) for kind in sorted(decks)]
        self._weights = [np.sqrt([min(len(deck.task), _CAP) for deck in part]) for _, part in self.decks]
        self._tables: dict[str, SparseTable] | None = None

    def with_tables(self, blocks: Collection[str]) -> "EpisodeSampler":
        """Return the same episodes, in which these blocks are rows of a table where they are mostly zero; others stay tensors."""
        found = copy(self)
        found._tables = {
            name: SparseTable.of(block)
            for name, block in self.collection.features.items()
            if name in blocks and is_mostly_zero(block)
        }
        return found

    def roster(self, number: int) -> Roster:
        """Return the tasks of batch `number`, of one kind, drawn without repeats in proportion to min(cases, 400) ** 0.5."""
        rng = np.random.default_rng([self.seed, number])
        totals = np.array([weight.sum() for weight in self._weights])
        at = int(rng.choice(len(totals), p=totals / totals.sum()))
        kind, decks = self.decks[at]
        weight = self._weights[at]
        size = min(self.plan.tasks_per_batch, len(decks))
        picked = rng.choice(len(decks), size=size, replace=False, p=weight / weight.sum())
        support = int(rng.choice(self.plan.support))
        binary = kind == "regression" and bool(rng.random() < self.plan.binary_share)
        lot = tuple(decks[int(i)] for i in picked)
        return Roster(self.collection, lot, (self.seed, number), support, self.plan.query, binary, self._tables)

    def batch(self, number: int) -> EpisodeBatch:
        """Return all episodes of batch `number`."""
        return self.roster(number).episodes()

    def fingerprint(self) -> str:
        """Return the SHA-256 of all that decides the batches: plan, seed, tasks, targets, groups and features."""
        digest = hashlib.sha256(json.dumps([asdict(self.plan), self.seed, self.names], sort_keys=True).encode())
        for name in self.names:
            task = self.collection[name]
            about = [] if task.about is None else [task.about]
            digest.update(json.dumps([task.kind, task.classes, task.groups, len(task), *about]).encode())
            digest.update(np.ascontiguousarray(task.rows).data)
            digest.update(np.ascontiguousarray(task.targets).data)
        for block, values in sorted(self.collection.features.items()):
            digest.update(json.dumps([block, str(values.dtype), list(values.shape)]).encode())
            digest.update(values.contiguous().numpy().data)
        return digest.hexdigest()


def fixed_episodes(
    collection: TaskCollection, names: Sequence[str], plan: EpisodePlan, *, seed: int, draws: int
) -> list[EpisodeBatch]:
    """Return the same episodes every time, `draws` of every task that is large enough: to select on meta-valid tasks.

    Support sizes and, for regression tasks, the two kinds go round over batches and draws; with `binary_share` 0.5, a
    task meets every size in both kinds within `2 * len(plan.support)` draws.

    Args:
        collection: raw units.
        names: the tasks; `task_index` is the position here, not among the meta-training tasks.
        plan: sizes.
        seed: of everything random.
        draws: episodes a task.

    Raises:
        TaskError: no task is large enough.
    """
    sampler = EpisodeSampler(collection, names, plan, seed=seed)
    sizes = len(plan.support)
    batches: list[EpisodeBatch] = []
    for kind_number, (kind, decks) in enumerate(sampler.decks):
        for turn in range(draws):
            for chunk, start in enumerate(range(0, len(decks), plan.tasks_per_batch)):
                at = turn + chunk
                binary = kind == "regression" and int((at + 1) * plan.binary_share) > int(at * plan.binary_share)
                # an even number of sizes would tie every size to one kind; shift by one after each round
                size = plan.support[(at + (at // sizes if sizes % 2 == 0 else 0)) % sizes]
                part = tuple(decks[start : start + plan.tasks_per_batch])
                seeds = (seed, kind_number, turn, chunk)
                batches.append(Roster(collection, part, seeds, size, plan.query, binary).episodes())
    return batches
