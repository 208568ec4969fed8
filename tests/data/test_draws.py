"""One draw from a task: support and query are apart, in proportion, and as large as asked for."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from metamedica.data.collection import Task
from metamedica.data.draws import draw
from metamedica.errors import TaskError
from plain_tasks import CASES, classes_task, regression_task


@dataclass(frozen=True)
class _Recipe:
    """A task that hypothesis draws: the task itself is made in the test, where the shape checks may use `random`."""

    kind: str
    values: list[int]
    codes: list[int] | None

    def task(self) -> Task:
        rows = np.random.default_rng(len(self.values)).permutation(CASES)[: len(self.values)]
        groups = None if self.codes is None else tuple(f"g{code}" for code in self.codes)
        if self.kind == "regression":
            return Task("t", "regression", rows, np.array(self.values, dtype=np.float64), groups=groups)
        classes = tuple("abcd" if self.kind == "multiclass" else "ab")
        return Task("t", self.kind, rows, np.array(self.values, dtype=np.int64), classes=classes, groups=groups)


@st.composite
def _recipes(draw_from: st.DrawFn) -> _Recipe:
    """Any task an episode can be drawn from: any kind, with and without groups, classes as unbalanced as they come."""
    n = draw_from(st.integers(4, 60))
    kind = draw_from(st.sampled_from(["regression", "binary", "multiclass"]))
    most = {"regression": 5, "binary": 1, "multiclass": 3}[kind]
    values = draw_from(st.lists(st.integers(0, most), min_size=n, max_size=n))
    codes = draw_from(st.none() | st.lists(st.integers(0, 7), min_size=n, max_size=n))
    assume(len(set(values)) >= 2)
    assume(codes is None or len(set(codes)) >= 3)
    return _Recipe(kind, values, codes)


@given(_recipes(), st.integers(2, 80), st.integers(1, 40), st.integers(0, 10))
@settings(max_examples=300, deadline=None)
def test_support_and_query_share_no_case_and_no_group(recipe: _Recipe, support: int, query: int, seed: int) -> None:
    task = recipe.task()
    left, right = draw(task, np.random.default_rng(seed), support=support, query=query)
    assert not set(left.tolist()) & set(right.tolist())
    assert len(set(left.tolist())) == len(left) >= 1
    assert len(set(right.tolist())) == len(right) >= 1
    assert len(left) <= support
    assert len(right) <= query
    if task.groups is not None:
        assert not {task.groups[i] for i in left} & {task.groups[i] for i in right}


@given(_recipes(), st.integers(2, 80), st.integers(0, 10))
@settings(max_examples=300, deadline=None)
def test_a_support_with_classes_always_holds_two_of_them(recipe: _Recipe, support: int, seed: int) -> None:
    assume(recipe.kind != "regression")
    task = recipe.task()
    left, _ = draw(task, np.random.default_rng(seed), support=support, query=8)
    assert len(set(task.targets[left].tolist())) >= 2


@given(_recipes(), st.integers(2, 80), st.integers(1, 40), st.integers(0, 10))
@settings(max_examples=300, deadline=None)
def test_a_task_without_groups_fills_the_support_unless_it_is_too_small(
    recipe: _Recipe, support: int, query: int, seed: int
) -> None:
    assume(recipe.codes is None)
    task = recipe.task()
    left, right = draw(task, np.random.default_rng(seed), support=support, query=query)
    n = len(task)
    assert len(left) == min(support, n - min(query, n // 2))
    assert len(right) == min(query, n - len(left))


@given(st.lists(st.integers(1, 40), min_size=2, max_size=5), st.integers(2, 60), st.integers(0, 20))
@settings(max_examples=300, deadline=None)
def test_classes_are_in_the_support_in_proportion_with_one_of_each_at_least(
    sizes: list[int], support: int, seed: int
) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    n = len(labels)
    assume(n >= support + 4)
    task = Task("t", "multiclass", np.arange(n), labels, classes=tuple("abcde"[: len(sizes)]))
    left, _ = draw(task, np.random.default_rng(seed), support=support, query=4)
    counts = np.bincount(labels[left], minlength=len(sizes))
    assert counts.sum() == support
    if support >= len(sizes):
        assert counts.min() >= 1
    # at most one case a class from its share, and what the smallest classes were given beyond theirs
    assert (np.abs(counts - support * np.array(sizes) / n) <= len(sizes)).all()


def test_a_balanced_task_gives_a_balanced_support() -> None:
    task = classes_task("t", [0, 1] * 50)
    for seed in range(20):
        left, _ = draw(task, np.random.default_rng(seed), support=16, query=8)
        assert abs(int(task.targets[left].sum()) - 8) <= 1


def test_an_unbalanced_task_gives_an_unbalanced_support() -> None:
    task = classes_task("t", [1] * 10 + [0] * 90)
    shares = [
        float(task.targets[draw(task, np.random.default_rng(seed), support=20, query=8)[0]].mean())
        for seed in range(50)
    ]
    assert abs(np.mean(shares) - 0.1) < 0.02


def test_every_case_is_drawn_into_support_and_query_alike() -> None:
    task = regression_task("t", 20)
    seen = np.zeros((2, 20))
    for seed in range(2000):
        for side, positions in enumerate(draw(task, np.random.default_rng(seed), support=5, query=5)):
            seen[side, positions] += 1
    assert np.abs(seen / 2000 - 0.25).max() < 0.05  # 5 standard errors of a share of 1/4 in 2,000 draws


def test_drawing_from_a_task_that_is_too_small_is_refused_by_name() -> None:
    with pytest.raises(TaskError, match="task 'tiny' has 3 cases, at least 4 are needed"):
        draw(regression_task("tiny", 3), np.random.default_rng(0), support=4, query=4)
