"""Gates by leaving tasks out: no task is spared, what was left out is what is judged, and few tasks stay near the start."""

import numpy as np
import pytest
import torch
from numpy.random import default_rng

from metamedica.data.collection import TaskCollection
from metamedica.data.episodes import EpisodePlan
from metamedica.data.task import Task
from metamedica.gates import Gates, gates_by_leaving_out, gates_on_valid, starting
from metamedica.meta_learner import MetaLearner
from metamedica.modalities.tables import Tables
from metamedica.predictors.model import FittedModel

PLAN = EpisodePlan(support=(10,), query=20, tasks_per_batch=4, binary_share=0.0)


def _hospitals(n_tasks: int, *, alike: bool, seed: int = 0) -> TaskCollection:
    """Return hospitals in which three columns tell of the outcome, in the same way or each in its own."""
    random = default_rng(seed)
    cases = random.normal(size=(60 * n_tasks, 3))
    tasks, common = {}, np.array([2.0, -2.0, 1.0])
    for number in range(n_tasks):
        rows = np.arange(60 * number, 60 * (number + 1))
        slope = common if alike else random.normal(size=3) * 2
        targets = (random.random(60) < 1 / (1 + np.exp(-cases[rows] @ slope))).astype(np.int64)
        tasks[f"h{number}"] = Task(f"h{number}", "binary", rows, targets, classes=("0", "1"))
    schema = {f"lab {i}": {"type": "numeric", "typical": [-1.645, 1.645]} for i in range(3)}
    modality = Tables(schema)
    rows_of = [dict(zip(schema, map(float, row), strict=True)) for row in cases]
    made = modality.prepare(rows_of)
    return TaskCollection("tables", made.canonical, features=made.features, tasks=tasks, settings=modality.settings())


def _fit(tasks: TaskCollection, names: list[str]) -> FittedModel:
    return MetaLearner("pooled_linear", guard=False).fit(tasks.select(names)).model_


def test_each_fold_is_judged_by_a_model_that_has_not_seen_it() -> None:
    tasks = _hospitals(6, alike=True)
    fitted: list[list[str]] = []

    def fit(taught: TaskCollection, names: list[str]) -> FittedModel:
        assert taught is tasks
        fitted.append(names)
        return _fit(tasks, names)

    whole = _fit(tasks, tasks.names())
    learned = gates_by_leaving_out(fit, whole, tasks, tasks.names(), PLAN, seed=0, progress=None)
    assert len(fitted) == 5
    left = [set(tasks.names()) - set(names) for names in fitted]
    assert sorted(name for part in left for name in part) == sorted(tasks.names())
    start = starting(whole).gates["binary"]
    assert learned.gates["binary"].shape == start.shape
    assert not torch.equal(learned.gates["binary"], start)
    assert learned.gains["binary"].shape == (4,)


def test_meta_valid_tasks_are_judged_by_the_model_of_the_others_and_are_never_left_out_in_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tasks = _hospitals(8, alike=True)
    train, valid = tasks.names()[:5], tasks.names()[5:]
    fitted: list[list[str]] = []

    def fit(taught: TaskCollection, names: list[str]) -> FittedModel:
        fitted.append(names)
        return _fit(taught, names)

    whole = _fit(tasks, train)
    learned = gates_by_leaving_out(fit, whole, tasks, train, PLAN, valid=valid, seed=0, progress=None)
    assert len(fitted) == 5
    assert not any(set(names) & set(valid) for names in fitted)
    without = gates_by_leaving_out(fit, whole, tasks, train, PLAN, seed=0, progress=None)
    assert not torch.equal(learned.gates["binary"], without.gates["binary"])
    alone = gates_by_leaving_out(fit, whole, tasks, train[:1], PLAN, valid=valid, seed=0, progress=None)
    assert len(fitted) == 10  # the only task to learn from is not left out
    torch.testing.assert_close(
        alone.gates["binary"],
        gates_on_valid(whole, tasks, valid, PLAN, seed=0, progress=None).gates["binary"],
        atol=1,
        rtol=0,
    )
    counted: list[int] = []
    monkeypatch.setattr(Gates, "fit", lambda gates, kind, observed, *, n_tasks: counted.append(n_tasks))
    gates_by_leaving_out(fit, whole, tasks, train[:1], PLAN, valid=valid, seed=0, progress=None)
    assert counted == [len(valid)]


def _panel(n_tasks: int) -> TaskCollection:
    """Return tasks that all measure the same cases."""
    alone = _hospitals(1, alike=True)
    one = alone.tasks["h0"]
    rows, random = one.rows, default_rng(1)
    tasks = {
        f"t{number}": Task(f"t{number}", "binary", rows, np.where(random.random(60) < 0.1, 1 - one.targets, one.targets), classes=("0", "1"))
        for number in range(n_tasks)
    }  # fmt: skip
    return TaskCollection("tables", alone.canonical, features=alone.features, tasks=tasks, settings=alone.settings)


def test_where_tasks_share_their_cases_a_model_learns_from_half_of_them_and_is_judged_on_both() -> None:
    tasks = _panel(5)
    whole = _fit(tasks, tasks.names())
    taught_on: list[set[int]] = []

    def fit(taught: TaskCollection, names: list[str]) -> FittedModel:
        taught_on.append({int(row) for name in names for row in taught.tasks[name].rows})
        return _fit(taught, names)

    learned = gates_by_leaving_out(fit, whole, tasks, tasks.names(), PLAN, seed=0, progress=None)
    assert len(taught_on) == 5
    assert all(rows == taught_on[0] and len(rows) == 30 for rows in taught_on)
    assert not torch.equal(learned.gates["binary"], starting(whole).gates["binary"])


def test_meta_valid_tasks_whose_cases_are_known_tell_of_new_ones_by_a_model_of_half_of_all_cases() -> None:
    tasks = _panel(9)
    train, valid = tasks.names()[:5], tasks.names()[5:]
    whole = _fit(tasks, train)
    taught_on: list[set[int]] = []
    asked: list[int] = []

    def fit(taught: TaskCollection, names: list[str]) -> FittedModel:
        assert names == train
        taught_on.append({int(row) for name in names for row in taught.tasks[name].rows})
        return _fit(taught, names)

    def progress(done: int, total: int, message: str) -> None:
        asked.append(total)

    plain = gates_on_valid(whole, tasks, valid, PLAN, seed=0, progress=progress)
    alone = len(asked)
    told = gates_on_valid(whole, tasks, valid, PLAN, fit=fit, names=train, seed=0, progress=progress)
    assert [len(rows) for rows in taught_on] == [30]
    assert len(asked) == 3 * alone  # once for the model of all cases, and twice here
    assert not torch.equal(told.gates["binary"], plain.gates["binary"])
    for apart in (
        _hospitals(9, alike=True),
        tasks.without_rows(np.arange(30), tasks=train).without_rows(np.arange(30, 60), tasks=valid),
    ):
        train, valid = apart.names()[:5], apart.names()[5:]
        gates_on_valid(_fit(apart, train), apart, valid, PLAN, fit=fit, names=train, seed=0, progress=None)
    assert len(taught_on) == 1  # hospitals have cases of their own, and so have meta-valid tasks that were set apart


def test_a_panel_too_small_to_halve_is_learned_from_whole() -> None:
    tasks = _panel(5)
    some = TaskCollection(
        "tables", tasks.canonical, features=tasks.features, settings=tasks.settings,
        tasks={name: task.take(np.arange(28)) for name, task in tasks.tasks.items()},
    )  # fmt: skip
    whole = _fit(some, some.names())

    def fit(taught: TaskCollection, names: list[str]) -> FittedModel:
        assert taught is some
        return _fit(taught, names)

    learned = gates_by_leaving_out(fit, whole, some, some.names(), PLAN, seed=0, progress=None)
    assert not torch.equal(learned.gates["binary"], starting(whole).gates["binary"])


def test_few_meta_valid_tasks_do_not_leave_the_gate_at_its_start() -> None:
    tasks = _hospitals(10, alike=False)
    tasks = tasks.with_split({name: "meta_valid" if name == "h0" else "meta_train" for name in tasks.names()})
    model = MetaLearner("pooled_linear").fit(tasks).model_
    assert float(model.gates["binary"][0, 0]) < Tables.leaning - 1
    assert model.gains["binary"].shape == (4,)


def test_the_gate_leans_on_hospitals_that_are_alike_and_not_on_those_that_are_not() -> None:
    leaning = []
    for alike in (True, False):
        tasks = _hospitals(8, alike=alike)
        model = MetaLearner("pooled_linear").fit(tasks).model_
        assert tasks.split == {}
        leaning.append(float(model.gates["binary"][0, 0]))
    assert leaning[0] > leaning[1] + 1


def test_too_few_tasks_leave_the_gate_as_it_starts() -> None:
    tasks = _hospitals(2, alike=True)
    model = _fit(tasks, tasks.names())
    found = gates_by_leaving_out(lambda taught, names: model, model, tasks, tasks.names(), PLAN, seed=0, progress=None)
    assert torch.equal(found.gates["binary"], starting(model).gates["binary"])
    on_valid = gates_on_valid(model, tasks, tasks.names(), PLAN, seed=0, progress=None)
    assert torch.equal(on_valid.gates["binary"], starting(model).gates["binary"])
    assert starting(model).gates["binary"][0, 0] == Tables.leaning


def test_tasks_of_another_kind_leave_the_gate_of_the_others_to_be_learned() -> None:
    tasks = _hospitals(6, alike=True)
    stay = Task("stay", "regression", np.arange(60), default_rng(1).normal(size=60))
    both = TaskCollection(
        "tables",
        tasks.canonical,
        features=tasks.features,
        tasks={**tasks.tasks, "stay": stay},
        settings=tasks.reader().settings(),
    )
    model = _fit(tasks, tasks.names())
    start = starting(model).gates
    found = gates_on_valid(model, both, both.names(), PLAN, seed=0, progress=None)
    alone = gates_on_valid(model, tasks, tasks.names(), PLAN, seed=0, progress=None)
    assert torch.equal(found.gates["binary"], alone.gates["binary"])
    assert not torch.equal(found.gates["binary"], start["binary"])
    assert torch.equal(found.gates["regression"], start["regression"])


def test_a_learner_that_weighs_itself_gets_no_guard() -> None:
    tasks = _hospitals(4, alike=True)
    model = MetaLearner("hierarchical_bayes", settings={"trees": 5}).fit(tasks)
    assert model.model_.gates == {}
    predictor = model.adapt([tasks.canonical[row] for row in range(20)], tasks["h0"].targets[:20])
    assert sum(predictor.trust.candidates.values()) == pytest.approx(1.0)
    assert "from scratch" in predictor.trust.candidates
    assert predictor.trust.seen is None
    assert "measured" not in predictor.trust.verdict
