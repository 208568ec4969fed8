"""Meta-training on two processes, and what rounded steps cost in exactness.

    python -m benchmarks.scaling            weak scaling in full, every learner in the table of precisions (about ten minutes on two free cores)
    python -m benchmarks.scaling --quick    a small version in under two minutes, without a verdict

Weak scaling: a process that takes 16 tasks a step alone, and two processes of one thread each that take 32 together, in turn in one run:
sampling, gradients, their sum, clipping and the AdamW step, wall-clock. A round's efficiency is the first time over the second; medians
over rounds. Two processes need two free cores, else the figure shows the company: two that do not talk stand beside it. Precision: the
gradient of one batch in each precision against double precision, |difference| / |gradient|, weights as they are at the start. The table
goes to benchmarks/results/scaling.{json,md}.
"""

import argparse
import inspect
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks._record import RESULTS, conclude, goal, machine, say, spread
from metamedica import registry
from metamedica.data.collection import Task, TaskCollection
from metamedica.data.episodes import EpisodePlan, EpisodeSampler
from metamedica.encoders.mlp import MLP
from metamedica.errors import InputError
from metamedica.outer_gradient import learned_parameters, outer_gradient
from metamedica.precision import PRECISIONS, check_precision
from metamedica.ranks import ALONE, Ranks, joined
from metamedica.run import Run
from metamedica.schedule import TrainingSettings
from metamedica.testing import VectorRaw
from metamedica.types import ClosedForm, Learner, TaskKind

TASKS = 16
"""Tasks a process and step."""
COLUMNS, HIDDEN, DIM = 2048, 256, 64
WORKLOADS = {"prototypical": 20, "maml": 4}
"""Learners of the weak scaling, with the steps of a round."""
GOAL = 0.9
QUICK_LEARNERS = ("prototypical", "maml", "ridge_head", "deep_kernel_transfer")


def counts(kind: TaskKind, *, columns: int, n_tasks: int, n_cases: int = 2000) -> TaskCollection:
    """Return tasks of 80 cases on sparse counts, like fingerprints, with a linear answer each."""
    rng = np.random.default_rng(0)
    features = (rng.random((n_cases, columns)) < 0.03) * rng.integers(1, 4, (n_cases, columns))
    tasks = {}
    for number in range(n_tasks):
        rows = rng.permutation(n_cases)[:80]
        score = features[rows] @ rng.normal(size=columns)
        name, active = f"t{number}", (score > np.median(score)).astype(np.int64)
        tasks[name] = (
            Task(name, "regression", rows, score, unit="u")
            if kind == "regression"
            else Task(name, "binary", rows, active, classes=("no", "yes"))
        )
    blocks = {"counts": torch.from_numpy(features.astype(np.uint8))}
    return TaskCollection("synthetic", [str(row) for row in range(n_cases)], features=blocks, tasks=tasks)


class CountRaw(VectorRaw):
    """The counts as they are."""

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        """Return the counts."""
        return features["counts"]

    flat = forward


def new_learner(name: str, *, columns: int, n_tasks: int) -> Learner[Any]:
    """Return the same new learner every time, on an MLP without dropout."""
    made = registry.learner_class(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        ours = {
            "encoder": MLP({"counts": columns}, hidden=(HIDDEN,), dim=DIM, dropout=0.0),
            "raw": CountRaw(columns),
            "n_tasks": n_tasks,
        }
        return made(**{key: value for key, value in ours.items() if key in inspect.signature(made).parameters})


def _timed(run: Run, ranks: Ranks, steps: int) -> tuple[float, float]:
    """Return the wall-clock seconds of a step, from one start to one end of all processes, and this process's CPU seconds."""
    ranks.any(False)
    began, busy = time.perf_counter(), time.process_time()
    for _ in range(steps):
        run.step()
    ranks.any(False)
    return (time.perf_counter() - began) / steps, (time.process_time() - busy) / steps


def worker(out: Path, *, rounds: int) -> None:
    """Be one of the two processes: take steps alone (the first one), apart and together in turn, leave the times as JSON."""
    torch.set_num_threads(1)
    collection = counts("binary", columns=COLUMNS, n_tasks=96)
    settings = TrainingSettings(steps=10**6)
    found: dict[str, dict[str, list[float]]] = {}
    with joined() as ranks:
        for name, steps in WORKLOADS.items():
            runs = []
            for who in (ALONE, ranks):
                plan = EpisodePlan(support=(32,), query=32, tasks_per_batch=TASKS * who.size)
                sampler = EpisodeSampler(collection, collection.names(), plan, seed=0)
                learner = new_learner(name, columns=COLUMNS, n_tasks=96)
                runs.append(Run(learner, sampler, [], settings, ranks=who, progress=None))
            times: dict[str, list[float]] = {
                "alone": [],
                "apart": [],
                "together": [],
                "alone, CPU": [],
                "together, CPU": [],
            }
            for turn in range(rounds + 1):  # the first round warms up
                alone = _timed(runs[0], ALONE, steps) if ranks.first else (0.0, 0.0)
                apart = _timed(runs[0], ranks, steps)
                together = _timed(runs[1], ranks, steps)
                if turn:
                    values = (alone[0], apart[0], together[0], alone[1], together[1])
                    for key, value in zip(times, values, strict=True):
                        times[key].append(value)
            found[name] = times
    if ranks.first:
        out.write_text(json.dumps(found), encoding="utf-8")


def weak_scaling(*, quick: bool) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the goals of weak scaling at two processes, and the seconds of a step, alone and together, of each round."""
    rounds = 5 if quick else 25
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "times.json"
        say(f"weak scaling: {rounds} rounds of {', '.join(WORKLOADS)}, one process and two in turn")
        order = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "benchmarks.scaling"]
        subprocess.run(
            [*order, "--worker", str(out), "--rounds", str(rounds)],
            check=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    goals = []
    for name, times in found.items():
        alone, apart, together = (np.array(times[key]) for key in ("alone", "apart", "together"))
        busy = np.array(times["alone, CPU"]) / np.array(times["together, CPU"])
        judged = f"weak scaling of {name} at 2 processes, {TASKS} tasks a process, one thread each"
        goals += [
            goal(judged, None if quick else GOAL, float(np.median(alone / together)), spread(alone / together)),
            goal(
                f"{name}: of it two processes that do not talk",
                None,
                float(np.median(alone / apart)),
                spread(alone / apart),
            ),
            goal(f"{name}: of it talking", None, float(np.median(apart / together)), spread(apart / together)),
            goal(f"{name}: CPU time alone over together", None, float(np.median(busy)), spread(busy)),
        ]
        said = ", ".join(f"{value['value']:.3f}" for value in goals[-4:])
        say(
            f"  {name}: {np.median(together) * 1000:.1f} ms a step together; efficiency, without talk, of talk, CPU: {said}"
        )
    return goals, found


def gradient_errors(name: str, *, columns: int = 512, tasks: int = 8) -> dict[str, float | None]:
    """Return, for each precision, |gradient - gradient in double precision| / |gradient in double precision| of one batch.

    Binary tasks, or regression where the learner has no classes. None for a precision that this machine or the learner cannot have;
    the GPU is taken where there is one.
    """
    kind: TaskKind = "binary" if "binary" in registry.learner_class(name).kinds else "regression"
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    collection = counts(kind, columns=columns, n_tasks=tasks)
    plan = EpisodePlan(support=(32,), query=32, tasks_per_batch=tasks, binary_share=0.0)

    def gradient(learner: Learner[Any], settings: TrainingSettings) -> Tensor:
        roster = EpisodeSampler(collection, collection.names(), plan, seed=0).roster(0)
        outer_gradient(learner.train(), roster, [0], settings)
        each = learned_parameters(learner).values()
        return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).double().cpu().reshape(-1) for p in each])

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)  # counts and targets become what is the default
    try:
        start = new_learner(name, columns=columns, n_tasks=tasks)
        exact = gradient(start, TrainingSettings())
    finally:
        torch.set_default_dtype(before)
    found: dict[str, float | None] = {}
    for precision in PRECISIONS:
        learner = new_learner(name, columns=columns, n_tasks=tasks)
        learner.load_state_dict(start.state_dict())  # rounded to float32
        try:
            check_precision(precision, learner, device)
        except InputError:
            found[precision] = None
            continue
        found[precision] = float(
            (gradient(learner.to(device), TrainingSettings(precision=precision)) - exact).norm() / exact.norm()
        )
    return found


def precision_table(*, quick: bool) -> dict[str, dict[str, float | None]]:
    """Return the errors of each learner that learns from tasks by gradient steps."""
    names = []
    for name in QUICK_LEARNERS if quick else registry.names("learners"):
        learner = new_learner(name, columns=8, n_tasks=2)
        if learner.learns_from_tasks() and not isinstance(learner, ClosedForm):
            names.append(name)
    table = {}
    for name in names:
        table[name] = gradient_errors(name)
        say(f"  {name}: " + ", ".join(f"{key} {value:.1e}" for key, value in table[name].items() if value is not None))
    return table


def measured(*, quick: bool) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the goals of this benchmark, and all that was measured."""
    goals, times = weak_scaling(quick=quick)
    say("relative error of the meta-gradient by precision")
    errors = precision_table(quick=quick)
    for precision in PRECISIONS:
        values = [value for row in errors.values() if (value := row[precision]) is not None]
        if values:
            label = f"relative error of the meta-gradient in {precision}, median of {len(values)} learners"
            goals.append(
                {**goal(label, None, 0.0, [0.0, 0.0]), "value": float(np.median(values)), "interval": spread(values)}
            )
    return goals, {"seconds a step": times, "error of the meta-gradient": errors}


def markdown(goals: list[dict[str, Any]], errors: dict[str, dict[str, float | None]]) -> str:
    """Return the tables for people."""
    lines = [f"# Meta-training at scale\n\n`python -m benchmarks.scaling`, {machine()}.\n"]
    lines += ["| goal | wanted | found | 10th to 90th percentile |", "|---|---|---|---|"]
    for each in goals:
        wanted, (low, high) = "–" if each["goal"] is None else each["goal"], each["interval"]
        lines.append(f"| {each['name']} | {wanted} | {each['value']:.3g} | {low:.3g} to {high:.3g} |")
    lines.append("\n## Relative error of the meta-gradient against double precision\n")
    lines += [f"| learner | {' | '.join(PRECISIONS)} |", "|---" * (1 + len(PRECISIONS)) + "|"]
    for name, row in errors.items():
        cells = ["–" if row[key] is None else f"{row[key]:.1e}" for key in PRECISIONS]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure, write the tables, print the verdict."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small version, without a verdict")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker is not None:
        worker(arguments.worker, rounds=arguments.rounds)
        return 0
    torch.set_num_threads(1)
    began = time.monotonic()
    goals, found = measured(quick=arguments.quick)
    if not arguments.quick:
        RESULTS.mkdir(exist_ok=True)
        whole = {"machine": machine(), "goals": goals, **found}
        (RESULTS / "scaling.json").write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
        (RESULTS / "scaling.md").write_text(markdown(goals, found["error of the meta-gradient"]), encoding="utf-8")
    return conclude("scaling", goals, seconds=time.monotonic() - began, quick=arguments.quick)


if __name__ == "__main__":
    sys.exit(main())
