"""The pages of `make bench-accuracy`: every table with its intervals, and the leaderboard beside the published figures."""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks._accuracy_tables import HARM, REFERENCE, Facts, line_of
from benchmarks._budgets import DEFAULT, LEARNED
from benchmarks._cells import NO_SUPPORT
from benchmarks._settings import SETTINGS
from metamedica.reports.evaluation import LOWER_IS_BETTER

PAGE = Path(__file__).parents[1] / "docs" / "leaderboard.md"
PUBLISHED = Path(__file__).parent / "published" / "molecules"
NAMES = {
    "delta_auprc": "ΔAUPRC",
    "roc_auc": "ROC-AUC",
    "auprc": "AUPRC",
    "brier": "Brier",
    "ece": "ECE",
    "log_loss": "log loss",
    "r2": "R²",
    "spearman": "Spearman",
    "rmse": "RMSE",
    "cliff_rmse": "RMSE, cliffs",
    "coverage": "90 % coverage",
    "trust": "trust",
}


def markdown(told: Facts, judged: Sequence[Mapping[str, Any]], *, machine: str, stale: Sequence[str]) -> str:
    """Return every table: means, intervals, paired differences, harm and calibration."""
    lines = [
        "# The accuracy of few-shot molecules",
        "",
        f"Machine: {machine}. Command: `make bench-accuracy`.",
        *_notes(stale),
    ]
    for name, setting in told.items():
        lines += ["", f"## {setting['title']} (`{name}`)", "", f"{_sentence(setting['about'])}."]
        for shots, rows in setting["shots"].items():
            small = setting["tasks_too_small"].get(shots, 0)
            extra = [
                column
                for column in setting["columns"][1:]
                if any(row["figures"].get(column) is not None for row in rows)
            ]
            tasks = f"{max(row['tasks'] for row in rows)} tasks" + (f", {small} too small" if small else "")
            lines += [
                "",
                f"### {_size(name, shots)} labels ({tasks})",
                "",
                f"| method | {NAMES[setting['figure']]} | 95 % | minus {REFERENCE} | minus the best from scratch | "
                + " | ".join([*(NAMES[column] for column in extra), "harmed"])
                + " |",
                "|---|" + "---|" * (len(extra) + 5),
            ]
            for row in rows:
                cells = [_told(row["figures"].get(column)) for column in extra]
                cells.append("–" if row["harmed"] is None else f"{row['harmed']:.0%}")
                gaps = [_gap(row["against_reference"]), _gap(row["against_best"])]
                lines.append(_row(row["method"], _told(row["mean"]), _span(row["interval"]), *gaps, *cells))
    lines += ["", "## Goals", "", "| goal | wanted | value | interval | met |", "|---|---|---|---|---|"]
    for each in judged:
        lines.append(_row(each["name"], each["goal"], each["value"], _span(each["interval"]), each["met"]))
    return "\n".join(lines) + "\n"


def _notes(stale: Sequence[str]) -> list[str]:
    return [
        "Means over tasks of the mean over draws, with 95 % bootstrap intervals over tasks; differences are paired over tasks,",
        f"positive is better for the method. Harmed: share of tasks whose ΔAUPRC is more than {HARM} below that of `{REFERENCE}`.",
        "The best from scratch is the best of its column, chosen after the fact, which flatters it. Learned methods are selected on",
        "meta-valid tasks only.",
        *(["", f"Stale, their code or data has changed since: {'; '.join(stale)}."] if stale else []),
    ]


def _row(*cells: Any) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def _span(interval: Sequence[float | None]) -> str:
    return " to ".join(_told(end) for end in interval)


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def _told(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _gap(pair: Mapping[str, Any] | None) -> str:
    if pair is None or pair["mean"] is None:
        return "–"
    return f"{pair['mean']:+.3f} ({pair['interval'][0]:+.3f} to {pair['interval'][1]:+.3f})"


# The leaderboard.

GROUPS: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("Potency: active or not", ("chembl691-unseen", "chembl691-seen"), ()),
    ("Potency: how much", ("chembl691-unseen-regression", "chembl691-seen-regression"), ()),
    (
        "Kinases",
        ("davis", "kiba", "davis-among", "kiba-among", "davis-regression", "kiba-regression"),
        ("kinase_transfer",),
    ),
    (
        "Toxicity, side effects and screens, as published: molecules seen in earlier tasks",
        ("tox21", "sider", "muv", "toxcast"),
        ("moleculenet_few_shot",),
    ),
    (
        "Toxicity, side effects and screens: molecules unseen in earlier tasks",
        ("tox21-unseen", "sider-unseen", "muv-unseen", "toxcast-unseen"),
        (),
    ),
    ("Activity cliffs", ("moleculeace",), ("moleculeace_all_labels",)),
    ("FS-Mol: published figures only", (), ("fsmol_classification", "fsmol_regression")),
)
"""Heading, settings, files of published figures."""


def published(name: str) -> dict[str, Any]:
    """Return a file of `benchmarks/published/molecules`."""
    return tomllib.loads((PUBLISHED / f"{name}.toml").read_text("utf-8"))


def leaderboard(told: Facts, *, stale: Sequence[str]) -> str:
    """Return the page: one table a group of settings, methods down and settings across, the published figures beneath."""
    lines = [
        "# Leaderboard: few-shot molecules",
        "",
        "Written by `make bench-accuracy`; every interval and paired difference stands in "
        "[benchmarks/results/accuracy.md](../benchmarks/results/accuracy.md). Means over tasks; bold is the best of a column among",
        "methods that adapt to the task's labels. 16, 32, 64, 128: labels in total; 1+1 and 10+10: labels of each class.",
        "`no_support` adapts to nothing: it ranks a molecule by its own labels in the earlier tasks, which a new compound does not",
        "have.",
        f"`{DEFAULT}` is `{LEARNED}` guarded by the modality's methods from scratch, fitted on each setting's own earlier tasks. Fitted on those of",
        "chembl691 with molecules unseen it is `chembl-potency`, the model that comes with the package.",
        *(["", f"Stale, their code or data has changed since: {'; '.join(stale)}."] if stale else []),
    ]
    for heading, names, files in GROUPS:
        here = [name for name in names if name in told]
        if here or files:
            lines += ["", f"## {heading}", ""]
        if here:
            lines += [*(f"- {told[name]['title']}: {told[name]['about']}." for name in here), "", *_ours(told, here)]
        for file in files:
            lines += ["", *_theirs(published(file), here)]
    return "\n".join(lines) + "\n"


def _columns(told: Facts, names: Sequence[str]) -> list[tuple[str, str, str]]:
    """Return (setting, support size, figure) of each column."""
    found = []
    for name in names:
        figures = [told[name]["figure"], *(["cliff_rmse"] if "cliff_rmse" in told[name]["columns"] else [])]
        found += [(name, shots, figure) for shots in told[name]["shots"] for figure in figures]
    return found


def _ours(told: Facts, names: Sequence[str]) -> list[str]:
    columns = _columns(told, names)
    methods = list(dict.fromkeys(line["method"] for name, shots, _ in columns for line in told[name]["shots"][shots]))
    heads = [f"{told[name]['title']}, {_size(name, shots)}, {NAMES[figure]}" for name, shots, figure in columns]
    lines = [f"| method | {' | '.join(heads)} |", "|---|" + "---|" * len(columns)]
    values: dict[str, list[float | None]] = {method: [] for method in methods}
    for name, shots, figure in columns:
        for method in methods:
            line = line_of(told, name, int(shots), method)
            values[method].append(None if line is None else line["figures"].get(figure))
    best = []
    for at, (_, _, figure) in enumerate(columns):
        known = [row[at] for method, row in values.items() if method != NO_SUPPORT and row[at] is not None]
        best.append((min if figure in LOWER_IS_BETTER else max)(known, default=None))
    for method in methods:
        cells = [
            f"**{_told(value)}**" if value is not None and value == best[at] and method != NO_SUPPORT else _told(value)
            for at, value in enumerate(values[method])
        ]
        lines.append(_row(method, *cells))
    tasks = [max(line["tasks"] for line in told[name]["shots"][shots]) for name, shots, _ in columns]
    return [*lines, _row("*tasks*", *tasks)]


def _size(name: str, shots: str) -> str:
    return f"{shots}+{shots}" if SETTINGS[name].file.endswith("moleculenet.py") else shots


def _theirs(file: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    keys = list(dict.fromkeys(key for row in file["rows"] for key in row["values"]))
    if names:
        order = [f"{name}/{shots}" for name in names for shots in SETTINGS[name].shots]
        keys.sort(key=lambda key: order.index(key) if key in order else len(order))
    lines = [
        f"**Published: {file['about']}.** {file['figure']}. {_sentence(file['protocol'])}. Differences from ours:",
        "",
        *(f"- {each}" for each in file["departs"]),
        "",
        f"| method | {' | '.join(_head(key) for key in keys)} | source | remark |",
        "|---|" + "---|" * (len(keys) + 2),
    ]
    for row in file["rows"]:
        apart = row.get("apart", [])
        cells = [
            "–"
            if key not in row["values"]
            else f"{row['values'][key] * file['scale']:.3f}{'*' if key in apart else ''}"
            for key in keys
        ]
        lines.append(
            f"| {row['method']} | {' | '.join(cells)} | {', '.join(row['sources'])} | {row.get('remark', '')} |"
        )
    lines += ["", *(f"- {name}: {source['title']} ({source['known']})" for name, source in file["sources"].items())]
    return lines


def _head(key: str) -> str:
    setting, _, size = key.partition("/")
    return f"{SETTINGS[setting].title}, {_size(setting, size)}" if setting in SETTINGS else f"FS-Mol, {size}"
