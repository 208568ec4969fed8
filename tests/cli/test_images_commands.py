"""Images on the command line, from labelled files to a page: pretrain, fit, adapt, predict, imaging; bad input leaves nothing behind."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from metamedica.cli import main
from metamedica.modalities.images import patches


def _draw(path: Path, *, lying: bool, seed: int) -> None:
    random = np.random.default_rng(seed)
    wave = 60 * np.sin(np.arange(32) * np.pi / 4 + random.uniform(0, 6))
    grey = (random.normal(128, 15, (32, 32)) + (wave[:, None] if lying else wave[None])).clip(0, 255)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(grey.astype(np.uint8)).save(path)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders `labelled` and `new` with a class in each subfolder, and a table of tasks."""
    root = tmp_path_factory.mktemp("images")
    for room, count in (("labelled", 8), ("new", 3)):
        for number in range(count):
            for lying in (False, True):
                kind = "lying" if lying else "standing"
                _draw(root / room / kind / f"{number}.png", lying=lying, seed=10 * number + 2 * lying + (room == "new"))
    rows = [
        {"image": f"labelled/{kind}/{number}.png", "label": kind, "question": question}
        for question in ("one", "other")
        for kind in ("lying", "standing")
        for number in range(8)
    ]
    pd.DataFrame(rows).to_csv(root / "tasks.csv", index=False)
    return root


@pytest.fixture(scope="module")
def model(files: Path) -> Path:
    """A model of the table, seen through a network of a few steps."""
    network, out = files / "network", files / "model"
    assert (
        main(
            ["pretrain", str(files / "labelled"), "--out", str(network), "--side", "32", "--steps", "3", "--batch", "8"]
        )
        == 0
    )
    arguments = ["fit", str(files / "tasks.csv"), "--modality", "images", "--task", "question", "--target", "label"]
    assert main([*arguments, "--positive", "lying", "--network", str(network), "--out", str(out)]) == 0
    return out


def test_from_a_folder_of_classes_to_a_page(files: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predictor = files / "predictor"
    assert (
        main(["adapt", str(files / "labelled"), "--model", str(model), "--positive", "lying", "--out", str(predictor)])
        == 0
    )
    assert "16 measured cases" in capsys.readouterr().out
    page = files / "page.html"
    assert main(["imaging", str(predictor), str(files / "new"), "--out", str(page), "--explain", "0", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert len(told["images"]) == 6
    right = sum(each["prediction"] == each["truth"] for each in told["images"])
    assert right >= 5
    assert told["images"][0]["name"] == "lying/0.png"
    assert "6 images read" in page.read_text(encoding="utf-8")
    assert (
        main(["predict", str(files / "new"), "--predictor", str(predictor), "--out", str(files / "answers.csv")]) == 0
    )
    answers = pd.read_csv(files / "answers.csv")
    assert set(answers["name"].str.split("/").str[0][:3]) == {"lying"}  # the best first
    assert answers["nearest_labelled"].str.match(r"labelled case \d+").all()
    assert str(files) not in (files / "answers.csv").read_text(encoding="utf-8")
    assert "base64" not in (files / "answers.csv").read_text(encoding="utf-8")


def test_a_table_of_paths_below_its_folder_is_read_and_one_that_leaves_it_is_refused(
    files: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = files / "one.csv"
    pd.read_csv(files / "tasks.csv").query("question == 'one'").drop(columns="question").to_csv(table, index=False)
    out = tmp_path / "predictor"
    assert main(["adapt", str(table), "--model", str(model), "--positive", "lying", "--out", str(out)]) == 0
    wrong = tmp_path / "wrong.csv"
    pd.DataFrame({"image": ["../secret.png", "x.png"], "label": ["lying", "standing"]}).to_csv(wrong, index=False)
    assert main(["adapt", str(wrong), "--model", str(model), "--positive", "lying", "--out", str(tmp_path / "no")]) == 2
    assert "names no file below the folder of the table" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()


def test_reasons_of_a_prediction_have_the_network_s_share_and_a_predictor_without_one_says_why(
    files: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patches, "COALITIONS", 140)
    plain = tmp_path / "plain"
    arguments = ["fit", str(files / "tasks.csv"), "--modality", "images", "--task", "question", "--target", "label"]
    assert main([*arguments, "--positive", "lying", "--out", str(plain)]) == 0
    for made, told in ((model, "heat"), (plain, "refused")):
        predictor = tmp_path / f"{told}-predictor"
        adapt = ["adapt", str(files / "labelled"), "--model", str(made), "--positive", "lying"]
        assert main([*adapt, "--out", str(predictor)]) == 0
        predict = ["predict", str(files / "new"), "--predictor", str(predictor), "--top", "1"]
        for suffix in ("json", "html"):
            why = tmp_path / f"{told}.{suffix}"
            assert main([*predict, "--out", str(tmp_path / f"{told}-{suffix}.csv"), "--explain", str(why)]) == 0
        (each,) = json.loads((tmp_path / f"{told}.json").read_text(encoding="utf-8"))
        assert told in each["grad_cam"]
    assert "Grad-CAM: " in (tmp_path / "heat.html").read_text(encoding="utf-8")
    page = (tmp_path / "refused.html").read_text(encoding="utf-8")
    assert "No Grad-CAM: this predictor sees images by classical features alone" in page


def test_an_interrupted_pretraining_goes_on_and_another_one_is_refused(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["pretrain", str(files / "labelled"), str(files / "new"), "--side", "32", "--batch", "4", "--turned"]
    ready = [*arguments, "--checkpoints", str(tmp_path / "ck"), "--steps", "2"]
    assert main([*ready, "--out", str(tmp_path / "net")]) == 0
    assert main([*ready, "--resume", "--out", str(tmp_path / "again"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["images"] == {"labelled": 16, "new": 6}
    assert main([*ready, "--seed", "1", "--resume", "--out", str(tmp_path / "other")]) == 2
    assert "of other images or settings" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["pretrain", "none", "--out", "net"], "is no folder; give folders that hold images"),
        (["pretrain", "empty", "--out", "net"], "holds no image"),
        (["pretrain", "broken", "--out", "net"], "1 of 1 images cannot be read: x.png"),
        (["pretrain", "empty", "--out", "net", "--resume"], "--resume came without --checkpoints"),
        (["pretrain", "empty", "--out", "net", "--window", "moon"], "there is no window 'moon'"),
        (["imaging", "none", "empty", "--out", "page.html"], "none"),
        (["imaging", "none", "empty", "--out", "page.txt"], ".html"),
        (["fit", "t.csv", "--window", "lung", "--out", "m"], "--window came with molecules, and is of images"),
    ],
)
def test_bad_input_is_told_in_a_sentence_and_leaves_nothing(
    arguments: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "x.png").write_bytes(b"no image")
    (tmp_path / "t.csv").write_text("smiles,pki\nCC,1\n", encoding="utf-8")
    before = sorted(tmp_path.rglob("*"))
    assert main(arguments) == 2
    assert told in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


def test_help_teaches_what_comes_before_and_after(run: Callable[..., Any]) -> None:
    shown = run("pretrain", "--help")
    assert shown.code == 0
    assert "No outside weights are needed" in shown.out
    assert "Next: metamedica fit" in shown.out
    shown = run("imaging", "--help")
    assert "metamedica adapt labelled/" in shown.out
    assert "Shapley values" in shown.out
