"""What the README promises: its program runs, its commands exist, and both languages say the same ones."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import readme
from metamedica.cli import main
from metamedica.data import catalogue

ROOT = Path(__file__).parents[1]
ENGLISH = (ROOT / "README.md").read_text(encoding="utf-8")
CHINESE = (ROOT / "README.zh-CN.md").read_text(encoding="utf-8")


def _blocks(text: str) -> list[str]:
    return re.findall(r"```.*?\n(.*?)```", text, flags=re.S)


def test_both_languages_have_the_same_code_blocks() -> None:
    assert _blocks(ENGLISH) == _blocks(CHINESE)
    assert len(_blocks(ENGLISH)) == 9


def test_both_languages_show_the_same_figures() -> None:
    numbers = [re.findall(r"^\|.*\|$", text, flags=re.M) for text in (ENGLISH, CHINESE)]
    figures = [[re.findall(r"\d[\d.]*", line) for line in lines if re.search(r"\.\d", line)] for lines in numbers]
    assert figures[0] == figures[1]


def test_both_languages_name_the_same_public_collections_with_the_licence_that_the_catalogue_gives() -> None:
    english, chinese = (
        re.findall(r"^\| `([a-z0-9_]+)` \| ([^|]+) \|$", text, flags=re.M) for text in (ENGLISH, CHINESE)
    )
    assert english == chinese
    assert ("sider", catalogue.entry("sider").licence) in english
    for name, licence in english:
        assert licence == catalogue.entry(name).licence


@pytest.mark.parametrize("language", readme.FILES)
def test_the_figures_are_those_of_the_committed_results(language: str) -> None:
    text = (ROOT / readme.FILES[language]).read_text(encoding="utf-8")
    assert readme.filled(text, language, readme.newest()) == text


def test_the_program_of_the_readme_runs(tmp_path: Path) -> None:
    program = next(block for block in _blocks(ENGLISH) if block.startswith("from metamedica"))
    assert len([line for line in program.splitlines() if line.strip()]) <= 15
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "eans" in done.stdout
    assert (tmp_path / "my-assay" / "MANIFEST.json").is_file()


def test_the_program_on_trust_runs_on_the_example_clinic() -> None:
    program = next(block for block in _blocks(ENGLISH) if "clinic.shift.verdict" in block)
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    told = done.stdout.splitlines()
    assert told[0].startswith("Its cases look like those of earlier tasks")
    assert "over the best method from scratch" in told[1]
    assert 1 <= float(told[2]) <= 2
    assert told[3].endswith("of 40 go to a person")


def test_the_program_for_scikit_learn_of_the_readme_runs_and_is_right_more_often_than_not(tmp_path: Path) -> None:
    program = next(block for block in _blocks(ENGLISH) if block.startswith("from sklearn"))
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert float(first.split()[0]) > 0.8
    assert "eans" in first
    assert float(second) > 0.5


def test_every_make_target_that_documents_name_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, flags=re.M))
    for name in ("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md"):
        for target in re.findall(r"`?make ([a-z][a-z-]+)", (ROOT / name).read_text(encoding="utf-8")):
            assert target in targets | {"sure"}, f"{name} names make {target}"


COMMANDS = [line for block in _blocks(ENGLISH)[3:] for line in block.splitlines() if line.startswith("metamedica")]


def test_a_new_clinic_is_served_by_the_commands_of_the_readme(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    for line in _blocks(ENGLISH)[4].splitlines():
        assert main(line.split()[1:]) == 0, capsys.readouterr().err
    told = capsys.readouterr().out
    assert "Remark: column 'thal'" in told
    assert "Leans mostly on earlier tasks" in told
    assert "Left out: 4 cannot come back (exclusion 1)" in told
    assert len((tmp_path / "risks.csv").read_text(encoding="utf-8").splitlines()) == 41
    assert (tmp_path / "wards" / "CARD.md").is_file()


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_of_the_readme_exists_with_its_options(line: str) -> None:
    words = line.split()[1:]
    verb = words[:2] if words[0] == "data" else words[:1]
    program = "import sys; from metamedica.cli import main; sys.exit(main())"
    wide = {**os.environ, "COLUMNS": "200", "TERM": "dumb"}
    shown = subprocess.run(
        [sys.executable, "-c", program, *verb, "--help"], env=wide, capture_output=True, text=True, timeout=120
    )
    assert shown.returncode == 0, shown.stderr
    for option in re.findall(r"--[a-z-]+", line):
        assert option in shown.stdout, f"{verb} has no {option}"
