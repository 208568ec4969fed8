"""`metamedica evaluate`: models against baselines from scratch, on many draws of many tasks."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from metamedica.cli import _evaluation as parts
from metamedica.cli import _options as options
from metamedica.cli._console import Session
from metamedica.cli._declared import Config
from metamedica.cli._tables import TableOptions
from metamedica.errors import InputError

if TYPE_CHECKING:
    from metamedica.data.collection import TaskCollection
    from metamedica.predictors.method import Method
    from metamedica.reports.comparison import Paired
    from metamedica.reports.evaluation import Evaluation

FILES = ("evaluation.json", "report.html")
_PROTOCOL = "Protocol"


def command(
    ctx: typer.Context,
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Folder for evaluation.json and report.html.")],
    file: options.TableFile = None,
    config: options.ConfigFile = None,
    root: options.Root = None,
    variant: options.Variant = None,
    catalogue: Annotated[
        str | None,
        typer.Option(
            "--catalogue", metavar="NAME", help="In place of FILE: a public collection ('metamedica data list')."
        ),
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option("--model", metavar="NAME", help="Folder or shipped name. May be repeated.")
    ] = None,
    baseline: Annotated[
        str, typer.Option("--baseline", metavar="NAMES", help="Methods from scratch, separated by commas, or 'none'.")
    ] = "random_forest,tanimoto_gp,similarity_search",
    shots: Annotated[
        str, typer.Option("--shots", metavar="N,N", help="Support sizes in total.", rich_help_panel=_PROTOCOL)
    ] = "16,32,64,128",
    draws: Annotated[
        int, typer.Option("--draws", metavar="N", min=1, help="Supports per task and size.", rich_help_panel=_PROTOCOL)
    ] = 10,
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", min=0, help="Decides the draws.", rich_help_panel=_PROTOCOL)
    ] = 0,
    split: Annotated[
        parts.Part | None,
        typer.Option(
            "--split",
            metavar="PART",
            help="meta_test or all. Left out: meta_test where there is a split.",
            rich_help_panel=_PROTOCOL,
        ),
    ] = None,
    tasks: Annotated[
        str | None,
        typer.Option(
            "--tasks", metavar="NAMES", help="Only these tasks, separated by commas.", rich_help_panel=_PROTOCOL
        ),
    ] = None,
    active_above: Annotated[
        str | None,
        typer.Option(
            "--active-above",
            metavar="VALUE",
            help="Judge values as active or not: above VALUE, or above each task's 'median'.",
            rich_help_panel=_PROTOCOL,
        ),
    ] = None,
    case: options.CaseColumn = None,
    target: options.TargetColumn = None,
    task: options.TaskColumn = None,
    targets: options.TargetColumns = None,
    kind: options.KindOption = None,
    unit: options.Unit = None,
    positive: options.Positive = None,
    split_column: Annotated[
        str | None,
        typer.Option(
            "--split-column",
            metavar="COLUMN",
            help="Column with meta_train, meta_valid or meta_test for each task.",
            rich_help_panel="Table",
        ),
    ] = None,
    about: options.AboutColumn = None,
    schema: options.SchemaFile = None,
    modality: Annotated[
        str | None,
        typer.Option(
            "--modality",
            metavar="NAME",
            help="What a case is. Left out: that of the models, or molecules.",
            rich_help_panel="Table",
        ),
    ] = None,
    duplicates: options.DuplicatesOption = "error",
    skip_invalid: options.SkipInvalid = False,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Judge models against baselines from scratch, on many draws of many tasks, and write a report.

    For example:

        metamedica evaluate assays.csv --task target_id --model model --out judged
        metamedica evaluate --catalogue freewilson --model model --out judged

    FS-Mol's protocol: supports of 16, 32, 64 and 128 measured cases in total
    (stratified for classes), 10 draws, all other cases of the task as query.
    Without --split it takes the meta-test tasks of the table's or the
    model's split; without a split, the tasks that no model learned from.

    It writes figures per task (evaluation.json) and one page to read
    (report.html), and prints what the judged tasks share with those that
    were learned from: where they share cases, figures are too good.
    """
    session = Session.of(ctx)
    sizes = options.numbers(shots, "--shots", least=2)
    only = None if tasks is None else options.words(tasks, "--tasks")
    rivals = [] if baseline == parts.NO_BASELINE else options.words(baseline, "--baseline")
    if [file, config, catalogue].count(None) != 2:
        raise InputError("give the FILE of a table, a declaration (--config) or --catalogue NAME, one of the three")
    declaration = Config(config, root, variant)
    modality = declaration.modality(modality)
    if not model and not rivals:
        raise InputError("there is nothing to judge; name a --model or a --baseline")
    options.check_folder(out, FILES, overwrite=overwrite)

    from metamedica.data.refeaturised import refeaturised

    models = parts.load_models(model or [], modality)
    held = modality or next((each.model_.modality.name for each in models.values()), "molecules")
    if catalogue is None:
        given = TableOptions(
            case,
            target,
            task,
            targets,
            kind,
            unit,
            None,
            None,
            split_column,
            positive,
            skip_invalid,
            duplicates,
            held,
            schema,
            about=about,
        )
        read = declaration.complete(file, given, many=False)
        collection, title = read.read(session), read.source
    else:
        collection, title = _from_catalogue(catalogue, held, session), catalogue
    for each in models.values():
        with session.progress("reading cases") as progress:
            collection = each.readable(refeaturised(collection, each.model_.modality), progress=progress)
    baselines = parts.baseline_methods(rivals, collection.reader())
    judged = parts.choose_tasks(_labelled(collection, active_above), models, split, only=only)
    judged_kind = judged.collection[judged.names[0]].kind
    judged_unit = judged.collection[judged.names[0]].unit
    methods: dict[str, Method] = {
        (f"{name} (model)" if name in baselines else name): each.method(judged_kind, unit=judged_unit)
        for name, each in models.items()
    } | baselines

    from metamedica.reports.protocols.fsmol import evaluate

    with session.progress("judging") as progress:
        evaluation = evaluate(
            methods, judged.collection, names=judged.names, shots=sizes, draws=draws, seed=seed, progress=progress
        )
    page = _page(
        session, evaluation, judged, methods, models, baselines=list(baselines), draws=draws, seed=seed, title=title
    )
    written = [out / name for name in FILES if not (out / name).exists()]
    made = not out.exists()
    try:
        parts.write_evaluation(evaluation, page, out / FILES[0])
        parts.write_page(evaluation, page, out / FILES[1])
    except BaseException:
        for path in written:
            path.unlink(missing_ok=True)
        if made and out.exists():
            out.rmdir()
        raise
    pairs = _pairs(evaluation, page)
    _show(session, evaluation, page, pairs)
    session.left_out(collection.left_out)
    session.remarks(collection.remarks)
    session.say(f"Wrote {out / FILES[0]} and {out / FILES[1]}.")
    session.result(
        {
            "out": str(out),
            "kind": evaluation.kind,
            "figure": evaluation.leading,
            "tasks": judged.names,
            "protocol": evaluation.protocol,
            "skipped": evaluation.skipped,
            "summary": evaluation.summary().to_dict(orient="records"),
            "comparisons": pairs,
            "notes": page.notes,
            "leakage": page.leakage,
            "left_out": collection.left_out,
            "remarks": collection.remarks,
        }
    )


def _from_catalogue(name: str, modality: str, session: Session) -> "TaskCollection":
    import importlib

    from metamedica import registry

    if name not in registry.names("data.catalogue"):
        raise InputError(
            f"there is no collection {name!r}; choose one of: {', '.join(registry.names('data.catalogue'))}"
        )
    with session.progress("reading cases") as progress:
        collection: TaskCollection = importlib.import_module(f"metamedica.data.catalogue.{name}").load(
            progress=progress
        )
    if collection.modality != modality:
        raise InputError(
            f"collection {name!r} holds {collection.modality} and the models are for {modality}; give models for {collection.modality}"
        )
    return collection


def _labelled(collection: "TaskCollection", active_above: str | None) -> "TaskCollection":
    """Return the collection with values turned into active or not, where that was asked for."""
    if active_above is None:
        return collection
    if active_above == "median":
        return collection.binarised("median")
    try:
        return collection.binarised(float(active_above))
    except ValueError:
        raise InputError(
            f"--active-above got {active_above!r}; give a number in the unit of the values, or median"
        ) from None


def _page(
    session: Session,
    evaluation: "Evaluation",
    judged: parts.Judged,
    methods: "dict[str, Method]",
    models: dict[str, Any],
    *,
    baselines: list[str],
    draws: int,
    seed: int,
    title: str,
) -> parts.Page:
    """Return what the report shows beside the figures."""
    from metamedica.data.leakage import leakage_report

    default, shots = evaluation.methods[0], evaluation.shots[0]
    leakage = None
    if judged.collection.names("meta_train") and judged.collection.names("meta_test"):
        leakage = leakage_report(judged.collection).as_text()
    with session.progress("weighing") as progress:
        weights = parts.leaning(judged, methods[default], shots=shots, draws=draws, seed=seed, progress=progress)
    table = evaluation.per_task().xs(shots, level="shots")
    rival = next((name for name in baselines if name in table.columns), None)
    trust = [
        {
            "task": name,
            "weight of earlier tasks": weight,
            **(
                {}
                if rival is None
                else {f"{evaluation.leading}: gain over {rival}": float(table[default][name] - table[rival][name])}
            ),
        }
        for name, weight in weights.items()
        if name in table.index
    ]
    return parts.Page(
        title=f"Evaluation on {title}",
        modality=judged.collection.modality,
        default=default,
        baselines=[name for name in baselines if name in evaluation.methods],
        notes=[*judged.notes, *parts.shared_with_training(judged, models)],
        leakage=leakage,
        examples=parts.examples(judged, methods[default], shots=shots, seed=seed),
        trust=trust,
    )


def _pairs(evaluation: "Evaluation", page: parts.Page) -> list[dict[str, Any]]:
    """Return the default method against every baseline at every support size, paired over tasks."""
    from dataclasses import asdict

    from metamedica.reports.comparison import compare

    pairs: list[Paired] = [
        compare(evaluation, page.default, baseline, shots=shots)
        for shots in evaluation.shots
        for baseline in page.baselines
        if baseline != page.default
    ]
    return [asdict(pair) for pair in pairs]


def _show(session: Session, evaluation: "Evaluation", page: parts.Page, pairs: list[dict[str, Any]]) -> None:
    from metamedica.reports.html import FIGURE_NAMES

    figure = FIGURE_NAMES.get(evaluation.leading, evaluation.leading)
    summary = evaluation.summary()
    rows = [
        (int(row["shots"]), row["method"], row["mean"], f"{row['low']:.3f} to {row['high']:.3f}", int(row["tasks"]))
        for row in summary.to_dict(orient="records")
    ]
    session.table(f"{figure}: mean over tasks", ["shots", "method", figure, "95 % interval", "tasks"], rows)
    if pairs:
        session.table(
            f"{page.default} minus a baseline, paired over tasks",
            ["shots", "baseline", "difference", "95 % interval", "p", "better/same/worse"],
            [
                (
                    pair["shots"],
                    pair["baseline"],
                    pair["mean"],
                    f"{pair['low']:.3f} to {pair['high']:.3f}",
                    f"{pair['p']:.2g}",
                    f"{pair['wins']}/{pair['ties']}/{pair['losses']}",
                )
                for pair in pairs
            ],
        )
    for name, why in evaluation.skipped.items():
        session.say(f"{name} does not apply: {why}")
    for size, count in evaluation.protocol.get("tasks_too_small", {}).items():
        session.say(f"{count:,} tasks are too small for {size} shots and were left out there.")
    for note in page.notes:
        session.say(note)
    if page.leakage:
        session.heading("Leakage")
        session.say(page.leakage)
