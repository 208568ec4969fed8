"""A task whose parts do not fit is refused by name, and taking cases keeps what belongs together."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamedica.data.task import Task
from metamedica.errors import TaskError


def _parts(**changes: Any) -> dict[str, Any]:
    parts: dict[str, Any] = {
        "name": "t",
        "kind": "regression",
        "rows": np.array([4, 2, 9]),
        "targets": np.array([1.0, -2.5, 3.0]),
        "unit": "mM",
        "family": "kinases",
        "groups": ("a", "b", "a"),
    }
    return {**parts, **changes}


def _binary(**changes: Any) -> dict[str, Any]:
    return _parts(
        **{"kind": "binary", "targets": np.array([0, 1, 0]), "classes": ("no", "yes"), "unit": None, **changes}
    )


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            _parts(targets=np.array([1.0])),
            r"task 't' has rows of shape \(3,\) and targets of shape \(1,\); give one target per case",
        ),
        (_parts(rows=np.array([4, 2, 4])), "task 't' names the same case twice; merge its targets"),
        (_parts(groups=("a", "b")), "task 't' has 2 groups for 3 cases; give one group per case"),
        (_parts(classes=("0", "1")), "task 't' is a regression: give float64 targets and no classes"),
        (_parts(targets=np.array([1, 2, 3])), "task 't' is a regression: give float64 targets and no classes"),
        (
            _parts(targets=np.array([1.0, np.nan, 3.0])),
            "task 't' has a target that is not a finite number; leave that case out",
        ),
        (
            _parts(targets=np.array([1.0, np.inf, 3.0])),
            "task 't' has a target that is not a finite number; leave that case out",
        ),
        (_binary(classes=None), "task 't' has classes: give their labels and int64 class indices"),
        (_binary(targets=np.array([0.0, 1.0, 0.0])), "task 't' has classes: give their labels and int64 class indices"),
        (
            _binary(classes=("a", "b", "c")),
            "task 't' is binary and has 3 labels; give two, or name kind='multiclass'",
        ),
        (
            _binary(targets=np.array([0, 2, 0])),
            "task 't' has a class index outside 0 to 1; give a label for each class",
        ),
        (
            _binary(targets=np.array([0, -1, 0])),
            "task 't' has a class index outside 0 to 1; give a label for each class",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused_in_one_sentence(parts: dict[str, Any], message: str) -> None:
    with pytest.raises(TaskError, match=f"^{message}$"):
        Task(**parts)


@pytest.mark.parametrize("parts", [_parts(), _binary(), _binary(kind="multiclass", classes=("a", "b", "c"))])
def test_parts_that_fit_are_kept_as_they_came(parts: dict[str, Any]) -> None:
    task = Task(**parts)
    assert len(task) == 3
    for name, value in parts.items():
        np.testing.assert_array_equal(getattr(task, name), value)


def test_an_empty_task_of_any_kind_is_a_task() -> None:
    none = np.empty(0, np.int64)
    assert len(Task("t", "regression", none, none.astype(np.float64))) == 0
    assert len(Task("t", "binary", none, none, classes=("0", "1"), groups=())) == 0


@given(st.lists(st.integers(0, 2), unique=True))
def test_taking_cases_keeps_row_target_and_group_together(index: list[int]) -> None:
    task = Task(**_parts())
    taken = task.take(np.array(index, dtype=np.int64))
    assert taken.rows.tolist() == [task.rows[i] for i in index]
    assert taken.targets.tolist() == [task.targets[i] for i in index]
    assert taken.groups == tuple(["a", "b", "a"][i] for i in index)
    assert (taken.name, taken.kind, taken.unit, taken.family) == ("t", "regression", "mM", "kinases")
    assert task.rows.tolist() == [4, 2, 9]


def test_taking_a_case_twice_is_refused() -> None:
    with pytest.raises(TaskError, match="names the same case twice"):
        Task(**_parts()).take(np.array([0, 0]))


def test_a_task_is_frozen_once_it_is_made() -> None:
    with pytest.raises(AttributeError):
        Task(**_parts()).name = "other"  # type: ignore[misc]
