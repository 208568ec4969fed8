"""What adaptation changed: level and slope that were put there are found, against earlier tasks or, named so, against the method from scratch."""

import json

import numpy as np
import pandas as pd
import pytest
from tests.made_up_hospitals import COLUMNS, hospital, hospitals

from metamedica.data.collection import TaskCollection
from metamedica.errors import TaskError
from metamedica.meta_learner import MetaLearner
from metamedica.predictors.predictor import Predictor
from metamedica.predictors.task_explanation import TaskExplanation

HIGH = hospital("new", 0.9, 80, seed=20)


def _predictor(learner: str, frame: pd.DataFrame, *, guard: bool = True) -> Predictor:
    tasks = TaskCollection.from_table(
        hospitals(), modality="tables", case=COLUMNS, target="died", task="site", kind="binary", positive="yes"
    )
    settings = {"trees": 4} if learner == "hierarchical_bayes" else None
    model = MetaLearner(learner, guard=guard, settings=settings).fit(tasks)
    return model.adapt(frame[COLUMNS].iloc[:50], frame["died"].tolist()[:50], positive="yes")


@pytest.mark.parametrize("learner", ["hierarchical_bayes", "recalibrated"])
def test_a_hospital_of_more_deaths_is_told_as_a_higher_level(learner: str) -> None:
    told = _predictor(learner, HIGH, guard=False).explain_task()
    assert told.reference.startswith("earlier tasks alone")
    assert told.level_after > told.level_before + 0.5
    assert "higher on average over 32 cases" in told.sentences[0]
    np.testing.assert_allclose(told.cases["after"] - told.cases["before"], told.cases["change"])
    assert told.cases["change"].abs().is_monotonic_decreasing
    assert told.cases["case"].isna().all()
    assert set(told.cases["label"]) == {"yes", "no"}


def test_a_recalibrated_model_changes_all_columns_by_its_slope() -> None:
    predictor = _predictor("recalibrated", HIGH, guard=False)
    parts = predictor.explain_task().parts
    assert parts is not None
    slope = float(predictor._adapted.state.found[0, 1].exp())  # type: ignore[union-attr]
    usual = float(predictor.model.learner.taught.of("binary")["prior_mean"][1].exp())  # type: ignore[operator,union-attr]
    np.testing.assert_allclose(parts["after"] / parts["before"], slope / usual, rtol=1e-6)
    np.testing.assert_allclose(parts["agreement"], 1.0)
    np.testing.assert_allclose(parts["difference"], (parts["after"] - parts["before"]).abs(), rtol=1e-5)


def test_a_column_that_works_the_other_way_round_here_comes_first_and_is_told_so() -> None:
    turned = hospital("new", 0.5, 80, seed=20)
    turned["marker"] = 4 - turned["marker"]
    told = _predictor("hierarchical_bayes", turned).explain_task()
    assert told.parts is not None
    assert told.parts["part"].iloc[0] == "marker"
    assert told.parts["difference"].iloc[0] > 2 * told.parts["difference"].iloc[1]
    assert "marker counts for" in told.sentences[1]


def test_a_learner_that_reads_no_labels_changed_nothing() -> None:
    told = _predictor("pooled_linear", HIGH, guard=False).explain_task()
    assert told.level_after == pytest.approx(told.level_before, abs=1e-9)
    assert "is the same on average" in told.sentences[0]
    assert told.sentences[1:] == ("No part counts for anything else than before.",)


def test_a_learner_without_an_answer_before_labels_is_compared_with_the_method_from_scratch_by_name() -> None:
    told = _adapted_molecules(guard=True).explain_task()
    assert told.reference == "multi_kernel_gp from scratch on the same labels"
    assert told.parts is None
    assert told.cases["case"].notna().all()
    assert told.sentences[1].startswith("Most changed: ")
    with pytest.raises(TaskError, match="ridge_head has no answer before it has seen labels"):
        _adapted_molecules(guard=False).explain_task()


def _adapted_molecules(*, guard: bool) -> Predictor:
    chains = ["C" * n + tail for n in range(1, 10) for tail in ("O", "N", "C(=O)O")]
    frame = pd.DataFrame(
        [(smiles, f"t{t}", 0.3 * len(smiles) + t * smiles.count("N")) for t in range(4) for smiles in chains],
        columns=["smiles", "t", "y"],
    )
    tasks = TaskCollection.from_table(
        frame, modality="molecules", case="smiles", target="y", task="t", kind="regression", unit="x"
    )
    settings = {"hidden": [8], "dim": 4}
    model = MetaLearner(
        "ridge_head", encoder_settings=settings, steps=2, validate_every=1, tasks_per_batch=2, support=(8,), query=8, binary_share=0.0,
        guard=guard,
    ).fit(tasks)  # fmt: skip
    return model.adapt(chains[:12], [float(len(each)) for each in chains[:12]], unit="x")


def test_of_molecules_the_common_mean_is_what_stood_before_and_labels_against_it_change_more() -> None:
    model = MetaLearner.load("chembl-potency")
    rings = [f"{core}{tail}" for core in ("c1ccccc1", "c1ccncc1", "C1CCNCC1") for tail in ("C", "CO", "CC(=O)O", "CN")]
    usual = np.linspace(4, 7, 12)
    found = model.adapt(rings, usual, kind="regression", unit="-log10 M").explain_task()
    assert found.reference == "earlier tasks alone, at this task's level and scale (common_mean_gp)"
    assert found.parts is None
    assert found.cases["case"].notna().all()
    before = found.cases.sort_values("number")["before"].to_numpy()
    agreeing, opposed = (
        model.adapt(rings, 5.5 + sign * 3 * (before - before.mean()), kind="regression", unit="-log10 M").explain_task()
        for sign in (1, -1)
    )
    assert _size(opposed) > 1.5 * _size(agreeing)


def _size(told: TaskExplanation) -> float:
    """Return the mean change of an answer, that of the level apart."""
    change = told.cases["change"]
    return float((change - change.mean()).abs().mean() / told.spread_before)


def test_what_changed_is_a_value_of_json() -> None:
    told = _predictor("hierarchical_bayes", HIGH).explain_task()
    value = json.loads(json.dumps(told.as_dict()))
    assert value["level"] == [told.level_before, told.level_after]
    assert {row["part"] for row in value["parts"]} == set(COLUMNS)
    assert len(value["cases"]) == told.cases_compared == 32
