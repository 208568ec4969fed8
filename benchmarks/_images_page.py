"""The page of the benchmark of images: goals, tables, and how to read them."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks._record import goal

REACH = {
    ("COVID-CT", None, "auc"): 0.88,
    ("COVID-CT", None, "accuracy"): 0.80,
    ("COVID-CT", 10, "accuracy"): 0.68,
    ("COVID-CT", 20, "accuracy"): 0.72,
    ("IQ-OTH", 1, "accuracy"): 0.42,
    ("IQ-OTH", 5, "accuracy"): 0.52,
    ("IQ-OTH", 10, "accuracy"): 0.58,
    ("Chula rare shapes", 1, "accuracy"): 0.48,
    ("Chula rare shapes", 5, "accuracy"): 0.68,
    ("Chula, 5 of 13 shapes", 1, "accuracy"): 0.48,
    ("Chula, 5 of 13 shapes", 5, "accuracy"): 0.68,
}


def goals(found: Mapping[str, Any], *, default: str) -> list[dict[str, Any]]:
    """Return every goal, from the parts that are finished."""
    told = []
    for part in ("scans", "cells", "red-cells"):
        for row in found.get(part, {}).get("rows", ()):
            if row["method"] == default:
                told += _of_task(row)
    for row in found.get("segmentation", {}).get("rows", ()):
        name = f"{row['task']}, {row['shots']} shots: Dice"
        told.append(goal(name, row["goal"], row["dice"], list(row["interval"])))
    return [*told, *found.get("speed", {}).get("rows", ())]


def _of_task(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    name = f"{row['task']}, {_shots(row)}"
    told = [
        goal(f"{name}: {what}", REACH.get((row["task"], row["shots"], what)), row[what], list(row[f"{what}_interval"]))
        for what in ("accuracy", "auc")
        if row[what] is not None
    ]
    mean, low, high = row["minus_best_simple"]
    harm = goal(
        f"{name}: accuracy minus the better of floor and linear head, upper end not below", 0.0, high, [low, high]
    )
    return [*told, harm | {"mean": round(mean, 4)}]


def _shots(row: Mapping[str, Any]) -> str:
    return "all training images" if row["shots"] is None else f"{row['shots']}-shot"


def markdown(found: Mapping[str, Any], told: Sequence[Mapping[str, Any]], *, machine: str, stale: Sequence[str]) -> str:
    """Return the page."""
    lines = ["# Images", "", f"By `make bench-images` on {machine}; protocol in `benchmarks/images.py`.", ""]
    if stale:
        lines += [f"Stale, their code has changed since: {', '.join(stale)}.", ""]
    judged = [each for each in told if each["met"] is not None]
    lines += [f"{sum(bool(each['met']) for each in judged)} of {len(judged)} goals are met.", ""]
    lines += ["| goal | wanted | value | 95 % interval | met |", "|---|---|---|---|---|"]
    for each in told:
        wanted = "" if each["goal"] is None else f"{each['goal']:g}"
        met = {None: "", True: "yes", False: "**no**"}[each["met"]]
        low, high = each["interval"]
        lines.append(f"| {each['name']} | {wanted} | {each['value']:.3f} | {low:.3f} to {high:.3f} | {met} |")
    for part, title in (
        ("scans", "Scans"),
        ("cells", "Cells"),
        ("red-cells", "Red cells, no shape of which was learned from"),
    ):
        if part in found:
            lines += ["", f"## {title}", "", *_methods(found[part]["rows"])]
    if "transductive" in found:
        lines += ["", "## Cases without label", "", *_unlabelled(found["transductive"]["rows"])]
    if "splits" in found:
        lines += ["", "## Why the audit exists", "", "One logistic regression on HOG, coarse pixels and greys:", ""]
        lines += ["| set | split | accuracy | 95 % interval |", "|---|---|---|---|"]
        for row in found["splits"]["rows"]:
            low, high = row["interval"]
            lines.append(f"| {row['set']} | {row['split']} | {row['accuracy']:.3f} | {low:.3f} to {high:.3f} |")
    if "segmentation" in found:
        lines += ["", "## Segmentation", "", *_segmentation(found["segmentation"]["rows"])]
    return "\n".join(lines) + "\n"


def _methods(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    settings = list(dict.fromkeys((row["task"], _shots(row)) for row in rows))
    names = list(dict.fromkeys(row["method"] for row in rows))
    lines = [
        f"| accuracy (AUC) | {' | '.join(f'{task}, {shots}' for task, shots in settings)} |",
        "|---" * (len(settings) + 1) + "|",
    ]
    for name in names:
        cells = []
        for setting in settings:
            row = next(each for each in rows if (each["task"], _shots(each)) == setting and each["method"] == name)
            half = (row["accuracy_interval"][1] - row["accuracy_interval"][0]) / 2
            cells.append(
                f"{row['accuracy']:.3f} ±{half:.3f}" + (f" ({row['auc']:.3f})" if row["auc"] is not None else "")
            )
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _unlabelled(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = [
        "`label_propagation` with the queries beside its labels, against itself without them: accuracy, and log-loss (below 0 is better).",
        "",
        "| task | queries | accuracy, labels alone | with queries | difference | 95 % interval | difference of log-loss | 95 % interval |",
        "|---" * 8 + "|",
    ]
    for row in rows:
        if row["minus_labels_alone"] is not None:
            gain, low, high = row["minus_labels_alone"]
            loss, less, more = row["log_loss_minus_labels_alone"]
            lines.append(
                f"| {row['task']}, {_shots(row)} | {row['queries']} | {row['accuracy'] - gain:.3f} | {row['accuracy']:.3f} | {gain:+.3f} | "
                f"{low:+.3f} to {high:+.3f} | {loss:+.3f} | {less:+.3f} to {more:+.3f} |"
            )
    return lines


def _segmentation(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = ["| task | shots | Dice | 95 % interval | pixel forest | wanted | supports |", "|---" * 7 + "|"]
    for row in rows:
        low, high = row["interval"]
        wanted = "" if row["goal"] is None else f"{row['goal']:g}"
        lines.append(
            f"| {row['task']} | {row['shots']} | {row['dice']:.3f} | {low:.3f} to {high:.3f} | {row['floor']:.3f} | {wanted} | "
            f"{row['supports']} |"
        )
    return lines
