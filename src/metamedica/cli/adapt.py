"""`metamedica adapt`: a model and a few measured cases -> a predictor for their task."""

from pathlib import Path
from typing import Annotated

import typer

from metamedica.cli import _options as options
from metamedica.cli._console import Session
from metamedica.cli._tables import TableOptions
from metamedica.errors import TaskError


def command(
    ctx: typer.Context,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="Table of the measured cases (16 to 64 are usual): .csv, .tsv, .txt (plain or .gz) or .parquet.",
        ),
    ],
    model: Annotated[
        str,
        typer.Option(
            "--model", metavar="NAME", help="Folder of a model, or the name of one that ships ('metamedica models')."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Folder for the predictor.")],
    case: options.CaseColumn = None,
    target: options.TargetColumn = None,
    kind: options.KindOption = None,
    unit: options.Unit = None,
    positive: options.Positive = None,
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

    It says how far the predictor leans on earlier tasks: where they do not
    explain the measured cases better than a method that starts from scratch,
    it leans on that method.

    The folder contains the measured cases: keep it as you keep them.
    Next: metamedica predict.
    """
    session = Session.of(ctx)
    options.check_bundle(out, "predictor", overwrite=overwrite)

    from metamedica.meta_learner import MetaLearner

    loaded = MetaLearner.load(model)
    columns = TableOptions(
        case, target, kind=kind, unit=unit, positive=positive, skip_invalid=skip_invalid, duplicates=duplicates
    ).complete(file, many=False)
    modality = loaded.model_.modality.name
    tasks = columns.read(modality, session)
    task = next(iter(tasks.tasks.values()))
    if len(task) < 2:
        raise TaskError(
            f"{file.name} has one usable measured case; give at least 2 different ones (16 or more is usual)"
        )
    labels = (
        [task.classes[int(value)] for value in task.targets]
        if task.classes is not None
        else [float(value) for value in task.targets]
    )
    predictor = loaded.adapt(
        [tasks.canonical[int(row)] for row in task.rows],
        labels,
        kind=task.kind,
        unit=unit,
        positive=task.classes[1] if task.kind == "binary" and task.classes is not None else None,
    )
    predictor.save(out)
    trust = predictor.trust
    session.say(
        f"Adapted to {len(task):,} measured cases ({task.kind}{f', {unit}' if unit else ''}; column {columns.target!r}, cases in {columns.case!r})."
    )
    session.left_out(tasks.left_out)
    session.say()
    session.say(trust.verdict)
    session.table(
        "What it is made of", ["method", "weight"], [(name, weight) for name, weight in trust.candidates.items()]
    )
    if trust.nearest:
        session.table(
            "Nearest earlier tasks",
            ["task", "similarity"],
            [(near.name, near.similarity) for near in trust.nearest],
            wide=["task"],
        )
    usual = loaded.model_.usual_scale
    if task.kind == "regression" and usual and unit not in usual:
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
            "left_out": tasks.left_out,
            "columns": columns.as_dict(),
        }
    )
