"""`metamedica data check --modality images`: a folder or a table of real files, told to a person, a machine and on a page."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

Image = pytest.importorskip("PIL.Image")
Run = Callable[..., Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of 20 noisy pictures; the second is JPEG; one picture of the first comes twice."""
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (40, 8, 8), dtype=np.uint8)
    coarse[7] = coarse[3]
    for at, each in enumerate(np.kron(coarse, np.ones((6, 6), dtype=np.uint8))):
        label, suffix = ("healthy", "png") if at < 20 else ("ill", "jpg")
        path = tmp_path / "set" / label / f"scan_{random.integers(10**6)}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(each).save(path)
    (tmp_path / "set/ill/notes.txt").write_text("x")
    return tmp_path / "set"


def test_a_folder_is_audited_and_told(run: Run, folder: Path) -> None:
    shown = run("data", "check", "--modality", "images", folder)
    assert shown.code == 0
    assert "set: 40 images of 2 classes." in shown.out
    assert "Left out: 1 .txt files." in shown.out
    told = " ".join(shown.out.split())
    assert "Of 40 images 1 repeat the pixels of another one (healthy: 1)." in told
    assert "predict the label without the picture" in told
    assert "format PNG (20 images of 'healthy' in 19 units)" in told


def test_a_table_with_a_split_is_audited_for_machines_and_on_a_page(run: Run, folder: Path, tmp_path: Path) -> None:
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("scan*"))
    hashes = [(folder / path).read_bytes() for path in files]
    twice = [path for path, data in zip(files, hashes, strict=True) if hashes.count(data) == 2]
    table = pd.DataFrame({"file": files, "label": [path.split("/")[0] for path in files]})
    table["part"] = np.where(np.arange(40) % 4 == 0, "test", "train")
    table.loc[table["file"] == twice[0], "part"] = "test"
    table.loc[table["file"] == twice[1], "part"] = "train"
    table["patient"] = [f"secret{at // 2}" for at in range(40)]
    table.to_csv(tmp_path / "t.csv", index=False)
    page = tmp_path / "audit.html"
    shown = run(
        "data", "check", tmp_path / "t.csv", "--modality", "images", "--root", folder, "--split", "part", "--group", "patient",
        "--out", page, "--json",
    )  # fmt: skip
    assert shown.code == 0, shown.err
    told = json.loads(shown.out)
    (pair,) = told["twins"]["pairs"]
    assert sorted(pair["paths"]) == sorted(twice)
    assert told["images"] == 40
    assert [each["near"] for each in told["twins"]["crossings"]] == [1, 1]
    assert told["balance"]["groups"] == 20
    assert told["shortcuts"]["predicts"] is True
    html = page.read_text()
    assert html.count("data:image/png;base64,") == 2
    assert "The same image twice" in html
    assert "secret" not in html + shown.out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("set", "--case", "path"), "--case came with a folder of classes"),
        (("gone",), "there is no folder or table 'gone'"),
        ((), "no images were named; give a folder with a subfolder for each class"),
        (("set", "--out", "page.txt"), "page.txt has an unknown format; give a name that ends with .html"),
        (
            ("plain.csv",),
            "plain.csv has no column that looks like paths; name it with --case; the columns are: x, label",
        ),
        (("plain.csv", "--case", "y"), "plain.csv has no column 'y'; it has: x, label"),
    ],
)
def test_what_cannot_be_audited_is_refused(
    refused: Run, folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], told: str
) -> None:
    monkeypatch.chdir(folder.parent)
    (folder.parent / "plain.csv").write_text("x,label\na.png,b\n")
    assert told in refused("data", "check", "--modality", "images", *arguments).err


def test_a_broken_image_is_refused_or_left_out_and_counted(run: Run, refused: Run, folder: Path) -> None:
    (folder / "ill/broken.png").write_bytes(b"PK\x03\x04 a zip")
    error = refused("data", "check", "--modality", "images", folder).err
    assert "broken.png is a zip or Office file" in error
    assert "add --skip-invalid" in error
    told = json.loads(run("data", "check", "--modality", "images", folder, "--skip-invalid", "--json").out)
    assert (told["images"], told["left_out"]) == (40, {".txt files": 1, "invalid images": 1})


def test_a_page_of_other_modalities_is_refused(refused: Run, assays: Path, tmp_path: Path) -> None:
    error = refused("data", "check", assays, "--task", "assay", "--out", tmp_path / "a.html").err
    assert "--out writes the audit of images; leave it out, or add --modality images" in error
