"""`metamedica tune`, and `metamedica fit` with what it found or with inner steps."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metamedica import registry
from metamedica.storage import read_bundle
from metamedica.types import Between, OneOf

Run = Callable[..., Any]


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = {"hidden": OneOf(([1024], [8])), "dim": OneOf((256, 4)), "dropout": Between(0.0, 0.5)}
    monkeypatch.setattr(registry.encoder_class("mlp"), "ranges", tried)


def test_a_search_is_shown_resumed_and_taken_by_fit(run: Run, refused: Run, assays: Path, tmp_path: Path) -> None:
    tune = ("tune", assays, "--task", "assay", "--out", tmp_path / "s", "--learner", "prototypical", "--steps", 2)
    shown = run(*tune, "--trials", 1)
    assert shown.code == 0, shown.err
    assert "settings.temperature" in shown.out
    assert "tuning.html" in shown.out
    assert "add --resume" in refused(*tune, "--trials", 2).err
    told = json.loads(run(*tune, "--trials", 2, "--resume", "--json").out)
    assert [row["number"] for row in told["trials"]] == [1, 2]
    assert told["best"]["learner"] == "prototypical"

    best = tmp_path / "s" / "best.json"
    fit = run("fit", assays, "--task", "assay", "--settings", best, "--out", tmp_path / "m", "--json")
    assert fit.code == 0, fit.err
    document = read_bundle(tmp_path / "m", "model")[1]["model"]
    assert document["spec"]["learner"] == "prototypical"
    assert document["spec"]["settings"] == told["best"]["settings"]
    assert document["spec"]["encoder_settings"] == told["best"]["encoder_settings"]
    assert document["record"]["parameters"]["learning_rate"] == told["best"]["training"]["learning_rate"]
    assert document["record"]["parameters"]["steps"] == 2


def test_options_come_before_the_file_of_settings(run: Run, assays: Path, tmp_path: Path) -> None:
    best = {"learner": "prototypical", "settings": {"temperature": 3.0}, "encoder_settings": {"hidden": [8], "dim": 4}}
    (tmp_path / "best.json").write_text(json.dumps(best | {"training": {"steps": 9}}))
    given = ("--settings", tmp_path / "best.json", "--set", "temperature=2.0", "--steps", 1, "--out", tmp_path / "m")
    assert run("fit", assays, "--task", "assay", *given).code == 0
    document = read_bundle(tmp_path / "m", "model")[1]["model"]
    assert document["spec"]["settings"] == {"temperature": 2.0}
    assert document["spec"]["encoder_settings"] == {"hidden": [8], "dim": 4}
    assert document["record"]["parameters"]["steps"] == 1
    other = ("--settings", tmp_path / "best.json", "--learner", "tanimoto_gp", "--out", tmp_path / "other")
    assert run("fit", assays, "--task", "assay", *other).code == 0
    assert read_bundle(tmp_path / "other", "model")[1]["model"]["spec"]["settings"] == {}


def test_inner_steps_reach_a_learner_that_has_them(run: Run, assays: Path, tmp_path: Path) -> None:
    small = ("--encoder-set", "hidden=[8]", "--encoder-set", "dim=4", "--steps", 1)
    given = ("--learner", "maml", "--encoder", "mlp", "--inner-steps", 2, *small, "--out", tmp_path / "m")
    assert run("fit", assays, "--task", "assay", *given).code == 0
    assert read_bundle(tmp_path / "m", "model")[1]["model"]["spec"]["settings"] == {"steps": 2}


@pytest.mark.parametrize("name", registry.names("learners"))
def test_inner_steps_set_the_learners_steps_or_are_refused_in_a_sentence(name: str) -> None:
    from metamedica.cli._options import with_inner_steps
    from metamedica.errors import InputError
    from metamedica.testing import on_vectors

    plain = on_vectors(registry.learner_class(name))
    if hasattr(plain, "steps"):
        settings = with_inner_steps(name, {}, 2)
        assert on_vectors(registry.learner_class(name), settings=settings).steps == 2
    else:
        with pytest.raises(InputError, match=f"for {name}, which takes no inner steps.* maml"):
            with_inner_steps(name, {}, 2)
    assert with_inner_steps(name, {"a": 1}, None) == {"a": 1}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--learner", "magic"], "there is no learner 'magic'"),
        (["--learner", "maml,maml"], "names 'maml' twice"),
        (["--learner", "tanimoto_gp"], "no number to search over"),
        (["--encoder", "magic", "--learner", "maml"], "there is no encoder 'magic'"),
        (["--resume"], "holds no search"),
        (["--about", "smiles", "--learner", "maml,anil"], "maml, anil compare no tasks by descriptions"),
    ],
)
def test_a_search_that_makes_no_sense_is_refused_before_the_work(
    refused: Run, assays: Path, tmp_path: Path, more: list[str], said: str
) -> None:
    assert said in refused("tune", assays, "--task", "assay", "--out", tmp_path / "s", *more).err
    assert list(tmp_path.iterdir()) == []


def test_fit_refuses_inner_steps_twice_and_other_files_of_settings(refused: Run, assays: Path, tmp_path: Path) -> None:
    fit = ("fit", assays, "--task", "assay", "--out", tmp_path / "m")
    assert "say the same" in refused(*fit, "--learner", "maml", "--inner-steps", 2, "--set", "steps=3").err
    assert "takes no inner steps" in refused(*fit, "--learner", "prototypical", "--inner-steps", 2).err
    assert "no file of settings" in refused(*fit, "--settings", assays).err
    assert "cannot be read" in refused(*fit, "--settings", tmp_path / "nowhere.json").err


def test_without_optuna_the_pip_line_is_named(
    refused: Run, assays: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    said = refused("tune", assays, "--task", "assay", "--out", tmp_path / "s").err
    assert "optuna is not installed; install it with: pip install 'metamedica[tune]'" in said
    assert list(tmp_path.iterdir()) == []
