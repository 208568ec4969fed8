"""What `report` makes of a predictor, or of a model and the sites that it is tried at: labelled cases in, an assessment out."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metamedica.cli import _options as options
from metamedica.cli._console import Session
from metamedica.cli._declared import Config, DeclaredTasks
from metamedica.cli._tables import TableOptions
from metamedica.errors import FileFormatError, InputError

if TYPE_CHECKING:
    from metamedica.meta_learner import MetaLearner
    from metamedica.predictors.predictor import Predictor
    from metamedica.reports.assessment import Asked, Assessment
    from metamedica.types import TaskKind


@dataclass(frozen=True)
class Labelled:
    """Cases to judge on.

    Args:
        cases: raw texts, or rows as a data frame.
        targets: one each.
        sites: the site of each; None where none is named.
        groups: the patient of each; None where none is named.
        left_out: what was left out -> how many.
        kind: None where the predictor's is taken.
    """

    cases: Any
    targets: list[Any]
    sites: list[str] | None
    groups: list[str] | None
    left_out: dict[str, int]
    kind: "TaskKind | None" = None


def opened(source: str) -> "Predictor | MetaLearner":
    """Return the predictor in a folder, or the model in a folder or of that name.

    Raises:
        BundleError: it is neither, or damaged.
    """
    from metamedica.meta_learner import MetaLearner
    from metamedica.predictors.predictor import KIND, Predictor
    from metamedica.storage import MANIFEST

    manifest = Path(source) / MANIFEST
    try:
        held = json.loads(manifest.read_text(encoding="utf-8")) if manifest.is_file() else None
    except (ValueError, OSError):
        held = None  # loading says what is wrong with it
    is_predictor = isinstance(held, dict) and held.get("kind") == KIND
    return Predictor.load(source) if is_predictor else MetaLearner.load(source)


def labelled(
    session: Session,
    file: Path | None,
    config: Config,
    given: TableOptions,
) -> Labelled:
    """Return the labelled cases of a table, or of a declaration.

    Raises:
        InputError: not one of table and declaration.
        FileFormatError: the file cannot be read, or lacks a column.
        TaskError: no case has a target.
    """
    if (file is None) == (config.config is None):
        raise InputError("give the labelled cases to judge on: either a table (--cases) or a declaration (--config)")
    config.modality(None)
    columns = config.complete(file, given, many=False)
    if isinstance(columns, DeclaredTasks):
        return _declared(columns)
    from metamedica.cells import texts
    from metamedica.errors import TaskError

    assert columns.target is not None
    frame = columns.frame
    there = texts(frame[columns.target]).codes >= 0
    if not there.any():
        raise TaskError(
            f"no row has a value in {columns.target!r}; fill the cells, or name another column with --target"
        )
    rows = frame.loc[there]
    read = texts(rows[columns.target])
    targets = [read.texts[code] for code in read.codes]
    cases: Any = (
        rows[list(columns.case)] if isinstance(columns.case, tuple) else [str(text) for text in rows[columns.case]]
    )
    left_out = {"rows without a target": int((~there).sum())} if not there.all() else {}

    def told(name: str | None) -> list[str] | None:
        return None if name is None else [str(each) for each in rows[name]]

    return Labelled(cases, targets, told(given.task), told(given.group), left_out)


def _declared(columns: DeclaredTasks) -> Labelled:
    declared = columns.declared
    frame = declared.frame
    return Labelled(
        frame[list(declared.columns)],
        frame[declared.target].tolist(),
        None if declared.task is None else frame[declared.task].astype(str).tolist(),
        None if declared.group is None else frame[declared.group].astype(str).tolist(),
        dict(declared.left_out or {}),
        declared.kind,
    )


def read_cuts(told: Sequence[str] | None) -> dict[str, tuple[float, ...]]:
    """Return `column=50,65` texts as column -> bounds.

    Raises:
        InputError: a text that is not of this form.
    """
    found: dict[str, tuple[float, ...]] = {}
    for text in told or ():
        name, equals, bounds = text.partition("=")
        try:
            found[name.strip()] = tuple(float(each) for each in bounds.split(","))
        except ValueError:
            equals = ""
        if not equals or not name.strip():
            raise InputError(f"--cut got {text!r}; write it as column=bounds, such as --cut age=50,65")
    return found


def assessed(
    source: "Predictor | MetaLearner",
    cases: Labelled,
    asked: "Asked",
    *,
    site: str | None,
    shots: int,
    seed: int,
    robust: bool,
    given: TableOptions,
    session: Session,
) -> "Assessment":
    """Return the assessment of a predictor on these cases, or of a model that is adapted to some of them.

    Raises:
        InputError: options that are for a model only, or what `assess` and `diagnose` say.
    """
    from metamedica.applications.diagnosis import Question, diagnose
    from metamedica.predictors.predictor import Predictor
    from metamedica.reports.assessing import assess

    if isinstance(source, Predictor):
        if site is not None or robust:
            raise InputError(
                "--at and --robust are for a model, which is adapted here, and a predictor came; leave them out, or name the model"
            )
        return assess(source, cases.cases, cases.targets, asked=asked, sites=cases.sites)
    question = Question(cases.kind or given.kind, given.unit, "1" if cases.kind == "binary" else given.positive)
    with session.progress("adapting") as progress:
        done = diagnose(
            source,
            cases.cases,
            cases.targets,
            sites=cases.sites,
            site=site,
            groups=cases.groups,
            question=question,
            shots=shots,
            asked=asked,
            robust=robust,
            seed=seed,
            progress=progress,
        )
    return done.assessment


def check_cases(source: str, out: Path, file: Path | None, *, overwrite: bool) -> None:
    """Refuse a page that must not be written, before the work begins.

    Raises:
        FileFormatError: as for any file that a command writes.
    """
    inputs = tuple(path for path in (file, Path(source)) if path is not None and path.is_file())
    options.check_file(out, (".html", ".htm"), overwrite=overwrite, inputs=inputs)
    if file is not None and not file.exists():
        raise FileFormatError(f"{file} is not there; check the path")
