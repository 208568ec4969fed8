"""The programs under examples/ run as they stand, and the made-up tables are those of their script."""

import subprocess
import sys
from pathlib import Path

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


def test_the_made_up_tables_are_what_their_script_writes(tmp_path: Path) -> None:
    _run("make_new_clinic.py", str(tmp_path))
    for name in ("new_clinic.csv", "new_patients.csv"):
        assert (tmp_path / name).read_text(encoding="utf-8") == (EXAMPLES / name).read_text(encoding="utf-8")
