"""Collections: both forms of a table give the same one, nothing changes in place, and what is saved comes back."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metamedica.data.collection import Task, TaskCollection
from metamedica.errors import BundleError, InputError, TaskError
from metamedica.storage import read_bundle, write_bundle

Measured = dict[str, dict[str, tuple[float, str | None]]]


def _measured(collection: TaskCollection) -> Measured:
    """Return task -> case -> (target, group): all that does not depend on how rows are numbered."""
    return {
        name: {
            collection.canonical[row]: (float(target), None if task.groups is None else task.groups[place])
            for place, (row, target) in enumerate(zip(task.rows, task.targets, strict=True))
        }
        for name, task in collection.tasks.items()
    }


def _same(left: TaskCollection, right: TaskCollection) -> None:
    """Assert that two collections are equal in every part and bit."""
    assert (left.modality, left.canonical, left.split, left.left_out) == (
        right.modality,
        right.canonical,
        right.split,
        right.left_out,
    )
    assert left.features.keys() == right.features.keys()
    for block, values in left.features.items():
        assert values.dtype == right.features[block].dtype
        assert torch.equal(values, right.features[block])
    assert left.names() == right.names()
    for name in left.names():
        one, other = left[name], right[name]
        assert one.rows.tobytes() == other.rows.tobytes()
        assert one.targets.tobytes() == other.targets.tobytes()
        assert one.targets.dtype == other.targets.dtype
        for part in ("name", "kind", "classes", "unit", "family", "groups", "about"):
            assert getattr(one, part) == getattr(other, part)


def _collection(**changes: Any) -> TaskCollection:
    """Return three tasks, one of each kind, over six cases."""
    tasks = [
        Task(
            "dose",
            "regression",
            np.array([0, 1, 2]),
            np.array([0.1, 0.2, 1e-300]),
            unit="mM",
            family="f",
            about="MKVLA",
        ),
        Task("ill", "binary", np.array([5, 0]), np.array([1, 0]), classes=("no", "yes"), groups=("p", "q")),
        Task("stage", "multiclass", np.array([3, 4]), np.array([2, 0]), classes=("I", "II", "III")),
    ]
    parts: dict[str, Any] = {
        "features": {"counts": torch.arange(12, dtype=torch.uint8).reshape(6, 2), "vector": torch.randn(6, 3)},
        "tasks": {task.name: task for task in tasks},
        "split": {"dose": "meta_train", "ill": "meta_test"},
        "left_out": {"values": 3, "nothing": 0},
    }
    return TaskCollection("synthetic", [f"case {i} é" for i in range(6)], **{**parts, **changes})


CELLS = st.lists(
    st.tuples(*[st.none() | st.floats(-1e6, 1e6, allow_subnormal=False) for _ in range(3)]), min_size=1, max_size=12
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cells=CELLS)
def test_long_and_wide_form_of_one_table_give_the_same_collection(
    words: Any, cells: list[tuple[float | None, ...]]
) -> None:
    wide = pd.DataFrame(cells, columns=["a", "b", "c"], dtype=np.float64)
    wide.insert(0, "word", [f"Word{number}" for number in range(len(cells))])
    long = wide.melt("word", var_name="task", value_name="value")
    shared: dict[str, Any] = {"modality": "words", "case": "word", "kind": "regression", "unit": "mM"}

    def in_wide() -> TaskCollection:
        return TaskCollection.from_table(wide, targets=["a", "b", "c"], **shared)

    def in_long() -> TaskCollection:
        return TaskCollection.from_table(long, target="value", task="task", **shared)

    if not wide[["a", "b", "c"]].notna().any(axis=None):
        for read in (in_wide, in_long):
            with pytest.raises(TaskError, match="the table has no measured target; fill the target cells"):
                read()
        return
    one, other = in_wide(), in_long()
    missing = int(wide[["a", "b", "c"]].isna().to_numpy().sum())
    assert one.left_out.get("not measured", 0) == other.left_out.get("missing targets", 0) == missing
    _same(_plain(one), _plain(other))
    for name, task in one.tasks.items():
        assert task.targets.tolist() == wide[name].dropna().tolist()


def _plain(collection: TaskCollection) -> TaskCollection:
    return TaskCollection(
        collection.modality, collection.canonical, features=collection.features, tasks=collection.tasks
    )


ROWS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5), st.integers(-2, 2)), min_size=1, max_size=25)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS, random=st.randoms(use_true_random=False))
def test_the_order_of_the_rows_of_a_table_does_not_change_what_was_measured(
    words: Any, rows: list[tuple[int, int, int]], random: Any
) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)
    found = []
    for order in (rows, shuffled):
        frame = pd.DataFrame([(f"t{t}", f"word{c}", float(v)) for t, c, v in order], columns=["task", "word", "value"])
        collection = TaskCollection.from_table(
            frame, modality="words", case="word", kind="regression", target="value", task="task", duplicates="median"
        )
        found.append((_measured(collection), collection.canonical, collection.left_out))
    assert found[0] == found[1]


def test_a_saved_collection_comes_back_bit_for_bit(tmp_path: Path) -> None:
    collection = _collection()
    collection.save(tmp_path / "saved")
    _same(TaskCollection.load(tmp_path / "saved"), collection)


def test_a_collection_without_tasks_and_cases_comes_back_too(tmp_path: Path) -> None:
    empty = TaskCollection("synthetic", [], features={"vector": torch.empty(0, 3)}, tasks={})
    empty.save(tmp_path / "saved")
    _same(TaskCollection.load(tmp_path / "saved"), empty)


def test_saving_over_another_collection_replaces_it_and_over_anything_else_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    _collection().save(folder)
    smaller = _collection().select(["dose"])
    smaller.save(folder)
    _same(TaskCollection.load(folder), smaller)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("keep", encoding="utf-8")
    with pytest.raises(BundleError, match="is not a collection folder"):
        smaller.save(tmp_path / "notes")
    assert (tmp_path / "notes" / "mine.txt").read_text(encoding="utf-8") == "keep"


@pytest.mark.parametrize("name", ["tasks.safetensors", "features.safetensors", "canonical.json", "collection.json"])
def test_one_changed_byte_of_a_saved_collection_is_found(tmp_path: Path, name: str) -> None:
    _collection().save(tmp_path / "saved")
    path = tmp_path / "saved" / name
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(BundleError, match=rf"{name} was changed or damaged after it was written"):
        TaskCollection.load(tmp_path / "saved")


@pytest.mark.parametrize("changed", ["a name is missing", "a row is not there", "fewer targets", "a split of no task"])
def test_a_whole_bundle_that_is_no_collection_is_refused_by_name(tmp_path: Path, changed: str) -> None:
    folder = tmp_path / "saved"
    _collection().save(folder)
    tensors, documents = read_bundle(folder, "collection")
    if changed == "a name is missing":
        del documents["collection"]["tasks"][0]["name"]
    elif changed == "a row is not there":
        tensors["tasks"]["rows"][0] = 6
    elif changed == "fewer targets":
        tensors["tasks"]["targets"] = tensors["tasks"]["targets"][:-1]
    else:
        documents["collection"]["split"]["ghost"] = "meta_train"
    write_bundle(folder, "collection", tensors, documents)
    with pytest.raises(BundleError, match=r"saved is not a whole collection \(.*\); make it again from its table"):
        TaskCollection.load(folder)


def test_a_collection_of_another_version_of_its_modality_is_refused(
    tmp_path: Path, words: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = pd.DataFrame({"word": ["one", "two"], "value": [1.0, 2.0]})
    collection = TaskCollection.from_table(frame, modality="words", case="word", target="value", kind="regression")
    collection.save(tmp_path / "saved")
    _same(TaskCollection.load(tmp_path / "saved"), collection)
    monkeypatch.setattr(type(words), "version", "2")
    message = "was featurised by version 1 of the modality 'words' and this is version 2; make it again from its table"
    with pytest.raises(BundleError, match=message):
        TaskCollection.load(tmp_path / "saved")


_ONE = Task("dose", "regression", np.array([0, 7]), np.array([1.0, 2.0]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"features": {"vector": torch.zeros(5, 3)}},
            "feature block 'vector' has 5 rows for 6 cases; give one row per case",
        ),
        ({"tasks": {"dose": _ONE}, "split": {}}, "task 'dose' names a case outside rows 0 to 5; give rows of this"),
        (
            {"tasks": {"other": _ONE}, "split": {}},
            "the task under the name 'other' is called 'dose'; use one name",
        ),
        ({"split": {"ghost": "meta_train"}}, "the split names task 'ghost', which the collection does not have; take"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(TaskError, match=message):
        _collection(**changes)


def test_an_unknown_task_is_named_with_those_there_are() -> None:
    collection = _collection()
    wanted = "there is no task 'Dose' in the collection; it has: dose, ill, stage"
    actions: list[Callable[[], Any]] = [
        lambda: collection["Dose"],
        lambda: collection.select(["dose", "Dose"]),
        lambda: collection.without_tasks(["Dose"]),
        lambda: collection.without_rows([0], tasks=["Dose"]),
    ]
    for action in actions:
        with pytest.raises(TaskError, match=f"^{wanted}$"):
            action()


def test_selecting_keeps_the_order_asked_for_and_shares_the_features() -> None:
    collection = _collection()
    chosen = collection.select(["stage", "dose"])
    assert chosen.names() == ["stage", "dose"]
    assert chosen.split == {"dose": "meta_train"}
    assert chosen.features["vector"] is collection.features["vector"]
    assert collection.names() == ["dose", "ill", "stage"]


def test_more_blocks_stand_beside_those_there_are() -> None:
    collection = _collection()
    more = torch.arange(len(collection.canonical))[:, None]
    found = collection.with_blocks({"more": more})
    assert found.features.keys() == {*collection.features, "more"}
    assert found.features["more"] is more
    assert found.split == collection.split
    assert "more" not in collection.features
    with pytest.raises(TaskError, match="block 'more' has 1 rows"):
        collection.with_blocks({"more": more[:1]})


def test_names_and_counts_are_those_of_the_tasks() -> None:
    collection = _collection()
    assert (len(collection), collection.n_values) == (3, 7)
    assert collection.names("meta_train") == ["dose"]
    assert collection.names("meta_valid") == []
    assert repr(collection) == ("<TaskCollection of 3 synthetic tasks, 6 cases, 7 values; 1 meta_train, 1 meta_test>")
    assert collection.left_out == {"values": 3}


@given(st.lists(st.integers(0, 5)), st.sets(st.sampled_from(["dose", "ill", "stage"])))
def test_removing_cases_removes_them_from_the_named_tasks_only(rows: list[int], names: set[str]) -> None:
    collection = _collection(left_out={})
    before = _measured(collection)
    after = collection.without_rows(rows, tasks=sorted(names), note="gone")
    gone = {collection.canonical[row] for row in rows}
    expected = {
        name: {case: value for case, value in cases.items() if name not in names or case not in gone}
        for name, cases in before.items()
    }
    assert _measured(after) == {name: cases for name, cases in expected.items() if cases}
    removed = sum(map(len, before.values())) - sum(map(len, expected.values()))
    emptied = sum(not cases for cases in expected.values())
    assert after.left_out == {what: count for what, count in (("gone", removed), ("emptied tasks", emptied)) if count}
    assert after.split == {name: side for name, side in collection.split.items() if name in after.tasks}
    assert _measured(collection) == before


def test_a_task_named_twice_loses_its_cases_once() -> None:
    after = _collection(left_out={}).without_rows([0, 1, 2], tasks=["dose", "dose"])
    assert after.names() == ["ill", "stage"]
    assert after.left_out == {"removed values": 3, "emptied tasks": 1}


@pytest.mark.parametrize("rows", [[6], [-1], [0, 99]])
def test_a_row_outside_the_collection_is_refused(rows: list[int]) -> None:
    with pytest.raises(InputError, match="got a row outside 0 to 5; give rows of this collection's cases"):
        _collection().without_rows(rows, tasks=["dose"])


def test_removed_tasks_are_counted_and_leave_the_split() -> None:
    after = _collection().without_tasks(["ill", "ill"], note="too small")
    assert after.names() == ["dose", "stage"]
    assert after.split == {"dose": "meta_train"}
    assert after.left_out == {"values": 3, "too small": 1}


def test_another_split_replaces_the_old_one_whole() -> None:
    collection = _collection()
    changed = collection.with_split({"stage": "meta_valid"})
    assert changed.split == {"stage": "meta_valid"}
    assert collection.split == {"dose": "meta_train", "ill": "meta_test"}
    with pytest.raises(TaskError, match="the split names task 'ghost'"):
        collection.with_split({"ghost": "meta_test"})


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=9))
def test_class_one_is_strictly_above_the_threshold_or_the_median(values: list[float]) -> None:
    task = Task("t", "regression", np.arange(len(values)), np.array(values), unit="mM", family="f")
    cases = [str(number) for number in range(len(values))]
    collection = TaskCollection("synthetic", cases, features={}, tasks={"t": task})
    for threshold, cut in (("median", float(np.median(values))), (values[0], values[0])):
        changed = collection.binarised(threshold)["t"]
        assert changed.targets.tolist() == [int(value > cut) for value in values]
        assert (changed.kind, changed.classes, changed.unit, changed.family) == ("binary", ("0", "1"), None, "f")
    assert collection["t"] is task


@pytest.mark.parametrize(("within", "cut"), [((5.0, 9.0), 5.0), ((0.0, 1.0), 1.0), ((1.0, 4.0), 3.0), (None, 3.0)])
def test_a_threshold_beyond_the_limits_is_moved_to_them(within: tuple[float, float] | None, cut: float) -> None:
    values = np.array([1.0, 2.0, 3.0, 5.0, 6.0])
    task = Task("t", "regression", np.arange(5), values)
    collection = TaskCollection("synthetic", list("abcde"), features={}, tasks={"t": task})
    assert collection.binarised("median", within=within)["t"].targets.tolist() == (values > cut).astype(int).tolist()


def test_a_threshold_that_is_no_number_and_limits_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(InputError, match="got the threshold nan; give a number in the task's unit, or median"):
        _collection().binarised(float("nan"))
    with pytest.raises(InputError, match=r"within \(9\.0, 5\.0\); give the lower one first"):
        _collection().binarised("median", within=(9.0, 5.0))


def test_tasks_with_classes_are_not_binarised_again() -> None:
    collection = _collection()
    changed = collection.binarised(0.15)
    assert changed["dose"].targets.tolist() == [0, 1, 0]
    assert changed["ill"] is collection["ill"]
    assert changed["stage"] is collection["stage"]


_LARGE = """
import resource, sys
from pathlib import Path
import numpy as np, pandas as pd, torch
from metamedica import registry
from metamedica.data.collection import TaskCollection
from metamedica.data.episodes import EpisodePlan, EpisodeSampler
from metamedica.data.splits import molecule_disjoint, split_by_task
from metamedica.types import PreparedCases

class Wide:
    name, version, distinct = "wide", "1", True
    def settings(self):
        return {}
    def prepare(self, cases, *, n_jobs=None, progress=None):
        counts = torch.randint(0, 4, (len(cases), 2048), dtype=torch.uint8)
        return PreparedCases(list(range(len(cases))), list(cases), {"counts": counts}, [])

registry.modality = lambda name, settings=None: Wide()
folder = Path(sys.argv[1])
rng = np.random.default_rng(0)
task = np.repeat(np.arange(1000), 200)
case = np.concatenate([rng.choice(100_000, 200, replace=False) for _ in range(1000)])
frame = pd.DataFrame({"task": [f"CHEMBL{t}" for t in task], "case": [f"compound number {c}" for c in case],
                      "value": rng.normal(6, 1, len(case)).round(2)})
frame.to_csv(folder / "assays.csv", index=False)
del frame
read = TaskCollection.from_table(folder / "assays.csv", modality="wide", case="case", target="value", task="task",
                                 kind="regression")
read = molecule_disjoint(split_by_task(read))
read.save(folder / "saved")
again = TaskCollection.load(folder / "saved")
EpisodeSampler(again, again.names("meta_train"), EpisodePlan(), seed=0).batch(0)
unit = 1 if sys.platform == "darwin" else 1024
sys.stdout.write(f"{len(read)} {read.n_values} {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit}")
"""


@pytest.mark.slow
def test_a_thousand_tasks_with_200_000_values_fit_in_four_gigabytes(tmp_path: Path) -> None:
    pytest.importorskip("resource")
    environment = {**os.environ, "METAMEDICA_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", _LARGE, str(tmp_path)], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    tasks, values, peak = map(int, done.stdout.split())
    assert tasks == 1000
    assert values > 50_000
    assert peak < 4e9
    assert json.loads((tmp_path / "saved" / "MANIFEST.json").read_text(encoding="utf-8"))["kind"] == "collection"
