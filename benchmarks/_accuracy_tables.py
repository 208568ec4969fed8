"""What the finished cells of `make bench-accuracy` say: means, paired comparisons, harm, and the goals."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from benchmarks._budgets import DEFAULT, FROM_SCRATCH
from benchmarks._cells import NO_SUPPORT, Cell, evaluation_of
from benchmarks._record import goal
from benchmarks._settings import SETTINGS, Setting
from metamedica.reports.comparison import compare
from metamedica.reports.evaluation import Evaluation
from metamedica.reports.judging import TRUST

REFERENCE = "tanimoto_gp"
EMBEDDING = "deep_kernel"
"""Multitask embedding with a Gaussian process on top."""
HARM = 0.03
"""A task is harmed where a method's ΔAUPRC is this much below the reference's."""
NO_SUPPORT_ROWS = {"tox21": 0.855, "sider": 0.844, "muv": 0.498, "toxcast": 0.773}
"""What the row without support was measured to be before this code was written (ROC-AUC)."""
WITHIN = 0.005
LEAST_TASKS = 20
"""Fewer tasks say nothing of a correlation."""
GAINS = (
    ("chembl691-unseen", 16, REFERENCE, 0.010),
    ("chembl691-unseen", 64, REFERENCE, 0.008),
    ("chembl691-seen", 16, EMBEDDING, 0.020),
    ("chembl691-seen", 64, EMBEDDING, 0.015),
    ("chembl691-unseen-regression", 16, "best", 0.03),
    ("chembl691-unseen-regression", 64, "best", 0.03),
    ("chembl691-seen-regression", 16, "best", 0.03),
    ("chembl691-seen-regression", 64, "best", 0.03),
    ("tox21-unseen", 10, "best", 0.01),
    ("sider-unseen", 10, "best", 0.01),
    ("muv-unseen", 10, "best", 0.01),
    ("toxcast-unseen", 10, "best", 0.01),
)
"""Setting, support size, compared with what, and the gain to reach, with an interval clear of 0."""
LEVELS = (
    ("davis", 16, 0.70),
    ("kiba", 16, 0.76),
    ("davis-among", 16, 0.80),
    ("kiba-among", 16, 0.80),
    ("tox21", 10, 0.87),
    ("sider", 10, 0.86),
    ("muv", 10, 0.75),
    ("toxcast", 10, 0.80),
)
"""Setting, support size and the mean of the leading figure to reach."""
AGAINST = {REFERENCE: "against_reference", EMBEDDING: "against_embedding", "best": "against_best"}
Facts = dict[str, dict[str, Any]]


def facts(cells: Sequence[Cell]) -> Facts:
    """Return setting -> its description and, for each support size, one line a method, best first."""
    found: Facts = {}
    for name, setting in SETTINGS.items():
        own = [cell for cell in cells if cell.setting == name]
        if own:
            evaluation = evaluation_of(setting, own)
            lines = {str(shots): _lines(setting, evaluation, shots) for shots in evaluation.shots}
            small = {cell.method: cell.protocol.get("tasks_too_small", {}) for cell in own}
            found[name] = {
                "title": setting.title,
                "about": setting.about,
                "figure": setting.figure,
                "columns": list(setting.columns),
                "tasks_too_small": next((each for each in small.values() if each), {}),
                "shots": lines,
            }
    return found


def _lines(setting: Setting, evaluation: Evaluation, shots: int) -> list[dict[str, Any]]:
    summary = evaluation.summary(setting.figure)
    summary = summary[summary["shots"] == shots]
    scratch = [name for name in summary["method"] if name in FROM_SCRATCH]
    best = scratch[0] if scratch else None
    lines = []
    for row in summary.itertuples(index=False):
        means = {
            column: _mean(evaluation, column, str(row.method), shots)
            for column in setting.columns
            if column in evaluation.figures
        }
        lines.append(
            {
                "method": row.method,
                "mean": _short(row.mean),
                "interval": [_short(row.low), _short(row.high)],
                "tasks": int(row.tasks),
                "figures": means,
                "against_reference": _against(evaluation, setting, str(row.method), REFERENCE, shots),
                "against_embedding": _against(evaluation, setting, str(row.method), EMBEDDING, shots),
                "against_best": _against(evaluation, setting, str(row.method), best, shots),
                "harmed": _harmed(evaluation, str(row.method), shots),
                "trust_and_gain": _trust_and_gain(evaluation, str(row.method), best, shots),
            }
        )
    return lines


def _short(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 4)


def _mean(evaluation: Evaluation, figure: str, method: str, shots: int) -> float | None:
    table = evaluation.per_task(figure)
    if method not in table.columns or shots not in table.index.get_level_values("shots"):
        return None
    return _short(float(table.xs(shots, level="shots")[method].mean()))


def _against(
    evaluation: Evaluation, setting: Setting, method: str, baseline: str | None, shots: int
) -> dict[str, Any] | None:
    """Return the paired difference from a baseline; positive is better for the method."""
    if baseline is None or baseline == method or baseline not in evaluation.methods:
        return None
    pair = compare(evaluation, method, baseline, shots=shots, figure=setting.figure)
    return {
        "baseline": baseline,
        "mean": _short(pair.mean),
        "interval": [_short(pair.low), _short(pair.high)],
        "p": float(f"{pair.p:.2g}"),
        "wins": pair.wins,
        "losses": pair.losses,
    }


def _harmed(evaluation: Evaluation, method: str, shots: int) -> float | None:
    """Return the share of tasks on which the method's ΔAUPRC is more than `HARM` below the reference's."""
    if "delta_auprc" not in evaluation.figures or method == REFERENCE or REFERENCE not in evaluation.methods:
        return None
    pair = evaluation.per_task("delta_auprc").reindex(columns=[method, REFERENCE])
    both = pair[pair.index.get_level_values("shots") == shots].dropna()
    return round(float((both[method] < both[REFERENCE] - HARM).mean()), 4) if len(both) else None


def _trust_and_gain(evaluation: Evaluation, method: str, baseline: str | None, shots: int) -> float | None:
    """Return the rank correlation, over tasks, of a guarded method's trust and its gain in log-likelihood over the best baseline."""
    if method != DEFAULT or baseline is None or TRUST not in evaluation.figures:
        return None
    loss = evaluation.per_task("log_loss").xs(shots, level="shots")
    trust = evaluation.per_task(TRUST).xs(shots, level="shots")[method]
    both = pd.DataFrame({"trust": trust, "gain": loss[baseline] - loss[method]}).dropna()
    if len(both) < LEAST_TASKS or both["trust"].nunique() < 2:
        return None
    return _short(float(both.corr(method="spearman").iloc[0, 1]))


def line_of(told: Facts, setting: str, shots: int, method: str) -> dict[str, Any] | None:
    """Return what was found of a method in a setting at a support size; None where it was not measured."""
    lines = told.get(setting, {}).get("shots", {}).get(str(shots), [])
    return next((line for line in lines if line["method"] == method), None)


def _no_harm(told: Facts) -> list[dict[str, Any]]:
    """Return what the default must never do, in any setting and at any support size, and how well it knows where it helps."""
    lines = {
        (name, shots): line
        for name, each in told.items()
        for shots in each["shots"]
        if (line := line_of(told, name, int(shots), DEFAULT)) is not None and line["against_best"]
    }
    if not lines:
        return []
    below = sum(line["against_best"]["mean"] < 0 for line in lines.values())
    found = [
        goal(
            "settings and support sizes with the default below the best baseline", 0, below, [below, below], lower=True
        )
    ]
    harm = [(line["harmed"], *place) for place, line in lines.items() if line["harmed"] is not None]
    if harm:
        share, name, shots = max(harm)
        what = f"share of tasks harmed, where it is largest ({name}, {shots})"
        found.append(goal(what, 0.05, share, [share, share], lower=True))
    known = [line["trust_and_gain"] for line in lines.values() if line["trust_and_gain"] is not None]
    if known:
        found.append(
            goal(
                "rank correlation of trust and gain over tasks, median of settings and sizes",
                0.5,
                float(np.median(known)),
                [min(known), max(known)],
            )
        )
    return found


def goals(told: Facts) -> list[dict[str, Any]]:
    """Return the goals whose cells are there: the rows without support, and what the method that ships has to reach."""
    found = []
    for name, known in NO_SUPPORT_ROWS.items():
        line = line_of(told, name, SETTINGS[name].shots[-1], NO_SUPPORT)
        if line is not None:
            gap = abs(line["mean"] - known)
            found.append(
                goal(
                    f"{name}: row without support, ROC-AUC, distance from {known}", WITHIN, gap, [gap, gap], lower=True
                )
            )
    for name, shots, against, wanted in GAINS:
        line = line_of(told, name, shots, DEFAULT)
        gain = line and line[AGAINST[against]]
        if gain:
            what = f"{name}, {shots}: gain over {gain['baseline']}, {SETTINGS[name].figure}"
            made = goal(what, wanted, gain["mean"], gain["interval"])
            found.append(made | {"met": bool(made["met"] and gain["interval"][0] > 0)})
    for name, shots, wanted in LEVELS:
        line = line_of(told, name, shots, DEFAULT)
        if line:
            found.append(goal(f"{name}, {shots}: {SETTINGS[name].figure}", wanted, line["mean"], line["interval"]))
    found += _no_harm(told)
    for figure in ("rmse", "cliff_rmse"):
        lines = {
            method: line_of(told, "moleculeace", 64, method)
            for method in (DEFAULT, REFERENCE, "support_vector_regression")
        }
        if all(lines.values()):
            ours, *others = (line["figures"][figure] for line in lines.values() if line)
            share = ours / min(others)
            what = f"moleculeace, 64: {figure} over the better baseline's"
            found.append(goal(what, 0.95, share, [share, share], lower=True))
    return found
