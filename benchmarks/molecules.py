"""Speed, memory and accuracy of the main job on molecules.

    make bench-molecules                 the whole: trains every learner on chembl691 (hours on two busy cores), resumes from finished parts
    make bench-molecules ARGS=--quick    a small version in under two minutes, without a verdict
    FRESH=1 make bench-molecules         computes every part again

Protocol: chembl691 with the committed split (benchmarks/chembl691_split.json), every molecule on one side only; FS-Mol supports of 16 and 64
(10 draws, seed 0) of the meta-test targets, all other compounds as query. Classification: active = above the target's median. Selection
uses meta-valid targets only. The full table goes to benchmarks/results/molecules.{json,md}; the last line on stdout is JSON.
"""

import argparse
import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks._budgets import DEFAULT, FROM_SCRATCH, TABLE, code_version, trained
from benchmarks._record import PARTS, RESULTS, conclude, goal, machine, say, spread
from benchmarks.chembl_split import load_disjoint
from benchmarks.make_chembl_potency import configured, ranking_ms
from metamedica import registry
from metamedica.data.collection import TaskCollection
from metamedica.meta_learner import MetaLearner, model_folder
from metamedica.predictors.method import LearnerMethod
from metamedica.predictors.model import FittedModel
from metamedica.reports.comparison import compare
from metamedica.reports.evaluation import Evaluation
from metamedica.reports.protocols.fsmol import evaluate
from metamedica.storage import replace_file

SHIPPED = "chembl-potency"
SHOTS = (16, 64)
QUICK_LEARNERS = ("tanimoto_gp", "prototypical")


def shipped_version(model: FittedModel) -> str:
    """Return a hash of the shipped model's weights and of the code of its learner, its guard and what guards it."""
    weights = b"".join((model_folder(SHIPPED) / f"{stem}.safetensors").read_bytes() for stem in ("learner", "guard"))
    code = code_version(model.spec.learner, *(f"metamedica.learners.{name}" for name in model.from_scratch))
    return hashlib.sha256(weights).hexdigest()[:12] + code


def interleaved(first: Callable[[], Any], second: Callable[[], Any], repeats: int) -> tuple[list[float], list[float]]:
    """Return the CPU seconds of two things run in turn."""
    one, two = [], []
    for _ in range(repeats):
        for run, times in ((first, one), (second, two)):
            began = time.process_time()
            run()
            times.append(time.process_time() - began)
    return one, two


def speed(
    model: MetaLearner, tasks: TaskCollection, *, repeats: int, molecules: int, library_size: int
) -> list[dict[str, Any]]:
    """Return the goals of adapting and of featurising, measured on one thread; two processes on a library of `library_size`."""
    from rdkit import Chem
    from rdkit.Chem import rdFingerprintGenerator

    from metamedica.modalities.molecules import Molecules
    from metamedica.modalities.molecules.jobs import Workbench

    texts = tasks.canonical[: molecules + 16]
    times = ranking_ms(model, tasks, repeats=repeats)
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
    chunk, room, bench = texts[16:], Molecules(), Workbench(max_heavy_atoms=500)

    def bare() -> None:
        for text in chunk:
            generator.GetCountFingerprintAsNumPy(Chem.MolFromSmiles(text))

    bare_s, ours_s = interleaved(bare, lambda: bench.run("counts", chunk), max(3, repeats // 8))
    ratios = np.array(bare_s) / np.array(ours_s)
    many = tasks.canonical[:library_size]
    wall: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(3):
        for jobs in wall:
            began = time.perf_counter()
            room.fingerprints(many, n_jobs=jobs)
            wall[jobs].append(time.perf_counter() - began)
    scaling = np.array(wall[1]) / np.array(wall[2])
    return [
        goal(
            "adapt to 16 and rank 1,000 featurised compounds, p50 CPU ms",
            20.0,
            float(np.median(times)),
            spread(times),
            lower=True,
        ),
        goal(
            "featurise against a bare RDKit parse and Morgan loop, per core",
            0.9,
            float(np.median(ratios)),
            spread(ratios),
        ),
        goal(
            f"featurising {len(many):,} molecules on 2 processes against 1, wall",
            1.5,
            float(np.median(scaling)),
            spread(scaling),
        ),
    ]


def training() -> list[dict[str, Any]]:
    """Train the shipped model anew in a process of its own and return the goals of memory and time."""
    part = PARTS / f"training-{code_version(DEFAULT)}.json"
    if not part.is_file():
        say("training the shipped model anew, to measure it")
        folder = PARTS / "chembl-potency-measured"
        shutil.rmtree(folder, ignore_errors=True)
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.make_chembl_potency", "--out", str(folder)],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        replace_file(part, done.stdout.strip().splitlines()[-1].encode())
    found = json.loads(part.read_text(encoding="utf-8"))
    return [
        goal(
            "peak memory of meta-training on chembl691, GB", 6.0, found["peak_gb"], [found["peak_gb"]] * 2, lower=True
        ),
        goal(
            "one full training of the shipped model, minutes",
            60.0,
            found["minutes"],
            [found["minutes"]] * 2,
            lower=True,
        ),
        goal("size of the shipped model, MB", 25.0, found["megabytes"], [found["megabytes"]] * 2, lower=True),
    ]


def methods_for(
    kind: str, model: MetaLearner, tasks: TaskCollection, names: list[str], *, steps: int | None
) -> dict[str, tuple[Any, str]]:
    """Return name -> (method, version of its code) for one kind of task; the shipped model's guarded default comes first."""
    unit = "-log10 M" if kind == "regression" else None
    version = shipped_version(model.model_)
    found: dict[str, tuple[Any, str]] = {
        f"{SHIPPED} (default)": (model.model_.method(kind, unit=unit), version),
        f"{SHIPPED} (learned part alone)": (model.model_.method(kind, unit=unit, guard=False), version),
    }
    scale = model.model_.usual_scale.get(unit) if unit else None
    modality = registry.modality("molecules")
    for name in names:
        if name in FROM_SCRATCH:
            learner = registry.build_learner(name, modality)
        else:
            if kind not in registry.learner_class(name).kinds:
                continue
            learner = trained(name, tasks, data="chembl691-unseen", steps=steps).model_.learner
        if kind in learner.kinds:
            found[name] = (LearnerMethod(learner, usual_scale=scale), code_version(name))
    return found


def accuracy(
    model: MetaLearner,
    tasks: TaskCollection,
    names: list[str],
    *,
    targets: list[str],
    shots: tuple[int, ...],
    draws: int,
    steps: int | None,
) -> dict[str, Evaluation]:
    """Return the evaluation of every learner on the meta-test targets, classification and regression."""
    evaluations = {}
    for kind, collection in (("binary", tasks.binarised("median")), ("regression", tasks)):
        parts: list[Evaluation] = []
        for name, (method, version) in methods_for(kind, model, tasks, names, steps=steps).items():
            began = time.monotonic()
            result = evaluate(
                {name: method},
                collection,
                names=targets,
                shots=shots,
                draws=draws,
                seed=0,
                parts=PARTS / "evaluation" / kind,
                version=version,
            )
            say(f"{kind}: {name} evaluated in {(time.monotonic() - began) / 60:.1f} min")
            parts.append(result)
        evaluations[kind] = joined(parts)
    return evaluations


def joined(parts: list[Evaluation]) -> Evaluation:
    """Return evaluations of one protocol, one method each, as one."""
    import pandas as pd

    rows = pd.concat([part.rows for part in parts], ignore_index=True)
    bins = pd.concat([part.reliability for part in parts], ignore_index=True)
    skipped = {name: why for part in parts for name, why in part.skipped.items()}
    return Evaluation(parts[0].kind, rows, parts[0].protocol, skipped, bins)


def verdicts(evaluations: dict[str, Evaluation]) -> list[dict[str, Any]]:
    """Return the goals of accuracy: the default against random forest and the Gaussian process from scratch."""
    default = f"{SHIPPED} (default)"
    goals = []
    for kind, evaluation in evaluations.items():
        for shots in evaluation.shots:
            forest = compare(evaluation, default, "random_forest", shots=shots)
            process = compare(evaluation, default, "tanimoto_gp", shots=shots)
            figure = f"{kind}, {shots} labels, {evaluation.leading}"
            goals.append(
                {
                    "name": f"default minus random forest, {figure} (paired p < .01)",
                    "goal": 0.0,
                    "value": round(forest.mean, 4),
                    "interval": [round(forest.low, 4), round(forest.high, 4)],
                    "p": forest.p,
                    "met": bool(forest.mean > 0 and forest.p < 0.01),
                }
            )
            goals.append(
                {
                    "name": f"default minus Tanimoto GP, {figure} (not below: the interval reaches 0)",
                    "goal": 0.0,
                    "value": round(process.mean, 4),
                    "interval": [round(process.low, 4), round(process.high, 4)],
                    "p": process.p,
                    "met": bool(process.high >= 0),
                }
            )
    return goals


def markdown(evaluations: dict[str, Evaluation], goals: list[dict[str, Any]]) -> str:
    """Return the tables for people."""
    lines = [
        "# Molecules: chembl691, unseen targets, unseen molecules",
        "",
        f"Machine: {machine()}. Command: `make bench-molecules`.",
        "",
    ]
    for kind, evaluation in evaluations.items():
        extra = ["roc_auc", "brier", "ece"] if kind == "binary" else ["spearman", "rmse", "coverage"]
        for shots in evaluation.shots:
            summary = evaluation.summary()
            part = summary[summary["shots"] == shots]
            lines += [f"## {kind}, {shots} labelled compounds ({int(part['tasks'].max())} targets, 10 draws)", ""]
            lines += [
                f"| method | {evaluation.leading} | 95 % interval | " + " | ".join(extra) + " |",
                "|---|---|---|" + "---|" * len(extra),
            ]
            for _, row in part.iterrows():
                more = [
                    f"{evaluation.per_task(each).xs(shots, level='shots')[row['method']].mean():.3f}" for each in extra
                ]
                lines.append(
                    f"| {row['method']} | {row['mean']:.3f} | {row['low']:.3f} to {row['high']:.3f} | "
                    + " | ".join(more)
                    + " |"
                )
            lines.append("")
    lines += ["## Goals", "", "| goal | wanted | value | interval or spread | met |", "|---|---|---|---|---|"]
    for each in goals:
        low, high = each["interval"]
        wanted = "–" if each["goal"] is None else each["goal"]
        lines.append(
            f"| {each['name']} | {wanted} | {each['value']} | {low} to {high} | {'–' if each['met'] is None else each['met']} |"
        )
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure, write the tables, print the verdict."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small version, without a verdict")
    parser.add_argument("--learners", help="these, separated by commas (default: those of the table)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if os.environ.get("FRESH") == "1":
        shutil.rmtree(PARTS, ignore_errors=True)
    began = time.monotonic()
    model = configured_shipped()
    tasks = model.readable(load_disjoint())
    named = arguments.learners.split(",") if arguments.learners else [*FROM_SCRATCH, *TABLE]
    targets = tasks.names("meta_test")
    if arguments.quick:
        goals = speed(model, tasks, repeats=10, molecules=1000, library_size=4000)
        small = [name for name in targets if 40 <= len(tasks[name]) <= 80][:4]
        evaluations = accuracy(model, tasks, list(QUICK_LEARNERS), targets=small, shots=(16,), draws=2, steps=20)
    else:
        evaluations = accuracy(model, tasks, named, targets=targets, shots=SHOTS, draws=10, steps=None)
        goals = [
            *speed(model, tasks, repeats=40, molecules=3000, library_size=20_000),
            *training(),
            *verdicts(evaluations),
        ]
        RESULTS.mkdir(exist_ok=True)
        replace_file(RESULTS / "molecules.md", markdown(evaluations, goals).encode())
        table = {kind: json.loads(each.summary().to_json(orient="records")) for kind, each in evaluations.items()}
        replace_file(
            RESULTS / "molecules.json",
            (json.dumps({"machine": machine(), "goals": goals, "tables": table}, indent=1) + "\n").encode(),
        )
    peak = {"peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2)}
    return conclude("molecules", goals, seconds=time.monotonic() - began, quick=arguments.quick, more=peak)


def configured_shipped() -> MetaLearner:
    """Return the model that ships; its settings are those of `make_chembl_potency`."""
    model = MetaLearner.load(SHIPPED)
    if model.get_params() != configured().get_params():
        say(
            "the shipped model was made with other settings than benchmarks/make_chembl_potency.py names; make it again (make model)"
        )
    return model


if __name__ == "__main__":
    sys.exit(main())
