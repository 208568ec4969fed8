"""The program as a whole: its verbs, its speed, its exit codes."""

import errno
import importlib
import inspect
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from metamedica import cli
from metamedica.cli import models
from metamedica.errors import BundleError, InputError, MetamedicaError, MissingExtraError, TrainingError

SUB_VERBS = {"data": ["check", "list", "show"]}


def _program(*arguments: str | Path, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """Run the installed program's entry point in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", "import sys; from metamedica.cli import main; sys.exit(main())", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=120,
        check=False,
    )


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    program = (
        "import sys; from metamedica.cli import main; code = main(['--help']); "
        "heavy = {'torch', 'rdkit', 'sklearn', 'pandas', 'numpy', 'scipy', 'matplotlib'} & set(sys.modules); "
        "sys.stderr.write(','.join(sorted(heavy))); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0
    assert done.stderr == ""
    for verb in cli.verbs():
        assert verb in done.stdout


def test_the_installed_program_is_this_one() -> None:
    from importlib.metadata import entry_points

    (program,) = entry_points(group="console_scripts", name="metamedica")
    assert program.load() is cli.main


def test_every_verb_is_a_command_with_help_an_example_json_and_debug(run: Callable[..., Any]) -> None:
    assert {"adapt", "data", "evaluate", "fit", "models", "predict", "report"} <= set(cli.verbs())
    for verb in cli.verbs():
        for words in [[verb, sub] for sub in SUB_VERBS.get(verb, [])] or [[verb]]:
            shown = run(*words, "--help")
            assert shown.code == 0, words
            text = shown.out
            assert any(line.strip().startswith(f"metamedica {' '.join(words)}") for line in text.splitlines()), words
            assert "--json" in text, words
            assert "--debug" in text, words


def test_every_documented_option_exists(run: Callable[..., Any]) -> None:
    """An example in a help text that names an option which the verb does not have would fail when pasted."""
    for verb in cli.verbs():
        command = importlib.import_module(f"metamedica.cli.{verb}").command
        functions = (
            [info.callback for info in command.registered_commands] if isinstance(command, typer.Typer) else [command]
        )
        for function in functions:
            lines = [line.strip() for line in (inspect.getdoc(function) or "").splitlines()]
            examples = [line.split() for line in lines if line.startswith("metamedica ")]
            assert examples, function
            for words in examples:
                named = words[1:3] if words[1] in SUB_VERBS else words[1:2]
                text = run(*named, "--help").out
                for option in (word for word in words if word.startswith("--")):
                    assert option in text, (words, option)


def test_no_argument_shows_the_help(run: Callable[..., Any]) -> None:
    shown = run()
    assert shown.code == 0
    assert "metamedica fit" in shown.out


def test_version_is_that_of_the_package(run: Callable[..., Any]) -> None:
    from metamedica import __version__

    assert run("--version").out == f"metamedica {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fly"], "see: metamedica --help"),
        (["data"], "see: metamedica data --help"),
        (["data", "fly"], "see: metamedica data --help"),
        (["fit"], "see: metamedica fit --help"),
        (["fit", "a.csv", "--ouch", "x"], "--ouch"),
        (["fit", "a.csv", "--out", "m", "--steps", "many"], "--steps"),
        (["fit", "a.csv", "--out", "m", "--kind", "fuzzy"], "--kind"),
    ],
)
def test_a_wrong_command_line_is_refused_with_the_place_to_look(
    refused: Callable[..., Any], arguments: list[str], said: str
) -> None:
    assert said in refused(*arguments).err


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (InputError("too few"), 2, "error: too few"),
        (BundleError("broken"), 2, "error: broken"),
        (
            MissingExtraError("rdkit", "molecules"),
            2,
            "error: rdkit is not installed; install it with: pip install 'metamedica[molecules]'",
        ),
        (TrainingError("diverged"), 1, "error: diverged"),
        (MetamedicaError("no worker"), 1, "error: no worker"),
        (KeyboardInterrupt(), 130, "error: interrupted"),
        (
            PermissionError(errno.EACCES, "Permission denied", "/nowhere/x"),
            2,
            "error: /nowhere/x cannot be used (Permission denied)",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), 2, "error: the disk is full"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), 2, "error: the disk is full"),
        (
            RuntimeError("two\nlines \x1b[31m"),
            1,
            "error: unexpected RuntimeError: two lines ?[31m; run again with --debug",
        ),
    ],
)
def test_an_error_becomes_one_sentence_and_an_exit_code(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, sentence: str
) -> None:
    def command(ctx: typer.Context) -> None:
        raise error

    monkeypatch.setattr(models, "command", command)
    outcome = run("models")
    assert outcome.code == code
    assert outcome.err.startswith(sentence)
    assert outcome.err.count("\n") == 1


def test_an_interrupted_training_has_the_exit_code_of_ctrl_c(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from metamedica.training import TrainingInterrupted

    def command(ctx: typer.Context) -> None:
        raise TrainingInterrupted("training was interrupted after step 3")

    monkeypatch.setattr(models, "command", command)
    assert run("models").code == 130


def test_a_traceback_is_shown_with_debug_only(run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from metamedica import registry

    def broken(room: str) -> list[str]:
        raise RuntimeError(f"no room {room}")

    monkeypatch.setattr(registry, "names", broken)
    assert "Traceback" not in run("models").err
    shown = run("models", "--debug").err
    assert "Traceback" in shown
    assert shown.splitlines()[-1].startswith("error: unexpected RuntimeError: no room learners")


def test_what_the_package_logs_as_a_warning_reaches_stderr(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import logging

    def command(ctx: typer.Context) -> None:
        logging.getLogger("metamedica.checkpoints").warning("a checkpoint is damaged")

    monkeypatch.setattr(models, "command", command)
    outcome = run("models")
    assert outcome.err == "note: a checkpoint is damaged\n"
    assert not logging.getLogger("metamedica").handlers


def test_a_process_of_its_own_gives_one_json_object_and_nothing_else(tmp_path: Path, assays: Path) -> None:
    done = _program("data", "check", assays, "--task", "assay", "--json", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stderr == ""
    assert json.loads(done.stdout)["values"] == 192
    assert list(tmp_path.iterdir()) == []


def test_a_process_of_its_own_refuses_without_a_traceback(tmp_path: Path) -> None:
    done = _program("fit", "nowhere.csv", "--task", "assay", "--out", "model", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: there is no file")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_in_training_leaves_a_checkpoint_and_no_model(tmp_path: Path, assays: Path) -> None:
    command = [
        "fit",
        assays,
        "--task",
        "assay",
        "--out",
        "model",
        "--steps",
        100_000,
        "--checkpoints",
        "ck",
        "--encoder-set",
        "hidden=[8]",
    ]
    program = subprocess.Popen(
        [sys.executable, "-c", "import sys; from metamedica.cli import main; sys.exit(main())", *map(str, command)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "ck").exists() and program.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        program.send_signal(signal.SIGINT)
        out, err = program.communicate(timeout=60)
    finally:
        program.kill()
    assert program.returncode == 130, err
    assert "Traceback" not in err
    assert "interrupted" in err.splitlines()[-1]
    assert out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["ck"]


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, "-c", "import sys; from metamedica.cli import main; sys.exit(main())", "--help"],
            stdout=write, stderr=subprocess.PIPE, text=True, timeout=60, check=False,
        )  # fmt: skip
    finally:
        os.close(write)
    assert done.stderr == ""
    assert done.returncode == 141
