"""Explanations as the benchmark of trust judges them: do they add up, are additive ones exact, do they beat chance, and how long do they take?

    python -m benchmarks._trust_explanations heart impact eicu-region chembl691 tox21

Of a family's judged tasks (sites, targets, assays) a few are taken, the first ones by name, with one support of 20 labels each and cases outside of
it. The model has seen none of them: it is fitted on the other sites, on the meta-train assays, or is the shipped one that was fitted on other
targets. Nothing is chosen by these figures. Times are of this process's CPU, one thread, a case at a time, reading the case included.
"""

import argparse
import json
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from benchmarks._clinical_families import FAMILIES
from metamedica.data.collection import TaskCollection
from metamedica.meta_learner import MetaLearner
from metamedica.predictors.predictor import Predictor
from metamedica.reports.deletion import deletion_test

TABLES = ("heart", "impact", "eicu-region")
MOLECULES = ("chembl691", "tox21")
TASKS, CASES, SHOTS = 4, 12, 20
ADDITIVE = "recalibrated"
"""Explained beside the default on tables: its answer is a sum over columns."""
_WARM = 2
_COALITIONS = 64


def explained(
    family: str, *, tasks: int = TASKS, cases: int = CASES, shots: int = SHOTS, seed: int = 0
) -> list[dict[str, Any]]:
    """Return a row a method: `family`, `method`, `tasks`, `cases`; `additivity_error`, the largest |base + contributions - predicted|;
    `exact_error`, the largest error of an additive explanation for what any coalition of parts is worth (None where it claims nothing); the
    deletion test (`deletion`, as `Deletion.as_dict`); `p50_ms` and `p90_ms` a case.

    Args:
        family: of `TABLES` or `MOLECULES`.
        tasks: judged tasks, at most.
        cases: of each.
        shots: labels of each.
        seed: of supports, cases and orders.
    """
    if family not in (*TABLES, *MOLECULES):
        raise SystemExit(f"there is no family {family!r}; choose from: {', '.join((*TABLES, *MOLECULES))}")
    torch.set_num_threads(1)
    made = _tables(family, tasks) if family in TABLES else _molecules(family, tasks)
    found: dict[str, list[dict[str, Any]]] = {}
    for method, model, collection, name in made:
        found.setdefault(method, []).append(_one(model, collection, name, cases=cases, shots=shots, seed=seed))
    return [_row(family, method, parts, seed) for method, parts in found.items()]


def _tables(family: str, tasks: int) -> Iterator[tuple[str, MetaLearner, TaskCollection, str]]:
    for world in FAMILIES[family].build()[:tasks]:
        for method, guard in (("default", True), (ADDITIVE, False)):
            model = MetaLearner(None if method == "default" else method, guard=guard).fit(world.tasks)
            yield method, model, world.tasks, world.names[0]


def _molecules(family: str, tasks: int) -> Iterator[tuple[str, MetaLearner, TaskCollection, str]]:
    from benchmarks._budgets import DEFAULT, trained
    from benchmarks._settings import SETTINGS

    name = "tox21-unseen" if family == "tox21" else "chembl691-unseen"
    _, worlds = SETTINGS[name].build()
    world = worlds[0]
    model = (
        trained(DEFAULT, world.earlier(), data=world.training)
        if family == "tox21"
        else MetaLearner.load("chembl-potency")
    )
    for task in sorted(world.names)[:tasks]:
        yield "default", model, world.judged, task


def _one(
    model: MetaLearner, collection: TaskCollection, name: str, *, cases: int, shots: int, seed: int
) -> dict[str, Any]:
    """Return what one judged task shows."""
    task = collection.tasks[name]
    order = np.random.default_rng(seed).permutation(len(task.rows))
    texts = [collection.canonical[row] for row in task.rows[order]]
    classes = task.classes or ("0", "1")
    labels = [classes[int(value)] for value in task.targets[order]]
    some = list(range(shots))
    for at, label in enumerate(labels[shots:], start=shots):  # both classes, as the methods from scratch want
        if len({labels[each] for each in some}) > 1:
            break
        if label != labels[0]:
            some[-1] = at
    asked = [texts[at] for at in range(len(texts)) if at not in some][:cases]
    predictor: Predictor = model.adapt(
        [texts[at] for at in some], [labels[at] for at in some], kind=task.kind, positive=classes[1]
    )
    for text in asked[:_WARM]:
        predictor.explain([text])
    told, spent = [], []
    for text in asked:
        began = time.process_time()
        told += predictor.explain([text])
        spent.append((time.process_time() - began) * 1000)
    share = predictor.predict_proba(asked)
    wanted = np.log(share[:, 1]) - np.log(share[:, 0])
    sums = np.array([each.base + sum(part.contribution for part in each.parts) for each in told])
    return {
        "told": told,
        "spent": spent,
        "additivity": float(np.abs(sums - wanted).max()),
        "exact": _exact_error(told, seed) if all(each.exact for each in told) else None,
    }


def _exact_error(told: list[Any], seed: int) -> float:
    """Return the largest difference between what coalitions drawn by chance are worth and the sum of their parts' contributions."""
    rng, worst = np.random.default_rng(seed), 0.0
    for each in told:
        present = rng.random((_COALITIONS, len(each.parts))) < 0.5
        sums = each.base + present @ each.contributions
        worst = max(worst, float(np.abs(each.answer_with(present) - sums).max()))
    return worst


def _row(family: str, method: str, parts: list[dict[str, Any]], seed: int) -> dict[str, Any]:
    told = [each for part in parts for each in part["told"]]
    spent = [each for part in parts for each in part["spent"]]
    exact = [part["exact"] for part in parts] if method == ADDITIVE else []
    return {
        "family": family,
        "method": method,
        "tasks": len(parts),
        "cases": len(told),
        "additivity_error": max(part["additivity"] for part in parts),
        "exact_error": max(exact) if exact else None,
        "deletion": deletion_test(told, seed=seed).as_dict(),
        "p50_ms": float(np.percentile(spent, 50)),
        "p90_ms": float(np.percentile(spent, 90)),
    }


def main() -> None:
    """Print a line of JSON a family and method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("family", nargs="+", choices=(*TABLES, *MOLECULES))
    for family in parser.parse_args().family:
        for row in explained(family):
            print(json.dumps(row))


if __name__ == "__main__":
    main()
