"""`metamedica report`: a predictor, a model or an evaluation -> its page."""

from pathlib import Path
from typing import Annotated

import typer

from metamedica.cli import _options as options
from metamedica.cli import _report as parts
from metamedica.cli._console import Session, plain
from metamedica.cli._declared import Config
from metamedica.cli._evaluation import read_evaluation, write_page
from metamedica.cli._tables import TableOptions
from metamedica.errors import InputError

_SHOWN = "What it shows"
_MODEL = "A model, adapted here"


def command(
    ctx: typer.Context,
    source: Annotated[
        str,
        typer.Argument(
            metavar="WHAT",
            help="A predictor ('metamedica adapt'), a model (folder or name), or an evaluation.json ('metamedica evaluate').",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Page to write: .html.")],
    cases: Annotated[
        Path | None,
        typer.Option(
            "--cases",
            metavar="FILE",
            help="Labelled cases to judge on, none of them among those adapted to.",
            rich_help_panel="Table",
        ),
    ] = None,
    config: options.ConfigFile = None,
    root: options.Root = None,
    variant: options.Variant = None,
    case: options.CaseColumn = None,
    target: options.TargetColumn = None,
    positive: options.Positive = None,
    kind: options.KindOption = None,
    unit: options.Unit = None,
    group: options.GroupColumn = None,
    site: Annotated[
        str | None,
        typer.Option(
            "--site",
            metavar="COLUMN",
            help="Column with the site of a case: sites are told apart.",
            rich_help_panel="Table",
        ),
    ] = None,
    sensitive: Annotated[
        str | None,
        typer.Option(
            "--sensitive",
            metavar="COLUMNS",
            help="Columns by which results are told apart, separated by commas; left out: those that are declared sensitive.",
            rich_help_panel=_SHOWN,
        ),
    ] = None,
    fairness: Annotated[
        bool,
        typer.Option(
            "--fairness",
            help="The audit must be there: an error where no sensitive column is declared.",
            rich_help_panel=_SHOWN,
        ),
    ] = False,
    cut: Annotated[
        list[str] | None,
        typer.Option(
            "--cut",
            metavar="COLUMN=BOUNDS",
            help="Bounds of a numeric sensitive column, such as age=50,65. May be repeated.",
            rich_help_panel=_SHOWN,
        ),
    ] = None,
    patient: Annotated[
        int | None,
        typer.Option(
            "--patient",
            metavar="N",
            min=1,
            help="The case whose card is shown, counted from 1 among the labelled ones; left out: the one with the highest answer.",
            rich_help_panel=_SHOWN,
        ),
    ] = None,
    no_patient: Annotated[
        bool, typer.Option("--no-patient", help="Show nobody's card.", rich_help_panel=_SHOWN)
    ] = False,
    threshold: Annotated[
        float, typer.Option("--threshold", metavar="RISK", help="The risk from which one acts.", rich_help_panel=_SHOWN)
    ] = 0.5,
    coverage: Annotated[
        float,
        typer.Option(
            "--coverage", metavar="SHARE", help="What sets and intervals are to hold.", rich_help_panel=_SHOWN
        ),
    ] = 0.9,
    title: Annotated[
        str | None, typer.Option("--title", metavar="TEXT", help="Of the page.", rich_help_panel=_SHOWN)
    ] = None,
    at: Annotated[
        str | None, typer.Option("--at", metavar="NAME", help="The site that is reported.", rich_help_panel=_MODEL)
    ] = None,
    shots: Annotated[
        int,
        typer.Option(
            "--shots", metavar="N", min=2, help="Cases of a site that it is adapted to.", rich_help_panel=_MODEL
        ),
    ] = 20,
    robust: Annotated[
        bool,
        typer.Option("--robust", help="Try label noise, missing columns and outliers, too.", rich_help_panel=_MODEL),
    ] = False,
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", min=0, help="Decides the draws.", rich_help_panel=_MODEL)
    ] = 0,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Make the report of a predictor, a model or an evaluation: one page that fetches nothing and runs no script.

    A predictor, judged on labelled cases that it was not adapted to:

        metamedica report predictor --cases judged.csv --target died --out report.html
        metamedica report predictor --cases judged.csv --sensitive sex,age --patient 3 --out r.html

    A model, adapted to 20 cases of each site and judged on the others:

        metamedica report model --cases sites.csv --site hospital --at H7 --out r.html
        metamedica report model --config mortality.yaml --at 'Hospital 73' --out r.html

    The page shows how well it does, whether its risks are right before and
    after adapting, whether acting on it is worth it, subgroups, sites, one
    case with its reasons, when to ask a person, and the TRIPOD+AI checklist.
    That case is one person's data: keep the page as you keep the record.

    The page of an evaluation, again:

        metamedica report judged/evaluation.json --out report.html
    """
    session = Session.of(ctx)
    parts.check_cases(source, out, cases, overwrite=overwrite)
    if source.lower().endswith(".json"):
        if cases is not None or config is not None:
            raise InputError("an evaluation.json has its own cases; leave out --cases and --config")
        evaluation, page = read_evaluation(Path(source))
        write_page(evaluation, page, out)
        session.say(f"Wrote {out}: {len(evaluation.methods):,} methods on {len(set(evaluation.rows['task'])):,} tasks.")
        session.result(
            {"out": str(out), "kind": evaluation.kind, "methods": evaluation.methods, "shots": evaluation.shots}
        )
        return
    if not 0 < coverage < 1:
        raise InputError(f"--coverage got {coverage:g}; give a number between 0 and 1, such as 0.9")
    if not 0 < threshold < 1:
        raise InputError(f"--threshold got {threshold:g}; give a risk between 0 and 1, such as 0.2")
    if patient is not None and no_patient:
        raise InputError("--patient came with --no-patient; name one of them")
    bounds = parts.read_cuts(cut)

    from metamedica.predictors.predictor import Predictor
    from metamedica.reports.assessment import Asked
    from metamedica.reports.assessment_page import NAMES, verdict, write_assessment

    loaded = parts.opened(source)
    fitted = loaded.model if isinstance(loaded, Predictor) else loaded.model_
    known = loaded.kind if isinstance(loaded, Predictor) else kind
    given = TableOptions(
        case, target, task=site, kind=known, unit=unit, group=group, positive=positive, modality=fitted.modality.name
    )
    if config is not None:
        given = TableOptions(modality=fitted.modality.name)
    found = parts.labelled(session, cases, Config(config, root, variant), given)
    asked = Asked(
        coverage=coverage,
        threshold=threshold,
        sensitive=None if sensitive is None else options.words(sensitive, "--sensitive"),
        fairness=fairness,
        cuts=bounds or None,
        patient=None if no_patient else patient or 0,
        seed=seed,
    )
    assessment = parts.assessed(
        loaded, found, asked, site=at, shots=shots, seed=seed, robust=robust, given=given, session=session
    )
    assessment = assessment.with_notes(*(f"Left out: {count:,} {what}." for what, count in found.left_out.items()))
    write_assessment(assessment, out, title=title or f"Report of {Path(source).name}{f' at {at}' if at else ''}")
    for line in verdict(assessment).split("\n"):
        session.say(line)
    session.table(
        "On the judged cases",
        ["figure", "value (95 % interval)"],
        [(NAMES.get(name, name), each.text()) for name, each in assessment.figures.items()],
    )
    session.left_out(found.left_out)
    session.say(f"Wrote {out}.")
    session.result(
        plain(
            {
                "out": str(out),
                "kind": assessment.kind,
                "labelled": assessment.labelled,
                "judged": assessment.judged,
                "figures": {name: [each.value, each.low, each.high] for name, each in assessment.figures.items()},
                "before": {name: [each.value, each.low, each.high] for name, each in assessment.before.items()},
                "trust": assessment.trust,
                "shift": assessment.shift,
                "unlike": assessment.unlike,
                "left_out": found.left_out,
                "notes": list(assessment.notes),
            }
        )
    )
