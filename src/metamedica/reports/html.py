"""One self-contained HTML page: no script, nothing fetched, all text from data escaped. Only SVG from our own drawing passes through."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from metamedica.errors import InputError
from metamedica.reports import figures
from metamedica.reports.comparison import compare
from metamedica.reports.evaluation import LOWER_IS_BETTER, Evaluation
from metamedica.storage import replace_file

FIGURE_NAMES = {
    "delta_auprc": "ΔAUPRC",
    "roc_auc": "ROC-AUC",
    "brier": "Brier",
    "ece": "ECE",
    "log_loss": "log loss (nats)",
    "r2": "R²",
    "spearman": "Spearman",
    "rmse": "RMSE",
    "coverage": "90 % interval covers",
    "hits": "hits in top 50",
    "accuracy": "accuracy",
    "seconds": "CPU s a task",
}
_MAX_TASKS = 60


@dataclass(frozen=True)
class Figure:
    """An SVG of `figures` with its caption."""

    caption: str
    svg: str


@dataclass(frozen=True)
class Table:
    """Rows of ready text; `numeric` columns are aligned right, `wrapped` ones hold sentences, row `lead` is stressed."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    numeric: frozenset[int] = frozenset()
    lead: int = -1
    wrapped: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Card:
    """A drawn case (SVG of a modality's `draw`) with lines of text."""

    svg: str
    lines: Sequence[str]


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it, in this order."""

    heading: str
    prose: Sequence[str] = ()
    note: str = ""
    figures: Sequence[Figure] = ()
    tables: Sequence[Table] = ()
    text: str = ""
    cards: Sequence[Card] = field(default=())


def page(title: str, sections: Sequence[Section], *, verdict: str, footer: str) -> str:
    """Return the page as HTML."""
    room = Environment(
        loader=PackageLoader("metamedica.reports"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return room.get_template("page.html").render(
        title=title, sections=sections, verdict=verdict, footer=footer, version=version("metamedica")
    )


def write_page(path: str | Path, title: str, sections: Sequence[Section], *, verdict: str, footer: str) -> None:
    """Write the page, whole or not at all."""
    replace_file(Path(path), page(title, sections, verdict=verdict, footer=footer).encode())


def table_of(frame: pd.DataFrame, *, caption: str = "", digits: int = 3, lead: int = -1) -> Table:
    """Return a DataFrame as a table; numbers are rounded, missing ones shown as a dash."""

    def text(value: Any) -> str:
        if isinstance(value, float | np.floating):
            return f"{value:.{digits}f}" if np.isfinite(value) else "–"
        return str(value)

    numeric = frozenset(
        i for i, column in enumerate(frame.columns) if pd.api.types.is_numeric_dtype(frame[column].dtype)
    )
    return Table(
        [str(name) for name in frame.columns],
        [[text(v) for v in row] for row in frame.itertuples(index=False)],
        caption,
        numeric,
        lead,
    )


def _at(evaluation: Evaluation, shots: int, figure: str | None = None) -> pd.DataFrame:
    """Return a figure at one support size: a row a task, a column a method, NaN where it is not defined."""
    table = evaluation.per_task(figure).reindex(columns=evaluation.methods)
    return table[table.index.get_level_values("shots") == shots].droplevel("shots")


def _verdict(evaluation: Evaluation, default: str, baselines: Sequence[str]) -> str:
    shots = evaluation.shots[0]
    name = FIGURE_NAMES[evaluation.leading]
    parts = []
    for baseline in baselines:
        pair = compare(evaluation, default, baseline, shots=shots)
        if not np.isfinite(pair.mean):
            parts.append(f"not comparable with {baseline} (no task where it is defined for both)")
            continue
        word = "above" if pair.low > 0 else "below" if pair.high < 0 else "not clearly different from"
        parts.append(f"{word} {baseline} ({pair.mean:+.3f}, 95 % interval {pair.low:+.3f} to {pair.high:+.3f})")
    n = len(set(evaluation.rows["task"]))
    return (
        f"With {shots} labelled cases, over {n} tasks, {default} is in {name} "
        + (", and ".join(parts) if parts else "reported alone")
        + "."
    )


def _methods(evaluation: Evaluation, default: str) -> list[Table]:
    """Return, per support size, every method's figures, and the default paired with each of the others."""
    tables = []
    leading, others = evaluation.leading, [f for f in evaluation.figures if f != evaluation.leading]
    for shots in evaluation.shots:
        summary = evaluation.summary()
        part = summary[summary["shots"] == shots]
        if part.empty:
            continue
        rows, paired = [], []
        for _, row in part.iterrows():
            method = str(row["method"])
            cells = [method, f"{row['mean']:.3f}", f"{row['low']:.3f} to {row['high']:.3f}"]
            for figure in others:
                mean = _at(evaluation, shots, figure)[method].mean()
                cells.append(f"{mean:.3f}" if np.isfinite(mean) else "–")
            rows.append(cells)
            if method != default:
                pair = compare(evaluation, default, method, shots=shots)
                interval = f"{pair.low:+.3f} to {pair.high:+.3f}"
                won = f"{pair.wins} / {pair.ties} / {pair.losses}"
                paired.append([method, f"{pair.mean:+.3f}", interval, f"{pair.p:.2g}", won])
        header = ["method", FIGURE_NAMES[leading], "95 % interval", *(FIGURE_NAMES.get(f, f) for f in others)]
        lead = next((i for i, cells in enumerate(rows) if cells[0] == default), -1)
        caption = f"{shots} labelled cases; means over {int(part['tasks'].max())} tasks"
        tables.append(Table(header, rows, caption, frozenset(range(1, len(header))), lead))
        if paired:
            against = [f"{default} against", "difference", "95 % interval", "Wilcoxon p", "better / same / worse"]
            caption = (
                f"{shots} labelled cases: {FIGURE_NAMES[leading]} of {default} minus the other's, paired over tasks"
            )
            tables.append(Table(against, paired, caption, frozenset(range(1, len(against)))))
    return tables


def _curves(evaluation: Evaluation, default: str) -> Figure:
    summary = evaluation.summary()
    names = [default, *(name for name in evaluation.methods if name != default)]
    curves = {}
    for name in names:
        part = summary[summary["method"] == name].dropna(subset=["mean"]).sort_values("shots")
        if len(part):
            curves[name] = figures.Curve(*(part[column].tolist() for column in ("shots", "mean", "low", "high")))
    label = FIGURE_NAMES[evaluation.leading]
    return Figure(
        f"{label} over support sizes, mean over tasks with 95 % intervals", figures.learning_curves(curves, label=label)
    )


def _pairs(evaluation: Evaluation, default: str, baseline: str) -> Figure:
    shots = evaluation.shots[0]
    both = _at(evaluation, shots)[[baseline, default]].dropna()
    svg = figures.paired_tasks(
        both[baseline].tolist(), both[default].tolist(), names=[str(n) for n in both.index], labels=(baseline, default)
    )
    return Figure(f"Every task at {shots} labelled cases: above the line {default} is better than {baseline}", svg)


def _reliability(evaluation: Evaluation, default: str, baselines: Sequence[str]) -> list[Figure]:
    if evaluation.reliability.empty:
        return []
    shots = evaluation.shots[0]
    lines = {}
    for name in (default, *baselines):
        part = evaluation.reliability
        part = part[(part["method"] == name) & (part["shots"] == shots)]
        if len(part):
            lines[name] = figures.Curve(part["probability"].tolist(), part["frequency"].tolist())
    return (
        [Figure(f"Reliability at {shots} labelled cases, all tasks together", figures.reliability(lines))]
        if lines
        else []
    )


def _tasks(evaluation: Evaluation, default: str, baseline: str | None) -> Table:
    shots = evaluation.shots[0]
    both = _at(evaluation, shots)
    table = pd.DataFrame(both[[default] if baseline is None else [default, baseline]].dropna())
    if baseline is not None:
        table["difference"] = table[default] - table[baseline]
        table = table.sort_values(by="difference", ascending=evaluation.leading not in LOWER_IS_BETTER)
    shown = table.head(_MAX_TASKS).reset_index()
    more = f"; the worst {_MAX_TASKS} of {len(table)}" if len(table) > _MAX_TASKS else ""
    return table_of(
        shown, caption=f"{FIGURE_NAMES[evaluation.leading]} of each task at {shots} labelled cases, worst first{more}"
    )


def write_report(
    evaluation: Evaluation,
    path: str | Path,
    *,
    title: str = "Evaluation",
    default: str | None = None,
    baselines: Sequence[str] = (),
    leakage: str | None = None,
    examples: Sequence[Card] = (),
    trust: pd.DataFrame | None = None,
    notes: Sequence[str] = (),
) -> None:
    """Write the evaluation as one self-contained page.

    Args:
        evaluation: what to show.
        path: of the HTML file.
        title: of the page.
        default: the method that is compared with the others; None takes the first.
        baselines: methods named in the verdict and plotted beside; the first is paired task by task.
        leakage: the leakage report as text.
        examples: drawn cases.
        trust: one row a task: how far the default leaned on earlier tasks, and what it gained.
        notes: sentences under the verdict.

    Raises:
        InputError: the evaluation does not have the default method.
    """
    default = default or evaluation.methods[0]
    if default not in evaluation.methods:
        raise InputError(f"the evaluation has no method {default!r}; it has: {', '.join(evaluation.methods)}")
    baselines = [name for name in baselines if name in evaluation.methods and name != default]
    plots = [_curves(evaluation, default)]
    if baselines:
        plots.append(_pairs(evaluation, default, baselines[0]))
    plots += _reliability(evaluation, default, baselines)
    skipped = [f"{name} does not apply: {why}." for name, why in evaluation.skipped.items()]
    sections = [
        Section("At a glance", prose=[*notes, *skipped], figures=plots),
        Section("Methods", tables=_methods(evaluation, default)),
        Section("Tasks", tables=[_tasks(evaluation, default, baselines[0] if baselines else None)]),
    ]
    if trust is not None and len(trust):
        sections.append(
            Section(
                "Trust",
                prose=["How far each prediction leaned on earlier tasks, and what that gained."],
                tables=[table_of(trust)],
            )
        )
    if leakage:
        sections.append(Section("Leakage", prose=["What the sides of the meta-split share."], text=leakage))
    if examples:
        sections.append(Section("Examples", cards=examples))
    write_page(
        path, title, sections, verdict=_verdict(evaluation, default, baselines), footer=_footer(evaluation.protocol)
    )


def _footer(protocol: Mapping[str, Any]) -> str:
    """Return the protocol in words; what it does not know by name it shows as it is."""
    left = dict(protocol)
    name, shots = left.pop("name", "unknown"), left.pop("shots", [])
    small = left.pop("tasks_too_small", {})
    said = [f"supports of {', '.join(map(str, shots))} cases"] if shots else []
    said += [f"{left.pop(key)} {word}" for key, word in (("draws", "draws each"), ("tasks", "tasks")) if key in left]
    said += [f"{key} {value}" for key, value in left.items()]
    said += [f"{count} tasks too small for {size}" for size, count in small.items()]
    return f"Protocol {name}: {', '.join(said)}."
