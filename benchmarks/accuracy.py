"""The accuracy of few-shot molecules: settings x methods, paired with the Tanimoto Gaussian process and the best single baseline.

    make bench-accuracy                                    every setting and method (many hours), resumes from finished cells
    make bench-accuracy ARGS="--setting davis,kiba"        these settings
    make bench-accuracy ARGS="--method tanimoto_gp"        these methods
    make bench-accuracy ARGS=--pages                       nothing is measured: the tables are written again from the finished cells
    make bench-accuracy ARGS=--quick                       a small version in under two minutes, without a verdict; writes nothing but parts
    FRESH=1 make bench-accuracy                            computes the cells that are asked for again

Settings, protocols and what may be learned from before stand in benchmarks/_settings.py, methods and their budgets in benchmarks/_budgets.py. Learned
methods are selected on meta-valid tasks only. A cell is one method in one setting: benchmarks/results/accuracy/<setting>/<method>.json, per task and
support size, keyed by the version of its code and data; one whose code has changed since is named as stale. The tables go to
benchmarks/results/accuracy.{json,md} and docs/leaderboard.md; the last line on stdout is JSON.
"""

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from functools import cache
from typing import Any

import pandas as pd
import torch

from benchmarks._accuracy_pages import PAGE, leaderboard, markdown
from benchmarks._accuracy_tables import facts, goals
from benchmarks._budgets import DEFAULT, FROM_SCRATCH, LEARNED, STEPS, TABLE, code_version, trained
from benchmarks._cells import NO_SUPPORT, Cell, cell_of, every_cell, write_cell
from benchmarks._record import PARTS, RESULTS, commit, conclude, machine, say
from benchmarks._settings import SETTINGS, Setting, World, chosen
from metamedica import registry
from metamedica.data import catalogue
from metamedica.data.collection import TaskCollection
from metamedica.errors import MetamedicaError
from metamedica.predictors.method import LearnerMethod, Method
from metamedica.reports.judging import DRAWS, judge
from metamedica.reports.protocols.moleculenet import no_support
from metamedica.storage import replace_file

QUICK_SETTINGS = ("sider", "sider-unseen", "davis")
QUICK_METHODS = ("tanimoto_gp", "similarity_search", "prototypical", NO_SUPPORT)
QUICK_STEPS = 20
QUICK_TASKS = 6
_PARTS = PARTS / "accuracy"


@cache
def version_of_cell(setting: Setting, method: str) -> str:
    """Return a hash of the code and data that the figures of a method in a setting rest on."""
    return setting.version() + (code_version(method) if method != NO_SUPPORT else "")


def applies(setting: Setting, method: str) -> bool:
    """Return whether the method knows tasks of this kind."""
    if method == NO_SUPPORT:
        return setting.no_support is not None
    return setting.kind in registry.learner_class(LEARNED if method == DEFAULT else method).kinds


def measured(setting: Setting, method: str, *, draws: int = DRAWS, quick: bool = False) -> Cell:
    """Return the cell of a method in a setting, from finished parts where there are some."""
    began = time.monotonic()
    if method == NO_SUPPORT:
        frame = _no_support(setting)
        protocol: dict[str, Any] = {"name": f"own labels in the meta-train tasks, by {setting.no_support}"}
        skipped: dict[str, int] = {}
    else:
        protocol_of, worlds = setting.build()
        frames, skipped, protocol = [], {}, {}
        for number, world in enumerate(worlds):
            names = world.names[:QUICK_TASKS] if quick else world.names
            shots = setting.shots[-1:] if quick else setting.shots
            made, judged, version = _method(method, setting, world, quick=quick)
            found = judge(
                protocol_of,
                {method: made},
                judged,
                names=names,
                shots=shots,
                draws=draws,
                parts=_PARTS,
                version=version,
                progress=_progress(method),
            )
            found.rows["draw"] += number * draws
            frames.append(found.rows)
            protocol = found.protocol
            for size, count in found.protocol["tasks_too_small"].items():
                skipped[size] = skipped.get(size, 0) + count
        frame = pd.concat(frames, ignore_index=True)
        protocol |= {"worlds": len(worlds), "tasks": len({name for world in worlds for name in world.names})}
    cell = Cell.of(
        setting, method, frame,
        version=version_of_cell(setting, method), protocol=protocol | {"tasks_too_small": skipped},
        minutes=(time.monotonic() - began) / 60,
    )  # fmt: skip
    say(f"{setting.name}: {method} in {cell.minutes:.1f} min")
    return cell


def _method(method: str, setting: Setting, world: World, *, quick: bool) -> tuple[Method, TaskCollection, str]:
    """Return the method, the judged tasks with every block that it reads, and the version of its parts.

    The parts of a method from scratch do not depend on the earlier tasks, except for what is usual among them.
    """
    scale = world.usual_scale()
    scaled = "" if scale is None else f" scale {scale:.6f}"
    if method in FROM_SCRATCH:
        learner = registry.build_learner(method, registry.modality("molecules"))
        return LearnerMethod(learner, usual_scale=scale), world.judged, version_of_cell(setting, method) + scaled
    steps = QUICK_STEPS if quick else None
    model = trained(method, world.earlier(), data=world.training, steps=steps)
    made = model.model_.method(setting.kind, unit=world.unit(), guard=method == DEFAULT)
    version = f"{version_of_cell(setting, method)} {world.training} {steps}{scaled}"
    return made, model.readable(world.judged), version


def _no_support(setting: Setting) -> pd.DataFrame:
    (name,) = setting.data
    found = no_support(catalogue.load(name))
    rows = [
        found[["task"]].assign(**{setting.figure: found[str(setting.no_support)]}, shots=size, draw=0)
        for size in setting.shots
    ]
    return pd.concat(rows, ignore_index=True)


def _progress(method: str) -> Any:
    last = [time.monotonic()]

    def told(done: int, total: int, message: str) -> None:
        if time.monotonic() - last[0] > 60:
            last[0] = time.monotonic()
            say(f"  {done}/{total} {message}")

    return told


def finished(setting: Setting, method: str) -> bool:
    """Return whether the cell is there and of this version; a stale one is named."""
    cell = cell_of(setting.name, method)
    if cell is None or os.environ.get("FRESH") == "1":
        return False
    if cell.version == version_of_cell(setting, method):
        return True
    say(f"stale, its code or data has changed: {setting.name}, {method}")
    return False


def write_pages(*, seconds: float) -> list[dict[str, Any]]:
    """Write the tables from all finished cells, and return the goals."""
    cells = every_cell()
    stale = [
        f"{cell.setting}, {cell.method}"
        for cell in cells
        if cell.version != version_of_cell(SETTINGS[cell.setting], cell.method)
    ]
    told = facts(cells)
    judged = goals(told)
    about = {"machine": machine(), "commit": commit(), "stale": stale, "minutes": round(seconds / 60, 2)}
    table = {**about, "goals": judged, "settings": told}
    replace_file(RESULTS / "accuracy.json", (json.dumps(table, indent=1) + "\n").encode())
    replace_file(RESULTS / "accuracy.md", markdown(told, judged, machine=machine(), stale=stale).encode())
    PAGE.parent.mkdir(exist_ok=True)
    replace_file(PAGE, leaderboard(told, stale=stale).encode())
    return judged


def run(settings: Sequence[Setting], methods: Sequence[str]) -> None:
    """Measure every cell that is not finished."""
    for setting in settings:
        for method in methods:
            if applies(setting, method) and not finished(setting, method):
                write_cell(measured(setting, method))


def quick() -> None:
    """Run a small version of three settings; nothing is written but parts."""
    for name in QUICK_SETTINGS:
        for method in QUICK_METHODS:
            if applies(SETTINGS[name], method):
                cell = measured(SETTINGS[name], method, draws=2, quick=True)
                for shots, table in cell.frames().items():
                    leading = table[SETTINGS[name].figure]
                    say(f"  {shots} shots: {SETTINGS[name].figure} {leading.mean():.3f}, {leading.count()} tasks")


def known_methods(names: str | None) -> list[str]:
    """Return the methods of these names, separated by commas; those of the table for None, or end with one sentence."""
    if names is None:
        return [*FROM_SCRATCH, NO_SUPPORT, DEFAULT, LEARNED, *TABLE]
    known = [*FROM_SCRATCH, NO_SUPPORT, DEFAULT, *dict.fromkeys((*TABLE, *STEPS, *registry.names("learners")))]
    for name in names.split(","):
        if name not in known:
            raise SystemExit(f"there is no method {name!r}; choose from: {', '.join(dict.fromkeys(known))}")
    return names.split(",")


def main() -> int:
    """Measure, write the tables, print the verdict."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--setting", help=f"these, separated by commas (default: all): {', '.join(SETTINGS)}")
    parser.add_argument(
        "--method", help="these, separated by commas (default: those from scratch and those of the table)"
    )
    parser.add_argument(
        "--pages", action="store_true", help="write the tables from the finished cells, and measure nothing"
    )
    parser.add_argument("--quick", action="store_true", help="a small version, without a verdict")
    arguments = parser.parse_args()
    settings = chosen(arguments.setting.split(",") if arguments.setting else [])
    methods = known_methods(arguments.method)
    torch.set_num_threads(1)
    if os.environ.get("FRESH") == "1":
        shutil.rmtree(_PARTS, ignore_errors=True)
    began = time.monotonic()
    judged: list[dict[str, Any]] = []
    try:
        if arguments.quick:
            quick()
        elif not arguments.pages:
            run(settings, methods)
    except MetamedicaError as error:
        raise SystemExit(str(error)) from None
    seconds = time.monotonic() - began
    if not arguments.quick:
        judged = write_pages(seconds=seconds)
    return conclude("accuracy", judged, seconds=seconds, quick=arguments.quick)


if __name__ == "__main__":
    sys.exit(main())
