"""A YAML file that says all of a `fit`: what it may say, what comes before it, and that what was written reads back to the same model."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.made_up_hospitals import hospitals

from metamedica.cli import _fit_file as files
from metamedica.cli import fit
from metamedica.errors import FileFormatError, InputError
from metamedica.storage import read_bundle

Run = Callable[..., Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with stays.csv and fit.yaml."""
    hospitals().to_csv(tmp_path / "stays.csv", index=False)
    (tmp_path / "fit.yaml").write_text(
        "data: {file: stays.csv, modality: tables, task: site, target: died, case: [age, marker]}\n"
        "learner: hierarchical_bayes\n"
        "settings: {trees: 4}\n"
        "seed: 3\n"
        "out: model\n"
        "card: {source: six made-up hospitals}\n",
        encoding="utf-8",
    )
    return tmp_path


def _record(model: Path) -> dict[str, Any]:
    return dict(read_bundle(model, "model")[1]["model"]["record"]["parameters"])


def test_all_of_a_fit_stands_in_one_file_and_paths_are_seen_from_its_folder(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    shown = run("fit", "--config", folder / "fit.yaml")
    assert shown.code == 0, shown.err
    told = _record(folder / "model")
    assert (told["learner"], told["settings"], told["seed"]) == ("hierarchical_bayes", {"trees": 4}, 3)
    assert "Source: six made-up hospitals" in (folder / "model" / "CARD.md").read_text(encoding="utf-8")


def test_the_command_line_comes_before_the_file_name_by_name(run: Run, folder: Path) -> None:
    more = ("--seed", 5, "--set", "trees=2", "--out", folder / "other", "--source", "mine")
    shown = run("fit", "--config", folder / "fit.yaml", *more)
    assert shown.code == 0, shown.err
    told = _record(folder / "other")
    assert (told["settings"], told["seed"]) == ({"trees": 2}, 5)
    assert not (folder / "model").exists()
    assert "Source: mine" in (folder / "other" / "CARD.md").read_text(encoding="utf-8")


def test_what_was_written_reads_back_to_the_same_model(run: Run, folder: Path) -> None:
    written = folder / "again" / "effective.yaml"
    written.parent.mkdir()
    assert run("fit", "--config", folder / "fit.yaml", "--seed", 7, "--write-config", written).code == 0
    told = yaml.safe_load(written.read_text(encoding="utf-8"))
    assert (told["seed"], told["learner"], told["encoder"]) == (7, "hierarchical_bayes", "mlp")
    assert run("fit", "--config", written, "--out", folder / "second").code == 0
    first, second = (read_bundle(folder / name, "model") for name in ("model", "second"))
    assert first[1]["model"] == second[1]["model"]
    for name, tensor in first[0]["learner"].items():
        assert tensor.equal(second[0]["learner"][name])


def test_a_declaration_stands_in_the_file_by_path_and_a_table_on_the_command_line_replaces_it(
    run: Run, folder: Path
) -> None:
    (folder / "decl.yaml").write_text(
        "name: stays\ntable: stays.csv\nother_columns: keep\nlabel: {column: died, positive: 'yes'}\ntask: site\n",
        encoding="utf-8",
    )
    (folder / "fit.yaml").write_text("data: {declaration: decl.yaml}\nsettings: {trees: 4}\nout: m\n", encoding="utf-8")
    shown = run("fit", "--config", folder / "fit.yaml")
    assert shown.code == 0, shown.err
    table = ("--modality", "tables", "--task", "site", "--target", "died", "--out", folder / "n")
    shown = run("fit", folder / "stays.csv", "--config", folder / "fit.yaml", *table)
    assert shown.code == 0, shown.err
    assert "stays.csv" in (folder / "n" / "CARD.md").read_text(encoding="utf-8")


def test_every_option_of_fit_can_stand_in_the_file() -> None:
    known = {*files.DATA.values(), *files.TOP.values(), *files.CARD.values(), "setting", "encoder_setting"}
    own = {"ctx", "write_config", "json", "debug"}
    assert known == set(inspect.signature(fit.command).parameters) - own


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("data: {file: t.csv}\nlerner: maml\n", "has the unknown key 'lerner'; it may have: tuned, compile, learner"),
        ("data: {fil: t.csv}\n", "fit.yaml, data has the unknown key 'fil'; it may have: file, declaration, root"),
        ("data: {file: t.csv}\ncard: {licens: x}\n", "card has the unknown key 'licens'; it may have: source, licence"),
        ("data: t.csv\n", "has data that is no mapping"),
        ("data: {modality: tables}\n", "names no data; give file (a table) or declaration under data"),
        ("data: {file: t.csv}\nsettings: [1]\n", "has settings that is no mapping"),
        ("data: {file: t.csv}\nseed: [1, 2]\n", "has seed that is a list; give one value"),
        ("data: {declaration: fit.yaml}\n", "which is a file of settings like itself"),
        ("data: {file: t.csv}\ndata: {file: u.csv}\n", "gives the key 'data' again"),
    ],
)
def test_a_file_that_says_no_fit_is_refused_by_name(refused: Run, tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "fit.yaml").write_text(text, encoding="utf-8")
    assert said in refused("fit", "--config", tmp_path / "fit.yaml", "--out", tmp_path / "m").err
    assert [each.name for each in tmp_path.iterdir()] == ["fit.yaml"]


def test_a_value_that_no_option_takes_and_a_missing_output_are_refused(refused: Run, folder: Path) -> None:
    text = (folder / "fit.yaml").read_text(encoding="utf-8")
    (folder / "fit.yaml").write_text(text.replace("seed: 3", "seed: three"), encoding="utf-8")
    assert "--seed" in refused("fit", "--config", folder / "fit.yaml").err
    (folder / "fit.yaml").write_text(text.replace("out: model\n", ""), encoding="utf-8")
    assert "--out" in refused("fit", "--config", folder / "fit.yaml").err


def test_a_file_to_write_is_checked_before_the_work_begins(refused: Run, folder: Path) -> None:
    (folder / "there.yaml").write_text("x", encoding="utf-8")
    said = refused("fit", "--config", folder / "fit.yaml", "--write-config", folder / "there.yaml").err
    assert "there.yaml is there already; choose another --write-config" in said
    assert not (folder / "model").exists()


def test_a_declaration_and_a_public_name_are_no_files_of_settings(folder: Path) -> None:
    (folder / "decl.yaml").write_text("name: x\n", encoding="utf-8")
    assert not files.is_fit_file(str(folder / "decl.yaml"))
    assert not files.is_fit_file("heart")
    assert files.is_fit_file(str(folder / "fit.yaml"))
    with pytest.raises(InputError, match="unknown key 'name'"):
        files.read_fit_file(folder / "decl.yaml")
    with pytest.raises(FileFormatError):
        files.read_fit_file(folder / "absent.yaml")
