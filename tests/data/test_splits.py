"""Meta-splits against sets counted one by one: nothing on two sides, shares as asked, the seed and nothing else decides."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from metamedica.data.collection import Task, TaskCollection
from metamedica.data.splits import (
    draw_meta_valid,
    membership,
    molecule_disjoint,
    overlap_groups,
    rows_of,
    split_by_family,
    split_by_overlap,
    split_by_task,
    split_cases,
)
from metamedica.errors import InputError, TaskError
from metamedica.types import META_SPLITS

_CASES = 12
ROWS = st.lists(st.sets(st.integers(0, _CASES - 1), min_size=1), min_size=3, max_size=14)
"""The cases of each task."""
FRACTIONS = st.sampled_from([(0.7, 0.1, 0.2), (0.5, 0.25, 0.25), (0.8, 0.0, 0.2), (0.9, 0.1, 0.0), (0.2, 0.6, 0.2)])
SEEDS = st.integers(0, 1000)


def _collection(
    rows: list[set[int]], *, families: list[str] | None = None, split: dict[str, Any] | None = None
) -> TaskCollection:
    tasks = {}
    for number, members in enumerate(rows):
        at = np.array(sorted(members), dtype=np.int64)
        family = None if families is None else families[number]
        tasks[f"t{number}"] = Task(f"t{number}", "regression", at, at.astype(np.float64), family=family)
    features = {"vector": torch.zeros(_CASES, 1)}
    return TaskCollection("synthetic", [f"c{i}" for i in range(_CASES)], features=features, tasks=tasks, split=split)


def _sets(collection: TaskCollection) -> dict[str, set[int]]:
    return {name: set(task.rows.tolist()) for name, task in collection.tasks.items()}


def _shuffled(collection: TaskCollection, random: Any) -> TaskCollection:
    names = collection.names()
    random.shuffle(names)
    return collection.select(names)


def _linked(rows: dict[str, set[int]], share: float, of: str) -> set[frozenset[str]]:
    """Return the chains of overlapping tasks, found by joining sets until nothing changes."""
    groups = {frozenset([name]) for name in rows}
    for one, other in itertools.combinations(rows, 2):
        both = len(rows[one] & rows[other])
        whole = len(rows[one] | rows[other]) if of == "union" else min(len(rows[one]), len(rows[other]))
        if both > share * whole:
            left = next(group for group in groups if one in group)
            right = next(group for group in groups if other in group)
            groups = groups - {left, right} | {left | right}
    return groups


def _check_dealing(
    collection: TaskCollection, groups: set[frozenset[str]], fractions: tuple[float, float, float]
) -> None:
    """Assert that groups are whole and that no group could be moved to bring a small share nearer to what was asked."""
    split = collection.split
    assert set(split) == set(collection.names())
    side_of = {}
    for group in groups:
        assert len({split[name] for name in group}) == 1
        side_of[group] = split[next(iter(group))]
    wanted = dict(zip(META_SPLITS, fractions, strict=True))
    assert {side for side, fraction in wanted.items() if fraction > 0} == set(side_of.values())
    rest, *others = sorted((side for side in META_SPLITS if wanted[side] > 0), key=lambda side: -wanted[side])
    for turn, side in enumerate(others):
        later = {rest, *others[turn + 1 :]}
        spare = [group for group in groups if side_of[group] in later]
        held = sum(len(group) for group in groups if side_of[group] == side)
        gap = wanted[side] * len(split) - held
        if len(spare) > len(later):  # otherwise they had to wait for a side that still needs one
            assert all(abs(gap - len(group)) >= abs(gap) - 1e-9 for group in spare)


@given(st.integers(3, 60), FRACTIONS, SEEDS)
def test_dealing_single_tasks_meets_the_shares_to_half_a_task(
    n: int, fractions: tuple[float, float, float], seed: int
) -> None:
    collection = split_by_task(_collection([{0}] * n), fractions=fractions, seed=seed)
    _check_dealing(collection, {frozenset([name]) for name in collection.names()}, fractions)
    smaller = sorted(zip(fractions, META_SPLITS, strict=True))[:2]
    for fraction, side in smaller:
        held = len(collection.names(side))
        assert abs(held - fraction * n) <= 0.5 + 1e-9 or (held == 1 and 0 < fraction * n < 1) or n < 6


@given(st.lists(st.sampled_from("abcdefg"), min_size=3, max_size=30), FRACTIONS, SEEDS)
def test_no_family_stands_on_two_sides(families: list[str], fractions: tuple[float, float, float], seed: int) -> None:
    assume(len(set(families)) >= sum(fraction > 0 for fraction in fractions))
    collection = _collection([{0}] * len(families), families=families)
    groups = {
        frozenset(f"t{number}" for number, each in enumerate(families) if each == family) for family in set(families)
    }
    _check_dealing(split_by_family(collection, fractions=fractions, seed=seed), groups, fractions)


@given(ROWS, st.sampled_from([0.0, 0.2, 0.3, 0.5, 0.9, 1.0]), st.sampled_from(["union", "smaller"]))
def test_overlapping_tasks_are_grouped_as_chains_of_links(rows: list[set[int]], share: float, of: Any) -> None:
    collection = _collection(rows)
    found = overlap_groups(collection, share=share, of=of)
    assert {frozenset(group) for group in found} == _linked(_sets(collection), share, of)
    assert sorted(name for group in found for name in group) == sorted(collection.names())


@given(ROWS, FRACTIONS, SEEDS)
def test_no_chain_of_overlapping_tasks_stands_on_two_sides(
    rows: list[set[int]], fractions: tuple[float, float, float], seed: int
) -> None:
    collection = _collection(rows)
    groups = _linked(_sets(collection), 0.3, "union")
    assume(len(groups) >= sum(fraction > 0 for fraction in fractions))
    _check_dealing(split_by_overlap(collection, share=0.3, fractions=fractions, seed=seed), groups, fractions)


@given(ROWS, SEEDS, st.randoms(use_true_random=False))
def test_the_seed_decides_and_the_order_of_the_tasks_does_not(rows: list[set[int]], seed: int, random: Any) -> None:
    collection = _collection(rows, families=[f"f{number}" for number in range(len(rows))])
    other = _shuffled(collection, random)
    assert split_by_task(collection, seed=seed).split == split_by_task(other, seed=seed).split
    assert split_by_family(collection, seed=seed).split == split_by_family(other, seed=seed).split
    if len(_linked(_sets(collection), 0.3, "union")) >= 3:
        assert split_by_overlap(collection, seed=seed).split == split_by_overlap(other, seed=seed).split


def test_another_seed_gives_another_split() -> None:
    collection = _collection([{0}] * 20)
    drawn = {tuple(split_by_task(collection, seed=seed).names("meta_test")) for seed in range(10)}
    assert len(drawn) == 10


def test_a_group_too_large_for_a_small_share_ends_in_the_largest() -> None:
    families = ["large"] * 12 + [f"small {number}" for number in range(8)]
    for seed in range(20):
        drawn = split_by_family(_collection([{0}] * 20, families=families), seed=seed)
        assert drawn.split["t0"] == "meta_train"
        assert (len(drawn.names("meta_valid")), len(drawn.names("meta_test"))) == (2, 4)


@given(st.integers(2, 40), st.integers(0, 5), st.floats(0.01, 0.99), SEEDS, st.randoms(use_true_random=False))
def test_meta_valid_tasks_come_from_meta_train_in_the_share_asked_for(
    n: int, tests: int, share: float, seed: int, random: Any
) -> None:
    collection = _collection([{number % _CASES} for number in range(n + tests)])
    names = collection.names()
    split: dict[str, Any] = {name: "meta_test" if at < tests else "meta_train" for at, name in enumerate(names)}
    drawn = draw_meta_valid(collection.with_split(split), share=share, seed=seed)
    assert len(drawn.names("meta_valid")) == min(max(1, round(share * n)), n - 1)
    assert drawn.names("meta_test") == names[:tests]
    assert sorted(drawn.names("meta_valid") + drawn.names("meta_train")) == sorted(names[tests:])
    assert draw_meta_valid(_shuffled(collection.with_split(split), random), share=share, seed=seed).split == drawn.split


def test_meta_valid_tasks_are_not_drawn_twice_nor_from_one_task() -> None:
    collection = _collection([{0}, {1}, {2}])
    train: dict[str, Any] = dict.fromkeys(collection.names(), "meta_train")
    drawn = draw_meta_valid(collection.with_split(train))
    with pytest.raises(TaskError, match="has 1 meta-valid tasks already"):
        draw_meta_valid(drawn)
    with pytest.raises(TaskError, match="got 0 meta-train tasks; give at least two"):
        draw_meta_valid(collection)
    with pytest.raises(InputError, match=r"got share=0\.0; give a share between 0 and 1"):
        draw_meta_valid(collection.with_split(train), share=0.0)


@pytest.mark.parametrize("fractions", [(0.5, 0.2, 0.2), (1.2, -0.1, -0.1), (0.0, 0.0, 0.0), (float("nan"), 0.5, 0.5)])
def test_fractions_that_are_no_shares_are_refused(fractions: tuple[float, float, float]) -> None:
    with pytest.raises(InputError, match="give three that are not negative and sum to 1"):
        split_by_task(_collection([{0}] * 5), fractions=fractions)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (
            lambda: split_by_task(_collection([{0}, {1}])),
            "a meta-split into meta_train, meta_valid, meta_test needs one task for each and 2 came; give more tasks, or "
            "a fraction of 0 where none is needed",
        ),
        (
            lambda: split_by_family(_collection([{0}] * 4, families=["a", "a", "b", "b"])),
            "needs one family for each and 2 came",
        ),
        (lambda: split_by_overlap(_collection([{0}] * 4)), "needs one group of overlapping tasks for each and 1 came"),
        (
            lambda: split_by_family(_collection([{0}] * 3)),
            "task 't0' has no family; name the family column, or split by",
        ),
    ],
)
def test_too_few_tasks_or_families_are_told_in_one_sentence(act: Callable[[], Any], message: str) -> None:
    with pytest.raises(TaskError, match=message):
        act()


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_outside_zero_and_one_is_refused(share: float) -> None:
    with pytest.raises(InputError, match=f"got share={share}; give a share from 0 to 1"):
        overlap_groups(_collection([{0}] * 3), share=share)


@given(ROWS)
def test_membership_and_rows_are_those_of_the_tasks(rows: list[set[int]]) -> None:
    collection = _collection(rows)
    names = collection.names()[::-1]
    table = membership(collection, names).toarray()
    assert table.tolist() == [[int(case in rows[int(name[1:])]) for case in range(_CASES)] for name in names]
    assert rows_of(collection, names[:2]).tolist() == sorted(rows[-1] | rows[-2])
    assert rows_of(collection, []).tolist() == []


SIDES = st.sampled_from([*META_SPLITS, None])


@given(st.lists(st.tuples(st.sets(st.integers(0, _CASES - 1), min_size=1), SIDES), min_size=1, max_size=8), st.data())
def test_after_disjoint_no_case_and_no_group_stands_on_two_sides(
    drawn: list[tuple[set[int], str | None]], data: st.DataObject
) -> None:
    split = {f"t{number}": side for number, (_, side) in enumerate(drawn) if side is not None}
    assume(split)
    group_of = data.draw(st.none() | st.lists(st.sampled_from("abcdefgh"), min_size=_CASES, max_size=_CASES))
    least = data.draw(st.integers(1, 4))
    collection = _collection([rows for rows, _ in drawn], split=split)
    apart = molecule_disjoint(collection, least=least, groups=group_of)

    def groups(cases: set[int]) -> set[Any]:
        return {case if group_of is None else group_of[case] for case in cases}

    expected = _sets(collection)
    for keeps, lose in (("meta_test", ("meta_train", "meta_valid")), ("meta_valid", ("meta_train",))):
        taken = {group for name, cases in expected.items() if split.get(name) == keeps for group in groups(cases)}
        for name in expected:
            if split.get(name) in lose:
                expected[name] = {case for case in expected[name] if not groups({case}) & taken}
    small = {n for n in expected if split.get(n) in META_SPLITS[:2] and len(expected[n]) < least}
    assert _sets(apart) == {name: cases for name, cases in expected.items() if name not in small}
    for left, right in itertools.combinations(META_SPLITS, 2):
        one, other = (set(rows_of(apart, apart.names(side)).tolist()) for side in (left, right))
        assert not groups(one) & groups(other)
    lost = sum(len(cases) for cases in _sets(collection).values()) - sum(map(len, expected.values()))
    assert sum(n for what, n in apart.left_out.items() if what.startswith("values of cases")) == lost
    gone = len(collection) - len(apart)
    assert sum(n for what, n in apart.left_out.items() if "tasks" in what and not what.startswith("values")) == gone


def test_disjoint_needs_a_split_and_one_group_for_each_case() -> None:
    with pytest.raises(TaskError, match="the collection has no meta-split; draw one first"):
        molecule_disjoint(_collection([{0}] * 3))
    collection = _collection([{0}] * 3, split={"t0": "meta_train"})
    with pytest.raises(InputError, match="got 2 groups for 12 cases; give one group per case"):
        molecule_disjoint(collection, groups=["a", "b"])


def _grouped(codes: list[int]) -> Task:
    n = len(codes)
    groups = tuple(f"g{code}" for code in codes)
    return Task("t", "regression", np.arange(n), np.zeros(n), groups=groups)


@given(st.lists(st.integers(0, 6), min_size=1, max_size=30), st.integers(0, 30), SEEDS)
def test_cases_are_divided_by_whole_groups_and_the_support_is_filled(codes: list[int], support: int, seed: int) -> None:
    task = _grouped(codes)
    size = {code: codes.count(code) for code in codes}
    if min(size.values()) > support or len(codes) <= support:
        message = (
            f"task 't' has {len(codes)} cases in {len(size)} groups and cannot give a support of up to {support} and"
        )
        with pytest.raises(TaskError, match=message):
            split_cases(task, support=support, seed=seed)
        return
    left, right = split_cases(task, support=support, seed=seed)
    assert sorted([*left.tolist(), *right.tolist()]) == list(range(len(codes)))
    assert left.tolist() == sorted(left.tolist())
    chosen, others = ({codes[at] for at in side} for side in (left.tolist(), right.tolist()))
    assert not chosen & others
    assert 0 < len(left) <= support
    assert all(size[code] > support - len(left) for code in others)
    assert left.tolist() == split_cases(task, support=support, seed=seed)[0].tolist()


@given(st.integers(2, 40), st.data())
def test_without_groups_the_support_has_exactly_the_size_asked_for(n: int, data: st.DataObject) -> None:
    support = data.draw(st.integers(1, n - 1))
    task = Task("t", "regression", np.arange(n), np.zeros(n))
    left, right = split_cases(task, support=support, seed=data.draw(SEEDS))
    assert (len(left), len(right)) == (support, n - support)
    assert not set(left.tolist()) & set(right.tolist())


def test_every_case_comes_into_the_support_about_as_often() -> None:
    task = Task("t", "regression", np.arange(10), np.zeros(10))
    count = np.zeros(10)
    for seed in range(1000):
        count[split_cases(task, support=3, seed=seed)[0]] += 1
    assert np.abs(count / 1000 - 0.3).max() < 0.06  # four standard errors


def test_an_empty_task_cannot_be_divided() -> None:
    none = np.empty(0, np.int64)
    with pytest.raises(TaskError, match="task 't' has 0 cases in 0 groups"):
        split_cases(Task("t", "regression", none, none.astype(np.float64)), support=3, seed=0)
