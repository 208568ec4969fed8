"""What commands share that make a model and say how it does: a training that is kept, methods from scratch beside it, figures as lines."""

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks._budgets import DEFAULT, code_version
from benchmarks._record import say
from metamedica import registry
from metamedica.data.collection import TaskCollection
from metamedica.meta_learner import MetaLearner
from metamedica.predictors.method import LearnerMethod
from metamedica.reports.comparison import compare
from metamedica.reports.evaluation import Evaluation
from metamedica.reports.judging import Protocol, judge
from metamedica.storage import digest_of, replace_file
from metamedica.types import Progress

TANIMOTO = "tanimoto_gp"
RIVALS = ("multi_kernel_gp", TANIMOTO, "random_forest")
"""Methods from scratch that a made model is paired with; the first is what its guard falls back on."""
HARM = 0.03
"""A task is harmed where the model's ΔAUPRC is this much below that of the Tanimoto process."""
HEADS = {"delta_auprc": "ΔAUPRC", "roc_auc": "ROC-AUC", "auprc": "AUPRC"}
Row = dict[str, Any]


def told(every: int = 60) -> Progress:
    """Return a progress that writes a line to stderr once in so many calls."""
    calls = [0]

    def progress(done: int, total: int, message: str) -> None:
        calls[0] += 1
        if calls[0] % every == 0:
            say(f"  {done}/{total} {message}")

    return progress


@dataclass(frozen=True)
class Fitted:
    """A fitted meta-learner.

    Args:
        model: itself.
        version: of its code, settings and data.
        minutes: of CPU time that fitting took.
    """

    model: MetaLearner
    version: str
    minutes: float


def fitted(wanted: MetaLearner, tasks: TaskCollection, *, parts: Path, data: Any) -> Fitted:
    """Return the meta-learner fitted on the tasks, from the finished part where there is one.

    Args:
        wanted: not fitted.
        tasks: with a meta-split.
        parts: folder of finished parts.
        data: JSON value that tells these tasks from others.
    """
    parameters = wanted.get_params(deep=False)
    version = digest_of([code_version(DEFAULT), {name: str(value) for name, value in parameters.items()}, data])[:16]
    folder, cost = parts / "models" / version, parts / "models" / f"{version}.json"
    if cost.is_file():
        return Fitted(MetaLearner.load(folder), version, json.loads(cost.read_text("utf-8")))
    began = time.process_time()
    made = wanted.fit(tasks, progress=told(5))
    minutes = round((time.process_time() - began) / 60, 2)
    made.save(folder)
    replace_file(cost, json.dumps(minutes).encode())
    say(f"fitted in {minutes} minutes of CPU time")
    return Fitted(made, version, minutes)


def beside_scratch(
    name: str,
    made: Fitted,
    tasks: TaskCollection,
    names: Sequence[str],
    protocol: Protocol,
    *,
    shots: Sequence[int],
    draws: int,
    parts: Path,
    file: str,
) -> Evaluation:
    """Return how a model and the methods from scratch do on the same supports, from finished parts where there are some.

    Args:
        name: of the model.
        made: on none of the tasks.
        tasks: binary ones.
        names: of the judged tasks.
        protocol: supports and queries.
        shots: support sizes.
        draws: supports a task and size.
        parts: folder of finished parts.
        file: of the protocol, relative to the package.
    """
    modality = tasks.reader()
    scratch = {rival: (LearnerMethod(registry.build_learner(rival, modality)), tasks) for rival in RIVALS}
    found = []
    for method, (adapts, read) in {
        name: (made.model.method("binary"), made.model.readable(tasks)),
        **scratch,
    }.items():
        of_code = made.version if method == name else code_version(method)
        found.append(
            judge(
                protocol, {method: adapts}, read, names=names, shots=shots, draws=draws, parts=parts / "judged",
                version=f"{of_code} {file}", progress=told(50),
            )
        )  # fmt: skip
        say(f"{method}: {len(names)} tasks judged")
    return joined(found)


def joined(evaluations: Sequence[Evaluation]) -> Evaluation:
    """Return the rows of several evaluations of binary tasks as one."""
    rows = pd.concat([each.rows for each in evaluations], ignore_index=True)
    return Evaluation("binary", rows, evaluations[0].protocol)


def rows_of(evaluation: Evaluation, figures: Iterable[str], *, name: str) -> list[Row]:
    """Return a row for each figure, support size and method: its mean over tasks, and how far the model is ahead of it, paired over tasks.

    Args:
        evaluation: of the model and others.
        figures: the larger the better.
        name: of the model.
    """
    found = []
    for figure in figures:
        for line in evaluation.summary(figure).itertuples(index=False):
            row: Row = {
                "figure": figure,
                "labels": int(line.shots),
                "method": str(line.method),
                "mean": round(float(line.mean), 4),
                "interval": [round(float(line.low), 4), round(float(line.high), 4)],
                "tasks": int(line.tasks),
            }
            if line.method != name:
                pair = compare(evaluation, name, str(line.method), shots=int(line.shots), figure=figure)
                row["ahead"] = round(pair.mean, 4)
                row["ahead_interval"] = [round(pair.low, 4), round(pair.high, 4)]
            found.append(row)
    return found


def harmed(evaluation: Evaluation, *, name: str) -> dict[str, float]:
    """Return, per support size, the share of tasks on which the model's ΔAUPRC is more than `HARM` below that of the Tanimoto process."""
    table = evaluation.per_task("delta_auprc")[[name, TANIMOTO]].dropna()
    below = (table[name] < table[TANIMOTO] - HARM).groupby(level="shots").mean()
    return {str(size): round(float(share), 4) for size, share in below.items()}


def lines_of(rows: Sequence[Row], *, name: str, what: str) -> list[str]:
    """Return the rows as Markdown, a table for each figure.

    Args:
        rows: as `rows_of` makes them.
        name: of the model, shown in bold.
        what: the tasks are: "assays", "kinases".
    """
    lines = []
    for figure in dict.fromkeys(row["figure"] for row in rows):
        lines += [f"| method | labels | {HEADS[figure]} | 95 % interval | {name} minus it | 95 % interval | {what} |"]
        lines += ["|---|---|---|---|---|---|---|"]
        for row in rows:
            if row["figure"] == figure:
                method = f"**{name}**" if row["method"] == name else row["method"]
                gap = f"{row['ahead']:+.3f} | {_interval(row['ahead_interval'], '+.3f')}" if "ahead" in row else "– | –"
                value = f"{row['mean']:.3f} | {_interval(row['interval'], '.3f')}"
                lines.append(f"| {method} | {row['labels']} | {value} | {gap} | {row['tasks']} |")
        lines.append("")
    return lines


def _interval(ends: Sequence[float], digits: str) -> str:
    return f"{ends[0]:{digits}} to {ends[1]:{digits}}"


def megabytes(folder: Path) -> float:
    """Return the size of a model's files."""
    return round(sum(path.stat().st_size for path in folder.iterdir()) / 1e6, 2)
