"""Davis and KIBA as one collection of kinases, and which of them are earlier tasks and which are judged.

The two panels name their kinases differently and share many, so kinases are grouped: forms of one gene, and proteins that share more than half of
the 5-mers of the shorter sequence. Groups are dealt 70 / 10 / 20 to meta-train, meta-valid and meta-test (seed 0). Sequences also describe the
kinases to the learner.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from metamedica.data.catalogue import davis, kiba
from metamedica.data.collection import IntArray, Task, TaskCollection
from metamedica.data.splits import molecule_disjoint, rows_of, split_by_family
from metamedica.types import META_SPLITS, MetaSplit

PANELS = {"davis": davis.UNIT, "kiba": kiba.UNIT}
"""Unit that the kinases of each panel are measured in."""
SHARED = 0.5
"""Two kinases are of one group where they share more of the shorter one's `WORD`-mers than this."""
WORD = 5
_VALID = 5
_LEAST = 16
"""Compounds of an earlier kinase: fewer give no episode."""


def load() -> TaskCollection:
    """Return the kinases of both panels as regression tasks over their distinct compounds, each described by its amino acids, without a split."""
    tables = {unit: table for unit, table in zip(PANELS.values(), (davis.table(), kiba.table()), strict=True)}
    unit_of = {name: unit for unit, table in tables.items() for name in table["target"].unique()}
    frame = pd.concat(list(tables.values()), ignore_index=True)
    frame.attrs = {"source": "davis and kiba"}
    both = TaskCollection.from_table(
        frame,
        modality="molecules",
        case="smiles",
        target="value",
        task="target",
        about="sequence",
        kind="regression",
        duplicates="median",
    )
    return _with_tasks(both, {name: replace(task, unit=unit_of[name]) for name, task in both.tasks.items()})


def of_panel(tasks: TaskCollection, panel: str, side: MetaSplit) -> list[str]:
    """Return the names of a panel's kinases on one side of the meta-split."""
    return [name for name in tasks.names(side) if tasks[name].unit == PANELS[panel]]


def gene(kinase: str) -> str:
    """Return a kinase of Davis without its mutation, phosphorylation, domain or subunit: "ABL1" of "ABL1(E255K)p"."""
    return kinase.partition("(")[0].partition("-")[0].removesuffix("p")


def kinase_groups(sequences: Mapping[str, str], genes: Mapping[str, str]) -> dict[str, int]:
    """Return kinase -> number of its group: kinases of one gene, or alike in sequence, directly or over others.

    Args:
        sequences: kinase -> amino acids.
        genes: kinase -> gene, where it is known.
    """
    names = list(sequences)
    words = [
        {text[at : at + WORD] for at in range(max(len(text) - WORD + 1, 0))} or {text} for text in sequences.values()
    ]
    number = {word: at for at, word in enumerate(sorted(set().union(*words)))}
    size = np.array([len(each) for each in words])
    where = (np.repeat(np.arange(len(names)), size), [number[word] for each in words for word in sorted(each)])
    holds = sparse.csr_array((np.ones(size.sum()), where), shape=(len(names), len(number)))
    shared = (holds @ holds.T).tocoo()
    alike = shared.data > SHARED * np.minimum(size[shared.row], size[shared.col])
    first = {genes[name]: at for at, name in reversed(list(enumerate(names))) if name in genes}
    same = [(at, first[genes[name]]) for at, name in enumerate(names) if name in genes]
    rows = [*shared.row[alike].tolist(), *(at for at, _ in same)]
    columns = [*shared.col[alike].tolist(), *(at for _, at in same)]
    graph = sparse.coo_array((np.ones(len(rows)), (rows, columns)), shape=(len(names), len(names)))
    _, group = connected_components(graph, directed=False)
    return dict(zip(names, group.tolist(), strict=True))


def dealt(tasks: TaskCollection) -> TaskCollection:
    """Return the kinases with whole groups dealt to the meta-splits."""
    sequences = {**davis.sequences(), **kiba.sequences()}
    genes = {name: gene(name) for name in davis.sequences()}
    groups = kinase_groups({name: sequences[name] for name in tasks.names()}, genes)
    grouped = {name: replace(task, family=str(groups[name])) for name, task in tasks.tasks.items()}
    return split_by_family(_with_tasks(tasks, grouped), fractions=(0.7, 0.1, 0.2), seed=0)


def all_earlier(tasks: TaskCollection) -> TaskCollection:
    """Return the kinases with the meta-test ones among the meta-train ones: what the model that is kept learns from."""
    return tasks.with_split({name: "meta_train" if side == "meta_test" else side for name, side in tasks.split.items()})


def new_compounds(tasks: TaskCollection) -> TaskCollection:
    """Return the kinases with compounds set apart: half of each panel's for the meta-test kinases, 10 % for the meta-valid and 40 % for the
    meta-train ones.

    Davis has 68 compounds, so that its meta-valid kinases are left with too few and drop out.
    """
    side = np.full(len(tasks.canonical), -1)
    random = np.random.default_rng(0)
    for unit in PANELS.values():
        rows = rows_of(tasks, [name for name, task in tasks.tasks.items() if task.unit == unit])
        _deal(side, rows[side[rows] < 0], random)
    apart = tasks
    for at, name in enumerate(META_SPLITS):
        others = np.flatnonzero(side != at)
        apart = apart.without_rows(others, tasks=apart.names(name), note=f"values of compounds outside {name}")
    return molecule_disjoint(apart, least=_LEAST)


def _deal(side: IntArray, rows: IntArray, random: np.random.Generator) -> None:
    """Write the place in `META_SPLITS` of these rows."""
    order = rows[random.permutation(len(rows))]
    test, earlier = order[::2], order[1::2]
    side[earlier] = 0
    side[earlier[::_VALID]] = 1
    side[test] = 2


def _with_tasks(tasks: TaskCollection, changed: Mapping[str, Task]) -> TaskCollection:
    return TaskCollection(
        tasks.modality,
        tasks.canonical,
        features=tasks.features,
        tasks=changed,
        left_out=tasks.left_out,
        settings=tasks.settings,
    )
