"""The page of an assessment: it runs and fetches nothing, hostile text stays text, and every part is there or says why it is not."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_html import HOSTILE, Reader, _safe
from tests.made_up_hospitals import hospital, hospitals

from metamedica.data.collection import TaskCollection
from metamedica.meta_learner import MetaLearner
from metamedica.reports.assessing import assess
from metamedica.reports.assessment import Asked, Assessment
from metamedica.reports.assessment_page import verdict, write_assessment
from metamedica.reports.tripod import AUTHORS, TOPICS, checklist

SEX = {"sex": {"type": "categorical", "sensitive": True}}
CELLS = ["age", "marker", "sex"]
TAILS = ("C", "CC", "CCO", "C(F)(F)F", "CCN", "C(=O)O", "CCCC", "CC#N", "CCl", "C1CC1")


def _hostile(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the patients with a level and a site of hostile text."""
    sex = np.where(np.arange(len(frame)) % 2, HOSTILE, "m")
    return frame.assign(sex=sex)


@pytest.fixture(scope="module")
def assessment() -> Assessment:
    sites = TaskCollection.from_table(
        _hostile(hospitals()), modality="tables", case=CELLS, kind="binary", target="died", task="site", positive="yes", schema=SEX, cache=False
    )  # fmt: skip
    new = _hostile(hospital("new", 0.3, 120, seed=5))
    model = MetaLearner("hierarchical_bayes", settings={"trees": 4}).fit(sites)
    predictor = model.adapt(new[CELLS][:30], new["died"][:30].tolist(), positive="yes")
    names = [HOSTILE if number % 2 else "b" for number in range(90)]
    return assess(predictor, new[CELLS][30:], new["died"][30:].tolist(), sites=names)


@pytest.fixture(scope="module")
def molecules() -> Assessment:
    rows = [
        {"smiles": core.format(tail), "pki": 5 + core.count("n") + 0.13 * len(tail) + 0.1 * core.count("C")}
        for core in ("c1ccc({})cc1", "c1ccnc({})c1", "C1CCN({})CC1", "c1ccc2[nH]c({})cc2c1")
        for tail in TAILS
    ]
    frame = pd.DataFrame(rows).sample(frac=1, random_state=0)
    tasks = TaskCollection.from_table(
        frame[:20],
        modality="molecules",
        case="smiles",
        target="pki",
        kind="regression",
        unit="-log10 M",
        cache=False,
        n_jobs=1,
    )
    model = MetaLearner("tanimoto_gp").fit(tasks.with_split(dict.fromkeys(tasks.names(), "meta_train")))
    predictor = model.adapt(frame["smiles"][:20].tolist(), frame["pki"][:20].tolist(), unit="-log10 M")
    return assess(predictor, frame["smiles"][20:].tolist(), frame["pki"][20:].tolist())


def _read(assessment: Assessment, path: Path) -> Reader:
    write_assessment(assessment, path, title=f"Of {HOSTILE}")
    text = path.read_text(encoding="utf-8")
    return _safe(re.sub(r""" style=(["']).*?\1""", "", text))  # drawings of modalities colour their lines so


def test_the_page_has_every_part_in_order_and_hostile_text_stays_text(assessment: Assessment, tmp_path: Path) -> None:
    reader = _read(assessment.with_notes(HOSTILE), tmp_path / "r.html")
    assert reader.of("h2") == [
        "How well it does",
        "Are the risks right?",
        "Is it worth acting on?",
        "Does it serve all alike?",
        "Sites",
        "One patient",
        "When to ask a person",
        "What it leans on",
        "TRIPOD+AI checklist",
    ]
    for tag in ("title", "h1", "p", "td"):
        assert HOSTILE in "".join(reader.of(tag)), tag
    assert any("not a medical device" in text for text in reader.of("p"))
    plots = [attributes for tag, attributes in reader.elements if tag == "svg"]
    assert len(plots) >= 4
    for tag, attributes in reader.elements:
        if tag in {"line", "text", "circle", "polyline", "polygon", "rect"}:
            assert "nan" not in " ".join(value or "" for value in attributes.values())


def test_before_and_after_adapting_stand_side_by_side(assessment: Assessment, tmp_path: Path) -> None:
    reader = _read(assessment, tmp_path / "r.html")
    headers = reader.of("th")
    assert headers.count("before adapting (95 % interval)") == 2
    captions = reader.of("figcaption")
    assert captions[0].startswith("Before adapting")
    assert captions[1].startswith("After adapting")


def test_the_worst_site_is_named_and_stands_first(assessment: Assessment, tmp_path: Path) -> None:
    lowest = min(assessment.sites, key=lambda row: row.figure.value)
    text = " ".join(_read(assessment, tmp_path / "r.html").of("p"))
    assert f"Worst site: {lowest.name}, ROC-AUC {lowest.figure.text(2)}" in text


def test_molecules_have_a_drawing_and_intervals_and_no_decision_curve(molecules: Assessment, tmp_path: Path) -> None:
    reader = _read(molecules, tmp_path / "m.html")
    parts = reader.of("h2")
    assert "Predicted against measured" in parts
    assert "One case" in parts
    assert "Is it worth acting on?" not in parts
    assert "Are the risks right?" not in parts
    assert molecules.decision is None
    assert "path" in {tag for tag, _ in reader.elements}
    assert "Does it serve all alike?" not in parts
    assert "two classes" in molecules.reasons["fairness"]
    assert molecules.cover.held.value == pytest.approx(
        np.mean((molecules.cover.low <= molecules.target) & (molecules.target <= molecules.cover.high))
    )


def test_what_is_not_there_says_why(assessment: Assessment, tmp_path: Path) -> None:
    bare = replace(
        assessment, fairness=None, patient=None, sites=(), before={}, calibrated_before=None, reliable_before=None,
        reasons={"fairness": "no sensitive column is declared", "before": "it starts from scratch"},
    )  # fmt: skip
    reader = _read(bare, tmp_path / "r.html")
    text = " ".join(reader.of("p"))
    assert "Not told apart: no sensitive column is declared." in text
    assert "Before adapting: it starts from scratch." in text
    assert "One patient" not in reader.of("h2")


def test_the_verdict_says_how_many_how_well_and_that_it_is_no_device(assessment: Assessment) -> None:
    lines = verdict(assessment).split("\n")
    assert lines[0].startswith("Adapted to 30 labelled cases and judged on 90 others")
    assert lines[-1].endswith("must not decide about a patient on its own.")


def test_the_checklist_has_the_27_items_and_says_what_the_authors_must(assessment: Assessment) -> None:
    items = checklist(assessment)
    assert sorted({int(item.number.rstrip("abcdefg")) for item in items}) == list(range(1, 28))
    assert len(items) == len(TOPICS) == 52
    told = {item.number: item.answer for item in items}
    for number in ("1", "5b", "8a", "17", "18a", "25"):
        assert told[number] == AUTHORS
    assert "30 labelled cases" in told["12a"]
    assert "90 judged cases" in told["20a"]
    assert "nothing is imputed" in told["11"]
    assert "hierarchical_bayes" in told["12c"]
    assert "sex" in told["14"]
    assert assessment.figures["roc_auc"].text() in told["23a"]
    json.dumps(told)


def test_subgroups_that_are_too_small_are_named_without_a_number(assessment: Assessment, tmp_path: Path) -> None:
    assert assessment.fairness is not None
    audit = assessment.fairness.columns[0]
    small = replace(audit.subgroups[0], name="few", cases=2, positives=1, figures={}, reason="too small to judge (n=2)")
    column = replace(audit, subgroups=(*audit.subgroups, small))
    reader = _read(replace(assessment, fairness=replace(assessment.fairness, columns=(column,))), tmp_path / "r.html")
    cells = reader.of("td")
    at = cells.index("few")
    assert cells[at + 1 : at + 9] == ["2", "–", "–", "–", "–", "–", "–", "too small to judge (n=2)"]


def test_a_report_shows_the_patient_only_where_the_card_is_asked(assessment: Assessment, tmp_path: Path) -> None:
    assert Asked().patient == 0
    reader = _read(replace(assessment, patient=None), tmp_path / "r.html")
    assert "One patient" not in reader.of("h2")
    assert "dl" not in {tag for tag, _ in reader.elements}
