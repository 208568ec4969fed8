"""A row a site: figures by hand, sites that are too small without a number, and which is the worst."""

import numpy as np
import pytest

from metamedica.reports.metrics import roc_auc, spearman
from metamedica.reports.site_rows import told_apart, worst


def _cases(seed: int = 0) -> tuple[np.ndarray, np.ndarray, list[str]]:
    random = np.random.default_rng(seed)
    truth = (random.random(100) < 0.5).astype(float)
    names = [
        "a" if number < 45 else "b" if number < 90 else "few" if number < 92 else "one class" for number in range(100)
    ]
    gain = np.array([{"a": 0.4, "b": 0.1}.get(name, 0.2) for name in names])
    truth[92:] = 1.0
    return truth, np.clip(0.3 + gain * truth + 0.2 * random.random(100), 0, 1), names


def test_each_site_has_the_figures_of_its_own_cases_and_the_lowest_is_the_worst() -> None:
    truth, risk, names = _cases()
    rows = {row.name: row for row in told_apart(names, truth, risk, kind="binary")}
    for name in ("a", "b"):
        at = np.array(names) == name
        assert rows[name].figure.value == pytest.approx(roc_auc(truth[at].astype(np.int64), risk[at]))
        assert rows[name].large.value == pytest.approx(risk[at].mean() - truth[at].mean())
        assert rows[name].figure.low <= rows[name].figure.value <= rows[name].figure.high
    lowest = worst(list(rows.values()))
    assert lowest is not None
    assert lowest.name == min("ab", key=lambda name: rows[name].figure.value)


def test_a_site_of_two_cases_or_of_one_class_gets_no_number() -> None:
    truth, risk, names = _cases()
    rows = {row.name: row for row in told_apart(names, truth, risk, kind="binary")}
    assert rows["few"].reason == "too small to judge (n=2)"
    assert not rows["few"].figure.defined
    assert rows["one class"].reason == "too small to judge (n=8)"
    wider = told_apart(["x"] * 20, np.ones(20), np.linspace(0, 1, 20), kind="binary")
    assert wider[0].reason == "too small to judge (n=20, 0 of the rarer class)"
    assert worst(wider) is None


def test_values_and_several_classes_have_figures_of_their_own() -> None:
    truth = np.random.default_rng(0).normal(size=30)
    answer = truth + 0.5
    (row,) = told_apart(["s"] * 30, truth, answer, kind="regression")
    assert row.figure.value == pytest.approx(spearman(truth, answer))
    assert row.large.value == pytest.approx(0.5)
    right = np.arange(30) < 21
    (row,) = told_apart(["s"] * 30, np.zeros(30), answer, kind="multiclass", right=right)
    assert row.figure.value == pytest.approx(0.7)
