"""`metamedica fit` on a user's own table."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from metamedica.meta_learner import MetaLearner
from metamedica.predictors.predictor import Predictor
from metamedica.storage import read_bundle

Run = Callable[..., Any]


def test_fit_writes_a_model_that_loads_and_a_card(model: Path) -> None:
    loaded = MetaLearner.load(model)
    assert loaded.learner == "tanimoto_gp"
    assert (model / "CARD.md").read_text().startswith("#")
    assert [path.name for path in model.parent.iterdir()] == [model.name]


def test_the_card_says_data_licence_and_the_command(run: Run, assays: Path, tmp_path: Path) -> None:
    fit = ("fit", assays, "--task", "assay", "--learner", "tanimoto_gp", "--out", tmp_path / "kinases")
    assert run(*fit, "--source", "our freezer", "--licence", "ours alone").code == 0
    card = (tmp_path / "kinases" / "CARD.md").read_text()
    assert card.startswith("# kinases\n")
    assert "8 tasks (regression) of assays.csv: 45 cases, 192 values" in card
    assert "Source: our freezer" in card
    assert "Licence: ours alone" in card
    assert f"metamedica fit {assays} --task assay" in card


def test_a_person_is_told_what_was_learned_from_and_what_comes_next(run: Run, assays: Path, tmp_path: Path) -> None:
    shown = run("fit", assays, "--task", "assay", "--learner", "tanimoto_gp", "--out", tmp_path / "m")
    assert shown.code == 0
    assert "8 tasks (regression)" in shown.out
    assert "192 values" in shown.out
    assert "metamedica adapt" in shown.out
    assert shown.err == ""


def test_a_machine_is_told_the_same_as_one_object(run: Run, assays: Path, tmp_path: Path) -> None:
    shown = run("fit", assays, "--task", "assay", "--learner", "tanimoto_gp", "--out", tmp_path / "m", "--json")
    told = json.loads(shown.out)
    assert (told["tasks"], told["values"], told["kinds"]) == (8, 192, ["regression"])
    assert told["columns"] == {
        "case": "smiles",
        "target": "pki",
        "targets": None,
        "task": "assay",
        "kind": "regression",
    }
    assert told["left_out"] == {}


def test_a_learner_is_trained_with_the_settings_that_were_given(run: Run, assays: Path, tmp_path: Path) -> None:
    shown = run(
        "fit", assays, "--task", "assay", "--out", tmp_path / "m", "--learner", "prototypical", "--set", "temperature=2.0",
        "--encoder-set", "hidden=[8]", "--encoder-set", "dim=4", "--steps", 3, "--seed", 5, "--json",
    )  # fmt: skip
    assert shown.code == 0, shown.err
    document = read_bundle(tmp_path / "m", "model")[1]["model"]
    assert document["spec"]["settings"] == {"temperature": 2.0}
    assert document["spec"]["encoder_settings"] == {"hidden": [8], "dim": 4}
    assert document["record"]["parameters"]["steps"] == 3
    assert document["record"]["parameters"]["seed"] == 5


def test_a_resumed_training_gives_the_model_of_one_that_was_not_interrupted(
    run: Run, assays: Path, tmp_path: Path
) -> None:
    def fit(out: str, *more: str | Path) -> None:
        shown = run(
            "fit", assays, "--task", "assay", "--out", tmp_path / out, "--learner", "prototypical", "--encoder-set", "hidden=[8]",
            "--steps", 4, *more, "--json",
        )  # fmt: skip
        assert shown.code == 0, shown.err

    fit("whole")
    fit("first", "--checkpoints", tmp_path / "ck")
    fit("resumed", "--checkpoints", tmp_path / "ck", "--resume")
    whole, resumed = (read_bundle(tmp_path / name, "model")[0]["learner"] for name in ("whole", "resumed"))
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_the_wide_form_has_a_column_a_task(run: Run, assays: Path, tmp_path: Path) -> None:
    long = pd.read_csv(assays)
    table = long.pivot_table(index="smiles", columns="assay", values="pki").reset_index()
    table.to_csv(tmp_path / "wide.csv", index=False)
    shown = run(
        "fit", tmp_path / "wide.csv", "--targets", "all", "--learner", "tanimoto_gp", "--out", tmp_path / "m", "--json"
    )
    told = json.loads(shown.out)
    assert (told["tasks"], told["values"]) == (8, 192)
    assert told["columns"]["targets"] == [f"A{number}" for number in range(8)]


def test_parquet_is_read_like_csv(run: Run, assays: Path, tmp_path: Path) -> None:
    pd.read_csv(assays).to_parquet(tmp_path / "assays.parquet")
    shown = run(
        "fit",
        tmp_path / "assays.parquet",
        "--task",
        "assay",
        "--learner",
        "tanimoto_gp",
        "--out",
        tmp_path / "m",
        "--json",
    )
    assert json.loads(shown.out)["values"] == 192


def test_a_model_is_replaced_only_when_asked_and_nothing_else_ever(
    run: Run, refused: Run, assays: Path, tmp_path: Path
) -> None:
    fit = ("fit", assays, "--task", "assay", "--learner", "tanimoto_gp", "--out")
    assert run(*fit, tmp_path / "m").code == 0
    assert "--overwrite" in refused(*fit, tmp_path / "m").err
    assert run(*fit, tmp_path / "m", "--overwrite").code == 0
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    assert "nothing of it was touched" in refused(*fit, tmp_path / "thesis", "--overwrite").err
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "years of work"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--learner", "magic"], "there is no learner 'magic'"),
        (["--encoder", "magic"], "there is no encoder 'magic'"),
        (["--modality", "crystals"], "'crystals'"),
        (["--set", "magic=1"], "has no setting 'magic'"),
        (["--set", "length=long"], "--set length= got 'long'"),
        (["--encoder-set", "hidden='wide'"], "does not accept"),
        (["--resume"], "--resume came without --checkpoints"),
        (["--kind", "binary"], "label"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused_before_the_work(
    refused: Run, assays: Path, tmp_path: Path, more: list[str], said: str
) -> None:
    outcome = refused("fit", assays, "--task", "assay", "--out", tmp_path / "m", *more)
    assert said in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_checkpoints_of_another_run_are_not_mixed_in(run: Run, refused: Run, assays: Path, tmp_path: Path) -> None:
    fit = (
        "fit",
        assays,
        "--task",
        "assay",
        "--learner",
        "prototypical",
        "--encoder-set",
        "hidden=[8]",
        "--checkpoints",
        tmp_path / "ck",
    )
    assert run(*fit, "--steps", 2, "--out", tmp_path / "a").code == 0
    assert "earlier run" in refused(*fit, "--steps", 2, "--out", tmp_path / "b").err
    assert "other settings" in refused(*fit, "--steps", 3, "--resume", "--out", tmp_path / "b").err
    assert not (tmp_path / "b").exists()


def _used(run: Run, assays: Path, measured: Path, library: Path, folder: Path, *options: str) -> MetaLearner:
    """Fit with these options, and have the commands and the library agree on what the model says; return the model."""
    told = run("fit", assays, "--task", "assay", "--out", folder / "m", *options, "--json")
    assert told.code == 0, told.err
    told = run("adapt", measured, "--model", folder / "m", "--out", folder / "p", "--json")
    assert told.code == 0, told.err
    told = run("predict", library, "--predictor", folder / "p", "--out", folder / "p.csv", "--keep-order", "--json")
    assert told.code == 0, told.err
    told = run("evaluate", assays, "--task", "assay", "--model", folder / "m", "--split", "all", "--shots", 8,
               "--draws", 1, "--baseline", "none", "--out", folder / "judged", "--json")  # fmt: skip
    assert told.code == 0, told.err

    table, cases = pd.read_csv(folder / "p.csv"), pd.read_csv(library)["smiles"].tolist()
    known = pd.read_csv(measured)
    model = MetaLearner.load(folder / "m")
    again = model.adapt(known["smiles"].tolist(), known["pki"].tolist())
    assert table["prediction"].tolist() == pytest.approx(again.predict(cases).tolist(), abs=1e-5)
    assert Predictor.load(folder / "p").predict(cases[:3]).tolist() == pytest.approx(table["prediction"][:3].tolist())
    alone = [float(again.predict([case])[0]) for case in cases[:3]]  # a graph is padded to the largest beside it
    assert alone == pytest.approx(table["prediction"][:3].tolist(), abs=1e-4)
    return model


def test_a_learner_of_many_fingerprints_learns_adapts_predicts_and_is_judged_from_tables(
    run: Run, assays: Path, measured: Path, library: Path, tmp_path: Path
) -> None:
    model = _used(run, assays, measured, library, tmp_path, "--learner", "common_mean_gp")
    assert model.model_.learner.weights.shape[1] == 3 + len(model.model_.modality.rich_blocks)
    assert len(model.model_.learner.known)


def test_message_passing_learns_adapts_predicts_and_is_judged_from_tables(
    run: Run, assays: Path, measured: Path, library: Path, tmp_path: Path
) -> None:
    model = _used(
        run, assays, measured, library, tmp_path, "--encoder", "message_passing", "--encoder-set", "width=8",
        "--encoder-set", "depth=2", "--encoder-set", "dim=4", "--steps", "3",
    )  # fmt: skip

    trained = model.model_.learner.state_dict()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        fresh = model.model_.spec.build(model.model_.modality).state_dict()
    moved = [name for name, value in trained.items() if not torch.equal(value, fresh[name])]
    assert any(name.startswith("encoder.") for name in moved)
