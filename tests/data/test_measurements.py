"""Measured values to tasks, against loops that do the same one value at a time."""

import statistics
from collections import defaultdict
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from metamedica.data import measurements
from metamedica.data.measurements import Source, Values
from metamedica.errors import CaseError, TaskError

ENTRIES = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(-3, 3)), min_size=1, max_size=30)
"""(task, case, value) of each row of a table."""


def _values(entries: list[tuple[int, int, int]], texts: list[str] | None = None) -> tuple[Values, np.ndarray]:
    task, row, value = (np.array(column, dtype=np.int64) for column in zip(*entries, strict=True))
    names = [f"t{number}" for number in range(3)]
    return Values(np.arange(len(entries)), task, value.astype(np.float64), names, texts or []), row


def _source(entries: list[tuple[int, int, int]], **columns: Any) -> Source:
    cases = [f"case{row}" for _, row, _ in entries]
    frame = pd.DataFrame({"case": cases, **columns}, index=pd.RangeIndex(2, len(entries) + 2))
    return Source(frame, "assays.csv")


def _by_case(entries: list[tuple[int, int, int]]) -> dict[tuple[int, int], list[int]]:
    found: dict[tuple[int, int], list[int]] = defaultdict(list)
    for task, row, value in entries:
        found[task, row].append(value)
    return found


def _merge(
    entries: list[tuple[int, int, int]], how: Any, classes: list[tuple[str, ...]] | None = None
) -> tuple[dict[tuple[int, int], float], list[int], dict[str, int]]:
    values, row = _values(entries)
    left_out: dict[str, int] = {}
    merged, rows = measurements.merged(_source(entries), "case", values, row, how, classes, left_out)
    found = {(int(t), int(r)): float(v) for t, r, v in zip(merged.task, rows, merged.value, strict=True)}
    assert len(found) == len(merged.at) == len(rows)
    return found, merged.at.tolist(), left_out


@given(ENTRIES, st.sampled_from(["mean", "median"]))
def test_numbers_of_one_case_become_their_mean_or_median(entries: list[tuple[int, int, int]], how: str) -> None:
    found, at, left_out = _merge(entries, how)
    by_case = _by_case(entries)
    rule = statistics.mean if how == "mean" else statistics.median
    assert found == pytest.approx({key: float(rule(each)) for key, each in by_case.items()})
    assert at == sorted(at)
    assert left_out.get("merged duplicates", 0) == len(entries) - len(by_case)


@given(ENTRIES)
def test_equal_values_merge_whatever_is_chosen_for_those_that_differ(entries: list[tuple[int, int, int]]) -> None:
    same = [(task, row, task * 10 + row) for task, row, _ in entries]
    results = [_merge(same, how)[0] for how in ("error", "mean", "median")]
    assert results[0] == results[1] == results[2] == {(task, row): value for task, row, value in same}


@given(ENTRIES)
def test_a_case_with_labels_that_differ_is_left_out_and_counted(entries: list[tuple[int, int, int]]) -> None:
    labelled = [(task, row, abs(value) % 2) for task, row, value in entries]
    by_case = _by_case(labelled)
    clear = {key: float(each[0]) for key, each in by_case.items() if len(set(each)) == 1}
    found, _, left_out = _merge(labelled, "mean", [("0", "1")] * 3)
    assert found == clear
    assert left_out.get("cases with differing labels", 0) == len(by_case) - len(clear)
    assert left_out.get("merged duplicates", 0) == sum(len(by_case[key]) - 1 for key in clear)


@given(ENTRIES)
def test_values_that_differ_stop_the_reading_and_name_the_first_pair_of_rows(
    entries: list[tuple[int, int, int]],
) -> None:
    by_case = _by_case(entries)
    conflicts = [key for key, each in by_case.items() if len(set(each)) > 1]
    assume(conflicts)
    first = next(place for place, (task, row, _) in enumerate(entries) if (task, row) in conflicts)
    task, row, value = entries[first]
    other = next(
        place
        for place in range(first + 1, len(entries))
        if entries[place][:2] == (task, row) and entries[place][2] != value
    )
    count = f" ({len(conflicts)} such cases)" if len(conflicts) > 1 else ""
    with pytest.raises(CaseError) as caught:
        _merge(entries, "error")
    assert str(caught.value) == (
        f"assays.csv, task 't{task}': row {first + 2} and row {other + 2} are the same case ('case{row}') with targets "
        f"{value} and {entries[other][2]}{count}; keep one, or choose to merge duplicates by mean or median"
    )


def test_labels_that_differ_are_named_by_their_text() -> None:
    with pytest.raises(CaseError, match="with targets 'no' and 'yes'; keep one, or choose to merge duplicates, which"):
        _merge([(0, 1, 0), (0, 1, 1)], "error", [("no", "yes")] * 3)


@given(ENTRIES, st.randoms(use_true_random=False))
def test_merging_gives_the_same_values_in_any_order_of_the_rows(
    entries: list[tuple[int, int, int]], random: Any
) -> None:
    shuffled = list(entries)
    random.shuffle(shuffled)
    assert _merge(shuffled, "median")[0] == _merge(entries, "median")[0]
    assert _merge(shuffled, "mean")[0] == pytest.approx(_merge(entries, "mean")[0])


def test_the_text_of_a_task_is_the_one_that_all_its_rows_have() -> None:
    entries = [(0, 0, 1), (1, 0, 1), (0, 1, 1), (2, 2, 1)]
    values, _ = _values(entries)
    source = _source(entries, family=["kinase", "GPCR", " kinase ", ""])
    assert measurements.per_task(source, "family", values) == {0: "kinase", 1: "GPCR"}


@pytest.mark.parametrize("other", ["GPCR", ""])
def test_a_task_with_two_families_is_refused_with_both_rows(other: str) -> None:
    entries = [(0, 0, 1), (1, 0, 1), (0, 1, 1)]
    values, _ = _values(entries)
    source = _source(entries, family=["kinase", "GPCR", other])
    message = (
        rf"assays.csv, task 't0' has 'kinase' \(row 2\) and '{other}' \(row 4\) in column 'family'; give one a task"
    )
    with pytest.raises(TaskError, match=message):
        measurements.per_task(source, "family", values)


@pytest.mark.parametrize(
    ("text", "side"),
    [
        ("meta_train", "meta_train"),
        ("Train", "meta_train"),
        ("valid", "meta_valid"),
        ("validation", "meta_valid"),
        ("META_TEST", "meta_test"),
        ("test", "meta_test"),
    ],
)
def test_a_split_is_read_by_its_usual_names(text: str, side: str) -> None:
    entries = [(0, 0, 1), (0, 1, 2)]
    values, _ = _values(entries)
    assert measurements.split(_source(entries, split=[text, text]), "split", values) == {"t0": side}


def test_an_unknown_split_gives_the_choices() -> None:
    entries = [(1, 0, 1)]
    values, _ = _values(entries)
    message = "task 't1' has 'holdout' in column 'split'; use one of: meta_train, meta_valid, meta_test"
    with pytest.raises(TaskError, match=message):
        measurements.split(_source(entries, split=["holdout"]), "split", values)


def test_a_case_of_one_task_has_one_group_and_of_two_tasks_may_have_two() -> None:
    entries = [(0, 0, 1), (0, 0, 1), (1, 0, 1)]
    values, row = _values(entries)
    cells = measurements.groups(_source(entries, patient=["p1", "p1", "p2"]), "patient", values, row)
    assert [cells.of(at) for at in range(3)] == ["p1", "p1", "p2"]
    message = (
        "assays.csv: row 2 and row 3 are the same case with 'p1' and 'p2' in column 'patient'; give a case one patient"
    )
    with pytest.raises(TaskError, match=f"^{message}$"):
        measurements.groups(_source(entries, patient=["p1", "p2", "p2"]), "patient", values, row)


def test_a_measured_row_without_a_group_is_refused_with_its_row() -> None:
    entries = [(0, 0, 1), (0, 1, 1), (0, 2, 1)]
    values, row = _values(entries)
    message = r"assays.csv, row 3: the cell of column 'patient' is empty \(2 such cells\); give every row its patient"
    with pytest.raises(TaskError, match=message):
        measurements.groups(_source(entries, patient=["p1", " ", None]), "patient", values, row)


@given(ENTRIES)
def test_tasks_hold_their_values_in_the_order_of_the_table(entries: list[tuple[int, int, int]]) -> None:
    unique = list({(task, row): (task, row, value) for task, row, value in entries}.values())
    values, row = _values(unique)
    made = measurements.tasks(values, row, "regression", "mM", None, None, {0: "f"}, {})
    assert [task.name for task in made] == [f"t{number}" for number in sorted({task for task, _, _ in unique})]
    for task in made:
        here = [(row, value) for number, row, value in unique if f"t{number}" == task.name]
        assert list(zip(task.rows.tolist(), task.targets.tolist(), strict=True)) == here
        assert (task.unit, task.family) == ("mM", "f" if task.name == "t0" else None)


@given(ENTRIES)
def test_a_task_that_shows_one_class_is_left_out_and_counted(entries: list[tuple[int, int, int]]) -> None:
    unique = list({(task, row): (task, row, abs(value) % 2) for task, row, value in entries}.values())
    values, row = _values(unique)
    left_out: dict[str, int] = {}
    made = measurements.tasks(values, row, "binary", "mM", [("0", "1")] * 3, None, None, left_out)
    shown: dict[int, set[int]] = defaultdict(set)
    for task, _, value in unique:
        shown[task].add(value)
    assert [task.name for task in made] == [f"t{number}" for number in sorted(shown) if len(shown[number]) == 2]
    assert left_out.get("tasks with one class", 0) == sum(len(each) == 1 for each in shown.values())
    assert all(task.unit is None for task in made)


def test_each_task_of_many_classes_has_the_labels_that_it_shows() -> None:
    entries = [(0, 0, 0), (0, 1, 2), (1, 0, 1), (1, 1, 0)]
    values, _ = _values(entries, ["mild", "severe", "none"])
    classes, coded = measurements.classes_of_tasks(_source(entries), values, "multiclass", None)
    assert classes == [("mild", "none"), ("mild", "severe"), ()]
    assert coded.value.tolist() == [0, 1, 1, 0]


def test_a_positive_label_that_no_row_has_is_refused_with_those_there_are() -> None:
    entries = [(0, 0, 0), (0, 1, 1)]
    values, _ = _values(entries, ["sick", "well"])
    with pytest.raises(TaskError, match=r"assays\.csv has no label 'ill'; the positive one is one of: sick, well"):
        measurements.classes_of_tasks(_source(entries), values, "binary", "ill")
