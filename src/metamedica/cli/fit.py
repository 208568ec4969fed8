"""`metamedica fit`: learn from many tasks."""

import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from metamedica.cli import _fit_file as files
from metamedica.cli import _image_options
from metamedica.cli import _options as options
from metamedica.cli._console import Session
from metamedica.cli._declared import Config, DeclaredTasks
from metamedica.cli._tables import TableOptions
from metamedica.errors import InputError

if TYPE_CHECKING:
    from metamedica.types import Learner, Modality, TaskKind

_TRAINING = "Training"
_CARD = "Card"
_NOT_STATED = "not stated"


def command(
    ctx: typer.Context,
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Folder for the model.")],
    file: options.TableFile = None,
    config: files.Config = None,
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
    network: _image_options.NetworkFolder = None,
    window: _image_options.HuWindow = None,
    duplicates: options.DuplicatesOption = "error",
    skip_invalid: options.SkipInvalid = False,
    learner: Annotated[
        str | None,
        typer.Option(
            "--learner",
            metavar="NAME",
            help="The method ('metamedica models'). Left out: common_mean_gp (deep_kernel with --encoder, --steps or --checkpoints), for tables "
            "bayesian_model_averaging.",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            "--encoder",
            metavar="NAME",
            help="The learned encoder, for methods that have one; mlp if left out.",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    inner_steps: Annotated[
        int | None,
        typer.Option(
            "--inner-steps",
            metavar="N",
            min=1,
            help="Steps that a task takes, for methods that adapt in steps.",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    settings_file: Annotated[
        Path | None,
        typer.Option(
            "--settings",
            metavar="FILE",
            help="Settings that 'metamedica tune' found (best.json); other options come before them.",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="A setting of the method, name=value. May be repeated.",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    encoder_setting: Annotated[
        list[str] | None,
        typer.Option(
            "--encoder-set",
            metavar="NAME=VALUE",
            help="A setting of the encoder, name=value. May be repeated.",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            "--steps",
            metavar="N",
            min=1,
            help="Most training steps; fewer where the score stops rising.",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", min=0, help="Same seed, same model.", rich_help_panel=_TRAINING)
    ] = 0,
    checkpoints: Annotated[
        Path | None,
        typer.Option(
            "--checkpoints", metavar="FOLDER", help="Folder to keep the training's state in.", rich_help_panel=_TRAINING
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the newest state in --checkpoints.", rich_help_panel=_TRAINING)
    ] = False,
    accumulate: options.Accumulate = 1,
    precision: options.PrecisionOption = "float32",
    compiled: options.Compile = False,
    device: options.Device = "cpu",
    source: Annotated[
        str | None, typer.Option("--source", metavar="TEXT", help="Where the data comes from.", rich_help_panel=_CARD)
    ] = None,
    licence: Annotated[
        str | None, typer.Option("--licence", metavar="TEXT", help="The licence of the data.", rich_help_panel=_CARD)
    ] = None,
    attribution: Annotated[
        str | None, typer.Option("--attribution", metavar="TEXT", help="As the licence asks.", rich_help_panel=_CARD)
    ] = None,
    write_config: files.WriteConfig = None,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Learn from the many tasks (assays) of a table, and write a model.

    Long form, one row a measurement:

        smiles,target_id,pki
        CCOc1ccccc1,CHEMBL233,6.2

        metamedica fit assays.csv --task target_id --target pki --out model

    Wide form, one column a task, an empty cell where nothing was measured:

        metamedica fit tox.csv --targets NR-AR,NR-ER,SR-p53 --out model

    Another method, or the settings that 'metamedica tune' found:

        metamedica fit assays.csv --task assay --out model --learner maml --inner-steps 5
        metamedica fit assays.csv --task assay --out model --settings search/best.json

    Clinical tasks that a YAML file declares (docs/declaring-tasks.md):

        metamedica fit --config mortality.yaml --root data --out model

    All of it in one YAML file: data, method, settings, seed, output
    (docs/diagnosis.md); --write-config writes one:

        metamedica fit --config heart.yaml --seed 1

    Assays that are described, here by the amino acids of their targets, so
    that a new one takes after those that are described alike:

        metamedica fit assays.csv --task assay --about sequence --out model

    A long training that may be interrupted, and goes on to the same result:

        metamedica fit assays.csv --task assay --out model --checkpoints ck
        metamedica fit assays.csv --task assay --out model --checkpoints ck --resume

    Images, a table of paths (below its folder) or a folder of classes, seen
    through a network that 'metamedica pretrain' made of unlabelled ones:

        metamedica fit scans.csv --modality images --case path --target label \\
            --task question --network network --out model

    Two processes that share every step (on GPUs, add --device cuda); they
    give the model of one process, up to rounding:

        torchrun --nproc-per-node 2 -m metamedica fit assays.csv --out model

    The folder holds safetensors, JSON with checksums, and CARD.md.
    Next: metamedica adapt.
    """
    session = Session.of(ctx)
    session.join()
    started = time.monotonic()
    held = files.held(ctx)
    settings = held.settings | options.literals(setting or [], "--set")
    encoder_settings = held.encoder_settings | options.literals(encoder_setting or [], "--encoder-set")
    if files.from_command_line(ctx, "file") and "config" in held.values:
        config, root, variant = None, None, None

    from metamedica import registry
    from metamedica.tuning.settings import FitSettings

    declaration = Config(config, root, variant)
    modality = declaration.modality(modality) or TableOptions.modality
    reading = _image_options.image_settings(modality, network, window)
    reads = registry.modality(modality, reading)
    by_steps = any((encoder, encoder_settings, steps, checkpoints))
    told = (
        FitSettings(registry.default_learner(reads, ("binary", "regression"), by_steps=by_steps))
        if settings_file is None
        else FitSettings.read(settings_file)
    )
    named, same = learner is not None, learner in (None, told.learner)
    learner = learner or told.learner
    own, own_of_encoder = dict(settings), dict(encoder_settings)
    settings = options.with_inner_steps(learner, settings, inner_steps)
    if same:
        settings = told.settings | settings
    if encoder in (None, told.encoder):
        encoder_settings = told.encoder_settings | encoder_settings
    encoder = encoder or told.encoder
    if resume and checkpoints is None:
        raise InputError("--resume came without --checkpoints; name the folder that the interrupted training wrote to")
    options.check_bundle(out, "model", overwrite=overwrite)
    files.check_written(write_config, overwrite=overwrite, inputs=() if file is None else (file,))
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
        reading,
        about=about,
    )
    columns = declaration.complete(file, given, many=True)
    if not named and settings_file is None:
        learner = registry.default_learner(reads, [cast("TaskKind", columns.kind)], by_steps=by_steps)

    from metamedica.functional.descriptions import ReadsDescriptions
    from metamedica.meta_learner import MetaLearner
    from metamedica.precision import check_precision
    from metamedica.predictors.method import check_reads_descriptions
    from metamedica.ranks import joined
    from metamedica.reports.card import About, card
    from metamedica.storage import replace_file

    reader = registry.modality(modality, reading)
    with joined() as ranks:  # one process a machine featurises, the others find it in the cache
        if not reader.distinct:  # rows are read fast, and say what a learner can be built on
            tasks = columns.read(session)
            reader = tasks.reader()
        built = _built(learner, encoder, settings, encoder_settings, reader)
        check_precision(precision, built, ranks.device(device))
        if about is not None:
            check_reads_descriptions(built)
        if reader.distinct:
            tasks = ranks.machine_by_machine(lambda: columns.read(session))
    made = MetaLearner(
        learner,
        encoder=encoder,
        settings=settings or None,
        encoder_settings=encoder_settings or None,
        accumulate=accumulate,
        precision=precision,
        compiled=compiled,
        seed=seed,
    )
    made.set_params(**told.training | ({} if steps is None else {"steps": steps}))
    with session.progress("learning") as progress:
        made.fit(tasks, checkpoints=checkpoints, resume=resume, device=device, progress=progress)
    if session.muted:
        return
    kinds = sorted({each.kind for each in tasks.tasks.values()})
    known = columns.known if isinstance(columns, DeclaredTasks) else {}
    said = About(
        name=out.resolve().name,
        data=f"{len(tasks):,} tasks ({', '.join(kinds)}) of {columns.source}: {len(tasks.canonical):,} cases, {tasks.n_values:,} values",
        source=source or known.get("source", _NOT_STATED),
        licence=licence or known.get("licence", _NOT_STATED),
        attribution=attribution or known.get("attribution", _NOT_STATED),
        command=shlex.join(["metamedica", *session.arguments]),
    )
    made.save(out, card=card(made, said))
    if write_config is not None:
        effective = ctx.params | {
            "config": config,
            "root": root,
            "variant": variant,
            "learner": learner,
            "encoder": encoder,
        }
        replace_file(write_config, files.as_yaml(write_config, effective, own, own_of_encoder).encode())
    seconds = time.monotonic() - started
    session.say(
        f"Learned from {made.n_tasks_:,} of {len(tasks):,} tasks ({', '.join(kinds)}): {len(tasks.canonical):,} cases, "
        f"{tasks.n_values:,} values, {seconds:.0f} s."
    )
    session.left_out(tasks.left_out)
    session.remarks(tasks.remarks)
    if about is not None and not cast(ReadsDescriptions, made.model_.learner).compares_tasks():
        session.note("tasks that are described alike do not vary alike: the model does not use the descriptions")
    if not (made.model_.learner.learns_from_tasks() or made.model_.modality.learned):
        session.say(
            f"{learner} starts from scratch with every new task: the tasks taught it the usual spread of values only."
        )
    session.say(f"Wrote {out} (card: {out / 'CARD.md'}).")
    session.say(f"Next: metamedica adapt MEASURED.csv --model {out} --out PREDICTOR")
    session.result(
        {
            "model": str(out),
            "learner": learner,
            "encoder": encoder,
            "kinds": kinds,
            "tasks": len(tasks),
            "meta_train_tasks": made.n_tasks_,
            "cases": len(tasks.canonical),
            "values": tasks.n_values,
            "left_out": tasks.left_out,
            "remarks": tasks.remarks,
            "columns": columns.as_dict(),
            "steps": len(made.history_) and made.history_[-1].get("step"),
            "seconds": round(seconds, 3),
        }
    )


def _built(
    learner: str, encoder: str, settings: dict[str, Any], encoder_settings: dict[str, Any], modality: "Modality"
) -> "Learner[Any]":
    """Return the learner, so that what it does not accept is refused before the table is featurised.

    Raises:
        InputError: an unknown name, or a setting that the learner or encoder does not accept.
    """
    from metamedica.predictors.model import LearnerSpec

    try:
        return LearnerSpec(learner, encoder, settings, encoder_settings).build(modality)
    except (TypeError, RuntimeError, ValueError) as error:
        if isinstance(error, InputError) or not (settings or encoder_settings):
            raise
        raise InputError(
            f"--set, --encoder-set or --settings has a value that {learner} with {encoder} does not accept: {error}"
        ) from error
