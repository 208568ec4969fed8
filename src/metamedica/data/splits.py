"""Meta-splits: which tasks are learned from, selected on and judged on. Deterministic in the seed, whatever the order
of the tasks.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Literal, TypeAlias

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from metamedica.data.collection import IntArray, Task, TaskCollection
from metamedica.errors import InputError, TaskError
from metamedica.types import META_SPLITS, MetaSplit

Fractions: TypeAlias = tuple[float, float, float]
FRACTIONS: Fractions = (0.7, 0.1, 0.2)


def split_by_task(collection: TaskCollection, *, fractions: Fractions = FRACTIONS, seed: int = 0) -> TaskCollection:
    """Return the collection with every task dealt to a meta-split by chance.

    Args:
        collection: at least one task for every meta-split that is wanted.
        fractions: shares of meta-train, meta-valid and meta-test, counted in tasks.
        seed: of the draw.

    Raises:
        InputError: fractions that are negative or do not sum to 1.
        TaskError: too few tasks.
    """
    return _dealt(collection, {name: name for name in collection.names()}, "task", fractions, seed)


def split_by_family(collection: TaskCollection, *, fractions: Fractions = FRACTIONS, seed: int = 0) -> TaskCollection:
    """Return the collection with whole families of tasks dealt to a meta-split.

    Args:
        collection: every task with a family.
        fractions: as in `split_by_task`; met as nearly as whole families allow.
        seed: of the draw.

    Raises:
        InputError: fractions that are negative or do not sum to 1.
        TaskError: a task has no family, or there are too few families.
    """
    families: dict[str, str] = {}
    for name, task in collection.tasks.items():
        if task.family is None:
            raise TaskError(f"task {name!r} has no family; name the family column, or split by task")
        families[name] = task.family
    return _dealt(collection, families, "family", fractions, seed)


def split_by_overlap(
    collection: TaskCollection,
    *,
    share: float = 0.3,
    of: Literal["union", "smaller"] = "union",
    fractions: Fractions = FRACTIONS,
    seed: int = 0,
) -> TaskCollection:
    """Return the collection with tasks that share cases dealt to a meta-split together.

    Args:
        collection: at least one group for every meta-split that is wanted.
        share: tasks that share more than this are linked; a chain of links is one group (`overlap_groups`).
        of: what `share` is a share of.
        fractions: as in `split_by_task`; met as nearly as whole groups allow.
        seed: of the draw.

    Raises:
        InputError: fractions that are negative or do not sum to 1.
        TaskError: too few groups.
    """
    groups = overlap_groups(collection, share=share, of=of)
    group_of = {name: number for number, group in enumerate(groups) for name in group}
    return _dealt(collection, group_of, "group of overlapping tasks", fractions, seed)


def draw_meta_valid(collection: TaskCollection, *, share: float = 0.15, seed: int = 0) -> TaskCollection:
    """Return the collection with some of its meta-train tasks as meta-valid ones, for a published split that has none.

    Args:
        collection: with at least two meta-train tasks and no meta-valid one.
        share: of the meta-train tasks, rounded, at least one.
        seed: of the draw, which does not depend on the order of the tasks.

    Raises:
        InputError: a share that is not between 0 and 1.
        TaskError: meta-valid tasks are there already, or fewer than two meta-train tasks.
    """
    if not 0 < share < 1:
        raise InputError(f"got share={share}; give a share between 0 and 1")
    if there := collection.names("meta_valid"):
        raise TaskError(f"the collection has {len(there)} meta-valid tasks already; use them as they are")
    train = sorted(collection.names("meta_train"))
    if len(train) < 2:
        raise TaskError(f"got {len(train)} meta-train tasks; give at least two, one of which becomes a meta-valid one")
    count = min(max(1, round(share * len(train))), len(train) - 1)
    drawn = [train[at] for at in np.random.default_rng(seed).permutation(len(train))[:count]]
    return collection.with_split({**collection.split, **dict.fromkeys(drawn, META_SPLITS[1])})


def overlap_groups(
    collection: TaskCollection, *, share: float = 0.3, of: Literal["union", "smaller"] = "union"
) -> list[list[str]]:
    """Return groups of tasks that are linked, directly or over others, by sharing cases.

    Args:
        collection: the tasks.
        share: two tasks are linked where they share more than this.
        of: "union": the cases in either task (Jaccard index); "smaller": the cases of the smaller one, which links a small
            task to every large one that contains it: on 672 ChEMBL targets, 407 then hang together, and at most 8 with
            "union".

    Raises:
        InputError: `share` is not between 0 and 1.
    """
    if not 0 <= share <= 1:
        raise InputError(f"got share={share}; give a share from 0 to 1")
    names = collection.names()
    size = np.array([len(collection[name]) for name in names], np.int64)
    member = membership(collection, names)
    both = (member @ member.T).tocoo()
    left, right = size[both.row], size[both.col]
    whole = left + right - both.data if of == "union" else np.minimum(left, right)
    linked = both.data > share * whole
    graph = sparse.coo_array((both.data[linked], (both.row[linked], both.col[linked])), shape=both.shape)
    _, component = connected_components(graph, directed=False)
    groups: dict[int, list[str]] = {}
    for name, number in zip(names, component.tolist(), strict=True):
        groups.setdefault(number, []).append(name)
    return list(groups.values())


def membership(collection: TaskCollection, names: Sequence[str]) -> sparse.csr_array:
    """Return the int64 matrix `[tasks, cases]` that is 1 where a task has a case."""
    rows = [collection[name].rows for name in names]
    size = [len(each) for each in rows]
    where = (np.repeat(np.arange(len(names)), size), np.concatenate([np.empty(0, np.int64), *rows]))
    shape = (len(names), len(collection.canonical))
    return sparse.csr_array((np.ones(sum(size), np.int64), where), shape=shape)


def rows_of(collection: TaskCollection, names: Iterable[str]) -> IntArray:
    """Return the rows of the distinct cases of these tasks, sorted."""
    return np.unique(np.concatenate([np.empty(0, np.int64), *(collection[name].rows for name in names)]))


def molecule_disjoint(
    collection: TaskCollection, *, least: int = 8, groups: Sequence[str] | None = None
) -> TaskCollection:
    """Return the collection with every case in one meta-split only: first meta-test keeps its cases, then meta-valid.

    Args:
        collection: with a meta-split. A task without one stays as it is.
        least: a meta-train or meta-valid task left with fewer cases is dropped and counted in `left_out`.
        groups: one per case of the collection (the scaffolds of molecules, `leakage.case_groups`); then whole groups are
            kept in one meta-split. None: every case stands alone.

    Raises:
        TaskError: the collection has no meta-split.
        InputError: not one group per case.
    """
    if not collection.split:
        raise TaskError("the collection has no meta-split; draw one first (split_by_task, split_by_overlap)")
    if groups is not None and len(groups) != len(collection.canonical):
        raise InputError(f"got {len(groups)} groups for {len(collection.canonical)} cases; give one group per case")
    group = np.arange(len(collection.canonical))
    if groups is not None:
        _, group = np.unique(np.array(groups, dtype=str), return_inverse=True)
    steps: list[tuple[MetaSplit, tuple[MetaSplit, ...]]] = [
        ("meta_test", ("meta_train", "meta_valid")),
        ("meta_valid", ("meta_train",)),
    ]
    apart = collection
    for keeps, lose in steps:
        taken = np.flatnonzero(np.isin(group, group[rows_of(apart, apart.names(keeps))]))
        names = [name for split in lose for name in apart.names(split)]
        apart = apart.without_rows(taken, tasks=names, note=f"values of cases in {keeps} tasks")
    small = [name for name in apart.names() if apart.split.get(name) in META_SPLITS[:2] and len(apart[name]) < least]
    return apart.without_tasks(small, note=f"tasks with fewer than {least} cases left")


def split_cases(task: Task, *, support: int, seed: int) -> tuple[IntArray, IntArray]:
    """Return positions (support, query) within a task, both sorted: groups whole, every case in one of the two.

    Groups come in random order; one goes to the support where it still fits. Without groups every case stands alone.

    Args:
        task: with at least two groups.
        support: most cases of the support, in total.
        seed: of the draw.

    Raises:
        TaskError: no group fits into the support, or nothing is left for the query.
    """
    names = range(len(task)) if task.groups is None else task.groups
    _, group = np.unique(np.array(names), return_inverse=True)
    size = np.bincount(group)
    chosen = np.zeros(len(size), dtype=bool)
    room = support
    for number in np.random.default_rng(seed).permutation(len(size)):
        if size[number] <= room:
            chosen[number] = True
            room -= int(size[number])
    here = chosen[group] if len(task) else np.zeros(0, dtype=bool)
    if not here.any() or here.all():
        raise TaskError(
            f"task {task.name!r} has {len(task)} cases in {len(size)} groups and cannot give a support of up to {support} "
            "and a query; ask for another support size or use a task with more groups"
        )
    return np.flatnonzero(here), np.flatnonzero(~here)


def _dealt(
    collection: TaskCollection, group_of: Mapping[str, Hashable], what: str, fractions: Fractions, seed: int
) -> TaskCollection:
    """Deal groups in random order to the smaller shares, each while that brings the share nearer; the largest share
    takes the rest. So a group that is too large for a small share ends in the largest.
    """
    if min(fractions) < 0 or not np.isclose(sum(fractions), 1):
        raise InputError(f"got fractions {fractions}; give three that are not negative and sum to 1")
    members: dict[Hashable, list[str]] = {}
    for name in sorted(group_of):
        members.setdefault(group_of[name], []).append(name)
    share = {split: fraction for split, fraction in zip(META_SPLITS, fractions, strict=True) if fraction > 0}
    rest, *others = sorted(share, key=lambda split: -share[split])
    groups = list(members.values())
    if len(groups) < len(share):
        raise TaskError(
            f"a meta-split into {', '.join(share)} needs one {what} for each and {len(groups)} came; "
            "give more tasks, or a fraction of 0 where none is needed"
        )
    waiting = [groups[number] for number in np.random.default_rng(seed).permutation(len(groups))]
    split: dict[str, MetaSplit] = {}
    for turn, side in enumerate(others):
        to_come = len(others) - turn  # meta-splits that still need a group after this one
        room = share[side] * len(group_of)
        taken: list[list[str]] = []
        later: list[list[str]] = []
        for number, group in enumerate(waiting):
            left = len(later) + len(waiting) - number - 1
            if len(group) < 2 * room and left >= to_come:
                taken.append(group)
                room -= len(group)
            else:
                later.append(group)
        if not taken:
            taken = [later.pop(min(range(len(later)), key=lambda number: len(later[number])))]
        split.update({name: side for group in taken for name in group})
        waiting = later
    split.update({name: rest for group in waiting for name in group})
    return collection.with_split({name: split[name] for name in collection.names()})
