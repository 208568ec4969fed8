"""Tasks that are described, from the table to the predictor: `fit --about`, `adapt --about`, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from tests.made_up_molecules import molecules

from metamedica.data.collection import TaskCollection
from metamedica.meta_learner import MetaLearner
from metamedica.predictors.predictor import Predictor

Run = Callable[..., Any]
LETTERS = list("ACDEFGHIKLMNPQRSTVWY")


class World(NamedTuple):
    """A table of assays in families, the amino acids and values of one more assay of a family, and the library that all measured."""

    table: Path
    sequence: str
    values: dict[str, float]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    random = np.random.default_rng(0)
    library = [molecules()[at] for at in random.permutation(400)[:36]]
    rows, last, values = [], "", {}
    for family in range(6):
        base, common = random.choice(LETTERS, 120), random.normal(size=len(library))
        for number in range(5 + (family == 5)):
            text = base.copy()
            text[random.random(120) < 0.15] = random.choice(LETTERS)
            sequence, measured = "".join(text), 6 + common + 0.3 * random.normal(size=len(library))
            if number == 5:
                last, values = sequence, dict(zip(library, measured, strict=True))
                continue
            rows += [
                (smiles, f"f{family}-{number}", sequence, value)
                for smiles, value in zip(library, measured, strict=True)
            ]
    table = tmp_path_factory.mktemp("described") / "assays.csv"
    pd.DataFrame(rows, columns=["smiles", "assay", "sequence", "pki"]).to_csv(table, index=False)
    return World(table, last, values)


@pytest.fixture(scope="module")
def described(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("described") / "model"
    tasks = TaskCollection.from_table(
        world.table,
        modality="molecules",
        case="smiles",
        target="pki",
        task="assay",
        about="sequence",
        kind="regression",
        unit="-log10 M",
        cache=False,
        n_jobs=1,
    )
    MetaLearner("common_mean_gp").fit(tasks).save(out)
    return out


def _measured(world: World, folder: Path, count: int = 4) -> Path:
    file = folder / "measured.csv"
    pd.DataFrame(list(world.values.items())[:count], columns=["smiles", "pki"]).to_csv(file, index=False)
    return file


def test_the_description_of_a_new_task_tells_which_earlier_ones_it_takes_after(
    run: Run, world: World, described: Path, tmp_path: Path
) -> None:
    fasta = tmp_path / "target.fasta"
    lines = [world.sequence[at : at + 60] for at in range(0, len(world.sequence), 60)]
    fasta.write_text("\n".join([">new|target of family five", *lines, ""]), encoding="utf-8")
    measured = _measured(world, tmp_path)
    common = ("adapt", measured, "--model", described, "--unit", "-log10 M", "--out")
    plain = run(*common, tmp_path / "plain", "--json")
    told = run(*common, tmp_path / "told", "--about", f"@{fasta}", "--json")
    assert (plain.code, told.code) == (0, 0), told.err
    assert not json.loads(plain.out)["trust"]["described"]
    near = json.loads(told.out)["trust"]["nearest"]
    assert {each["name"].partition("-")[0] for each in near} == {"f5"}
    assert world.sequence not in told.out
    rest = dict(list(world.values.items())[4:])
    error = {}
    for name in ("plain", "told"):
        predicted = Predictor.load(tmp_path / name).predict(list(rest))
        error[name] = float(np.mean((np.asarray(predicted) - list(rest.values())) ** 2))
    assert error["told"] < 0.5 * error["plain"]
    again = run(*common, tmp_path / "text", "--about", world.sequence)
    assert again.code == 0
    assert "Earlier tasks described most alike" in again.out
    assert "the nearest by description are f5-" in again.out
    same = [Predictor.load(tmp_path / name).predict(list(rest)) for name in ("told", "text")]
    np.testing.assert_array_equal(*same)


def test_python_gives_the_predictor_of_the_command(run: Run, world: World, described: Path, tmp_path: Path) -> None:
    cases, rest = list(world.values.items())[:4], list(world.values)[4:]
    predictor = MetaLearner.load(described).adapt(
        [smiles for smiles, _ in cases], [value for _, value in cases], unit="-log10 M", about=world.sequence
    )
    predictor.save(tmp_path / "python")
    shown = run(
        "adapt", _measured(world, tmp_path), "--model", described, "--unit", "-log10 M", "--about", world.sequence, "--out", tmp_path / "shell"
    )  # fmt: skip
    assert shown.code == 0
    for name in ("python", "shell"):
        np.testing.assert_allclose(
            Predictor.load(tmp_path / name).predict(rest), predictor.predict(rest), rtol=1e-4, atol=1e-4
        )


def test_a_column_of_descriptions_is_read_and_a_learner_that_reads_none_is_told_before_training(
    run: Run, world: World, tmp_path: Path
) -> None:
    common = ("fit", world.table, "--task", "assay", "--about", "sequence", "--unit", "-log10 M", "--out")
    shown = run(*common, tmp_path / "model")  # the default reads them
    assert shown.code == 0, shown.err
    assert "does not use the descriptions" not in shown.err
    assert MetaLearner.load(tmp_path / "model").model_.learner.compares_tasks()
    for learner in ("deep_kernel", "tanimoto_gp"):
        refused = run(*common, tmp_path / "other", "--learner", learner)
        assert refused.code != 0
        assert "does not compare tasks by such; leave it out, or fit common_mean_gp" in refused.err
        assert not (tmp_path / "other").exists()
    absent = run("fit", world.table, "--task", "assay", "--about", "protein", "--out", tmp_path / "other")
    assert absent.code != 0
    assert "no column 'protein'" in absent.err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("AB", "the description 'AB' of a task came; give at least 3 letters"),
        ("@absent.fasta", "absent.fasta cannot be read"),
        ("@empty.txt", "empty.txt is empty; give what the task is about"),
        ("@two.fasta", "two.fasta holds 2 sequences; a task has one"),
        ("@bytes.txt", "bytes.txt is no text in UTF-8"),
        ("@long.txt", "long.txt has 1,000,001 bytes"),
    ],
)
def test_a_description_that_cannot_be_used_is_refused_and_nothing_is_written(
    run: Run, world: World, described: Path, tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "empty.txt").write_text("\n", encoding="utf-8")
    (tmp_path / "two.fasta").write_text(">a\nMKV\n>b\nMKL\n", encoding="utf-8")
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\x00MKV")
    (tmp_path / "long.txt").write_text("M" * 1_000_001, encoding="utf-8")
    given = f"@{tmp_path / text[1:]}" if text.startswith("@") else text
    shown = run(
        "adapt", _measured(world, tmp_path), "--model", described, "--about", given, "--out", tmp_path / "predictor"
    )
    assert shown.code != 0
    assert said in shown.err.replace("\n", " ")
    assert not (tmp_path / "predictor").exists()


def test_a_model_whose_tasks_were_not_described_takes_no_description(
    run: Run, world: World, model: Path, measured: Path, tmp_path: Path
) -> None:
    shown = run("adapt", measured, "--model", model, "--about", world.sequence, "--out", tmp_path / "p")
    assert shown.code != 0
    assert "does not compare tasks by such" in shown.err
    without = tmp_path / "without"
    assert run("fit", world.table, "--task", "assay", "--learner", "common_mean_gp", "--out", without).code == 0
    shown = run("adapt", measured, "--model", without, "--about", world.sequence, "--out", tmp_path / "p")
    assert shown.code != 0
    assert "the earlier tasks of this model have none" in shown.err
    assert not (tmp_path / "p").exists()
