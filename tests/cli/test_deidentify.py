"""`metamedica data deidentify`: what a user sees, what a machine reads, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from made_dicom import saved, stack

pytest.importorskip("pydicom")

Run = Callable[..., Any]


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    slices = stack(4)
    for each in slices:
        each.PatientName, each.PatientID = "Zyxwv^Quentin", "MRN-7788991"
    slices[3].BurnedInAnnotation = "YES"
    saved(slices, tmp_path / "scans")
    (tmp_path / "scans" / "notes.txt").write_text("x")
    (tmp_path / "key.txt").write_text("5f0c1a77b23d4e9d8c6b\n")
    return tmp_path


def test_a_folder_is_copied_without_who_it_is_of(run: Run, scans: Path) -> None:
    out = scans / "shared"
    shown = run("data", "deidentify", scans / "scans", out, "--key-file", scans / "key.txt")
    assert shown.code == 0
    for expected in (
        "1 patients, 1 series written",
        "1 is not DICOM",
        "held back",
        "says that it has writing",
        "report.json",
    ):
        assert expected in shown.out
    assert "Quentin" not in shown.out + shown.err
    assert len(list(out.rglob("*.dcm"))) == 3
    assert all(b"Quentin" not in path.read_bytes() for path in out.rglob("*") if path.is_file())


def test_a_machine_reads_the_report_and_a_second_run_tells_the_same(
    run: Run, scans: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METAMEDICA_DEIDENTIFICATION_KEY", "5f0c1a77b23d4e9d8c6b")
    arguments = (
        "data",
        "deidentify",
        scans / "scans",
        scans / "out",
        "--flagged",
        "keep",
        "--dates",
        "remove",
        "--json",
    )
    told = json.loads(run(*arguments).out)
    assert told["report"]["files"] == {"read": 5, "written": 4, "left out": 1}
    assert told["report"] == json.loads((scans / "out" / "report.json").read_text())
    assert json.loads(run(*arguments).out) == told


def test_what_cannot_be_done_is_told_in_one_sentence(
    refused: Run, scans: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("METAMEDICA_DEIDENTIFICATION_KEY", raising=False)
    start = ("data", "deidentify", scans / "scans", scans / "out")
    assert "no key: give a key file, or set METAMEDICA" in refused(*start).err
    (scans / "weak.txt").write_text("short")
    assert "16 random ones or more" in refused(*start, "--key-file", scans / "weak.txt").err
    assert "no such key file" in refused(*start, "--key-file", scans / "none.txt").err
    assert not (scans / "out").exists()
    key = ("--key-file", scans / "key.txt")
    assert "there is no folder 'none'" in refused("data", "deidentify", scans / "none", scans / "out", *key).err
    (scans / "empty").mkdir()
    (scans / "empty" / "a.txt").write_text("x")
    text = refused("data", "deidentify", scans / "empty", scans / "out", *key).err
    assert "of 1 files none is an image that can be de-identified; out/report.json tells why" in text


def test_help_teaches_the_whole_job(run: Run) -> None:
    shown = run("data", "deidentify", "--help").out
    for expected in ("openssl rand -hex 32", "--key-file", "--flagged", "A face can be", "Run it again after a stop"):
        assert expected in shown
