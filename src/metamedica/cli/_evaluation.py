"""What `evaluate` puts around `reports`: which tasks, which methods, what the report page shows beside the figures."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from metamedica.cli._console import plain
from metamedica.errors import FileFormatError, InputError, TaskError

if TYPE_CHECKING:
    from metamedica.data.collection import TaskCollection
    from metamedica.meta_learner import MetaLearner
    from metamedica.predictors.method import Method
    from metamedica.reports.evaluation import Evaluation
    from metamedica.types import Modality, Progress

Part = Literal["meta_test", "all"]
NO_BASELINE = "none"
_EXAMPLES = 8


def load_models(names: Sequence[str], modality: str | None) -> "dict[str, MetaLearner]":
    """Return the models by a short name: the last part of a folder.

    Args:
        names: folders, or names of models that ship.
        modality: of the cases; None takes that of the models.

    Raises:
        InputError: two models have the same short name, or cases of different kinds.
        BundleError: there is no such model, or it is damaged.
    """
    from metamedica.meta_learner import MetaLearner

    models: dict[str, MetaLearner] = {}
    for name in names:
        short = Path(name).name or name
        if short in models:
            raise InputError(f"two models are called {short!r}; rename the folder of one")
        models[short] = MetaLearner.load(name)
        held = models[short].model_.modality.name
        if held != (modality or held):
            raise InputError(f"model {short!r} is for {held} and the cases are {modality}; give a model for {modality}")
        modality = held
    return models


def baseline_methods(names: Sequence[str], modality: "Modality") -> "dict[str, Method]":
    """Return methods from scratch by name.

    Raises:
        InputError: there is no such method, or it must be fitted first.
    """
    from metamedica.predictors.method import LearnerMethod
    from metamedica.predictors.model import LearnerSpec

    methods: dict[str, Method] = {}
    for name in names:
        learner = LearnerSpec(name, "mlp").build(modality)
        if learner.learns_from_tasks():
            raise InputError(
                f"{name} learns from tasks, so it is no baseline from scratch: fit it and name it with --model"
            )
        methods[name] = LearnerMethod(learner)
    return methods


@dataclass(frozen=True)
class Judged:
    """The tasks to judge on, in a collection whose meta-split is that of the table or of a model."""

    collection: "TaskCollection"
    names: list[str]
    notes: list[str] = field(default_factory=list)


def choose_tasks(
    collection: "TaskCollection",
    models: "Mapping[str, MetaLearner]",
    part: Part | None,
    *,
    only: Sequence[str] | None = None,
) -> Judged:
    """Return the tasks to judge on: meta-test tasks by the table's or a model's split, else the tasks that no model learned from.

    Args:
        collection: from the table.
        models: by name.
        part: "meta_test", "all", or None to decide by what there is.
        only: names to keep.

    Raises:
        TaskError: no task is left.
    """
    notes: list[str] = []
    learned: dict[str, set[str]] = {}
    for name, model in models.items():
        if not model.model_.learner.learns_from_tasks():
            continue
        split = {task: side for task, side in model.model_.record.get("split", {}).items() if task in collection.tasks}
        learned[name] = {task for task, side in split.items() if side != "meta_test"}
        if split and not collection.split:
            collection = collection.with_split(split)
            notes.append(f"The meta-split is that of {name}.")
    seen = set().union(*learned.values())
    names = collection.names("meta_test")
    if part == "all":
        names = collection.names()
    elif part is None and not names:
        names = [name for name in collection.names() if name not in seen]
    if only is not None:
        names = [collection[name].name for name in only]
    if not names and part == "meta_test":
        raise TaskError(
            "there is no meta-test task: name the split column with --split-column, or judge on every task with --split all"
        )
    if not names:
        raise TaskError(
            "every task is one that a model learned from; give other tasks, or say --split all and read the figures as too good"
        )
    for name, tasks in learned.items():
        known = tasks.intersection(names)
        if known:
            notes.append(
                f"{name} learned from, or was selected on, {len(known):,} of the {len(names):,} judged tasks: its figures there are too good."
            )
    return Judged(collection, names, notes)


def shared_with_training(judged: Judged, models: "Mapping[str, MetaLearner]") -> list[str]:
    """Return a sentence a model: which share of the judged cases it has met in meta-training."""
    import numpy as np
    import torch

    from metamedica.functional.case_effects import content_hash

    collection = judged.collection
    rows = torch.from_numpy(np.unique(np.concatenate([collection[name].rows for name in judged.names])))
    said = []
    for name, model in models.items():
        inner = model.model_
        if not inner.learner.learns_from_tasks():
            continue
        if not inner.modality.legible:
            said.append(f"{name} remembers none of its earlier cases: whether it has met the judged ones is not known.")
            continue
        hashes = content_hash(inner.raw({block: values[rows].float() for block, values in collection.features.items()}))
        share = float(torch.isin(hashes, inner.earlier.known).double().mean())
        said.append(f"{share:.1%} of the {len(rows):,} judged cases occur in tasks that {name} learned from.")
    return said


def leaning(
    judged: Judged, method: "Method", *, shots: int, draws: int, seed: int, progress: "Progress | None" = None
) -> dict[str, float]:
    """Return, per task, the mean weight that a guarded method gave to what earlier tasks taught; empty for other methods."""
    from metamedica.data.episodes import labelled
    from metamedica.predictors.guard import Guard
    from metamedica.reports.protocols.fsmol import support_positions

    if not isinstance(method, Guard):
        return {}
    weights: dict[str, float] = {}
    for done, name in enumerate(judged.names, start=1):
        task = judged.collection[name]
        try:
            positions = [support_positions(task, shots, draw=draw, seed=seed) for draw in range(draws)]
        except TaskError:
            continue  # too small for this many shots: the evaluation has counted it
        support = labelled(judged.collection, [task] * draws, positions)
        weights[name] = float(method.weigh(support).weights[:, 0].mean())
        if progress is not None:
            progress(done, len(judged.names), f"weights on {name}")
    return weights


def examples(judged: Judged, method: "Method", *, shots: int, seed: int) -> list[dict[str, Any]]:
    """Return the highest predictions of one draw on the first task that is large enough: case, and lines to print under it."""
    import numpy as np
    import torch
    from torch.distributions import Categorical

    from metamedica.data.episodes import gather, labelled
    from metamedica.reports.protocols.fsmol import support_positions

    for name in judged.names:
        task = judged.collection[name]
        try:
            chosen = support_positions(task, shots, draw=0, seed=seed)
        except TaskError:
            continue
        rest = np.setdiff1d(np.arange(len(task)), chosen)
        with torch.no_grad():
            law = method(labelled(judged.collection, [task], [chosen]), gather(judged.collection, [task.rows[rest]]))
        if isinstance(law, Categorical):
            classes = task.classes or ()
            value = law.probs[0, :, -1].double().numpy()
            said = [f"p({classes[-1]}) {each:.2f}" for each in value]
            truth = [f"measured: {classes[int(target)]}" for target in task.targets[rest]]
        else:
            value, deviation = law.mean[0].double().numpy(), law.stddev[0].double().numpy()
            said = [
                f"predicted {each:.2f} ± {1.64 * spread:.2f} (90 %)"
                for each, spread in zip(value, deviation, strict=True)
            ]
            truth = [f"measured {target:.2f}" for target in task.targets[rest]]
        best = np.argsort(-value, kind="stable")[:_EXAMPLES]
        canonical = judged.collection.canonical
        return [
            {
                "case": canonical[int(task.rows[rest[at]])],
                "lines": [f"{rank}. of {len(rest):,} on {name}", said[at], truth[at]],
            }
            for rank, at in enumerate(best.tolist(), start=1)
        ]
    return []


@dataclass(frozen=True)
class Page:
    """What the report page shows beside the figures; kept in the evaluation's JSON, so that the page can be made again."""

    title: str
    modality: str
    default: str
    baselines: list[str]
    notes: list[str]
    leakage: str | None = None
    examples: list[dict[str, Any]] = field(default_factory=list)
    trust: list[dict[str, Any]] = field(default_factory=list)


def write_evaluation(evaluation: "Evaluation", page: Page, path: Path) -> None:
    """Write figures and page as one JSON file, whole or not at all."""
    from metamedica.storage import replace_file

    value = {**evaluation.as_dict(), "page": asdict(page)}
    replace_file(path, (json.dumps(plain(value), indent=0, allow_nan=False) + "\n").encode())


def read_evaluation(path: Path) -> "tuple[Evaluation, Page | None]":
    """Return figures and page of an evaluation's JSON; no page where the JSON was written without one.

    Raises:
        FileFormatError: the file is missing or not an evaluation.
    """
    from metamedica.reports.evaluation import Evaluation

    evaluation = Evaluation.from_json(path)
    page = json.loads(path.read_text(encoding="utf-8")).get("page")
    if page is None:
        return evaluation, None
    try:
        return evaluation, Page(**page)
    except TypeError as error:
        raise FileFormatError(
            f"{path.name} describes a page that this version cannot make ({error}); evaluate again"
        ) from None


def write_page(evaluation: "Evaluation", page: Page | None, path: Path) -> None:
    """Write the report as one self-contained HTML page, whole or not at all."""
    import pandas as pd

    from metamedica import registry
    from metamedica.reports.html import Card, write_report

    if page is None:
        write_report(evaluation, path)
        return
    draw = registry.modality(page.modality).draw
    write_report(
        evaluation,
        path,
        title=page.title,
        default=page.default,
        baselines=page.baselines,
        leakage=page.leakage,
        examples=[Card(draw(each["case"]), each["lines"]) for each in page.examples],
        trust=pd.DataFrame(page.trust) if page.trust else None,
        notes=page.notes,
    )
