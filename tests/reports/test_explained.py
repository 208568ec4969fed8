"""Explained cases on a page: drawn, added up, with their nearest, self-contained and escaped."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
from tests.made_up_hospitals import hospitals

from metamedica.data.collection import TaskCollection
from metamedica.meta_learner import MetaLearner
from metamedica.predictors.predictor import Predictor
from metamedica.reports.explained import case_section, write_explanations


def _predictor() -> tuple[Predictor, pd.DataFrame]:
    frame = hospitals().rename(columns={"marker": "a<b"})
    tasks = TaskCollection.from_table(
        frame, modality="tables", case=["age", "a<b"], target="died", task="site", kind="binary", positive="yes"
    )
    model = MetaLearner("pooled_linear", guard=False).fit(tasks)
    cases = frame[["age", "a<b"]]
    return model.adapt(cases.iloc[:20], frame["died"].tolist()[:20], positive="yes"), cases


def test_a_page_has_every_case_drawn_added_up_and_nothing_fetched(tmp_path: Path) -> None:
    predictor, cases = _predictor()
    told = predictor.explain(cases.iloc[20:23])
    write_explanations(tmp_path / "why.html", told, predictor.model.modality, headings=["one", "two", "<three>"])
    page = (tmp_path / "why.html").read_text()
    assert page.count("<svg") == 3
    assert page.count('<dl class="row"') == 3
    assert "&lt;three&gt;" in page
    assert "a<b" not in page
    assert "a&lt;b" in page
    assert not re.search(r"<script|https?://(?!www\.w3\.org)", page)
    assert "not what causes the outcome" in page
    for each in told:
        assert each.sentence.split(";")[0].replace("<", "&lt;").replace("'", "&#39;") in page


def test_a_section_says_whether_contributions_are_exact_and_names_patients_by_number() -> None:
    predictor, cases = _predictor()
    section = case_section(predictor.explain(cases.iloc[20:21])[0], predictor.model.modality, heading="one")
    assert "exact" in section.figures[1].caption
    assert [row[0].startswith("number ") for row in section.tables[0].rows] == [True] * 3
    assert np.isfinite([float(row[2]) for row in section.tables[0].rows]).all()
