"""`metamedica models`: what there is."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from metamedica import registry
from metamedica.meta_learner import shipped_models

Run = Callable[..., Any]


def test_every_method_encoder_and_modality_of_the_folders_is_listed_with_its_source(run: Run) -> None:
    told = json.loads(run("models", "--json").out)
    assert [each["name"] for each in told["learners"]] == registry.names("learners")
    assert [each["name"] for each in told["encoders"]] == registry.names("encoders")
    assert [each["name"] for each in told["modalities"]] == registry.names("modalities")
    assert told["shipped"] == shipped_models()
    for each in told["learners"]:
        made = registry.learner_class(each["name"])
        assert each["paper"]["title"] == made.paper.title
        assert each["kinds"] == sorted(made.kinds)
        assert each["about"].endswith(".")


def test_a_person_sees_names_and_papers(run: Run) -> None:
    shown = run("models").out
    assert "deep_kernel" in shown
    assert "arXiv:1703.05175" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_the_card_of_a_saved_model_is_shown(run: Run, model: Path) -> None:
    card = (model / "CARD.md").read_text()
    shown = run("models", model)
    assert shown.code == 0
    assert card.splitlines()[0].strip("# ") in shown.out
    told = json.loads(run("models", model, "--json").out)
    assert told["card"] == card
    assert (told["learner"], told["modality"]) == ("tanimoto_gp", "molecules")


def test_an_unknown_model_is_refused(refused: Run) -> None:
    assert "there is no model 'chembl-magic'" in refused("models", "chembl-magic").err
