"""A model card holds what the model knows of itself and what its maker says, and nothing that is not so."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.made_up_hospitals import COLUMNS, hospitals

from metamedica.data.collection import TaskCollection
from metamedica.meta_learner import MetaLearner
from metamedica.reports.card import About, card

ABOUT = About(
    name="tiny",
    data="four made-up assays",
    source="a test",
    licence="CC0",
    attribution="nobody",
    command="make tiny",
    figures=["| method | figure |", "|---|---|", "| ours | 0.5 |"],
    limits=["Not for anything."],
)
SMILES = ["C" * length + end for length in range(1, 9) for end in ("", "O", "N")]


@pytest.fixture(scope="module")
def tasks() -> TaskCollection:
    pytest.importorskip("rdkit")
    rows = [(smiles, f"t{t}", t + 0.1 * len(smiles)) for t in range(4) for smiles in SMILES]
    frame = pd.DataFrame(rows, columns=["smiles", "task", "value"])
    read = TaskCollection.from_table(
        frame, modality="molecules", case="smiles", target="value", task="task", kind="regression", unit="mM", n_jobs=1
    )
    split: Any = {"t0": "meta_train", "t1": "meta_train", "t2": "meta_valid"}
    return read.without_rows(np.array([0, 1]), tasks=["t3"], note="values of rare cases").with_split(split)


@pytest.fixture(scope="module")
def model(tasks: TaskCollection) -> MetaLearner:
    return MetaLearner("tanimoto_gp", guard=False, seed=3).fit(tasks)


def _section(text: str, heading: str) -> str:
    return text.split(f"## {heading}\n")[1].split("\n## ")[0]


def test_the_card_counts_what_the_model_was_fitted_on(model: MetaLearner, tasks: TaskCollection) -> None:
    data = _section(card(model, ABOUT), "Data")
    assert "- Meta-split: 2 meta_train, 1 meta_valid, 0 meta_test tasks" in data
    assert f"{len(tasks.canonical)} cases, {tasks.n_values} values" in data
    assert "- Left out: 2 values of rare cases" in data
    for line in ("- four made-up assays", "- Source: a test", "- Licence: CC0", "- Attribution: nobody"):
        assert line in data


def test_the_card_names_the_method_the_command_and_every_parameter(model: MetaLearner) -> None:
    text = card(model, ABOUT)
    assert text.startswith(
        "# tiny\n\nA meta-model for molecules: tanimoto_gp, not weighed against methods from scratch."
    )
    made = _section(text, "Made by")
    assert "    make tiny\n" in made
    for name, value in model.get_params(deep=False).items():
        assert f"{name} {list(value) if isinstance(value, tuple) else value}" in made
    assert f"numpy {np.__version__}" in made


def test_figures_are_those_given_or_the_card_says_that_there_are_none(model: MetaLearner) -> None:
    assert _section(card(model, ABOUT), "Figures").strip() == "\n".join(ABOUT.figures)
    assert _section(card(model, replace(ABOUT, figures=())), "Figures").strip() == "None were measured."


def test_limits_of_the_maker_stand_beside_those_of_every_model(model: MetaLearner) -> None:
    limits = _section(card(model, ABOUT), "Intended use and limits")
    assert "- Not for anything." in limits
    assert "- Research use only; not a medical device." in limits
    assert "contains the labelled cases it was given" in limits


def test_the_card_says_what_predictors_answer_and_what_they_cannot(model: MetaLearner) -> None:
    said = _section(card(model, ABOUT), "What its predictors say")
    for word in (
        "Calibration: probabilities are those of the method",
        "at most n / (n + 1)",
        "Abstention",
        "Explanation",
    ):
        assert word in said
    compared = len(model.model_.cases.values.mean)
    assert (f"look unlike those of {compared} earlier tasks" in said) == (compared > 1)
    assert "sensitive" not in said


def test_the_card_names_the_columns_that_are_declared_sensitive() -> None:
    tables = TaskCollection.from_table(
        hospitals().assign(sex="m"), modality="tables", case=[*COLUMNS, "sex"], kind="binary", target="died", task="site", positive="yes",
        schema={"sex": {"type": "categorical", "levels": ["f", "m"], "sensitive": True}}, cache=False,
    )  # fmt: skip
    text = card(MetaLearner("hierarchical_bayes", settings={"trees": 2}, guard=False).fit(tables), ABOUT)
    assert "tells results apart by sex, declared sensitive" in _section(text, "What its predictors say")
    assert "means and spreads of their columns and labels" in text


def test_the_card_of_a_saved_model_is_the_same_after_loading(model: MetaLearner, tmp_path: Any) -> None:
    text = card(model, ABOUT)
    model.save(tmp_path / "tiny", card=text)
    assert (tmp_path / "tiny" / "CARD.md").read_text(encoding="utf-8") == text
    assert card(MetaLearner.load(tmp_path / "tiny"), ABOUT) == text


def test_the_card_holds_no_case_of_the_model(model: MetaLearner) -> None:
    words = card(model, ABOUT).replace(",", " ").split()
    assert not {smiles for smiles in SMILES if len(smiles) > 2} & set(words)


def test_the_card_says_that_single_values_can_be_looked_up_by_who_has_a_case() -> None:
    random = np.random.default_rng(0)
    moods = random.normal(size=(12, 2)) @ random.normal(size=(2, len(SMILES)))
    rows = [
        (smiles, f"t{t}", value) for t, mood in enumerate(moods) for smiles, value in zip(SMILES, mood, strict=True)
    ]
    frame = pd.DataFrame(rows, columns=["smiles", "task", "value"])
    tasks = TaskCollection.from_table(
        frame, modality="molecules", case="smiles", target="value", task="task", kind="regression", unit="mM", n_jobs=1
    )
    for most, said in ((100, True), (0, False)):
        made = MetaLearner("common_mean_gp", settings={"most_known": most}, guard=False).fit(tasks)
        assert ("288 of their values: who has a case can look up" in card(made, ABOUT)) is said
