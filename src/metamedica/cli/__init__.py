"""The command line: `metamedica VERB ...`, one thin file a verb.

The folder is the catalogue: every module here without a leading underscore is a verb of that name, and defines `command`: a function
with Typer annotations, or a `typer.Typer` of sub-verbs. A verb imports what is heavy (torch, pandas, rdkit) inside `command`, so that
`--help` is quick; it prints through `Session` (`_console`), takes `json: Json = False, debug: Debug = False` (`_options`), and raises
the errors of `metamedica.errors`.

Exit codes: 0 done; 2 input, options, files, models or optional packages cannot be used (one sentence on stderr); 1 training failed or
something unexpected happened; 130 interrupted with Ctrl-C.
"""

import errno
import importlib
import logging
import os
import pkgutil
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from metamedica.cli._console import Session, complain, one_line
from metamedica.errors import BundleError, InputError, MetamedicaError, MissingExtraError, TrainingError

_NAME = "metamedica"
_UNUSABLE = 2
_FAILED = 1
_INTERRUPTED = 130
_PIPE_CLOSED = 141
_FULL = (errno.ENOSPC, errno.EDQUOT)
_FULL_TEXT = "No space left on device"
_PATH = (
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOENT,
    errno.EISDIR,
    errno.ENOTDIR,
    errno.ENAMETOOLONG,
    errno.ELOOP,
)

# Typer stands on click, or in newer versions on a copy of its own; either way this is the base of "wrong option", "missing argument" ...
_UsageError: Any = typer.BadParameter.__base__


def verbs() -> list[str]:
    """Return the names of the verbs, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def _version(value: bool) -> bool:
    if value:
        from metamedica import __version__

        sys.stdout.write(f"metamedica {__version__}\n")
        raise typer.Exit
    return value


def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Learn from many small tasks, so that a new one needs only a handful of labelled cases.

    The main job has three steps:

        metamedica fit assays.csv --task target_id --target pki --out model
        metamedica adapt measured16.csv --model model --out predictor
        metamedica predict library.csv --predictor predictor --out ranked.csv

    Every verb has --help with an example, --json for machines, and an exit
    code: 0 done, 2 unusable input, 1 failure, 130 Ctrl-C.
    """


def build() -> Any:
    """Return the program, a click group with every verb of the folder."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
    app.callback()(_root)
    for name in verbs():
        command = importlib.import_module(f"{__name__}.{name}").command
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            app.command(name)(command)
    group = typer.main.get_command(app)
    _with_context(group)
    return group


def _with_context(command: Any) -> None:
    """Make a command and its sub-commands use `typer.Context`, which their functions name; Typer itself passes its base class."""
    command.context_class = typer.Context
    for each in getattr(command, "commands", {}).values():
        _with_context(each)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it was raised from."""
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or link.__context__


def _disk_is_full(error: BaseException) -> bool:
    """Return whether a full disk is behind an error; safetensors says it in a text, not in an OSError."""
    return any((isinstance(link, OSError) and link.errno in _FULL) or _FULL_TEXT in str(link) for link in _chain(error))


def _judge(error: BaseException) -> tuple[int, str]:
    """Return (exit code, sentence) for an error."""
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return _INTERRUPTED, "interrupted"
    if isinstance(error, TrainingError):
        from metamedica.training import TrainingInterrupted

        return _INTERRUPTED if isinstance(error, TrainingInterrupted) else _FAILED, str(error)
    if isinstance(error, _UsageError):
        place = getattr(error, "ctx", None)
        return (
            _UNUSABLE,
            f"{error.format_message().rstrip('.')}; see: {place.command_path if place is not None else _NAME} --help",
        )
    if _disk_is_full(error):
        return (
            _UNUSABLE,
            "the disk is full; nothing partial was left behind: make room or write elsewhere, then run the command again",
        )
    if isinstance(error, InputError | BundleError | MissingExtraError):
        return _UNUSABLE, str(error)
    if isinstance(error, MetamedicaError):
        return _FAILED, str(error)
    if isinstance(error, OSError) and error.errno in _PATH and error.filename is not None:
        return _UNUSABLE, f"{error.filename} cannot be used ({error.strerror}); check the path and your rights to it"
    return _FAILED, f"unexpected {type(error).__name__}: {error}; run again with --debug"


@contextmanager
def _warnings_on_stderr(session: Session) -> Iterator[None]:
    """Write what the package logs as a warning (a damaged checkpoint was passed over) to stderr while a command runs."""

    class Notes(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            session.note(record.getMessage())

    log, notes = logging.getLogger("metamedica"), Notes(logging.WARNING)
    log.addHandler(notes)
    try:
        yield
    finally:
        log.removeHandler(notes)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        arguments: without the program's name; None takes those of the process. None at all shows the help.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    session = Session(given)
    try:
        with _warnings_on_stderr(session):
            code = build().main(given or ["--help"], prog_name=_NAME, standalone_mode=False, obj=session)
        sys.stdout.flush()
        session.leave()
    except (BrokenPipeError, SystemExit):
        # the reader of our output (head, less) has gone, which Typer turns into an exit; Python would complain once more at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _PIPE_CLOSED
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the one place where every error becomes an exit code
        if session.debug:
            traceback.print_exception(error)
        code, sentence = _judge(error)
        if session.tells_errors():
            complain(one_line(sentence))
        session.leave(error)
        return code
    if code == _INTERRUPTED and session.tells_errors():
        complain("interrupted")
    return code if isinstance(code, int) else 0
