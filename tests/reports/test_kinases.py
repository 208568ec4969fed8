"""Davis and KIBA at few labels: the threshold, AUPRC, and earlier tasks without the panel's compounds."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from torch.distributions import Categorical

from metamedica.data.collection import Task, TaskCollection
from metamedica.errors import InputError
from metamedica.reports.judging import judge
from metamedica.reports.protocols import kinases
from metamedica.types import CaseBatch, LabelledBatch, Law


def _panel(values: np.ndarray, texts: list[str]) -> TaskCollection:
    task = Task("ABL1", "regression", np.arange(len(values)), values, unit="-log10 M")
    features = {"vector": torch.tensor(values[:, None])}
    return TaskCollection("synthetic", texts, features=features, tasks={"ABL1": task})


def test_the_threshold_of_davis_is_kept_within_its_limits_and_that_of_kiba_is_the_median() -> None:
    values = np.array([3.0, 4.0, 4.0, 4.5, 6.0])
    panel = _panel(values, list("abcde"))
    assert kinases.active(panel, name="davis")["ABL1"].targets.tolist() == [0, 0, 0, 0, 1]  # above 5, not above 4
    assert kinases.active(panel, name="kiba")["ABL1"].targets.tolist() == [0, 0, 0, 1, 1]
    strong = _panel(np.array([9.2, 9.4, 9.6, 8.0, 9.1]), list("abcde"))
    assert kinases.active(strong, name="davis")["ABL1"].targets.tolist() == [1, 1, 1, 0, 1]
    assert kinases.active(strong, name="kiba")["ABL1"].targets.tolist() == [0, 1, 1, 0, 0]
    for name, use in (("tox21", kinases.load), ("Davis", lambda name: kinases.active(panel, name=name))):
        with pytest.raises(InputError, match=f"there is no kinase panel '{name}'; choose davis or kiba"):
            use(name)


def noisy(support: LabelledBatch, query: CaseBatch) -> Law:
    """Ranks by the value and a hash of it."""
    value = query.features["vector"][..., 0]
    score = value + 3 * torch.frac(value * 7919.77)
    return Categorical(logits=torch.stack([torch.zeros_like(score), score - 7], dim=-1))


def test_auprc_is_scikit_learns_over_the_query() -> None:
    values = np.random.default_rng(0).uniform(4, 9, size=60)
    panel = kinases.active(_panel(values, [str(n) for n in range(60)]), name="davis")
    result = judge(kinases.Kinases(), {"noisy": noisy}, panel, shots=(16,), draws=2)
    task = panel["ABL1"]
    for draw, row in result.rows.set_index("draw").iterrows():
        query = np.setdiff1d(np.arange(60), kinases.Kinases().support(task, 16, draw=int(str(draw)), seed=0))
        score = values[query] + 3 * np.modf(values[query] * 7919.77)[0]
        assert row["auprc"] == pytest.approx(average_precision_score(task.targets[query], score))
        assert row["auprc"] - row["delta_auprc"] == pytest.approx(task.targets[query].mean())
    regression = judge(
        kinases.Kinases(), {"flat": flat}, _panel(values, [str(n) for n in range(60)]), shots=(16,), draws=1
    )
    assert "auprc" not in regression.rows


def flat(support: LabelledBatch, query: CaseBatch) -> Law:
    value = query.features["vector"][..., 0]
    return torch.distributions.Normal(torch.zeros_like(value), torch.ones_like(value))


def test_a_task_that_measures_one_compound_of_the_panel_is_not_learned_from() -> None:
    panel = _panel(np.array([5.0, 6.0]), ["inhibitor", "other"])
    rows = {"kinase": [0, 1, 2], "receptor": [2, 3], "enzyme": [1, 3]}
    tasks = {name: Task(name, "regression", np.array(each), np.zeros(len(each))) for name, each in rows.items()}
    texts = ["inhibitor", "x", "y", "z"]
    earlier = TaskCollection("synthetic", texts, features={"vector": torch.zeros(4, 1)}, tasks=tasks)
    apart = kinases.without_kinases(earlier.with_split(dict.fromkeys(rows, "meta_train")), panel)
    assert apart.names("meta_train") == ["receptor", "enzyme"]
    assert apart.left_out == {"tasks that measure a compound of the panel": 1}
