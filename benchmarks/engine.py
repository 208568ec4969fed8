"""Speed and memory of a meta-step, side by side with what people use.

    make bench-engine                 the whole table (about half an hour); installs the peers first
    make bench-engine ARGS=--quick    the table MLP only, a few rounds, no compiling and no verdict

CPU time of a meta-step (loss and meta-gradient) of 16 tasks on one thread; 5 inner steps; binary tasks, Conv-4 5-way. Every variant's
meta-gradient is compared with the plain loop's in double precision before a time is printed. Rounds are interleaved: each variant has
a turn of 50 ms a round (one step where it takes longer); a ratio is the median over rounds of peer / ours, its interval the 10th and 90th
percentile. The full table goes to benchmarks/results/engine.{json,md}; the last line on stdout is JSON.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from benchmarks._engine_cells import (
    ALGORITHMS,
    FAR,
    TASKS,
    WORKLOADS,
    compared,
    compiled_variant,
    cpu_time,
    double,
    eager_step,
    episodes,
    error,
    for_peers,
    handed_on,
    interleaved,
    learner_for,
    loops_of,
    own_parameters,
    peers_here,
)
from benchmarks._engine_gpu import gpu_markdown, gpu_table
from benchmarks._engine_peers import Network, by_jax, plain_loop
from benchmarks._record import PARTS, RESULTS, SOURCE, commit, goal, machine, say, spread, version_of
from benchmarks.chembl_split import load_disjoint
from metamedica.data.episodes import EpisodePlan, EpisodeSampler
from metamedica.functional.in_turn import tasks_at_once
from metamedica.functional.inner_loop.learner import InnerLoopLearner
from metamedica.functional.inner_loop.measure import fastest_chunk
from metamedica.storage import replace_file
from metamedica.types import EpisodeBatch, Learner


def cell(workload: str, algorithm: str, *, compiling: bool, rounds: int) -> dict[str, Any]:
    """Measure one cell of the table."""
    work = WORKLOADS[workload]
    batch = episodes(workload, [work.support] * TASKS, [work.query] * TASKS, work.n_classes)
    learner, peers = learner_for(workload, algorithm)
    return _measured(workload, algorithm, batch, learner, peers, compiling=compiling, rounds=rounds, jax=True)


def _measured(
    workload: str,
    algorithm: str,
    batch: EpisodeBatch,
    learner: Learner[Any],
    peers: Network,
    *,
    compiling: bool,
    rounds: int,
    jax: bool,
) -> dict[str, Any]:
    exact = learner_for(workload, algorithm)[0].double()
    if workload == "conv4" and isinstance(learner, InnerLoopLearner) and algorithm != "anil":
        chosen, fastest_one = tasks_at_once(learner.encoder, learner.chunk), fastest_chunk(learner, batch)
        say(f"{workload}, {algorithm}: {chosen or 'all'} tasks at once by rule, {fastest_one} by measurement")
    in_double = double(batch)
    want = plain_loop(algorithm, peers, own_parameters(exact, peers), for_peers(batch, torch.float64))
    errors = {"ours, float64": error(eager_step(exact, handed_on(in_double, exact))(), want)}
    data, own = for_peers(batch, torch.float32), own_parameters(learner, peers)
    batch = handed_on(batch, learner)
    variants = {"ours": eager_step(learner, batch)} | loops_of(algorithm, peers, own, data)
    if jax and "jax" in peers_here():
        variants["jax"] = by_jax(algorithm, peers, own, data)
    seconds_to_compile = None
    if compiling:
        variant, seconds_to_compile = compiled_variant(learner, batch)
        variants |= variant
    for name, step in variants.items():
        errors[name] = error(step(), want)
    for name, value in errors.items():
        # Rounding moves cases over the kinks of ReLU and max-pooling, for the plain loop as for others.
        limit = FAR[torch.float64] if "float64" in name else max(FAR[torch.float32], 4 * errors["plain loop"])
        if not value <= limit:
            raise SystemExit(
                f"{workload}, {algorithm}: the meta-gradient of {name} is off by {value:.1e}; nothing is timed"
            )
    times = interleaved(variants, rounds)
    found: dict[str, Any] = {
        "workload": workload,
        "algorithm": algorithm,
        "errors": errors,
        "seconds to compile": seconds_to_compile,
        **compared(times),
    }
    told = ", ".join(f"{name} {value:.1f} ms" for name, value in found["milliseconds"].items())
    say(f"{workload}, {algorithm}: {told}")
    return found


def kept(title: str, algorithm: str, settings: dict[str, Any], measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return a cell that was measured with this code before, or measure and keep it; FRESH=1 measures all."""
    encoder = "encoders/conv4.py" if title == "conv4" else "encoders/mlp.py"
    version = version_of(SOURCE, f"learners/{algorithm}.py", encoder, "compiled.py", settings=settings)
    path = PARTS / f"engine-{title.replace(' ', '-')}-{algorithm}-{version}.json"
    if path.exists() and not os.environ.get("FRESH"):
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found
    found = measure()
    replace_file(path, json.dumps(found).encode())
    return found


def ragged(workload: str, algorithm: str, *, compiling: bool, rounds: int) -> dict[str, Any]:
    """Measure 64 tasks of very different sizes against a loop over exact sizes."""
    random = np.random.default_rng(0)
    own = np.exp(random.uniform(np.log(8), np.log(128), 64)).round().astype(int).tolist()
    asked = random.integers(16, 129, 64).tolist()
    batch = episodes(workload, own, asked, 2)
    learner, peers = learner_for(workload, algorithm)
    found = _measured(workload, algorithm, batch, learner, peers, compiling=compiling, rounds=rounds, jax=False)
    return found | {"workload": f"ragged {workload}"}


def floors(rounds: int) -> dict[str, float]:
    """Return milliseconds of the dense products that some cells cannot do without, as one thread does them: no form is faster on this machine."""
    x, weight, slope = torch.randn(1024, 2048), torch.randn(256, 2048), torch.randn(1024, 256)
    own, asked = torch.randn(16, 32, 2048), torch.randn(16, 32, 2048)

    def fingerprint_maml() -> None:
        _ = x @ weight.T, slope.T @ x, own @ own.mT, asked @ own.mT

    cases, hidden, first, second = torch.randn(640, 13), torch.randn(640, 64), torch.randn(13, 64), torch.randn(64, 64)

    def table_encoder() -> None:
        _ = cases @ first, hidden @ second, hidden.T @ hidden, hidden @ second.T, cases.T @ hidden

    each, inner = cases.view(16, 40, 13), hidden.view(16, 40, 64)
    firsts, seconds = torch.randn(16, 13, 64), torch.randn(16, 64, 64)

    def table_steps() -> None:
        for _ in range(5):
            _ = each @ firsts, inner @ seconds, inner.mT @ inner, inner @ seconds.mT, each.mT @ inner

    of = {
        "fingerprint, maml": fingerprint_maml,
        "table, prototypical and anil": table_encoder,
        "table, reptile": table_steps,
    }
    return {name: 1e3 * float(np.median(times)) for name, times in interleaved(of, rounds).items()}


MEMORY = """
import ctypes, json, sys, torch
from benchmarks import _engine_cells as e
from benchmarks._engine_peers import by_higher
torch.set_num_threads(1)
who, workload, steps = sys.argv[1], sys.argv[2], int(sys.argv[3])
import benchmarks._engine_peers as p
p.STEPS = steps
work = e.WORKLOADS[workload]
batch = e.episodes(workload, [work.support] * e.TASKS, [work.query] * e.TASKS, work.n_classes)
learner, peers = e.learner_for(workload, "maml")
learner.steps, learner.checkpoint = steps, who == "ours, steps computed again"
own, data = e.own_parameters(learner, peers), e.for_peers(batch, torch.float32)
if who == "higher":
    step = lambda: by_higher("maml", peers, own, data)
else:
    step = e.eager_step(learner, e.handed_on(batch, learner))
def status(key):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(key + ":"))
step()  # what is built once
ctypes.CDLL(None).malloc_trim(0)
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")  # the peak so far is forgotten
before = status("VmRSS")
step()
print(json.dumps((status("VmHWM") - before) / 1024))
"""


def peak(who: str, workload: str, steps: int) -> float:
    """Return the MiB by which a meta-step of exact MAML raises the memory of a process of its own at its peak (Linux, glibc).

    What is freed goes back to the system at once, for ours and for peers, so that the peak is that of tensors in use.
    """
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, who, workload, str(steps)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"},
    )
    return float(done.stdout.splitlines()[-1])


def sampling(rounds: int) -> list[float] | None:
    """Return episodes a second of CPU time, sampled and collated from cached fingerprints, a round each; None without the data mirror."""
    if not os.environ.get("METAMEDICA_DATA"):
        say("METAMEDICA_DATA is not set: episodes a second on chembl691 are not measured")
        return None
    tasks = load_disjoint()
    sampler = EpisodeSampler(
        tasks, tasks.names("meta_train"), EpisodePlan(support=(32,), query=32, tasks_per_batch=16), seed=0
    )
    batches, first = 12, 0
    sampler.batch(0)
    found = []
    for _ in range(rounds):
        seconds = cpu_time(lambda first=first: [sampler.batch(first + number) for number in range(batches)])
        found.append(batches * 16 / seconds)
        first += batches
    return found


def markdown(
    cells: list[dict[str, Any]],
    goals: list[dict[str, Any]],
    memory: dict[str, Any],
    gpu: list[dict[str, Any]],
    ground: dict[str, float],
) -> str:
    """Return the report."""
    lines = [
        "# A meta-step, side by side",
        "",
        f"{machine()}. `make bench-engine`. Milliseconds of CPU time, median.",
        "",
    ]
    lines += ["| workload | algorithm | variant | ms | error of the meta-gradient |", "|---|---|---|---|---|"]
    for each in cells:
        for name, value in each["milliseconds"].items():
            lines.append(
                f"| {each['workload']} | {each['algorithm']} | {name} | {value:.2f} | {each['errors'][name]:.0e} |"
            )
    lines += ["", "| workload | algorithm | ratio | median | 10th to 90th percentile |", "|---|---|---|---|---|"]
    for each in cells:
        for name, (value, low, high) in each["ratios"].items():
            lines.append(
                f"| {each['workload']} | {each['algorithm']} | {name} | {value:.1f} | {low:.1f} to {high:.1f} |"
            )
    lines += ["", "Dense products that a cell cannot do without, milliseconds:", ""]
    lines += [f"- {name}: {value:.2f}" for name, value in ground.items()]
    if memory:
        lines += [
            "",
            "## Peak memory of exact MAML, MiB above the start",
            "",
            "| workload | inner steps | who | MiB |",
        ]
        lines += ["|---|---|---|---|"]
        for (workload, steps), row in memory.items():
            lines += [f"| {workload} | {steps} | {who} | {value:.1f} |" for who, value in row.items()]
    lines += gpu_markdown(gpu)
    lines += ["", "| goal | wanted | value | interval | met |", "|---|---|---|---|---|"]
    for one in goals:
        low, high = one["interval"]
        met = {True: "yes", False: "no", None: "not judged"}[one["met"]]
        lines.append(f"| {one['name']} | {one['goal']} | {one['value']} | {low} to {high} | {met} |")
    return "\n".join(lines) + "\n"


def verdicts(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the goals of the table."""
    found = []
    for each in cells:
        ragged_goals = {"ragged table": (2.5, 5.5), "ragged fingerprint": (3.0, None)}
        wanted = ragged_goals.get(each["workload"]) or WORKLOADS[each["workload"]].goals[each["algorithm"]]
        for name, least in zip(("ours", "ours, compiled"), wanted, strict=True):
            key = f"{name} against the fastest loop"
            if least is not None and key in each["ratios"]:
                value, *interval = each["ratios"][key]
                found.append(goal(f"{each['workload']}, {each['algorithm']}: {key}", least, value, interval))
        jax = [ratio for key, ratio in each["ratios"].items() if key.endswith("jax")]
        if jax:
            value, *interval = max(jax)
            found.append(
                goal(f"{each['workload']}, {each['algorithm']}: best form against jax", 1 / 1.1, value, interval)
            )
    return found


def main() -> int:
    """Run the benchmark; 0 where every goal is met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small version without a verdict")
    parser.add_argument("--workload", choices=[*WORKLOADS, "ragged"], action="append", help="these only")
    parser.add_argument("--eager", action="store_true", help="do not compile")
    given = parser.parse_args()
    torch.set_num_threads(1)
    begun = time.monotonic()
    compiling = not (given.quick or given.eager)
    missing = {"higher", "torchopt", "jax"} - set(peers_here())
    if missing:
        say(f"not installed, so not compared: {', '.join(sorted(missing))} (make bench-engine installs them)")
    chosen = ["table"] if given.quick else given.workload or [*WORKLOADS, "ragged"]
    cells = []
    for name, work in WORKLOADS.items():
        for algorithm in ALGORITHMS if name in chosen else ():
            settings = {"compiling": compiling and name != "conv4", "rounds": 3 if given.quick else work.rounds}
            cells.append(kept(name, algorithm, settings, partial(cell, name, algorithm, **settings)))
    for name, algorithm, compiled_too in (("table", "maml", compiling), ("fingerprint", "prototypical", False)):
        if "ragged" in chosen:
            settings = {"compiling": compiled_too, "rounds": 7}
            cells.append(kept(f"ragged {name}", algorithm, settings, partial(ragged, name, algorithm, **settings)))
    goals = verdicts(cells)
    memory: dict[Any, Any] = {}
    ground = {} if given.quick else floors(15)
    if "fingerprint" in chosen:
        maml = next(each for each in cells if (each["workload"], each["algorithm"]) == ("fingerprint", "maml"))
        best = min(value for name, value in maml["milliseconds"].items() if name.startswith("ours"))
        over = best / ground["fingerprint, maml"]
        goals.append(goal("fingerprint, maml: best form over the GEMM floor", 3.0, over, [over] * 2, lower=True))
        for name, counts in (("table", (1, 5, 20, 50)), ("fingerprint", (1, 5, 20, 50)), ("conv4", (1, 5, 10))):
            for steps in counts:
                who = ["ours", "ours, steps computed again", *(["higher"] if "higher" in peers_here() else [])]
                memory[name, steps] = {each: peak(each, name, steps) for each in who}
        here = memory["fingerprint", 5]
        if "higher" in here:
            share = here["ours"] / here["higher"]
            goals.append(goal("fingerprint, maml: peak memory against higher", 0.5, share, [share] * 2, lower=True))
        speeds = sampling(9)
        if speeds is not None:
            goals.append(
                goal(
                    "chembl691: episodes sampled and collated a second", 1500, float(np.median(speeds)), spread(speeds)
                )
            )
    gpu = [] if given.quick else gpu_table(ALGORITHMS)
    if not given.quick:  # with --workload, the table holds these only
        record = {
            "cells": cells,
            "goals": goals,
            "memory": [[*key, value] for key, value in memory.items()],
            "gpu": gpu,
            "floors": ground,
        }
        replace_file(RESULTS / "engine.json", json.dumps(record, indent=1).encode())
        replace_file(RESULTS / "engine.md", markdown(cells, goals, memory, gpu, ground).encode())
    line = {"bench": "engine", "commit": commit(), "machine": machine(), "goals": goals}
    line["minutes"] = round((time.monotonic() - begun) / 60, 1)
    if given.quick:
        line |= {"quick": True, "goals": [{**one, "met": None} for one in goals]}
    sys.stdout.write(json.dumps(line) + "\n")
    return 0 if given.quick or all(one["met"] is not False for one in goals) else 1


if __name__ == "__main__":
    assert Path("benchmarks").is_dir(), "run it from the project's root"
    raise SystemExit(main())
