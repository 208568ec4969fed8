"""`make bench-trust` counts as it says: harm, coverage, abstention, ranks; spoilt tables are spoilt; goals are judged on the right side."""

import numpy as np
import pandas as pd
import pytest
from benchmarks._trust_measures import SIZE, drawn, measured
from benchmarks._trust_pages import goals, markdown, summary
from benchmarks._trust_shift import HARMS, _other, _permuted
from benchmarks._trust_shift import summary as shift_summary
from benchmarks._trust_worlds import FAMILIES

from benchmarks import trust
from made_up_hospitals import COLUMNS, hospitals
from metamedica.data.collection import TaskCollection
from plain_tasks import classes_task

HEART = FAMILIES["heart"]


def _rows(gain: float) -> pd.DataFrame:
    """Four sites, three supports: the default is better than pooled by `gain` at three of them, and worse at the last."""
    rows = []
    for site in range(4):
        for draw in range(3):
            better = gain if site < 3 else -gain
            row = {
                "task": f"s{site}",
                "size": SIZE,
                "draw": draw,
                "expected_gain": draw + site / 10,
                "slope": 1.0 + site / 10,
                "ece_floor": 0.05,
            }
            for name in HEART.candidates:
                row |= {
                    f"{name}.log_loss": 0.5 + 0.1 * (name == "linear"),
                    f"{name}.roc_auc": 0.8,
                    f"{name}.ece": 0.1,
                    f"{name}.brier": 0.2,
                }
            row[f"{HEART.default}.log_loss"] -= better
            row |= {"linear.noisy_auc": 0.7, f"{HEART.default}.noisy_auc": 0.78, "error": 0.2, "error_kept": 0.1}
            row |= {"said": 0.25, "said_kept": 0.15}
            row |= {
                "conformal.coverage": 0.9 - 0.05 * site,
                "conformal.size": 1.2,
                "split.coverage": 0.92,
                "split.size": 1.5,
            }
            rows.append(row)
    return pd.DataFrame(rows)


def test_a_family_is_summed_up_over_tasks() -> None:
    found = summary(_rows(0.05), HEART)
    harm = found["harm"][str(SIZE)]
    assert harm["gap"] == pytest.approx(-0.025)
    assert harm["harmed"] == ["s3"]
    assert found["sets"]["coverage"] == pytest.approx(0.825)
    assert (found["sets"]["least"], found["sets"]["least_task"]) == (pytest.approx(0.75), "s3")
    assert found["sets"]["size_ratio"] == pytest.approx(0.8)
    assert found["abstention"]["cut"] == pytest.approx(0.5)
    assert found["abstention"]["said_cut"] == pytest.approx(0.4)
    assert found["noise"]["share"] == pytest.approx(0.2)
    assert found["calibration"]["slope"] == pytest.approx(1.15)
    assert found["trust"]["ranked"] == "supports"


def test_goals_stand_on_the_right_side_and_the_page_names_them() -> None:
    explanations = [
        {
            "method": "default",
            "additivity_error": 1e-7,
            "exact_error": None,
            "p50_ms": 40.0,
            "deletion": {"interval": [-0.1, 0.4], "gain": 0.2},
        }
    ]
    shift = shift_summary(
        pd.DataFrame(
            [
                {"task": "s0", "draw": draw, "harm": harm, "p": p, "alarm": p < 0.01, "refused": False}
                for draw in range(20)
                for harm, p in (("none", 0.5), *((each, 1e-9) for each in HARMS))
            ]
        )
    )
    about = {
        "title": "Heart",
        "kind": "tables",
        "default": HEART.default,
        "candidates": list(HEART.candidates),
        "pooled": HEART.pooled,
    }
    family = about | {"local": "linear", "shift": shift, "explanations": explanations} | summary(_rows(0.05), HEART)
    judged = goals({"heart": family})
    met = {each["name"].removeprefix("heart").lstrip(":, "): each["met"] for each in judged}
    assert met["20: log-loss minus the best candidate's (pooled_linear)"]
    assert not met["20: share of 4 tasks worse than pooled_linear by more than 2 %"]
    assert not met["coverage of 90 % sets, at least"]
    assert met["size of sets beside split conformal's"]
    assert met["error cut by abstaining on the least sure fifth"]
    assert all(met[f"AUC of shift warnings, {harm}"] for harm in HARMS)
    assert met["false alarms at true new sites"]
    assert not met["default: deletion by contribution minus by chance, lower end of the interval"]
    page = markdown({"heart": family}, judged, machine="a machine", stale=["impact"])
    assert "Stale, their code or data has changed since: impact." in page
    assert page.count("| yes |") + page.count("| no |") == len(judged)


def test_a_support_may_begin_with_so_many_of_each_class() -> None:
    task = classes_task("rare", [1] * 5 + [0] * 95)
    found = drawn(task, 5, (5, 20), draws=8, most_query=50, of_a_class=2)
    assert found is not None
    for support, query in zip(found.support, found.query, strict=True):
        assert task.targets[support].sum() >= 2
        assert not set(support) & set(query)
        assert len(query) == 50
    assert drawn(task, 95, (95,), draws=2, most_query=50) is None


def test_no_patient_stands_in_support_and_query() -> None:
    groups = tuple(f"p{number // 2}" for number in range(80))
    task = classes_task("visits", [0, 1] * 40, groups=groups)
    found = drawn(task, 10, (10,), draws=5, most_query=100)
    assert found is not None
    for support, query in zip(found.support, found.query, strict=True):
        assert not {groups[at] for at in support} & {groups[at] for at in query}


def test_measures_of_a_made_up_hospital_are_shares_and_finite() -> None:
    frame = hospitals()
    frame["split"] = np.where(frame["site"] == "H2", "meta_test", "meta_train")
    tasks = TaskCollection.from_table(
        frame, modality="tables", case=COLUMNS, target="died", task="site", kind="binary", positive="yes", split="split"
    )
    from benchmarks._trust_measures import Contest

    from metamedica.meta_learner import MetaLearner

    methods = {name: MetaLearner(name, guard=False).fit(tasks).method("binary") for name in ("pooled_linear", "linear")}
    contest = Contest(methods, "pooled_linear", tuple(methods), "pooled_linear", "linear")
    asked = drawn(tasks["H2"], SIZE, (SIZE,), draws=3, most_query=60)
    assert asked is not None
    rows = pd.DataFrame(measured(contest, tasks, asked, tasks))
    assert len(rows) == 3
    for name in ("conformal.coverage", "split.coverage", "error", "error_kept", "linear.noisy_auc", "ece_floor"):
        assert rows[name].between(0, 1).all()
    assert (rows["said_kept"] < rows["said"]).all()
    assert rows["said"].between(0, 0.5).all()
    assert rows["conformal.size"].between(1, 2).all()
    assert rows[["slope", "expected_gain", "pooled_linear.log_loss"]].notna().all().all()


def test_permuted_columns_leave_no_column_under_its_own_name_and_another_table_has_as_many_rows() -> None:
    frame = pd.DataFrame({name: [f"{name}{row}" for row in range(6)] for name in "abcd"})
    random = np.random.default_rng(0)
    permuted = _permuted(frame, random)
    assert list(permuted.columns) == list("abcd")
    assert not any((permuted[name] == frame[name]).any() for name in "abcd")
    assert sorted(permuted.iloc[0]) == sorted(frame.iloc[0])
    other = _other(frame, pd.DataFrame({"x": range(30), "y": range(30, 60)}), random)
    assert other.shape == frame.shape
    assert set(other["a"]) <= set(range(30))
    assert set(other["b"]) <= set(range(30, 60))


def test_a_family_that_is_not_there_is_named() -> None:
    with pytest.raises(SystemExit, match="there is no family 'lungs'; choose from: heart"):
        trust.chosen("lungs")
