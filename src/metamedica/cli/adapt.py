"""`metamedica adapt`: a model and a few measured cases -> a predictor for their task."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from metamedica.cli import _options as options
from metamedica.cli._about import description
from metamedica.cli._console import Session
from metamedica.cli._tables import FullOptions, TableOptions, read_library, told_by_place
from metamedica.errors import CaseError, InputError, TaskError

if TYPE_CHECKING:
    from metamedica.types import CaseProblem, Modality

_SHOWN = 3


def command(
    ctx: typer.Context,
    model: Annotated[
        str,
        typer.Option(
            "--model", metavar="NAME", help="Folder of a model, or the name of one that ships ('metamedica models')."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Folder for the predictor.")],
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]",
            help="Table of the measured cases (16 to 64 are usual): .csv, .tsv, .txt (plain or .gz) or .parquet.",
            show_default=False,
        ),
    ] = None,
    unlabelled: Annotated[
        Path | None,
        typer.Option(
            "--unlabelled",
            metavar="FILE",
            help="Further cases of the task that nobody has measured, for a model that learns from such (label_shift, coral, "
            "importance_weighting and others); then FILE may hold few, or be left out.",
            show_default=False,
        ),
    ] = None,
    case: options.CaseColumn = None,
    target: options.TargetColumn = None,
    kind: options.KindOption = None,
    unit: options.Unit = None,
    positive: options.Positive = None,
    about: Annotated[
        str | None,
        typer.Option(
            "--about",
            metavar="TEXT",
            help="What the task is about, told as the model's earlier tasks are (the amino acids of its target); @FILE reads it from a text or FASTA "
            "file. Tasks that are told alike then count for more.",
            show_default=False,
        ),
    ] = None,
    calibration: Annotated[
        str,
        typer.Option(
            "--calibration",
            metavar="MAP",
            help="Set probabilities right by the measured cases, each hidden in turn: none, temperature, beta, isotonic, or auto (by their number).",
        ),
    ] = "none",
    duplicates: options.DuplicatesOption = "error",
    skip_invalid: options.SkipInvalid = False,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Adapt a model to a new task from a few measured cases, and write a predictor.

    For example:

        smiles,pki
        CCOc1ccccc1,6.2

        metamedica adapt measured.csv --model model --unit '-log10 M' --out new
        metamedica adapt --unlabelled patients.csv --model heart --out new
        metamedica adapt measured.csv --model kinases --about @kinase.fasta --out new

    It says how far the predictor leans on earlier tasks: where they do not
    explain the measured cases better than a method that starts from scratch,
    it leans on that method.

    The folder contains the cases: keep it as you keep them.
    Next: metamedica predict.
    """
    session = Session.of(ctx)
    if file is None and unlabelled is None:
        raise InputError(
            "no case came; give a table of measured cases, or --unlabelled with one that nobody has measured"
        )
    options.check_bundle(out, "predictor", overwrite=overwrite)

    from metamedica.meta_learner import MetaLearner
    from metamedica.predictors.calibration import check_calibration

    how = check_calibration(calibration)
    loaded = MetaLearner.load(model)
    modality = loaded.model_.modality
    given = TableOptions(
        case,
        target,
        kind=kind,
        unit=unit,
        positive=positive,
        skip_invalid=skip_invalid,
        duplicates=duplicates,
        modality=modality.name,
        settings=modality.settings() if modality.distinct else None,
    )
    columns, measured = None, _Measured(None, None, positive, {}, [])
    if file is not None:
        columns = given.complete(file, many=False)
        measured = _cases(columns, session, file) if modality.distinct else _rows(columns, modality, file)
    predictor = loaded.adapt(
        measured.cases,
        measured.targets,
        unlabelled=None if unlabelled is None else read_library(unlabelled, modality, case=case).cases,
        about=None if about is None else description(about),
        kind=kind if columns is None or unlabelled is not None or _tells_no_kind(columns, measured) else columns.kind,
        unit=unit,
        positive=measured.positive,
        calibration=how,
    )
    predictor.save(out)
    count, others, kind = len(measured.targets or []), predictor.support.unlabelled, predictor.kind
    trust = predictor.trust
    more = "" if others is None else f" and {others.n_cases:,} that nobody has measured"
    where = "" if columns is None else f"; column {columns.target!r}, cases in {columns.cases_in}"
    session.say(f"Adapted to {count:,} measured cases{more} ({kind}{f', {unit}' if unit else ''}{where}).")
    only = predictor.support.only_class
    if only is not None:
        session.note(
            f"the labelled cases are all of one class, {only!r}, so they do not show what tells the classes apart; add one of another class if "
            "there is one"
        )
    session.left_out(measured.left_out)
    remarks = measured.remarks if unlabelled is None else predictor.support.remarks
    session.remarks(remarks)
    session.say()
    session.say(trust.verdict)
    if predictor.expected_gain is not None:
        session.say(predictor.expected_gain.verdict)
    (session.note if predictor.shift.unlike else session.say)(predictor.shift.verdict)
    session.table(
        "What it is made of", ["method", "weight"], [(name, weight) for name, weight in trust.candidates.items()]
    )
    if trust.nearest:
        session.table(
            "Earlier tasks described most alike" if trust.described else "Nearest earlier tasks",
            ["task", "similarity"],
            [(near.name, near.similarity) for near in trust.nearest],
            wide=["task"],
        )
    usual = loaded.model_.usual_scale
    if kind == "regression" and usual and unit not in usual:
        known = ", ".join(f"'{name}'" for name in usual)
        session.note(
            f"earlier tasks were measured in {known}; if this one was too, say so with --unit: it steadies the scale of few values"
        )
    session.say(f"Wrote {out}.")
    session.say(f"Next: metamedica predict LIBRARY.csv --predictor {out} --out RANKED.csv")
    session.result(
        {
            **predictor.as_dict(),
            "predictor": str(out),
            "model": model,
            "left_out": measured.left_out,
            "remarks": remarks,
            "columns": None if columns is None else columns.as_dict(),
        }
    )


class _Measured(NamedTuple):
    """Labelled cases as `MetaLearner.adapt` takes them, the label that is class 1 where it is known, and what is told of how they were read."""

    cases: Any
    targets: list[Any] | None
    positive: str | None
    left_out: dict[str, int]
    remarks: list[str]


def _tells_no_kind(columns: FullOptions, measured: _Measured) -> bool:
    """Return whether the targets are one label, which tells not whether there are two classes or more."""
    return columns.kind != "regression" and len(set(measured.targets or [])) == 1


def _cases(columns: FullOptions, session: Session, file: Path) -> _Measured:
    tasks = columns.read(session)
    task = next(iter(tasks.tasks.values()))
    if len(task) < 2:
        raise TaskError(
            f"{file.name} has one usable measured case; give at least 2 different ones (16 or more is usual)"
        )
    cases = [tasks.canonical[int(row)] for row in task.rows]
    if task.classes is None:
        return _Measured(cases, [float(value) for value in task.targets], None, tasks.left_out, tasks.remarks)
    labels = [task.classes[int(value)] for value in task.targets]
    positive = task.classes[1] if task.kind == "binary" else None
    return _Measured(cases, labels, positive, tasks.left_out, tasks.remarks)


def _rows(columns: FullOptions, modality: "Modality", file: Path) -> _Measured:
    """Return the labelled rows, looked at first, so that what is told of them names their rows in the file.

    Raises:
        CaseError: rows that cannot be read, and they are not to be left out.
    """
    cases, targets, left_out = columns.labelled_rows()
    prepared = modality.with_own(cases, source=file.name).prepare(cases)

    def told(problem: "CaseProblem") -> str:
        return told_by_place(problem, lambda position: f"row {cases.index[position]}")

    bad = prepared.problems
    if bad and not columns.given.skip_invalid:
        more = f"; and {len(bad) - _SHOWN:,} more" if len(bad) > _SHOWN else ""
        raise CaseError(
            f"{file.name}: {len(bad):,} of {len(cases):,} labelled rows cannot be read: {'; '.join(map(told, bad[:_SHOWN]))}{more}; mend "
            "them, or add --skip-invalid to leave them out"
        )
    if bad:
        kept = [position for position, row in enumerate(prepared.row) if row >= 0]
        left_out = left_out | {"invalid cases": len(bad)}
        cases, targets = cases.iloc[kept], [targets[position] for position in kept]
    return _Measured(cases, targets, columns.given.positive, left_out, [told(remark) for remark in prepared.remarks])
