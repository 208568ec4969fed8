"""Episodes: disjoint, grouped, stratified, and a pure function of (seed, number)."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from metamedica.blocks import laid_out, rows_of_table
from metamedica.data.collection import Task, TaskCollection
from metamedica.data.episodes import EpisodePlan, EpisodeSampler, fixed_episodes, gather, labelled
from metamedica.errors import TaskError
from metamedica.types import CaseBatch, EpisodeBatch, LabelledBatch
from plain_tasks import CASES, classes_task, regression_task


def _collection(tasks: Sequence[Task]) -> TaskCollection:
    """Return a collection whose features say which case a row is: block "row" holds the row's number."""
    rows = torch.arange(CASES)
    features = {
        "row": rows.to(torch.float32)[:, None],
        "counts": torch.stack([rows % 251, rows % 7], dim=1).to(torch.uint8),
    }
    return TaskCollection(
        "synthetic", [str(int(row)) for row in rows], features=features, tasks={task.name: task for task in tasks}
    )


def _cases(batch: LabelledBatch | CaseBatch, task: int) -> list[int]:
    return [int(row) for row in batch.features["row"][task, :, 0][batch.mask[task]]]


def _bytes(episodes: EpisodeBatch) -> list[bytes]:
    tensors: list[Tensor] = [episodes.task_index]
    for side in (episodes.support, episodes.query):
        tensors += [side.mask, side.targets, *side.features.values()]
    return [tensor.numpy().tobytes() for tensor in tensors]


def test_gather_pads_ragged_tasks_and_masks_the_padding() -> None:
    collection = _collection([regression_task("a", 30)])
    batch = gather(collection, [np.array([5, 9, 250]), np.array([7])])
    assert batch.mask.tolist() == [[True, True, True], [True, False, False]]
    assert _cases(batch, 0) == [5, 9, 250]
    assert _cases(batch, 1) == [7]
    assert batch.features["counts"].dtype == torch.float32
    assert batch.features["counts"][0, 2].tolist() == [250, 5]
    assert collection.features["counts"].dtype == torch.uint8


def test_gather_names_a_row_that_is_not_there() -> None:
    with pytest.raises(TaskError, match="outside 0 to 399"):
        gather(_collection([regression_task("a", 30)]), [np.array([400])])


def test_labelled_gives_the_targets_of_the_cases_in_their_unit() -> None:
    tasks = [regression_task("a", 30), regression_task("b", 20, seed=1)]
    batch = labelled(_collection(tasks), tasks, [np.array([3, 1]), np.array([19, 0, 4])])
    assert batch.kind == "regression"
    assert batch.n_classes is None
    assert _cases(batch, 0) == tasks[0].rows[[3, 1]].tolist()
    np.testing.assert_allclose(batch.targets[1].numpy(), tasks[1].targets[[19, 0, 4]].astype(np.float32))
    assert float(batch.targets[0, 2]) == 0.0


def test_a_batch_of_different_numbers_of_classes_takes_the_largest() -> None:
    tasks = [classes_task("a", [0, 1, 2] * 4, n_classes=3), classes_task("b", [0, 1, 2, 3] * 4, n_classes=4)]
    batch = labelled(_collection(tasks), tasks, [np.arange(3), np.arange(4)])
    assert batch.n_classes == 4
    assert batch.targets.dtype == torch.int64


def test_tasks_of_two_kinds_do_not_fit_in_one_batch() -> None:
    tasks = [regression_task("a", 30), classes_task("b", [0, 1] * 10)]
    with pytest.raises(TaskError, match="one kind, got binary, regression"):
        labelled(_collection(tasks), tasks, [np.arange(2), np.arange(2)])


def _mixed() -> TaskCollection:
    tasks = [regression_task(f"r{i}", 18 + 11 * i, seed=i, groups=None if i % 2 else 6) for i in range(8)]
    tasks += [classes_task(f"c{i}", [0, 1, 1] * (8 + i)) for i in range(4)]
    return _collection(tasks)


@given(st.lists(st.integers(0, 40), min_size=2, max_size=8), st.integers(0, 5))
@settings(max_examples=30, deadline=None)
def test_a_batch_depends_on_seed_and_number_and_not_on_the_calls_before(numbers: list[int], seed: int) -> None:
    collection = _mixed()
    plan = EpisodePlan(support=(4, 8), query=6, tasks_per_batch=4)
    sampler = EpisodeSampler(collection, collection.names(), plan, seed=seed)
    first = [_bytes(sampler.batch(number)) for number in numbers]
    fresh = EpisodeSampler(collection, collection.names(), plan, seed=seed)
    again = [_bytes(fresh.batch(number)) for number in reversed(numbers)]
    assert first == again[::-1]


def test_another_number_or_seed_gives_another_batch() -> None:
    collection = _mixed()
    plan = EpisodePlan(support=(4, 8), query=6, tasks_per_batch=4)
    samplers = [EpisodeSampler(collection, collection.names(), plan, seed=seed) for seed in range(2)]
    drawn = {b"".join(_bytes(sampler.batch(number))) for sampler in samplers for number in range(10)}
    assert len(drawn) == 20


def test_drawing_leaves_the_global_generators_alone() -> None:
    collection = _mixed()
    before = torch.get_rng_state(), np.random.get_state()[1].tobytes()  # noqa: NPY002
    EpisodeSampler(collection, collection.names(), EpisodePlan(), seed=0).batch(3)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == np.random.get_state()[1].tobytes()  # noqa: NPY002


def test_batches_of_the_sampler_hold_the_tasks_they_name() -> None:
    collection = _mixed()
    names = collection.names()[::-1]
    sampler = EpisodeSampler(collection, names, EpisodePlan(support=(4, 9), query=6, tasks_per_batch=5), seed=3)
    kinds = set()
    for number in range(60):
        episodes = sampler.batch(number)
        kinds.add(episodes.support.kind)
        assert episodes.support.kind == episodes.query.kind
        positions = episodes.task_index.tolist()
        assert len(set(positions)) == len(positions)
        for t, position in enumerate(positions):
            task = collection[names[position]]
            support, query = _cases(episodes.support, t), _cases(episodes.query, t)
            assert support
            assert query
            assert not set(support) & set(query)
            assert set(support + query) <= set(task.rows.tolist())
            if episodes.support.kind == "regression":
                value = dict(zip(task.rows.tolist(), task.targets.astype(np.float32).tolist(), strict=True))
                assert [value[row] for row in query] == episodes.query.targets[t][episodes.query.mask[t]].tolist()
    assert kinds == {"binary", "regression"}


def test_a_regression_task_seen_as_binary_is_active_above_a_threshold_between_its_quantiles() -> None:
    task = regression_task("a", 100)
    collection = _collection([task])
    plan = EpisodePlan(support=(16,), query=84, tasks_per_batch=1, binary_share=1.0)
    sampler = EpisodeSampler(collection, ["a"], plan, seed=0)
    value = dict(zip(task.rows.tolist(), task.targets.tolist(), strict=True))
    shares = []
    for number in range(100):
        episodes = sampler.batch(number)
        assert episodes.support.kind == "binary"
        assert episodes.support.n_classes == 2
        targets = torch.cat([episodes.support.targets[0], episodes.query.targets[0]]).tolist()
        values = [value[row] for row in _cases(episodes.support, 0) + _cases(episodes.query, 0)]
        assert len(values) == 100
        active = [v for v, label in zip(values, targets, strict=True) if label]
        inactive = [v for v, label in zip(values, targets, strict=True) if not label]
        assert min(active) > max(inactive)
        shares.append(len(active) / 100)
    assert 0.28 <= min(shares) < 0.4
    assert 0.6 < max(shares) <= 0.71


def test_a_regression_task_with_two_values_is_still_seen_in_two_classes() -> None:
    for rare in (0.0, 9.0):
        targets = np.full(30, 5.0)
        targets[0] = rare
        collection = _collection([Task("a", "regression", np.arange(30), targets)])
        plan = EpisodePlan(support=(8,), query=8, tasks_per_batch=1, binary_share=1.0)
        sampler = EpisodeSampler(collection, ["a"], plan, seed=0)
        for number in range(10):
            assert sampler.batch(number).support.targets.sum() == (7 if rare == 0.0 else 1)


@pytest.mark.parametrize(("share", "kinds"), [(0.0, {"regression"}), (1.0, {"binary"})])
def test_the_binary_share_decides_how_regression_tasks_are_seen(share: float, kinds: set[str]) -> None:
    collection = _collection([regression_task(f"r{i}", 40, seed=i) for i in range(3)])
    sampler = EpisodeSampler(collection, collection.names(), EpisodePlan(binary_share=share), seed=0)
    assert {sampler.batch(number).support.kind for number in range(20)} == kinds


def test_larger_tasks_are_drawn_more_often_as_the_root_of_their_size() -> None:
    collection = _collection([regression_task("small", 36), regression_task("large", 324, seed=1)])
    plan = EpisodePlan(support=(4,), query=4, tasks_per_batch=1)
    sampler = EpisodeSampler(collection, ["small", "large"], plan, seed=0)
    large = np.mean([int(sampler.batch(number).task_index[0]) for number in range(1000)])
    assert abs(large - 0.75) < 0.06  # 18 / (18 + 6); four standard errors


def test_tasks_that_give_no_episode_are_left_out_and_named() -> None:
    collection = _collection(
        [
            regression_task("good", 40),
            regression_task("small", 10),
            classes_task("one class", [1] * 40),
            classes_task("two hospitals", [0, 1] * 20, groups=("a", "b") * 20),
        ]
    )
    sampler = EpisodeSampler(collection, collection.names(), EpisodePlan(), seed=0)
    assert sampler.left_out == {
        "small": "has 10 cases, at least 16 are needed",
        "one class": "has one target value only, at least two are needed",
        "two hospitals": "has 2 group(s), at least 3 are needed to keep support and query apart",
    }
    assert {int(i) for number in range(20) for i in sampler.batch(number).task_index} == {0}


def test_no_task_left_is_one_clear_sentence() -> None:
    with pytest.raises(
        TaskError,
        match=r"^none of the 1 tasks gives an episode; for example 'small' has 10 cases, at least 16 are needed: "
        r"give larger tasks or lower min_cases$",
    ):
        EpisodeSampler(_collection([regression_task("small", 10)]), ["small"], EpisodePlan(), seed=0)


@pytest.mark.parametrize(
    "wrong",
    [{"support": ()}, {"support": (1,)}, {"query": 0}, {"tasks_per_batch": 0}, {"min_cases": 3}, {"binary_share": 1.5}],
)
def test_a_plan_that_no_episode_can_follow_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(TaskError, match=r"give|need at least"):
        EpisodePlan(**wrong)  # type: ignore[arg-type]


def test_fixed_episodes_are_the_same_every_time_and_hold_every_task_in_every_draw() -> None:
    collection = _mixed()
    plan = EpisodePlan(support=(4, 8), query=6, tasks_per_batch=3)
    first = fixed_episodes(collection, collection.names(), plan, seed=5, draws=2)
    again = fixed_episodes(collection, collection.names(), plan, seed=5, draws=2)
    assert [_bytes(batch) for batch in first] == [_bytes(batch) for batch in again]
    seen = torch.cat([batch.task_index for batch in first])
    assert torch.bincount(seen).tolist() == [2] * 12
    other = fixed_episodes(collection, collection.names(), plan, seed=6, draws=2)
    assert [_bytes(batch) for batch in first] != [_bytes(batch) for batch in other]


@pytest.mark.parametrize("sizes", [(4, 8), (4, 8, 12), (4, 8, 12, 16)])
def test_fixed_episodes_meet_every_size_in_both_kinds(sizes: tuple[int, ...]) -> None:
    collection = _collection([regression_task("a", 60)])
    plan = EpisodePlan(support=sizes, query=6, tasks_per_batch=3)
    batches = fixed_episodes(collection, ["a"], plan, seed=0, draws=2 * len(sizes))
    met = {(batch.support.kind, int(batch.support.counts()[0])) for batch in batches}
    assert met == {(kind, size) for kind in ("binary", "regression") for size in sizes}


def test_the_fingerprint_changes_with_anything_that_changes_the_batches() -> None:
    def fingerprint(tasks: Sequence[Task], plan: EpisodePlan, seed: int) -> str:
        collection = _collection(tasks)
        return EpisodeSampler(collection, collection.names(), plan, seed=seed).fingerprint()

    base = [regression_task("a", 40)]
    other = Task("a", "regression", base[0].rows, base[0].targets + 1e-9)
    plan = EpisodePlan()
    assert fingerprint(base, plan, 0) == fingerprint([regression_task("a", 40)], plan, 0)
    assert len({fingerprint(base, plan, 0), fingerprint([other], plan, 0), fingerprint(base, plan, 1)}) == 3
    assert fingerprint(base, EpisodePlan(query=31), 0) != fingerprint(base, plan, 0)
    changed = _collection(base)
    changed.features["counts"][0, 0] += 1
    assert EpisodeSampler(changed, ["a"], plan, seed=0).fingerprint() != fingerprint(base, plan, 0)


def test_with_tables_the_episodes_are_the_same_and_wide_blocks_that_are_mostly_zero_are_rows_of_a_table() -> None:
    rng = np.random.default_rng(0)
    bits = torch.from_numpy((rng.random((CASES, 300)) < 0.03).astype(np.uint8))
    collection = _collection([regression_task("a", 60), regression_task("b", 40, seed=1)]).with_blocks(
        {"bits": bits, "full": torch.ones(CASES, 300, dtype=torch.uint8)}
    )
    plain = EpisodeSampler(collection, ["a", "b"], EpisodePlan(support=(16, 32), query=20, tasks_per_batch=2), seed=3)
    sparse = plain.with_tables({"bits", "full", "row"})
    assert plain.fingerprint() == sparse.fingerprint()
    for number in range(3):
        one, other = plain.batch(number), sparse.batch(number)
        for side, like in ((one.support, other.support), (one.query, other.query)):
            assert rows_of_table(side.features["bits"]) is None
            assert [name for name, block in like.features.items() if rows_of_table(block) is not None] == ["bits"]
            found = laid_out(like.features["bits"])
            assert torch.equal(found[side.mask], side.features["bits"][side.mask])
            assert not found[~side.mask].any()
            assert torch.equal(side.targets, like.targets)
