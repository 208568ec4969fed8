"""Golden figures: our learners on the generated experiments of their papers, beside what the papers report.

    make bench-golden                                     every file of benchmarks/published (about 40 minutes of one core), resumes
    make bench-golden ARGS=--quick                        every file with a hundredth of the training, without a verdict, about a minute
    python -m benchmarks.golden --only li2017_meta_sgd    files whose name holds this
    FRESH=1 make bench-golden                             trains every learner again

A file of benchmarks/published holds the paper's setting and numbers, our setting, and below its mark what this command measured. A goal
is met where ours is not above the upper end of the paper's interval: within it, or better. A figure without a number of the paper's is told,
not judged. Intervals are 95 %, over tasks and, where there are several, seeds. The tables go to benchmarks/results/golden.{json,md}, the curves over
gradient steps to benchmarks/results/golden.svg; the last line on stdout is JSON.
"""

import argparse
import json
import os
import shutil
import sys
import time
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks._golden_run import errors, mean_with_interval, relative, trained
from benchmarks._record import PARTS, RESULTS, conclude, machine, say
from metamedica.reports.figures import Curve, step_curves
from metamedica.storage import replace_file

PUBLISHED = Path(__file__).parent / "published"
MARK = "# Below this line: written by python -m benchmarks.golden\n"
TASKS = 2000
"""New functions that every figure is measured on."""
QUICK = 100
"""By how much --quick divides training, and how many tasks it measures on."""

Measured = dict[str, tuple[float, float, float]]


def published() -> dict[str, dict[str, Any]]:
    """Return name -> contents of every file of `benchmarks/published`."""
    return {path.stem: tomllib.loads(path.read_text("utf-8")) for path in sorted(PUBLISHED.glob("*.toml"))}


def figures_of(file: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the figures of a file, and one for every point of its curve over inner steps."""
    curve = [
        {"name": f"after {steps} steps", "metric": "squared error", "steps": steps}
        for steps in range(file.get("curve", {}).get("steps", -1) + 1)
    ]
    return [*file["figures"], *curve]


def measure(file: Mapping[str, Any], *, parts: Path, quick: bool) -> Measured:
    """Return figure -> (mean, low, high), training what is not trained yet."""
    seeds = file["training"]["seeds"][:1] if quick else file["training"]["seeds"]
    iterations = max(2, file["training"]["iterations"] // QUICK) if quick else None
    learners = [trained(file, seed, parts=parts, iterations=iterations) for seed in seeds]

    def values(figure: Mapping[str, Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
        return np.stack([errors(learner, file, figure, tasks=QUICK if quick else TASKS) for learner in learners])

    found: Measured = {}
    for figure in figures_of(file):
        here = values(figure)
        if "over_steps" in figure:
            here = relative(here, values({**figure, "steps": figure["over_steps"]}))
        found[figure["name"]] = mean_with_interval(here)
    return found


def goals_of(name: str, file: Mapping[str, Any], measured: Measured) -> list[dict[str, Any]]:
    """Return one line a figure: ours beside the paper's."""
    lines = []
    for figure in file["figures"]:
        mean, low, high = measured[figure["name"]]
        wanted = figure["interval"][1] if "interval" in figure else None
        lines.append(
            {
                "name": f"{name}: {figure['name']}",
                "goal": wanted,
                "value": round(mean, 4),
                "interval": [round(low, 4), round(high, 4)],
                "met": None if wanted is None else bool(mean <= wanted),
                "paper": figure.get("paper"),
                "paper_interval": figure.get("interval"),
            }
        )
    return lines


def ours(goals: list[dict[str, Any]]) -> str:
    """Return what stands below the mark of a file."""
    parts = []
    for goal in goals:
        met = "" if goal["met"] is None else f"met = {str(goal['met']).lower()}\n"
        name = goal["name"].partition(": ")[2]
        parts.append(
            f'\n[[ours]]\nname = "{name}"\nvalue = {goal["value"]}\ninterval = [{goal["interval"][0]}, {goal["interval"][1]}]\n{met}'
        )
    return "".join(parts)


def write_ours(name: str, goals: list[dict[str, Any]]) -> None:
    """Replace what stands below the mark of a published file."""
    path = PUBLISHED / f"{name}.toml"
    replace_file(path, (path.read_text("utf-8").partition(MARK)[0] + MARK + ours(goals)).encode())


def curves_of(files: Mapping[str, Mapping[str, Any]], measured: Mapping[str, Measured]) -> dict[str, Curve]:
    """Return file -> its curve over inner steps."""
    found = {}
    for name, file in files.items():
        if "curve" in file:
            steps = range(file["curve"]["steps"] + 1)
            mean, low, high = zip(*(measured[name][f"after {step} steps"] for step in steps), strict=True)
            found[name] = Curve(list(steps), mean, low, high)
    return found


def markdown(files: Mapping[str, Mapping[str, Any]], goals: list[dict[str, Any]], curves: Mapping[str, Curve]) -> str:
    """Return the table for people."""
    lines = [
        "# Golden figures: the papers' generated experiments",
        "",
        f"Machine: {machine()}. Command: `make bench-golden`. {TASKS} new tasks a figure; intervals 95 %. Lower is better.",
        "",
        "| figure | paper | its interval | where | how known | ours | interval | met |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for goal in goals:
        paper = files[goal["name"].partition(": ")[0]]["paper"]
        known = "–" if goal["paper_interval"] is None else "{} to {}".format(*goal["paper_interval"])
        lines.append(
            f"| {goal['name']} | {'–' if goal['paper'] is None else goal['paper']} | {known} | arXiv:{paper['arxiv']}, {paper['where']} | "
            f"{paper['read']} | {goal['value']} | {goal['interval'][0]} to {goal['interval'][1]} | "
            f"{'–' if goal['met'] is None else goal['met']} |"
        )
    if curves:
        steps = range(max(len(curve.x) for curve in curves.values()))
        lines += ["", "## Mean squared error over gradient steps", ""]
        lines += [f"| | {' | '.join(map(str, steps))} |", "|---|" + "---|" * len(steps)]
        lines += [f"| {name} | {' | '.join(f'{y:.3f}' for y in curve.y)} |" for name, curve in curves.items()]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure, write the tables, print the verdict."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="a small version, without a verdict; writes nothing but parts"
    )
    parser.add_argument("--only", default="", help="files whose name holds this; the tables are left as they are")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    parts = PARTS / "golden"
    if os.environ.get("FRESH") == "1":
        shutil.rmtree(parts, ignore_errors=True)
    began = time.monotonic()
    files = {name: file for name, file in published().items() if arguments.only in name}
    measured: dict[str, Measured] = {}
    goals: list[dict[str, Any]] = []
    for name, file in files.items():
        say(name)
        measured[name] = measure(file, parts=parts, quick=arguments.quick)
        lines = goals_of(name, file, measured[name])
        goals += lines
        for goal in lines:
            say(f"  {goal['name']}: {goal['value']} {goal['interval']}, paper {goal['paper']} {goal['paper_interval']}")
        if not arguments.quick:
            write_ours(name, lines)
    if not arguments.quick and not arguments.only:
        curves = curves_of(files, measured)
        replace_file(RESULTS / "golden.md", markdown(files, goals, curves).encode())
        table = {"machine": machine(), "goals": goals, "measured": measured}
        replace_file(RESULTS / "golden.json", (json.dumps(table, indent=1) + "\n").encode())
        replace_file(RESULTS / "golden.svg", step_curves(curves, label="mean squared error").encode())
    told = [{**goal, "met": None} for goal in goals] if arguments.quick else goals
    return conclude("golden", told, seconds=time.monotonic() - began, quick=arguments.quick)


if __name__ == "__main__":
    sys.exit(main())
