"""The benchmark of cases without label: no patient on both sides, figures of known laws, harm told with its sign."""

from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from benchmark_modules import load_benchmark
from metamedica.data.collection import Task, TaskCollection


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return load_benchmark("unlabelled", monkeypatch)


def _task() -> Task:
    frame = pd.DataFrame(
        {"x": np.arange(40.0), "y": ["a", "b"] * 20, "task": "one", "patient": [f"p{row // 4}" for row in range(40)]}
    )
    tasks = TaskCollection.from_table(
        frame, modality="tables", case=["x"], target="y", task="task", kind="binary", positive="b", group="patient"
    )
    return tasks["one"]


def test_half_of_the_patients_are_judged_and_none_of_them_stands_on_both_sides(bench: ModuleType) -> None:
    task = _task()
    assert task.groups is not None
    judged, others = bench.halves(task)
    patients = [{task.groups[row] for row in side} for side in (judged, others)]
    assert not patients[0] & patients[1]
    assert [len(each) for each in patients] == [5, 5]
    assert sorted([*judged, *others]) == list(range(40))


def test_the_figures_of_a_known_law_are_known(bench: ModuleType) -> None:
    labels, chance = np.array([0, 1, 1]), np.array([[0.2, 0.6, 0.1], [0.2, 0.6, 0.9]])
    found = bench.figures(chance, labels)
    assert found["log_loss"] == pytest.approx(-np.log([0.8, 0.6, 0.1, 0.8, 0.6, 0.9]).mean())
    assert found["brier"] == pytest.approx(np.mean([0.04, 0.16, 0.81, 0.04, 0.16, 0.01]))
    assert found["roc_auc"] == pytest.approx((0.5 + 1) / 2)


def test_harm_is_the_log_loss_above_that_of_the_pooled_model(bench: ModuleType) -> None:
    same = {"brier": 0.1, "roc_auc": 0.8, "adapt_ms": 1.0, "fit_s": 1.0}
    rows = [
        {"site": site, "method": method, "shots": shots, "log_loss": 0.4 + more, **same}
        for method, more in {"pooled_linear": 0.0, **dict.fromkeys(bench.NEW, -0.1), bench.NEW[0]: 0.02}.items()
        for site in ("s", "t")
        for shots in (0, 20)
    ]
    judged = bench.goals("heart", rows)
    assert [each["met"] for each in judged] == [False, True, True, True]
    assert judged[0]["value"] == pytest.approx(0.02)
    assert "| 0 | subspace_alignment | 0.4200 | 0.1000 | 0.8000 | 1.0 | 1.0 |" in bench.page({"heart": rows})
