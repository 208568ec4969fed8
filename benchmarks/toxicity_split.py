"""The tasks of the meta-model `toxicity`, and their meta-split, committed as lists of assays.

Tox21 (12 assays) and ToxCast (518) together. All twelve stand in ToxCast too under another name, and many assays of ToxCast are channels, times or
twins of one another, so assays whose labels agree (phi above .5 over the molecules that both measure) are grouped; groups are dealt
70 / 10 / 20 to meta-train, meta-valid and meta-test (seed 0). The two collections measure the same molecules: a quarter of these is kept for the
meta-test assays, 15 % for the meta-valid ones, and the meta-train assays have the other 60 %, so that no molecule stands on two sides.

    python -m benchmarks.toxicity_split        writes benchmarks/toxicity_split.json
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from metamedica.data.catalogue import tox21, toxcast
from metamedica.data.collection import TaskCollection
from metamedica.data.splits import membership, split_by_family
from metamedica.reports.protocols.moleculenet import unseen
from metamedica.storage import replace_file
from metamedica.types import META_SPLITS

PATH = Path(__file__).with_name("toxicity_split.json")
AGREEING = 0.5
"""Two assays are of one group where the phi coefficient of their labels is above this."""
LEAST_SHARED = 100
"""Molecules that both must have measured for it to be told."""
LEAST_OF_A_CLASS = 5
"""Molecules of each class that each must have among these."""
PARTS = 4
"""One part of so many of the molecules is kept for the meta-test assays."""


def load() -> TaskCollection:
    """Return the assays of Tox21 and ToxCast over their distinct molecules, without a meta-split."""
    tables = [tox21.table(), toxcast.table()]
    assays = [name for table in tables for name in table.columns if name != "smiles"]
    frame = pd.concat(tables, ignore_index=True).fillna("")
    frame.attrs = {"source": "tox21 and toxcast"}
    return TaskCollection.from_table(
        frame,
        modality="molecules",
        case="smiles",
        targets=assays,
        kind="binary",
        skip_invalid=True,
        duplicates="median",
    )


def agreement(tasks: TaskCollection) -> NDArray[np.float64]:
    """Return the phi coefficient of the labels of every two tasks over the cases of both, `[tasks, tasks]`; 0 where too few tell it."""
    names = tasks.names()
    measured = membership(tasks, names).astype(np.float64)
    where = (
        np.repeat(np.arange(len(names)), [len(tasks[name]) for name in names]),
        np.concatenate([tasks[name].rows for name in names]),
    )
    labels = np.concatenate([tasks[name].targets for name in names]).astype(np.float64)
    positive = sparse.csr_array((labels, where), shape=measured.shape)
    both = (measured @ measured.T).toarray()
    left = (positive @ measured.T).toarray()  # positives of the row's task among the cases of both
    right = left.T
    product = left * (both - left) * right * (both - right)
    phi = (both * (positive @ positive.T).toarray() - left * right) / np.sqrt(np.maximum(product, 1.0))
    rarest = np.minimum.reduce([left, both - left, right, both - right])
    phi[(both < LEAST_SHARED) | (rarest < LEAST_OF_A_CLASS)] = 0.0
    found: NDArray[np.float64] = phi
    return found


def agreeing_groups(tasks: TaskCollection) -> NDArray[np.int64]:
    """Return the number of each task's group: tasks that agree, directly or over others."""
    _, group = connected_components(sparse.csr_array(agreement(tasks) > AGREEING), directed=False)
    numbers: NDArray[np.int64] = group.astype(np.int64)
    return numbers


def drawn(tasks: TaskCollection) -> TaskCollection:
    """Return the tasks with groups of agreeing ones dealt to the meta-splits."""
    groups = dict(zip(tasks.names(), agreeing_groups(tasks).tolist(), strict=True))
    families = TaskCollection(
        tasks.modality,
        tasks.canonical,
        features=tasks.features,
        tasks={name: replace(task, family=str(groups[name])) for name, task in tasks.tasks.items()},
        left_out=tasks.left_out,
        settings=tasks.settings,
    )
    dealt = split_by_family(families, fractions=(0.7, 0.1, 0.2), seed=0)
    return tasks.with_split(dealt.split)


def apart(tasks: TaskCollection) -> TaskCollection:
    """Return tasks with a meta-split so that every case stands on one side only; earlier tasks left with one class are dropped and counted."""
    found = unseen(tasks, parts=PARTS)[0]
    earlier = [name for side in META_SPLITS[:2] for name in found.names(side)]
    single = [name for name in earlier if len(np.unique(found[name].targets)) < 2]
    return found.without_tasks(single, note="tasks with cases of one class left")


def load_disjoint() -> TaskCollection:
    """Return Tox21 and ToxCast with the committed split and every molecule on one side only."""
    listed = json.loads(PATH.read_text(encoding="utf-8"))
    return apart(load().with_split({name: side for side in META_SPLITS for name in listed[side]}))


def main() -> None:
    """Draw the split and write it."""
    dealt = drawn(load())
    listed = {side: sorted(dealt.names(side)) for side in META_SPLITS}
    replace_file(PATH, (json.dumps(listed, indent=1) + "\n").encode())
    print({side: len(names) for side, names in listed.items()})


if __name__ == "__main__":
    main()
