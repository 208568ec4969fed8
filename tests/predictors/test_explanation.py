"""Why an answer is what it is: exact for sums, additive for all, the right parts on tasks of a known answer, the nearest cases, clear refusals."""

import json
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
from tests.made_up_hospitals import COLUMNS, hospital, hospitals

from metamedica.data.collection import TaskCollection
from metamedica.errors import CaseError, InputError, TaskError
from metamedica.meta_learner import MetaLearner
from metamedica.predictors.explanation import Explanation, named_parts
from metamedica.predictors.predictor import Predictor
from metamedica.types import Modality

NEW = hospital("new", 0.5, 60, seed=20)
LABELS = NEW["died"].tolist()


def _model(learner: str, *, guard: bool = True, kind: str = "binary") -> MetaLearner:
    frame = hospitals()
    target = "died"
    if kind == "regression":
        frame["stay"], target = 3 + 0.1 * frame["age"] - 0.5 * frame["marker"], "stay"
    tasks = TaskCollection.from_table(
        frame, modality="tables", case=COLUMNS, target=target, task="site", kind=kind, **({"positive": "yes"} if kind == "binary" else {})
    )  # fmt: skip
    return MetaLearner(learner, guard=guard, settings={"trees": 4} if learner == "hierarchical_bayes" else None).fit(
        tasks
    )


@pytest.fixture(scope="module")
def additive() -> Predictor:
    return _model("recalibrated", guard=False).adapt(NEW[COLUMNS].iloc[:20], LABELS[:20], positive="yes")


@pytest.fixture(scope="module")
def mixture() -> Predictor:
    return _model("hierarchical_bayes").adapt(NEW[COLUMNS].iloc[:20], LABELS[:20], positive="yes")


def _sum(told: Explanation) -> float:
    return told.base + sum(part.contribution for part in told.parts)


def test_a_sum_is_explained_by_weight_times_distance_from_the_background(additive: Predictor) -> None:
    told = additive.explain(NEW[COLUMNS].iloc[20:30])
    weight = additive.model.learner.additive(additive._adapted.state).weight[0]  # type: ignore[operator,union-attr]
    rows = additive.model.prepare(NEW[COLUMNS].iloc[20:30]).features["numbers"].double()
    known = additive.support.batch.features["numbers"][0].double()
    answers = known @ weight[:2]
    chosen = torch.argsort(answers, stable=True)[((torch.arange(16) + 0.5) * 20 / 16).long()]
    want = weight[:2] * (rows - known[chosen].mean(0))
    np.testing.assert_allclose(np.stack([each.contributions for each in told]), want, atol=1e-8)
    assert all(each.exact for each in told)
    for each in told:
        assert _sum(each) == pytest.approx(each.output, abs=1e-8)


def test_contributions_and_base_sum_to_the_predicted_log_odds(additive: Predictor, mixture: Predictor) -> None:
    for predictor in (additive, mixture):
        share = predictor.predict_proba(NEW[COLUMNS].iloc[20:30])
        told = predictor.explain(NEW[COLUMNS].iloc[20:30])
        np.testing.assert_allclose([_sum(each) for each in told], np.log(share[:, 1] / share[:, 0]), atol=1e-5)


def test_a_regression_is_explained_in_its_unit_and_finds_the_effects_it_was_made_of() -> None:
    model = _model("pooled_linear", guard=False, kind="regression")
    stay = 3 + 0.1 * NEW["age"] - 0.5 * NEW["marker"]
    predictor = model.adapt(NEW[COLUMNS].iloc[:40], stay.to_numpy()[:40], unit="days", kind="regression")
    told = predictor.explain(NEW[COLUMNS].iloc[40:50])
    np.testing.assert_allclose([_sum(each) for each in told], predictor.predict(NEW[COLUMNS].iloc[40:50]), atol=1e-4)
    effects = np.stack([each.contributions for each in told])
    for column, place in (("age", 0), ("marker", 1)):
        slope = np.polyfit(NEW[column].iloc[40:50], effects[:, place], 1)[0]
        assert np.sign(slope) == (1 if column == "age" else -1)
    assert told[0].what == "expected value in days"
    assert told[0].label is None
    assert "days" in told[0].sentence


def test_the_negative_class_has_the_opposite_explanation(mixture: Predictor) -> None:
    one = mixture.explain(NEW[COLUMNS].iloc[20:22])[0]
    other = mixture.explain(NEW[COLUMNS].iloc[20:22], label="no")[0]
    assert (one.label, other.label) == ("yes", "no")
    np.testing.assert_allclose(other.contributions, -one.contributions, atol=1e-5)


def test_each_case_of_several_classes_is_explained_by_its_own_unless_one_is_asked_for() -> None:
    frame = pd.DataFrame({"x": np.linspace(-2, 2, 30), "z": np.tile([0.0, 1.0, 2.0], 10)})
    labels = np.repeat(["a", "b", "c"], 10)
    tasks = TaskCollection.from_table(
        pd.concat([frame.assign(y=labels, t=name) for name in ("one", "two")]), modality="tables", case=["x", "z"], target="y", task="t",
        kind="multiclass",
    )  # fmt: skip
    predictor = MetaLearner("linear").fit(tasks).adapt(frame, labels, kind="multiclass")
    some = frame.iloc[[0, 29]]
    told = predictor.explain(some)
    assert [each.label for each in told] == ["a", "c"]
    share = predictor.predict_proba(some)
    assert told[0].output == pytest.approx(np.log(share[0, 0] / (1 - share[0, 0])), abs=1e-5)
    asked = predictor.explain(some, label="b")
    assert [each.label for each in asked] == ["b", "b"]
    assert told[0].parts[0].name == "x"
    with pytest.raises(TaskError, match="'d' is none of the task's, which are a, b, c"):
        predictor.explain(some, label="d")
    with pytest.raises(TaskError, match="name the one whose log-odds"):
        predictor.explain_task()


def test_the_same_seed_gives_the_same_explanation_and_a_case_does_not_depend_on_the_others(mixture: Predictor) -> None:
    first = mixture.explain(NEW[COLUMNS].iloc[20:25], seed=3)
    again = mixture.explain(NEW[COLUMNS].iloc[24:25], seed=3)
    np.testing.assert_allclose(first[4].contributions, again[0].contributions, atol=1e-6)
    assert first[4].nearest == again[0].nearest


def test_parts_come_in_order_of_size_with_what_stands_there(mixture: Predictor) -> None:
    told = mixture.explain(pd.DataFrame({"age": [75.5], "marker": [None]}))[0]
    sizes = [abs(part.contribution) for part in told.parts]
    assert sizes == sorted(sizes, reverse=True)
    shown = {part.name: part.shown for part in told.parts}
    assert shown == {"age": "75.5", "marker": "missing"}
    assert told.contributions[0] == next(part.contribution for part in told.parts if part.name == "age")


def test_the_nearest_labelled_patients_are_told_by_number_and_label_and_a_labelled_one_finds_itself(
    mixture: Predictor,
) -> None:
    told = mixture.explain(NEW[COLUMNS].iloc[4:5])[0]
    assert len(told.nearest) == 3
    assert told.nearest[0].number == 5
    assert told.nearest[0].canonical is None
    assert told.nearest[0].label == NEW["died"].iloc[4]
    assert told.nearest[0].similarity == pytest.approx(1.0, abs=1e-3)
    assert f"labelled case 5 ({NEW['died'].iloc[4]})" in told.sentence


def test_an_explanation_is_a_value_of_json_and_a_sentence(mixture: Predictor) -> None:
    told = mixture.explain(NEW[COLUMNS].iloc[20:21])[0]
    value = json.loads(json.dumps(told.as_dict()))
    assert value["base"] + sum(part["contribution"] for part in value["parts"]) == pytest.approx(value["output"])
    assert "case" not in value
    assert value["sentence"] == told.sentence
    assert told.sentence.startswith("Log-odds of 'yes': ")
    assert told.sentence.count(". ") == 0


def test_a_column_of_the_task_alone_is_a_part_too() -> None:
    cases = NEW[COLUMNS].assign(
        lactate=np.where(NEW["died"] == "yes", 3.0, 1.0) + np.random.default_rng(0).normal(size=60)
    )
    predictor = _model("hierarchical_bayes").adapt(cases.iloc[:40], LABELS[:40], positive="yes")
    told = predictor.explain(cases.iloc[40:50])
    assert {part.name for part in told[0].parts} == {*COLUMNS, "lactate"}
    effects = np.array([each.contributions[2] for each in told])
    assert np.corrcoef(effects, cases["lactate"].iloc[40:50])[0, 1] > 0.8


def test_few_labelled_cases_do_not_stand_for_what_is_away() -> None:
    predictor = _model("recalibrated", guard=False).adapt(NEW[COLUMNS].iloc[:5], LABELS[:5], positive="yes")
    told = predictor.explain(NEW[COLUMNS].iloc[20:21])[0]
    typical = predictor.law({"numbers": torch.zeros(1, 2), "missing": torch.zeros(1, 2, dtype=torch.uint8)})
    assert told.base == pytest.approx(float(typical.logits[0, 1] - typical.logits[0, 0]), abs=1e-5)  # type: ignore[union-attr]


def test_atoms_that_made_up_values_rest_on_are_found() -> None:
    tails = ["C" * n for n in range(1, 13)]
    acids, amines = [f"{tail}C(=O)O" for tail in tails], [f"{tail}CN" for tail in tails]
    frame = pd.DataFrame(
        [(smiles, f"t{t}", 4.0 + 2 * (smiles in acids)) for t in range(4) for smiles in (*acids, *amines)],
        columns=["smiles", "t", "y"],
    )
    tasks = TaskCollection.from_table(
        frame, modality="molecules", case="smiles", target="y", task="t", kind="regression", unit="x"
    )
    predictor = MetaLearner("tanimoto_gp").fit(tasks).adapt([*acids[:9], *amines[:9]], [6.0] * 9 + [4.0] * 9, unit="x")
    told = predictor.explain(["CCCCCCCC(=O)O", "CCCCCCCCN"])
    assert told[0].nearest[0].canonical is not None
    acid = {part.name: part.contribution for part in told[0].parts}
    oxygens = [value for name, value in acid.items() if name.endswith("O")]
    carbons = [value for name, value in acid.items() if name.endswith("C")]
    assert min(oxygens) > np.mean(carbons)
    amine = {part.name: part.contribution for part in told[1].parts}
    assert next(value for name, value in amine.items() if name.endswith("N")) < 0
    assert _sum(told[0]) == pytest.approx(predictor.predict(["CCCCCCCC(=O)O"])[0], abs=1e-5)


def test_no_case_an_unreadable_one_and_too_few_coalitions_are_refused_in_a_sentence(mixture: Predictor) -> None:
    with pytest.raises(InputError, match="no case came; give at least one to explain"):
        mixture.explain([])
    with pytest.raises(CaseError, match="1 of 1 cases cannot be read"):
        mixture.explain([{"age": "old", "marker": 1}])
    random = np.random.default_rng(0)
    wide = pd.DataFrame(random.normal(size=(40, 14)), columns=[f"c{at}" for at in range(14)])
    labels = np.where(wide["c0"] + random.normal(size=40) > 0, "yes", "no")
    tasks = TaskCollection.from_table(
        wide.assign(y=labels, t=np.repeat(["one", "two"], 20)), modality="tables", case=list(wide.columns), target="y",
        task="t", kind="binary", positive="yes",
    )  # fmt: skip
    predictor = MetaLearner("hierarchical_bayes", settings={"trees": 2}).fit(tasks).adapt(wide, labels, positive="yes")
    with pytest.raises(InputError, match="got 29 coalitions for 14 parts; give at least 30"):
        predictor.explain(wide.iloc[:1], coalitions=29)
    assert not predictor.explain(wide.iloc[:1], coalitions=40)[0].exact


def test_a_modality_that_names_no_parts_is_refused_by_name() -> None:
    class Plain(Modality):
        name: ClassVar[str] = "plain"

    Plain.__abstractmethods__ = frozenset()
    with pytest.raises(InputError, match="plain names no parts of a case"):
        named_parts(Plain())  # type: ignore[abstract]


def test_explaining_leaves_the_predictor_as_it_was(mixture: Predictor) -> None:
    before = mixture.predict_proba(NEW[COLUMNS].iloc[20:30])
    mixture.explain(NEW[COLUMNS].iloc[20:23])
    mixture.explain_task()
    np.testing.assert_array_equal(mixture.predict_proba(NEW[COLUMNS].iloc[20:30]), before)


def test_what_is_left_of_a_case_can_be_asked_for(additive: Predictor) -> None:
    told = additive.explain(NEW[COLUMNS].iloc[20:21])[0]
    present = np.array([[False, False], [True, True], [True, False]])
    want = [told.base, told.output, told.base + told.contributions[0]]
    np.testing.assert_allclose(told.answer_with(present), want, atol=1e-10)


def test_patients_that_nobody_has_labelled_stand_for_what_is_away_where_there_are_no_others() -> None:
    predictor = _model("label_shift", guard=False).adapt(unlabelled=NEW[COLUMNS])
    told = predictor.explain(NEW[COLUMNS].iloc[:2])
    assert told[0].nearest == ()
    assert "most similar" not in told[0].sentence
    assert _sum(told[0]) == pytest.approx(told[0].output, abs=1e-8)
    changed = predictor.explain_task()
    assert changed.cases["label"].eq("").all()
    assert changed.parts is not None


def test_atoms_of_graphs_are_taken_away_with_their_bonds() -> None:
    chains = ["C" * n + tail for n in range(1, 10) for tail in ("O", "N", "C(=O)O")]
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        [(smiles, f"t{t}", 0.3 * len(smiles) + random.normal()) for t in range(4) for smiles in chains],
        columns=["smiles", "t", "y"],
    )
    tasks = TaskCollection.from_table(
        frame, modality="molecules", case="smiles", target="y", task="t", kind="regression", unit="x"
    )
    model = MetaLearner(
        "ridge_head", encoder="message_passing", steps=1, validate_every=1, tasks_per_batch=2, support=(8,), query=8, binary_share=0.0
    ).fit(tasks)  # fmt: skip
    predictor = model.adapt(chains[:12], [float(len(each)) for each in chains[:12]], unit="x")
    told = predictor.explain(["CCCO", "OCCC", "C"])
    assert told[0] == told[1]
    assert _sum(told[0]) == pytest.approx(predictor.predict(["CCCO"])[0], abs=1e-5)
