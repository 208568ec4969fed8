"""`metamedica data`: look at a table before it is used, and at the public collections that are known by name."""

from pathlib import Path
from typing import Annotated, Any

import typer

from metamedica.cli import _image_options
from metamedica.cli import _options as options
from metamedica.cli._console import Session
from metamedica.cli._declared import Config
from metamedica.cli._deidentify import deidentify
from metamedica.cli._tables import TableOptions
from metamedica.errors import InputError

command = typer.Typer(
    help="Check a table of measurements; list and show the public collections that are known by name.",
    no_args_is_help=False,
    rich_markup_mode="rich",
)
command.command("deidentify")(deidentify)
_SHOWN = 15
_COLUMNS = 8


@command.command("check")
def check(
    ctx: typer.Context,
    file: options.TableFile = None,
    config: options.ConfigFile = None,
    root: options.Root = None,
    variant: options.Variant = None,
    case: options.CaseColumn = None,
    target: options.TargetColumn = None,
    task: options.TaskColumn = None,
    targets: options.TargetColumns = None,
    kind: options.KindOption = None,
    unit: options.Unit = None,
    positive: options.Positive = None,
    group: options.GroupColumn = None,
    family: options.FamilyColumn = None,
    split: options.SplitColumn = None,
    about: options.AboutColumn = None,
    modality: options.ModalityIfNamed = None,
    schema: options.SchemaFile = None,
    duplicates: options.DuplicatesOption = "error",
    skip_invalid: options.SkipInvalid = False,
    copies: _image_options.CopiesOption = "plain",
    out: _image_options.AuditPage = None,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Read a table as fit, adapt and evaluate would, and say what is in it.

    For example:

        metamedica data check assays.csv --task target_id --target pki
        metamedica data check assays.csv --task target_id --split split

    It counts tasks, cases and values, says what was left out, and reports
    leakage between the parts of a split: cases and scaffolds on both sides,
    and labels that other tasks give away. Nothing is written.

    Clinical tasks that a YAML file declares (docs/declaring-tasks.md):

        metamedica data check --config mortality.yaml --root data

    Images in a folder for each class, or named by a table: twins, runs of
    slices, groups on both sides, and facts of files that tell the label:

        metamedica data check --modality images scans/ --out audit.html
        metamedica data check --modality images scans.csv --case path --target label --split split --group patient

    DICOM and NIfTI too (.dcm, .nii, .nii.gz; a file or a folder of a series
    below each class's): patients and series of the headers belong together,
    and manufacturer, kernel, thickness, spacing, window and day of the week
    are tried as shortcuts; mixed or uneven series and text in pixels are told.
    Patients are never named.
    """
    session = Session.of(ctx)
    if modality == "images":
        from metamedica.cli import _images

        _images.check(
            session,
            file,
            case=case,
            target=target,
            group=group,
            split=split,
            root=root,
            copies=copies,
            skip_invalid=skip_invalid,
            out=out,
            overwrite=overwrite,
        )
        return
    if out is not None:
        raise InputError("--out writes the audit of images; leave it out, or add --modality images")
    declaration = Config(config, root, variant)
    modality = declaration.modality(modality) or TableOptions.modality
    given = TableOptions(
        case,
        target,
        task,
        targets,
        kind,
        unit,
        group,
        family,
        split,
        positive,
        skip_invalid,
        duplicates,
        modality,
        schema,
        about=about,
    )
    columns = declaration.complete(file, given, many=False)
    tasks = columns.read(session)
    session.say(f"{columns.source}: cases in {columns.cases_in}, targets in {columns.targets_in}, {columns.kind}.")
    session.say(f"{len(tasks):,} tasks, {len(tasks.canonical):,} distinct cases, {tasks.n_values:,} values.")
    session.left_out(tasks.left_out)
    session.remarks(tasks.remarks)
    rows = [_row(each, tasks.split.get(each.name)) for each in tasks.tasks.values()]
    _table(session, rows)
    leakage, twins = None, None
    if len(tasks) > 1 and not tasks.reader().distinct:
        twins = _twins(session, tasks)
    elif len(tasks) > 1:
        from metamedica.data.leakage import case_groups, leakage_report

        with session.progress("comparing cases and scaffolds"):
            leakage = leakage_report(tasks, groups=case_groups(tasks))
        session.heading("Leakage")
        session.say(leakage.as_text())
    session.result(
        {
            "file": None if file is None else str(file),
            "config": config,
            "columns": columns.as_dict(),
            "tasks": rows,
            "cases": len(tasks.canonical),
            "values": tasks.n_values,
            "left_out": tasks.left_out,
            "remarks": tasks.remarks,
            "equal_rows": twins,
            "leakage": None if leakage is None else leakage.as_dict(),
        }
    )


def _twins(session: Session, tasks: Any) -> list[dict[str, Any]]:
    """Say which tasks have rows that are equal in every cell, and return them."""
    from dataclasses import asdict

    from metamedica.data.equal_rows import equal_rows

    found = equal_rows(tasks)
    session.heading("The same patient twice?")
    if not found:
        session.say("No row of one task is equal to a row of another in every cell.")
    else:
        session.table(
            "Rows that are equal in every cell",
            ["task", "task", "rows"],
            [(pair.left, pair.right, pair.rows) for pair in found[:_SHOWN]],
        )
    return [asdict(pair) for pair in found]


def _row(task: Any, split: str | None) -> dict[str, Any]:
    """Return what a table of tasks shows of one: size, and the share of the positive class or the quantiles of the values."""
    import numpy as np

    row: dict[str, Any] = {"task": task.name, "kind": task.kind, "cases": len(task), "split": split}
    if task.kind == "regression":
        low, middle, high = (float(value) for value in np.quantile(task.targets, [0.05, 0.5, 0.95]))
        return {**row, "unit": task.unit, "q05": low, "median": middle, "q95": high}
    counts = np.bincount(task.targets, minlength=len(task.classes))
    return {**row, "classes": {label: int(count) for label, count in zip(task.classes, counts, strict=True)}}


def _table(session: Session, rows: list[dict[str, Any]]) -> None:
    has_split = any(row["split"] for row in rows)
    spread = [(row["q05"], row["median"], row["q95"]) if "median" in row else None for row in rows]
    regression = all(spread)
    headings = [
        "task",
        "cases",
        *(["5 %", "median", "95 %"] if regression else ["classes"]),
        *(["split"] if has_split else []),
    ]
    cells = []
    for row in rows[:_SHOWN]:
        middle = (
            [row["q05"], row["median"], row["q95"]]
            if regression
            else [", ".join(f"{label}: {count:,}" for label, count in row["classes"].items())]
        )
        cells.append((row["task"], row["cases"], *middle, *([row["split"] or ""] if has_split else [])))
    more = f": the first {_SHOWN} of {len(rows):,}" if len(rows) > _SHOWN else ""
    session.table(f"Tasks{more}", headings, cells, wide=["task"])


@command.command("schema")
def schema(
    ctx: typer.Context,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Table of cases: .csv, .tsv, .txt (plain or .gz) or .parquet.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Schema to write, .yaml.")],
    without: Annotated[
        str | None,
        typer.Option("--without", metavar="A,B", help="Columns that are no part of a case: target, site, patient, ..."),
    ] = None,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Write down what the columns of a table hold, as a file to look at and to edit.

    For example:

        metamedica data schema hospitals.csv --without died,hospital --out schema.yaml
        metamedica fit hospitals.csv --modality tables --schema schema.yaml ...

    Types, levels and typical numbers are read from the table. Add by hand
    what it cannot tell: units, ranges of what can be true, codes that stand
    for a missing value (-1, ?), which columns are sensitive.
    """
    from metamedica.data.tables import read_table
    from metamedica.errors import FileFormatError
    from metamedica.modalities.tables.inference import inferred

    session = Session.of(ctx)
    options.check_file(out, (".yaml", ".yml"), overwrite=overwrite, inputs=(file,))
    frame = read_table(file)
    left = [] if without is None else options.words(without, "--without")
    absent = [name for name in left if name not in frame.columns]
    if absent:
        raise FileFormatError(f"{file.name} has no column {absent[0]!r}; it has: {', '.join(map(str, frame.columns))}")
    made = inferred(frame.drop(columns=left), source=file.name)
    made.write(out)
    session.table(
        "Columns",
        ["column", "type", "levels or typical numbers"],
        [(name, column.type, _told(column)) for name, column in made.columns.items()],
    )
    session.say(f"Wrote {out}. Look at it, and edit it: units, ranges, missing codes, sensitive columns.")
    session.result({"out": str(out), "columns": made.as_dict()})


def _told(column: Any) -> str:
    """Return what a person would look at first of a column."""
    if column.levels:
        return ", ".join(column.levels[:6]) + (", ..." if len(column.levels) > 6 else "")
    return (
        ""
        if column.typical is None
        else f"{column.typical[0]:g} to {column.typical[1]:g}{', log scale' if column.scale == 'log' else ''}"
    )


@command.command("list")
def list_(ctx: typer.Context, json: options.Json = False, debug: options.Debug = False) -> None:
    """List the public collections that are known by name.

    For example:

        metamedica data list
        metamedica evaluate --catalogue moleculeace --model model --out evaluation
    """
    session = Session.of(ctx)
    known = [_collection(name) for name in _names()]
    session.table(
        "Collections (--catalogue)",
        ["name", "about", "licence"],
        [(each["name"], each["about"], each["licence"]) for each in known],
    )
    session.say("More of one: metamedica data show NAME")
    session.result({"collections": known})


@command.command("show")
def show(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="One of 'metamedica data list'.")],
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Show a public collection: source, licence, whether it is there, and its first rows.

    For example:

        metamedica data show moleculeace
    """
    from metamedica.errors import InputError, MetamedicaError

    session = Session.of(ctx)
    if name not in _names():
        raise InputError(f"there is no collection {name!r}; choose one of: {', '.join(_names())}")
    about = _collection(name)
    for key, value in about.items():
        session.say(f"{key}: {value}")
    try:
        table = _module(name).table()
    except MetamedicaError as error:
        session.say(f"not there: {error}")
        session.result({**about, "there": False, "reason": str(error)})
        return
    shown, more = table.columns[:_COLUMNS], len(table.columns) - _COLUMNS
    rest = f" and {more:,} more" if more > 0 else ""
    session.say(f"there: {len(table):,} rows with columns {', '.join(map(str, shown))}{rest}")
    first = table[shown].head(3)
    session.table(
        "First rows",
        [str(column) for column in first.columns],
        [tuple(row) for row in first.itertuples(index=False)],
        wide=["smiles"],
    )
    session.result({**about, "there": True, "rows": len(table), "columns": [str(column) for column in table.columns]})


def _names() -> list[str]:
    from metamedica import registry

    return registry.names("data.catalogue")


def _module(name: str) -> Any:
    import importlib

    return importlib.import_module(f"metamedica.data.catalogue.{name}")


def _collection(name: str) -> dict[str, str]:
    module = _module(name)
    about = {"name": name, "about": (module.__doc__ or "").strip().split("\n")[0]}
    return about | {
        key: str(getattr(module, key.upper()))
        for key in ("source", "licence", "attribution")
        if hasattr(module, key.upper())
    }
