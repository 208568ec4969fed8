"""Options that several verbs share, and how their texts are read."""

import ast
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from metamedica.cli._console import Session
from metamedica.errors import BundleError, FileFormatError, InputError

_TABLE = "Table"
_DECLARED = "Declared tasks"
_RUN = "Run"
_TRAINING = "Training"

Kind = Literal["binary", "multiclass", "regression"]
Precision = Literal["float32", "tf32", "bf16"]
Duplicates = Literal["error", "mean", "median"]


def _set_json(ctx: typer.Context, value: bool) -> bool:
    Session.of(ctx).json = value
    return value


def _set_debug(ctx: typer.Context, value: bool) -> bool:
    Session.of(ctx).debug = value
    return value


Json = Annotated[
    bool,
    typer.Option(
        "--json", help="Print one JSON object on stdout and nothing else.", callback=_set_json, rich_help_panel=_RUN
    ),
]
Debug = Annotated[
    bool,
    typer.Option(
        "--debug", help="Show the traceback of an error.", callback=_set_debug, is_eager=True, rich_help_panel=_RUN
    ),
]
Overwrite = Annotated[
    bool,
    typer.Option("--overwrite", help="Replace what --out names, where it is of the same kind.", rich_help_panel=_RUN),
]
SkipInvalid = Annotated[
    bool,
    typer.Option("--skip-invalid", help="Leave out cases that cannot be read, and count them.", rich_help_panel=_TABLE),
]
ModalityName = Annotated[
    str, typer.Option("--modality", metavar="NAME", help="What a case is.", rich_help_panel=_TABLE)
]
TableFile = Annotated[
    Path | None,
    typer.Argument(
        metavar="FILE",
        help="Table of measured cases: .csv, .tsv, .txt (plain or .gz) or .parquet.",
        show_default=False,
    ),
]
ModalityIfNamed = Annotated[
    str | None,
    typer.Option("--modality", metavar="NAME", help="What a case is; molecules if left out.", rich_help_panel=_TABLE),
]
ConfigFile = Annotated[
    str | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="In place of a table: a YAML file that declares clinical tasks (docs/declaring-tasks.md), or the name of a public collection "
        "that has one.",
        rich_help_panel=_DECLARED,
    ),
]
Root = Annotated[
    Path | None,
    typer.Option(
        "--root",
        metavar="FOLDER",
        help="Folder that the declared paths are below; that of the YAML file if left out.",
        rich_help_panel=_DECLARED,
    ),
]
Variant = Annotated[
    str | None,
    typer.Option("--variant", metavar="NAME", help="One of the declaration's variants.", rich_help_panel=_DECLARED),
]
SchemaFile = Annotated[
    Path | None,
    typer.Option(
        "--schema",
        metavar="FILE",
        help="What the columns of tables hold, as YAML; 'metamedica data schema' writes a first one.",
        rich_help_panel=_TABLE,
    ),
]
CaseColumn = Annotated[
    str | None,
    typer.Option(
        "--case",
        metavar="COLUMN",
        help="Column with the cases (SMILES), found by its name if left out. Tables: columns a,b,c; if left out, all others.",
        rich_help_panel=_TABLE,
    ),
]
TargetColumn = Annotated[
    str | None,
    typer.Option(
        "--target",
        metavar="COLUMN",
        help="Column with the measured value or label. Found by its name if left out.",
        rich_help_panel=_TABLE,
    ),
]
TaskColumn = Annotated[
    str | None,
    typer.Option(
        "--task",
        metavar="COLUMN",
        help="Long form: column that says which task (assay) a row belongs to.",
        rich_help_panel=_TABLE,
    ),
]
TargetColumns = Annotated[
    str | None,
    typer.Option(
        "--targets",
        metavar="COLUMNS",
        help="Wide form: one column a task, separated by commas, or 'all' for every other column; an empty cell is not measured.",
        rich_help_panel=_TABLE,
    ),
]
KindOption = Annotated[
    Kind | None,
    typer.Option(
        "--kind",
        metavar="KIND",
        help="binary, multiclass or regression. Read from the targets if left out.",
        rich_help_panel=_TABLE,
    ),
]
Unit = Annotated[
    str | None,
    typer.Option("--unit", metavar="TEXT", help="Unit of the values, such as '-log10 M'.", rich_help_panel=_TABLE),
]
Positive = Annotated[
    str | None,
    typer.Option(
        "--positive", metavar="LABEL", help="Label that counts as positive in a binary task.", rich_help_panel=_TABLE
    ),
]
GroupColumn = Annotated[
    str | None,
    typer.Option(
        "--group",
        metavar="COLUMN",
        help="Column with a group (patient, series) that is never divided.",
        rich_help_panel=_TABLE,
    ),
]
FamilyColumn = Annotated[
    str | None,
    typer.Option("--family", metavar="COLUMN", help="Column with the family of a task.", rich_help_panel=_TABLE),
]
AboutColumn = Annotated[
    str | None,
    typer.Option(
        "--about",
        metavar="COLUMN",
        help="Column that describes a task (the amino acids of its target, the words of its assay); methods that read it compare tasks by it.",
        rich_help_panel=_TABLE,
    ),
]
SplitColumn = Annotated[
    str | None,
    typer.Option(
        "--split",
        metavar="COLUMN",
        help="Column with meta_train, meta_valid or meta_test for each task.",
        rich_help_panel=_TABLE,
    ),
]
DuplicatesOption = Annotated[
    Duplicates,
    typer.Option(
        "--duplicates",
        metavar="HOW",
        help="Different values for the same case in a task: error, mean or median.",
        rich_help_panel=_TABLE,
    ),
]
Accumulate = Annotated[
    int,
    typer.Option(
        "--accumulate",
        metavar="N",
        min=1,
        help="Take the tasks of a step in N parts, one after the other: less memory, the same result up to rounding.",
        rich_help_panel=_TRAINING,
    ),
]
PrecisionOption = Annotated[
    Precision,
    typer.Option(
        "--precision",
        metavar="NAME",
        help="float32; tf32 (NVIDIA GPUs) or bf16 (GPUs, CPUs with AMX): faster steps, encoder and inner loop rounded. "
        "bf16 changes a gradient by 0.6% (make bench-scaling; relation networks 16%).",
        rich_help_panel=_TRAINING,
    ),
]
Compile = Annotated[
    bool,
    typer.Option(
        "--compile",
        help="Compile a training step as one graph: the first steps take minutes, later ones a half to a third of the time on small "
        "networks (make bench-engine). Needs a C++ compiler and an encoder without dropout; what cannot be compiled says so.",
        rich_help_panel=_TRAINING,
    ),
]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="NAME",
        help="Where to train: cpu, cuda (under torchrun one GPU a process), or cuda:0. The model then runs anywhere.",
        rich_help_panel=_TRAINING,
    ),
]


def literals(settings: list[str], option: str) -> dict[str, Any]:
    """Return `name=value` texts as names and Python literals.

    Raises:
        InputError: there is no `=`, a name comes twice, or a value is not a literal.
    """
    found: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        name = name.strip()
        if not equals or not name.isidentifier():
            raise InputError(f"{option} got {setting!r}; write it as name=value, such as {option} length=0.5")
        if name in found:
            raise InputError(f"{option} names {name!r} twice; give it one value")
        try:
            found[name] = ast.literal_eval(text.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            raise InputError(
                f"{option} {name}= got {text.strip()[:40]!r}; write a number, True, False, None, a list such as [256,128], "
                "or a text in quotes of its own"
            ) from None
    return found


def words(text: str, option: str) -> list[str]:
    """Return the parts of a list separated by commas.

    Raises:
        InputError: there is none, or one comes twice.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise InputError(f"{option} got {text!r}; give at least one name, several separated by commas")
    repeated = [part for part in parts if parts.count(part) > 1]
    if repeated:
        raise InputError(f"{option} names {repeated[0]!r} twice; name each once")
    return parts


def numbers(text: str, option: str, *, least: int) -> list[int]:
    """Return the whole numbers of a list separated by commas.

    Raises:
        InputError: a part is not a whole number of at least `least`.
    """
    found = []
    for part in words(text, option):
        if not part.isascii() or not part.isdigit() or int(part) < least:
            raise InputError(f"{option} got {part!r}; give whole numbers of at least {least}, separated by commas")
        found.append(int(part))
    return found


def check_bundle(out: Path, kind: str, *, overwrite: bool) -> None:
    """Refuse a folder that a bundle of this kind must not be written to, before the work begins.

    Raises:
        FileFormatError: the folder is something else, or holds such a bundle and `overwrite` is false.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        _check_parent(out)
        return
    from metamedica.storage import read_bundle

    try:
        read_bundle(out, kind)
    except BundleError:
        raise FileFormatError(
            f"{out} exists and is no whole {kind}; choose another --out, nothing of it was touched"
        ) from None
    if not overwrite:
        raise FileFormatError(f"{out} already holds a {kind}; choose another --out, or add --overwrite to replace it")


def check_file(
    out: Path, suffixes: tuple[str, ...], *, overwrite: bool, inputs: tuple[Path, ...] = (), option: str = "--out"
) -> None:
    """Refuse a file that must not be written, before the work begins; `option` names it.

    Raises:
        FileFormatError: an unknown suffix, a folder, an input of this command, or a file there and `overwrite` is false.
    """
    if not out.name.lower().endswith(suffixes):
        raise FileFormatError(
            f"{option} {out.name} has an unknown format; give a name that ends with {' or '.join(suffixes)}"
        )
    if out.is_dir():
        raise FileFormatError(f"{out} is a folder; give the name of a file")
    if any(out.resolve() == each.resolve() for each in inputs):
        raise FileFormatError(f"{out} is the input itself; choose another {option}")
    if out.exists() and not overwrite:
        raise FileFormatError(f"{out} is there already; choose another {option}, or add --overwrite to replace it")
    _check_parent(out)


def check_folder(
    out: Path, files: tuple[str, ...], *, overwrite: bool, instead: str = "add --overwrite to replace it"
) -> None:
    """Refuse a folder for several files, before the work begins; `instead` is what else the user may do.

    Raises:
        FileFormatError: it is a file, or one of the files is there and `overwrite` is false.
    """
    if out.exists() and not out.is_dir():
        raise FileFormatError(f"{out} is a file; give a folder")
    there = [name for name in files if (out / name).exists()]
    if there and not overwrite:
        raise FileFormatError(f"{out / there[0]} is there already; choose another --out, or {instead}")
    _check_parent(out)


def _check_parent(out: Path) -> None:
    parent = next(folder for folder in out.resolve().parents if folder.exists())
    if not parent.is_dir():
        raise FileFormatError(f"{parent} is a file, so {out} cannot be made in it; choose another --out")


def with_inner_steps(learner: str, settings: dict[str, Any], steps: int | None) -> dict[str, Any]:
    """Return the learner's settings with so many inner steps, where they were asked for.

    Raises:
        InputError: the learner takes none, or `--set steps=` says so too.
    """
    if steps is None:
        return settings
    import inspect

    from metamedica import registry

    def takes_steps(name: str) -> bool:
        return "steps" in inspect.signature(registry.learner_class(name)).parameters

    if not takes_steps(learner):
        those = ", ".join(name for name in registry.names("learners") if takes_steps(name))
        raise InputError(
            f"--inner-steps came for {learner}, which takes no inner steps; leave it out, or choose one of: {those}"
        )
    if "steps" in settings:
        raise InputError("--inner-steps and --set steps= say the same; give one of them")
    return settings | {"steps": steps}
