"""The protocol: nested stratified supports, everything else as query, parts that resume, and methods with known figures."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributions import Categorical, Normal

from metamedica.data.collection import Task, TaskCollection
from metamedica.errors import FileFormatError, InputError, TaskError
from metamedica.reports.comparison import compare
from metamedica.reports.evaluation import Evaluation, bootstrap
from metamedica.reports.html import Card, write_report
from metamedica.reports.judging import judge
from metamedica.reports.protocols.fsmol import LEAST_QUERY, FixedQuery, evaluate, support_positions
from metamedica.types import CaseBatch, LabelledBatch, Law


def _collection(kind: str = "regression", sizes: tuple[int, ...] = (60, 80, 100, 30)) -> TaskCollection:
    rng = np.random.default_rng(0)
    total = sum(sizes)
    x = torch.tensor(rng.normal(size=(total, 1)), dtype=torch.float32)
    tasks, start = {}, 0
    for i, size in enumerate(sizes):
        rows = np.arange(start, start + size)
        values = x[rows, 0].double().numpy()
        name = f"task {i} <b>&"
        if kind == "binary":
            tasks[name] = Task(name, "binary", rows, (values > 0.3).astype(np.int64), classes=("0", "1"))
        else:
            tasks[name] = Task(name, "regression", rows, values, unit="x")
        start += size
    return TaskCollection("synthetic", [str(i) for i in range(total)], features={"vector": x}, tasks=tasks)


def oracle(support: LabelledBatch, query: CaseBatch) -> Law:
    """Knows every target."""
    truth = query.features["vector"][..., 0]
    if support.kind == "binary":
        return Categorical(logits=torch.stack([torch.zeros_like(truth), 50 * (truth - 0.3)], dim=-1))
    return Normal(truth, torch.full_like(truth, 0.1))


def blind(support: LabelledBatch, query: CaseBatch) -> Law:
    """Knows nothing: a hash of the row number."""
    noise = torch.frac(query.features["vector"][..., 0] * 7919.77).abs()
    if support.kind == "binary":
        return Categorical(logits=torch.stack([torch.zeros_like(noise), noise - 0.5], dim=-1))
    return Normal(noise, torch.ones_like(noise))


def picky(support: LabelledBatch, query: CaseBatch) -> Law:
    """Allows no regression."""
    if support.kind == "regression":
        raise TaskError("picky cannot learn a regression")
    return oracle(support, query)


@pytest.mark.parametrize("kind", ["binary", "regression"])
def test_supports_are_nested_disjoint_from_the_query_and_stratified(kind: str) -> None:
    task = next(iter(_collection(kind).tasks.values()))
    small, large = (support_positions(task, shots, draw=3, seed=0) for shots in (16, 32))
    assert set(small) <= set(large)
    assert len(set(large)) == 32
    if kind == "binary":
        share = task.targets.mean()
        assert abs(task.targets[small].mean() - share) <= 1 / 16


def test_draws_depend_on_the_seed_and_the_name_only() -> None:
    collection = _collection()
    first = evaluate({"blind": blind}, collection, shots=(16,), draws=3)
    names = collection.names()[::-1]
    again = evaluate({"blind": blind}, collection, names=names, shots=(16,), draws=3)
    assert first.per_task().sort_index().equals(again.per_task().sort_index())
    other = evaluate({"blind": blind}, collection, shots=(16,), draws=3, seed=1)
    assert not first.per_task().equals(other.per_task())


def test_an_oracle_is_perfect_and_a_blind_method_is_not_above_chance() -> None:
    regression = evaluate({"oracle": oracle, "blind": blind}, _collection(), shots=(16,), draws=4)
    means = regression.summary().set_index("method")["mean"]
    assert means["oracle"] == pytest.approx(1.0)
    assert means["blind"] < 0.1
    binary = evaluate({"oracle": oracle, "blind": blind}, _collection("binary"), shots=(16,), draws=4)
    row = binary.summary().set_index("method").loc["blind"]
    assert row["low"] < 0.1
    assert binary.per_task("roc_auc")["oracle"].min() == 1.0


def test_every_other_case_is_query_and_tasks_too_small_are_counted() -> None:
    result = evaluate({"oracle": oracle}, _collection(), shots=(16, 64), draws=2)
    assert set(result.rows[result.rows["shots"] == 16]["query"]) == {44, 64, 84}
    assert result.protocol["tasks_too_small"] == {"16": 1, "64": 2}
    with pytest.raises(TaskError, match=f"at least {64 + LEAST_QUERY}"):
        support_positions(_collection()["task 0 <b>&"], 64, draw=0, seed=0)


def test_a_method_that_does_not_apply_is_named_and_the_others_go_on() -> None:
    result = evaluate({"picky": picky, "oracle": oracle}, _collection(), shots=(16,), draws=1)
    assert result.skipped == {"picky": "picky cannot learn a regression"}
    assert result.methods == ["oracle"]
    with pytest.raises(TaskError, match="nothing could be evaluated"):
        evaluate({"picky": picky}, _collection(), shots=(16,), draws=1)


def test_finished_parts_are_used_again_and_damaged_ones_made_again(tmp_path: Path) -> None:
    calls = []

    def counted(support: LabelledBatch, query: CaseBatch) -> Law:
        calls.append(1)
        return oracle(support, query)

    first = evaluate({"m": counted}, _collection(), shots=(16,), draws=2, parts=tmp_path)
    made = len(calls)
    again = evaluate({"m": counted}, _collection(), shots=(16,), draws=2, parts=tmp_path)
    assert len(calls) == made
    assert again.per_task().equals(first.per_task())
    next(tmp_path.rglob("*.json")).write_text("{", encoding="utf-8")
    evaluate({"m": counted}, _collection(), shots=(16,), draws=2, parts=tmp_path)
    assert len(calls) == made + 1
    evaluate({"m": counted}, _collection(), shots=(16,), draws=2, parts=tmp_path, version="2")
    assert len(calls) == 2 * made + 1


def test_an_evaluation_goes_through_json_unchanged(tmp_path: Path) -> None:
    result = evaluate({"oracle": oracle, "blind": blind}, _collection("binary"), shots=(16,), draws=2)
    result.to_json(tmp_path / "e.json")
    again = Evaluation.from_json(tmp_path / "e.json")
    assert again.summary().equals(result.summary())
    assert again.reliability.equals(result.reliability)
    (tmp_path / "e.json").write_text('{"format": 1, "kind": "binary"}', encoding="utf-8")
    with pytest.raises(FileFormatError, match="not an evaluation"):
        Evaluation.from_json(tmp_path / "e.json")


def test_comparison_is_paired_and_signed() -> None:
    result = evaluate({"oracle": oracle, "blind": blind}, _collection(sizes=(60,) * 8), shots=(16,), draws=2)
    pair = compare(result, "oracle", "blind", shots=16)
    assert (pair.wins, pair.losses) == (8, 0)
    assert pair.p == pytest.approx(2 / 2**8)
    assert pair.low > 0
    lower = compare(result, "oracle", "blind", shots=16, figure="rmse")
    assert lower.mean > 0
    with pytest.raises(InputError, match="no method 'other'"):
        compare(result, "other", "blind", shots=16)


def test_the_bootstrap_interval_holds_the_mean_and_shrinks() -> None:
    rng = np.random.default_rng(0)
    wide, narrow = bootstrap(rng.normal(size=20)), bootstrap(rng.normal(size=2000))
    assert wide[0] < 0.5
    assert narrow[1] - narrow[0] < wide[1] - wide[0]
    assert all(np.isnan(bootstrap([])))


@pytest.mark.parametrize("kind", ["binary", "regression"])
def test_the_report_is_one_page_that_fetches_nothing_and_escapes_names(tmp_path: Path, kind: str) -> None:
    result = evaluate({"oracle <i>": oracle, "blind": blind}, _collection(kind), shots=(16, 32), draws=2)
    path = tmp_path / "report.html"
    write_report(
        result,
        path,
        title="A <title>",
        baselines=["blind"],
        leakage="<none>",
        examples=[Card("<svg></svg>", ["a <line>"])],
        notes=["n"],
    )
    text = path.read_text(encoding="utf-8")
    for raw in ("<i>", "task 0 <b>", "<none>", "A <title>", "a <line>"):
        assert raw not in text
    for outside in ("<script", "http://", "https://", "src=", "@import", "url("):
        assert outside not in text
    assert "Research use only; not a medical device." in text
    assert text.count("<svg") >= 3


@pytest.mark.parametrize("kind", ["binary", "regression"])
def test_a_fixed_query_is_what_the_largest_support_that_fits_leaves_at_every_size(kind: str) -> None:
    collection = _collection(kind, sizes=(60, 90, 40))
    protocol = FixedQuery((16, 32, 64))
    for task, largest in zip(collection.tasks.values(), (32, 64, 16), strict=True):
        for draw in range(3):
            rest = np.ones(len(task), dtype=bool)
            rest[support_positions(task, largest, draw=draw, seed=0)] = False
            for size in (16, 32, 64):
                if size <= largest:
                    support = protocol.support(task, size, draw=draw, seed=0)
                    assert protocol.query(task, support, draw=draw, seed=0).tolist() == rest.tolist()
    result = judge(protocol, {"oracle": oracle}, collection, shots=(16, 32, 64), draws=2)
    assert set(result.rows["query"]) == {60 - 32, 90 - 64, 40 - 16}
    assert result.protocol["fixed_query"] == [16, 32, 64]


def test_finished_parts_of_one_protocol_are_not_those_of_another(tmp_path: Path) -> None:
    calls = []

    def counted(support: LabelledBatch, query: CaseBatch) -> Law:
        calls.append(1)
        return oracle(support, query)

    collection = _collection(sizes=(60,))
    evaluate({"m": counted}, collection, shots=(16,), draws=2, parts=tmp_path)
    for sizes, made in (((16,), 2), ((16, 32), 3), ((32, 16), 3)):
        judge(FixedQuery(sizes), {"m": counted}, collection, shots=(16,), draws=2, parts=tmp_path)
        assert len(calls) == made


def test_a_support_of_one_case_in_total_and_a_protocol_without_sizes_are_refused() -> None:
    with pytest.raises(InputError, match="a support of this protocol has at least 2 cases"):
        evaluate({"oracle": oracle}, _collection(), shots=(1,), draws=1)
    with pytest.raises(InputError, match="got no support size"):
        FixedQuery(())
    with pytest.raises(InputError, match="give at least one method, 1 shot and 1 draw"):
        judge(FixedQuery(), {}, _collection(), shots=(16,), draws=1)
