"""The programs under examples/ run as they stand, and the made-up tables are those of their script."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from metamedica.cli import main

EXAMPLES = Path(__file__).parents[1] / "examples"


def _run(program: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / program), *arguments], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_new_clinic_adapts_the_shipped_model_and_is_told_what_was_read_otherwise() -> None:
    told = _run("new_clinic.py")
    assert "case 7, column 'chol': outside 60 to 700 mg/dL, and read as missing" in told
    assert "column 'thal': the column is not there, and is read as missing throughout" in told
    assert "earlier tasks" in told
    assert "- from scratch: 0." in told
    assert "Of 40 others" in told
    assert "5.4" not in told
    lines = (EXAMPLES / "new_clinic.py").read_text(encoding="utf-8").splitlines()
    assert 20 <= len([line for line in lines if line.strip()]) <= 40


@pytest.mark.parametrize(
    ("script", "tables"),
    [
        ("make_new_clinic.py", ("new_clinic.csv", "new_patients.csv")),
        ("make_hospitals.py", ("hospitals.csv", "sixth_labelled.csv", "sixth_judged.csv")),
    ],
)
def test_the_made_up_tables_are_what_their_script_writes(tmp_path: Path, script: str, tables: tuple[str, ...]) -> None:
    _run(script, str(tmp_path))
    for name in tables:
        assert (tmp_path / name).read_text(encoding="utf-8") == (EXAMPLES / name).read_text(encoding="utf-8")


def test_the_three_commands_of_the_diagnosis_page_fit_adapt_and_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (EXAMPLES.parent / "docs" / "diagnosis.md").read_text(encoding="utf-8")
    block = re.search(r"```bash\n(.*?)```", page, re.DOTALL)
    assert block is not None
    commands = [shlex.split(line) for line in block[1].splitlines()]
    assert [command[1] for command in commands] == ["fit", "adapt", "report"]
    (tmp_path / "examples").symlink_to(EXAMPLES)
    monkeypatch.chdir(tmp_path)
    for command in commands:
        assert main(command[1:]) == 0, capsys.readouterr().err
    told = capsys.readouterr().out
    assert "judged on 120 others" in told
    report = (tmp_path / "report.html").read_text(encoding="utf-8")
    for said in ("not a medical device", "By sex", "By age (cut at", "TRIPOD+AI", "Decision curve", "Before adapting"):
        assert said in report, said
    assert "<script" not in report
    assert sorted(each.name for each in tmp_path.iterdir()) == ["examples", "model", "report.html", "sixth"]
