"""The fairness audit: figures by hand, subgroups that are too small, how numbers are cut, and what is refused."""

import sys

import numpy as np
import pandas as pd
import pytest

from metamedica import registry
from metamedica.errors import InputError, MissingExtraError, TaskError
from metamedica.reports.fairness import fairness_audit
from metamedica.reports.metrics import roc_auc
from metamedica.reports.subgroups import divided, sensitive_columns

N = 120


def _people(seed: int = 0) -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
    """Return labels, risks and sensitive columns; the risks of women are too low."""
    random = np.random.default_rng(seed)
    sex = np.where(np.arange(N) % 2, "f", "m")
    labels = (random.random(N) < 0.45).astype(np.int64)
    risk = np.clip(0.3 + 0.35 * labels - 0.15 * (sex == "f") + 0.12 * random.standard_normal(N), 0.01, 0.99)
    age = np.round(random.uniform(20, 90, N))
    return labels, risk, pd.DataFrame({"sex": sex, "age": age})


def test_figures_of_each_subgroup_are_those_computed_by_hand() -> None:
    labels, risk, people = _people()
    audit = fairness_audit(labels, risk, people[["sex"]], threshold=0.4, draws=50)
    rates: dict[str, tuple[float, float, float]] = {}
    for group in audit.columns[0].subgroups:
        there = (people["sex"] == group.name).to_numpy()
        y, p = labels[there], risk[there]
        chosen = p >= 0.4
        hand = {
            "roc_auc": roc_auc(y, p),
            "in_the_large": p.mean() - y.mean(),
            "sensitivity": chosen[y == 1].mean(),
            "specificity": (~chosen[y == 0]).mean(),
            "selection_rate": chosen.mean(),
        }
        rates[group.name] = (hand["selection_rate"], hand["sensitivity"], 1 - hand["specificity"])
        assert (group.cases, group.positives) == (there.sum(), y.sum())
        for name, value in hand.items():
            each = group.figures[name]
            assert each.value == pytest.approx(value), name
            assert each.low <= each.value <= each.high, name
    gaps = np.abs(np.array(rates["f"]) - np.array(rates["m"]))
    assert audit.columns[0].demographic_parity.value == pytest.approx(gaps[0])
    assert audit.columns[0].equalised_odds.value == pytest.approx(max(gaps[1:]))
    frame = audit.frame()
    assert frame["roc_auc_low"].le(frame["roc_auc"]).all()


def test_a_subgroup_of_two_patients_gets_no_number() -> None:
    labels, risk, people = _people()
    people.loc[:1, "sex"] = "x"
    audit = fairness_audit(labels, risk, people[["sex"]], draws=20)
    two = next(group for group in audit.columns[0].subgroups if group.name == "x")
    assert two.reason == "too small to judge (n=2)"
    assert two.figures == {}
    row = audit.frame().set_index("subgroup").loc["x"]
    assert row[["roc_auc", "sensitivity", "selection_rate"]].isna().all()
    assert audit.columns[0].demographic_parity.defined


def test_a_subgroup_with_two_of_a_class_gets_no_number_and_one_group_is_not_compared() -> None:
    labels, risk, people = _people()
    labels[(people["sex"] == "f").to_numpy()] = 0
    labels[[1, 3]] = 1
    audit = fairness_audit(labels, risk, people[["sex"]], draws=20).columns[0]
    assert audit.subgroups[0].reason == "too small to judge (n=60, 2 of the rarer class)"
    assert audit.demographic_parity.reason == "fewer than two subgroups are large enough to compare"
    assert not audit.equalised_odds.defined


def test_numbers_are_cut_at_tertiles_or_declared_bounds_and_it_is_said() -> None:
    _, _, people = _people()
    (thirds,) = divided(people, ["age"])
    assert thirds.how.endswith("the tertiles of the judged cases")
    sizes = np.bincount(thirds.place)
    assert len(sizes) == 3
    assert sizes.min() >= 35
    (told,) = divided(people, ["age"], cuts={"age": [50, 65]})
    assert told.names == ("below 50", "50 to below 65", "65 and above")
    assert told.how == "cut at 50 and 65, as declared"
    assert told.place.tolist() == [int(age >= 50) + int(age >= 65) for age in people["age"]]


def test_what_is_not_recorded_is_a_group_of_its_own() -> None:
    _, _, people = _people()
    people.loc[:19, "sex"] = None
    people.loc[:9, "age"] = np.nan
    sex, age = divided(people, ["sex", "age"])
    assert sex.names == ("f", "m", "not recorded")
    assert (sex.place[:20] == 2).all()
    assert age.names[-1] == "not recorded"
    assert (age.place[:10] == len(age.names) - 1).all()


@pytest.mark.parametrize(
    ("columns", "cuts", "said"),
    [
        (["income"], None, "the cases have no sensitive column 'income'; they have: sex, age"),
        (["sex"], {"age": [5]}, "bounds came for 'age', which is not among the sensitive columns sex"),
        (["sex"], {"sex": [5]}, "'sex', which does not hold numbers"),
        (["age"], {"age": [65, 50]}, "give rising numbers"),
        (["age"], {"age": []}, "give rising numbers"),
        (["name"], None, "has 120 levels, more than the 12"),
    ],
)
def test_columns_that_cannot_be_divided_are_refused(columns: list, cuts: dict | None, said: str) -> None:
    _, _, people = _people()
    cases = people if columns != ["name"] else people.assign(name=[f"n{number}" for number in range(N)])
    with pytest.raises(InputError, match=said):
        divided(cases, columns, cuts=cuts)


def test_no_sensitive_column_is_one_sentence_that_says_how_to_declare_one() -> None:
    plain = registry.modality("tables", {"schema": {"sex": {"type": "categorical", "levels": ["f", "m"]}}})
    with pytest.raises(InputError, match=r"no sensitive column is declared.*sensitive: true.*--sensitive"):
        sensitive_columns(plain)
    told = registry.modality("tables", {"schema": {"sex": {"type": "categorical", "sensitive": True}}})
    assert sensitive_columns(told) == ["sex"]
    assert sensitive_columns(told, ["age"]) == ["age"]
    labels, risk, people = _people()
    with pytest.raises(InputError, match="no sensitive column came"):
        fairness_audit(labels, risk, people[[]])
    with pytest.raises(InputError, match=r"threshold 1\.0"):
        fairness_audit(labels, risk, people, threshold=1.0)
    with pytest.raises(TaskError, match="not numbers"):
        fairness_audit(labels, risk * np.nan, people)


def test_without_fairlearn_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fairlearn.metrics", None)
    with pytest.raises(MissingExtraError, match=r"metamedica\[audit\]"):
        fairness_audit(*_people(), draws=5)
