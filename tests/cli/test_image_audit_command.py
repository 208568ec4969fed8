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


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Two classes of six series of five slices, a folder each; the second class is of another scanner and misses a slice of each series."""
    pytest.importorskip("pydicom")
    from tests.made_dicom import dataset, saved

    random = np.random.default_rng(0)
    for number in range(12):
        label, ill = ("ill", True) if number % 2 else ("healthy", False)
        coarse = random.integers(0, 3000, (5, 8, 8))
        slices = [
            dataset(
                np.kron(coarse[at], np.ones((4, 4))).astype(np.uint16), SOPInstanceUID=f"1.2.3.{number}.{at + 1}", PatientID=f"secret{number}",
                SeriesInstanceUID=f"1.2.9.{number}", ImagePositionPatient=[0, 0, 2.0 * at + (3.0 if ill and at > 2 else 0.0)],
                Manufacturer="Acme" if ill else "Umbrella", StudyDate=f"202401{number + 10}",
            )
            for at in range(5)
        ]  # fmt: skip
        if number == 6:
            slices[0].SeriesInstanceUID = "1.2.9.99"  # another series in its folder
            slices[1].BurnedInAnnotation = "YES"
        saved(slices, tmp_path / "scans" / label / f"series{number}")
    return tmp_path / "scans"


def test_folders_of_series_are_audited_by_their_headers(run: Run, scans: Path, tmp_path: Path) -> None:
    shown = run("data", "check", "--modality", "images", scans, "--json", "--out", tmp_path / "page.html")
    assert shown.code == 0, shown.err
    told = json.loads(shown.out)
    series = told["series"]
    assert (told["images"], series["patients"], series["series"]) == (60, 12, 13)
    assert (series["mixed_folders"], series["uneven"], series["measured"]) == (1, 6, 12)
    assert series["writing"] == {"healthy": 1}
    assert told["balance"]["groups"] == 12
    assert told["shortcuts"]["groups"] == 12
    single = {each["fact"]: each["auc"] for each in told["shortcuts"]["single"]}
    assert single["manufacturer"] > 0.9
    says = " ".join(each["says"] for each in told["findings"])
    assert "1 folder with images of several series" in says
    assert "6 of 12 series have slices at uneven distances" in says
    assert "1 of 60 scans may have text in the pixels (healthy: 1)" in says
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Patients and series, by the headers" in page
    for hidden in ("secret", "20240", "1.2.9."):
        assert hidden not in page + shown.out


def test_a_table_of_slices_whose_series_stand_on_both_sides_is_grave(run: Run, scans: Path, tmp_path: Path) -> None:
    files = sorted(path.relative_to(scans).as_posix() for path in scans.rglob("*.dcm"))
    table = pd.DataFrame({"path": files, "label": [path.split("/")[0] for path in files]})
    table["part"] = np.where(np.arange(len(files)) % 5 == 4, "test", "train")
    table.to_csv(scans / "t.csv", index=False)
    shown = run("data", "check", "--modality", "images", scans / "t.csv", "--split", "part", "--json")
    assert shown.code == 0, shown.err
    told = json.loads(shown.out)
    assert told["series"]["split_series"] == 12
    (grave,) = [each for each in told["findings"] if "series have slices in more than one part" in each["says"]]
    assert grave["severity"] == "grave"


def test_volumes_are_audited_and_one_with_times_is_refused(run: Run, refused: Run, tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    random = np.random.default_rng(1)
    for number in range(12):
        voxels = random.normal(size=(16, 16, 5)).astype(np.float32)
        path = tmp_path / "v" / ("a" if number % 2 else "b") / f"{number}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(voxels, np.diag([1, 1, 5.0 if number % 2 else 2.5, 1])), path)
    (tmp_path / "v/a/twin.nii.gz").write_bytes((tmp_path / "v/a/1.nii.gz").read_bytes())
    told = json.loads(run("data", "check", "--modality", "images", tmp_path / "v", "--json").out)
    assert (told["images"], told["twins"]["exact_copies"], told["series"]["series"]) == (13, 1, 0)
    assert {each["fact"]: each["auc"] for each in told["shortcuts"]["single"]}["thickness_mm"] > 0.9
    nibabel.save(nibabel.Nifti1Image(np.zeros((3, 3, 3, 2), np.float32), np.eye(4)), tmp_path / "v/a/t.nii")
    assert "add --skip-invalid" in refused("data", "check", "--modality", "images", tmp_path / "v").err


def test_a_cut_slice_is_refused_by_its_name(refused: Run, scans: Path) -> None:
    path = next(scans.rglob("*.dcm"))
    path.write_bytes(path.read_bytes()[:-40])
    error = refused("data", "check", "--modality", "images", scans).err
    assert path.name in error
    assert "secret" not in error
