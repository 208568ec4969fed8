"""Train the meta-model that ships: `chembl-potency`, on the meta-train targets of chembl691.

    python -m benchmarks.make_chembl_potency        writes src/metamedica/models/chembl-potency/, and what it cost to benchmarks/results/

It is the default of `make bench-accuracy` (benchmarks/_budgets.py), fitted on the same earlier targets. Selection uses the meta-valid targets only.
"""

import argparse
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks._budgets import DEFAULT, LEARNED
from benchmarks._record import RESULTS, machine
from benchmarks.chembl_split import load_disjoint
from metamedica.data.catalogue import chembl691
from metamedica.data.collection import TaskCollection
from metamedica.meta_learner import MetaLearner
from metamedica.predictors.predictor import Predictor
from metamedica.predictors.support import read_support
from metamedica.reports.card import About, card
from metamedica.storage import replace_file

NAME = "chembl-potency"
FOLDER = Path(__file__).parents[1] / "src" / "metamedica" / "models" / NAME
COST = RESULTS / f"{NAME}.json"
COMMAND = "python -m benchmarks.make_chembl_potency"
JUDGED = {
    "chembl691-unseen": "Active or not (above the target's median), ΔAUPRC",
    "chembl691-unseen-regression": "pXC50, R²",
}
"""Settings of `make bench-accuracy` whose default was fitted as this model is."""
SHOWN = {DEFAULT: f"**{NAME}**"}
LIMITS = [
    "On compounds and targets that no earlier task has measured it gains little over a Gaussian process from scratch: .007 to .009 ΔAUPRC and "
    ".02 to .04 R² at 16 and 64 labels; where earlier tasks measured the same compounds, twice as much.",
    "At 16 labels 4 % of new targets are ranked worse than by the Tanimoto process by more than .03 ΔAUPRC.",
    "On targets unlike all earlier ones its guard may not see that they mislead: learned from targets that share no compound with panels of kinases, "
    "this method ranks worse than from scratch on Davis (AUPRC .489 against .507), better on KIBA (.526 against .510).",
    "Predictive intervals are a little wide: 90 % intervals cover .93 at 16 labels and .92 at 64.",
    "Potency on single targets between 4 and 11 in -log10 M; not toxicity, not selectivity, not dosing.",
]
"""Figures of `make bench-accuracy` (decisions/0010)."""


def configured() -> MetaLearner:
    """Return the meta-learner with the settings of the shipped model: the leaderboard's default, all of its settings being defaults."""
    return MetaLearner(LEARNED, seed=0)


def ranking_ms(model: MetaLearner, tasks: TaskCollection, *, repeats: int) -> list[float]:
    """Return the CPU milliseconds, run by run, of adapting to 16 molecules of a collection and ranking 1,000 others, all featurised."""
    tasks = model.readable(tasks)
    support = read_support(model.model_, tasks.canonical[:16], np.linspace(5, 9, 16).tolist(), unit="-log10 M")
    library = {name: block[16 : 16 + 1000] for name, block in tasks.features.items()}
    times = []
    for _ in range(repeats + 3):
        began = time.process_time()
        Predictor(model.model_, support).law(library)
        times.append((time.process_time() - began) * 1000)
    return times[3:]


def figures() -> list[str]:
    """Return what `make bench-accuracy` found for the default on unseen molecules, and what the model costs, as lines of Markdown."""
    told, lines = json.loads((RESULTS / "accuracy.json").read_text("utf-8"))["settings"], []
    for name, head in JUDGED.items():
        setting = told[name]
        lines += [f"### {head}", ""]
        lines += ["| method | labels | value | 95 % interval | targets |", "|---|---|---|---|---|"]
        for shots, rows in setting["shots"].items():
            for row in rows:
                low, high = row["interval"]
                method = SHOWN.get(row["method"], row["method"])
                lines.append(f"| {method} | {shots} | {row['mean']:.3f} | {low:.3f} to {high:.3f} | {row['tasks']} |")
        lines.append("")
    cost = json.loads(COST.read_text("utf-8"))
    lines += [
        "Command of both: `make bench-accuracy` (FS-Mol's supports, 10 draws, query fixed over support sizes; means over targets; judged targets' "
        "molecules stand in no earlier task).",
        "",
        f"Adapting to 16 compounds and ranking 1,000 featurised ones: {cost['rank_ms']:.0f} ms of CPU time (median of 40, {cost['machine']}). "
        f"One training: {cost['minutes']:.1f} minutes, {cost['peak_gb']:.1f} GB; {cost['megabytes']:.1f} MB on disk. Command: `{COMMAND}`.",
    ]
    return lines


def about() -> About:
    """Return what the card says beside what the model knows; figures are those of the last `make bench-accuracy`."""
    return About(
        name=NAME,
        data="pXC50 of 672 ChEMBL targets, 85,271 molecules, 162,727 values (chembl691); molecules of meta-test targets removed from the rest",
        source=chembl691.SOURCE,
        licence=chembl691.LICENCE,
        attribution=chembl691.ATTRIBUTION,
        command=COMMAND,
        figures=figures(),
        limits=LIMITS,
    )


def cost_of(folder: Path, *, seconds: float, cpu: float) -> dict[str, Any]:
    """Return what a training cost and what the model in the folder costs to use, as a JSON value."""
    model = MetaLearner.load(folder)
    return {
        "model": NAME,
        "command": COMMAND,
        "source": chembl691.SOURCE,
        "machine": machine(),
        "minutes": round(seconds / 60, 2),
        "cpu_minutes": round(cpu / 60, 2),
        "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
        "megabytes": round(sum(path.stat().st_size for path in folder.iterdir()) / 1e6, 2),
        "rank_ms": round(float(np.median(ranking_ms(model, load_disjoint(), repeats=40))), 1),
    }


def main() -> None:
    """Train, save, and say what it cost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the model (default: where it ships from)")
    parser.add_argument(
        "--card-only",
        action="store_true",
        help="write the card of the model that stands there again, with the newest figures",
    )
    arguments = parser.parse_args()
    if arguments.card_only:
        model = MetaLearner.load(arguments.out)
        model.save(arguments.out, card=card(model, about()))
        return
    torch.set_num_threads(1)
    began, cpu = time.monotonic(), time.process_time()

    def progress(done: int, total: int, message: str) -> None:
        print(f"\r{done}/{total} {message}   ", end="", file=sys.stderr, flush=True)

    model = configured().fit(load_disjoint(), progress=progress)
    model.save(arguments.out)
    print(file=sys.stderr)
    cost = cost_of(arguments.out, seconds=time.monotonic() - began, cpu=time.process_time() - cpu)
    if arguments.out == FOLDER:
        replace_file(COST, (json.dumps(cost, indent=1) + "\n").encode())
    model.save(arguments.out, card=card(model, about()))
    print(json.dumps(cost))


if __name__ == "__main__":
    main()
