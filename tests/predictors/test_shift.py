"""A table that means something else is told from a new hospital, and a new hospital is not taken for one."""

import numpy as np
import pandas as pd
import pytest

from metamedica.data.collection import TaskCollection
from metamedica.meta_learner import MetaLearner
from metamedica.predictors.predictor import Predictor

COLUMNS = ["age", "sodium", "glucose", "ward"]
KNOWN = 12


def _site(name: str, n: int, *, seed: int) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    glucose = np.where(
        random.random(n) < random.uniform(0, 0.3), np.nan, random.lognormal(1.8 + random.normal(0, 0.05), 0.2, n)
    )
    age = random.normal(62 + random.normal(0, 3), 12, n).round()
    return pd.DataFrame(
        {
            "age": age,
            "sodium": random.normal(139 + random.normal(0, 0.5), 3, n).round(1),
            "glucose": glucose.round(2),
            "ward": random.choice(["medical", "surgical", "cardiac"], n, p=random.dirichlet([20, 20, 10])),
            "died": (random.random(n) < 1 / (1 + np.exp(-(age - 75) / 10))).astype(int),
            "site": name,
        }
    )


@pytest.fixture(scope="module")
def model() -> MetaLearner:
    frame = pd.concat([_site(f"S{i}", 120, seed=i) for i in range(KNOWN)])
    tasks = TaskCollection.from_table(frame, modality="tables", case=COLUMNS, target="died", task="site", kind="binary")
    return MetaLearner("pooled_linear", guard=False, seed=0).fit(tasks)


def _adapted(model: MetaLearner, frame: pd.DataFrame, n: int = 20) -> Predictor:
    return model.adapt(frame[COLUMNS].iloc[:n], frame["died"].iloc[:n].tolist(), kind="binary")


def test_new_hospitals_seldom_raise_an_alarm(model: MetaLearner) -> None:
    alarms = [_adapted(model, _site("new", 40, seed=1000 + seed)).shift.unlike for seed in range(40)]
    assert sum(alarms) <= 2


def test_another_unit_permuted_columns_and_another_disease_raise_one(model: MetaLearner) -> None:
    new = _site("new", 40, seed=77)
    unit = new.assign(glucose=new["glucose"] * 18)
    swapped = new.assign(age=new["sodium"], sodium=new["age"])
    other = new.assign(age=new["age"] / 20, sodium=new["sodium"] - 100, ward="neonatal")
    for wrong, part in ((unit, "glucose"), (swapped, "sodium"), (other, "sodium")):
        shift = _adapted(model, wrong).shift
        assert shift.unlike
        assert shift.p_value < 1e-3
        assert part in [each.name for each in shift.parts[:3]]
        assert "check the columns' meaning and units" in shift.verdict
        assert str(new["age"].iloc[0]) not in shift.verdict


def test_what_is_missing_everywhere_but_never_was_before_is_told(model: MetaLearner) -> None:
    new = _site("new", 40, seed=78).assign(sodium=np.nan)
    shift = _adapted(model, new, 40).shift
    assert shift.unlike
    assert shift.missing < 1e-3 < shift.values
    assert (shift.parts[0].name, shift.parts[0].what) == ("sodium", "missing")


def test_labels_that_are_unlike_those_of_earlier_tasks_are_told_beside(model: MetaLearner) -> None:
    new = _site("new", 60, seed=79)
    few = new.assign(died=[0] * 59 + [1])
    shift = _adapted(model, few, 60).shift
    usual = _adapted(model, new, 60).shift
    assert not shift.unlike
    assert shift.labels is not None
    assert usual.labels is not None
    assert shift.labels < 0.05 < usual.labels


def test_what_is_known_of_the_cases_is_saved_with_the_model_and_tells_the_same(
    model: MetaLearner, tmp_path: object
) -> None:
    model.save(f"{tmp_path}/model")
    new = _site("new", 40, seed=77)
    assert _adapted(MetaLearner.load(f"{tmp_path}/model"), new).shift == _adapted(model, new).shift


def test_two_patients_of_a_task_are_not_remembered() -> None:
    frame = pd.concat([_site("A", 120, seed=1), _site("B", 120, seed=2), _site("tiny", 9, seed=3)])
    tasks = TaskCollection.from_table(frame, modality="tables", case=COLUMNS, target="died", task="site", kind="binary")
    fitted = MetaLearner("pooled_linear", seed=0, guard=False).fit(tasks).model_
    assert len(fitted.cases.values.mean) == 2


def test_where_tasks_cannot_be_compared_it_says_so() -> None:
    shift = MetaLearner.load("any-table").adapt(_site("new", 40, seed=5)[COLUMNS], [0, 1] * 20).shift
    assert not shift.told
    assert not shift.unlike
    assert "cannot be told" in shift.verdict
