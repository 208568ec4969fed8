"""`metamedica tune`: search for good settings over meta-valid tasks."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from metamedica.cli import _options as options
from metamedica.cli._console import Session
from metamedica.cli._tables import TableOptions
from metamedica.errors import FileFormatError, InputError

_SEARCH = "Search"
_SHOWN = 10


def command(
    ctx: typer.Context,
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="Table of measured cases: .csv, .tsv, .txt (plain or .gz) or .parquet."),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Folder for the search.")],
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
    modality: options.ModalityName = "molecules",
    schema: options.SchemaFile = None,
    duplicates: options.DuplicatesOption = "error",
    skip_invalid: options.SkipInvalid = False,
    learner: Annotated[
        str,
        typer.Option(
            "--learner", metavar="NAMES", help="Methods that compete, separated by commas.", rich_help_panel=_SEARCH
        ),
    ] = "deep_kernel",
    encoder: Annotated[
        str, typer.Option("--encoder", metavar="NAME", help="The learned encoder.", rich_help_panel=_SEARCH)
    ] = "mlp",
    trials: Annotated[
        int, typer.Option("--trials", metavar="N", min=1, help="Trials to have in the end.", rich_help_panel=_SEARCH)
    ] = 30,
    minutes: Annotated[
        float | None,
        typer.Option(
            "--minutes", metavar="N", min=0.001, help="Begin no trial after so long.", rich_help_panel=_SEARCH
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option("--steps", metavar="N", min=1, help="Most training steps a trial.", rich_help_panel=_SEARCH),
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", min=0, help="Same seed, same search.", rich_help_panel=_SEARCH)
    ] = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the search in --out.", rich_help_panel=_SEARCH)
    ] = False,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Search for the settings of a method that do best on meta-valid tasks.

    For example:

        metamedica tune assays.csv --task target_id --out search --trials 30
        metamedica fit assays.csv --task target_id --out model --settings search/best.json

    Several methods at once, for an hour; and on after an interruption:

        metamedica tune assays.csv --task assay --out search --learner maml,anil --minutes 60
        metamedica tune assays.csv --task assay --out search --learner maml,anil --resume

    A trial fits one model; trials far below the others are stopped early.
    What is tried comes from the method itself: its numbers around their
    defaults, the encoder's width, size and dropout, the training's rate. The
    first trial is the defaults. Meta-test tasks are never looked at.

    The folder holds best.json for 'metamedica fit --settings', trials.csv,
    tuning.html to look at, and Optuna's own trials.sqlite. A search that was
    killed goes on with --resume to the same result.
    Needs: pip install 'metamedica[tune]'
    """
    session = Session.of(ctx)
    learners = tuple(options.words(learner, "--learner"))
    if out.exists() and not out.is_dir():
        raise FileFormatError(f"{out} is a file; give a folder")

    from metamedica import registry
    from metamedica.functional.descriptions import ReadsDescriptions
    from metamedica.tuning.results import BEST, PAGE
    from metamedica.tuning.study import FILES, STORAGE, Search, require_optuna, search

    require_optuna()
    if about is not None:
        reads = [name for name in learners if issubclass(registry.learner_class(name), ReadsDescriptions)]
        if not reads:
            raise InputError(
                f"--about came, and {', '.join(learners)} compare no tasks by descriptions; leave it out, or name another --learner"
            )
    what = Search(learners, encoder=encoder, trials=trials, minutes=minutes, steps=steps, seed=seed)
    if resume and not (out / STORAGE).exists():
        raise InputError(f"--resume came and {out} holds no search; leave it out to begin one")
    if not resume:
        options.check_folder(out, FILES, overwrite=False, instead="add --resume to go on with its search")
    columns = TableOptions(
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
    ).complete(file, many=True)
    tasks = columns.read(session)
    with session.progress("searching") as progress:
        found = search(tasks, what, out, resume=resume, progress=progress)
    from metamedica.tuning.page import shown

    ranked = sorted(
        (row for row in found.rows if row.score is not None),
        key=lambda row: (row.state != "complete", -(row.score or 0.0)),
    )
    session.table(
        f"The best {min(_SHOWN, len(ranked))} of {len(found.rows)} trials (score: mean query log-likelihood on meta-valid tasks)",
        ["trial", "learner", "state", "score", "steps", "seconds"],
        [(row.number, row.learner, row.state, row.score, row.steps, row.seconds) for row in ranked[:_SHOWN]],
    )
    session.table(
        "The best settings", ["setting", "value"], [(place, shown(value)) for place, value in found.best.values.items()]
    )
    session.say(f"Wrote {out / BEST}, and {out / PAGE} to look at.")
    session.say(f"Next: metamedica fit {file} --settings {out / BEST} --out MODEL, with the columns named here")
    session.result(
        {
            "out": str(out),
            "best": found.settings.as_json(),
            "score": found.best.score,
            "trial": found.best.number,
            "importance": found.importance,
            "trials": [asdict(row) for row in found.rows],
        }
    )
