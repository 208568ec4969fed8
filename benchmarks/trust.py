"""Predictions one may act on: do no harm, calibration, sets, abstention, shift warnings, reasons and label noise, over families of tasks.

    make bench-trust                                    every family (an hour), resumes from finished parts
    make bench-trust ARGS="--family heart,impact"       these families
    make bench-trust ARGS=--pages                       nothing is measured: the page is written again from the finished families
    make bench-trust ARGS=--quick                       a small version in under two minutes, without a verdict; writes nothing but parts
    FRESH=1 make bench-trust                            computes the families that are asked for again

Protocol: 50 supports of 5, 10, 20 and 50 labelled cases a task, nested, one query for all sizes (benchmarks/_trust_measures.py); families and what
the default is compared with in benchmarks/_trust_worlds.py; spoilt tables in benchmarks/_trust_shift.py. A finished family is
benchmarks/results/trust/<family>.json, keyed by the version of its code and data. The page goes to benchmarks/results/trust.{json,md}; the last line
on stdout is JSON.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

import pandas as pd
import torch

from benchmarks._definitions import IN_STEPS, ON_DISK, averaged_by, version_behind
from benchmarks._record import RESULTS, commit, conclude, machine, say
from benchmarks._settings import SETTINGS
from benchmarks._trust_explanations import explained
from benchmarks._trust_measures import drawn, measured
from benchmarks._trust_pages import goals, markdown, summary
from benchmarks._trust_shift import shift_rows
from benchmarks._trust_shift import summary as shift_summary
from benchmarks._trust_worlds import FAMILIES, TrustFamily
from metamedica.data import catalogue
from metamedica.errors import MetamedicaError
from metamedica.storage import replace_file

SIZES = (5, 10, 20, 50)
DRAWS = 50
ROOM = RESULTS / "trust"
EXPLAINED = {
    "heart": "heart",
    "impact": "impact",
    "eicu-region": "eicu-region",
    "chembl691-unseen": "chembl691",
    "tox21": "tox21",
}
"""Family -> what its explanations are judged on."""


def version(family: TrustFamily) -> str:
    """Return a hash of the code and data that the figures of a family rest on."""
    files = [catalogue.entry(name).files for name in family.data]
    methods = sorted({family.learner, *averaged_by(family.learner), *family.candidates})
    settings = [files, family.name, family.most_query, list(SIZES), DRAWS]
    judged = ["_trust_measures:drawn", "_trust_measures:measured", "_trust_explanations:explained"]
    besides = (*ON_DISK, *IN_STEPS)
    if family.kind == "tables":
        judged += ["_trust_worlds:_clinical", "_trust_shift:shift_rows"]
        besides += ("metamedica.gates", "metamedica.predictors.guard")  # its default weighs by itself
        reads = "tables.modality:Tables"
    else:
        judged.append("_trust_worlds:_molecules")
        settings.append(SETTINGS[family.name].version())
        reads = "molecules.encoding"
    roots = [f"benchmarks.{each}" for each in judged] + [f"metamedica.learners.{name}" for name in methods]
    dealt = ("benchmarks._budgets", "benchmarks._settings")  # settings have a version of their own
    return version_behind(*roots, f"metamedica.modalities.{reads}", settings=settings, besides=besides, uncounted=dealt)


def rows_of(family: TrustFamily, *, draws: int, sizes: Sequence[int], most_tasks: int | None = None) -> pd.DataFrame:
    """Return a row a task, size and draw.

    Args:
        family: whose worlds are fitted.
        draws: supports a task and size.
        sizes: support sizes.
        most_tasks: judged of the first world, which is then the only one; None: all.
    """
    rows: list[dict[str, Any]] = []
    for world in family.worlds():
        for name in world.names[:most_tasks]:
            for size in sizes:
                asked = drawn(
                    world.tasks[name],
                    size,
                    SIZES,
                    draws=draws,
                    most_query=family.most_query,
                    of_a_class=family.of_a_class,
                )
                if asked is not None:
                    rows += measured(world.contest, world.tasks, asked, world.alone)
            say(f"{family.name}: {name}")
        if most_tasks is not None:
            break
    return pd.DataFrame(rows)


def run(family: TrustFamily) -> dict[str, Any]:
    """Return what is finished of a family, measured now where it is not there or of another version."""
    path = ROOM / f"{family.name}.json"
    if path.is_file() and os.environ.get("FRESH") != "1":
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
        if found["version"] == version(family):
            return found
        say(f"stale, its code or data has changed: {family.name}")
    began = time.monotonic()
    rows = rows_of(family, draws=DRAWS, sizes=SIZES)
    found = {
        "family": family.name,
        "title": family.title,
        "kind": family.kind,
        "version": version(family),
        "commit": commit(),
        "default": family.default,
        "candidates": list(family.candidates),
        "pooled": family.pooled,
        "local": family.local,
        **summary(rows, family),
        "shift": shift_summary(pd.DataFrame(shift_rows(family.name))) if family.kind == "tables" else None,
        "explanations": explained(EXPLAINED[family.name]) if family.name in EXPLAINED else [],
        "minutes": round((time.monotonic() - began) / 60, 2),
    }
    ROOM.mkdir(parents=True, exist_ok=True)
    replace_file(path, (json.dumps(found, indent=1) + "\n").encode())
    say(f"{family.name}: {found['minutes']} min")
    return found


def chosen(names: str | None) -> list[TrustFamily]:
    """Return the families of these names, separated by commas (all for None), or end with one sentence."""
    asked = list(FAMILIES) if names is None else names.split(",")
    for name in asked:
        if name not in FAMILIES:
            raise SystemExit(f"there is no family {name!r}; choose from: {', '.join(FAMILIES)}")
    return [FAMILIES[name] for name in asked]


def write_pages() -> list[dict[str, Any]]:
    """Write the page from all finished families, and return the goals."""
    found = {}
    for name in FAMILIES:
        path = ROOM / f"{name}.json"
        if path.is_file():
            found[name] = json.loads(path.read_text("utf-8"))
    stale = [name for name, each in found.items() if each["version"] != version(FAMILIES[name])]
    judged = goals(found)
    about = {"machine": machine(), "commit": commit(), "stale": stale, "goals": judged}
    replace_file(RESULTS / "trust.json", (json.dumps(about | {"families": found}, indent=1) + "\n").encode())
    replace_file(RESULTS / "trust.md", markdown(found, judged, machine=machine(), stale=stale).encode())
    return judged


def main() -> int:
    """Measure, write the page, print the verdict."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", help=f"these, separated by commas (default: all): {', '.join(FAMILIES)}")
    parser.add_argument(
        "--pages", action="store_true", help="write the page from the finished families, and measure nothing"
    )
    parser.add_argument("--quick", action="store_true", help="a small version, without a verdict")
    arguments = parser.parse_args()
    families = chosen(arguments.family)
    torch.set_num_threads(1)
    began = time.monotonic()
    judged: list[dict[str, Any]] = []
    try:
        if arguments.quick:
            rows = rows_of(FAMILIES["heart"], draws=3, sizes=(20,), most_tasks=1)
            say(json.dumps(summary(rows, FAMILIES["heart"])["means"]))
        elif not arguments.pages:
            for family in families:
                run(family)
        if not arguments.quick:
            judged = write_pages()
    except MetamedicaError as error:
        raise SystemExit(str(error)) from None
    return conclude("trust", judged, seconds=time.monotonic() - began, quick=arguments.quick)


if __name__ == "__main__":
    sys.exit(main())
