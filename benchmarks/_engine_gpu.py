"""The same table on a GPU: meta-steps of many tasks at once by the wall clock, absolute and beside the peers."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from benchmarks._engine_cells import (
    FAR,
    WORKLOADS,
    compared,
    compiled_variant,
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
)
from benchmarks._engine_peers import plain_loop
from benchmarks._record import say
from metamedica.outer_gradient import moved

TASKS = 256
_COMPARED = 4
"""Tasks whose meta-gradient is compared with the plain loop's in double precision before anything is timed."""


def clock_on(device: torch.device) -> Callable[[Callable[[], object]], float]:
    """Return what measures the seconds of a call and of all that it has asked of the device."""

    def ready() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    def timed(step: Callable[[], object]) -> float:
        ready()
        begun = time.perf_counter()
        step()
        ready()
        return time.perf_counter() - begun

    return timed


def gpu_cell(
    workload: str, algorithm: str, device: torch.device, *, rounds: int, tasks: int = TASKS, compiling: bool = True
) -> dict[str, Any]:
    """Measure one cell on a device.

    Raises:
        SystemExit: a meta-gradient is off; nothing is timed then.
    """
    errors = _errors(workload, algorithm, device)
    work = WORKLOADS[workload]
    batch = episodes(workload, [work.support] * tasks, [work.query] * tasks, work.n_classes)
    learner, peers = learner_for(workload, algorithm)
    learner.to(device)
    data, own = for_peers(moved(batch, device), torch.float32), own_parameters(learner, peers)
    batch = moved(handed_on(batch, learner), device)
    variants = {"ours": eager_step(learner, batch)} | loops_of(algorithm, peers, own, data)
    if compiling:
        variants |= compiled_variant(learner, batch)[0]
    memory = {name: _peak(step, device) for name, step in variants.items()} if device.type == "cuda" else {}
    times = interleaved(variants, rounds, clock=clock_on(device))
    found: dict[str, Any] = {
        "workload": workload,
        "algorithm": algorithm,
        "tasks": tasks,
        "peak MiB": memory,
        "errors": errors,
        **compared(times),
    }
    say(f"GPU, {workload}, {algorithm}: " + ", ".join(f"{n} {v:.1f} ms" for n, v in found["milliseconds"].items()))
    return found


def _errors(workload: str, algorithm: str, device: torch.device) -> dict[str, float]:
    """Return how far our meta-gradient on the device is from the plain loop's in double precision, in both precisions."""
    work = WORKLOADS[workload]
    batch = episodes(workload, [work.support] * _COMPARED, [work.query] * _COMPARED, work.n_classes)
    exact, peers = learner_for(workload, algorithm)
    exact.double()
    want = plain_loop(algorithm, peers, own_parameters(exact, peers), for_peers(batch, torch.float64))
    found = {}
    for dtype, learner, given in (
        (torch.float64, exact, double(batch)),
        (torch.float32, learner_for(workload, algorithm)[0], batch),
    ):
        slopes = eager_step(learner.to(device), moved(handed_on(given, learner), device))()
        off = error({name: slope.cpu() for name, slope in slopes.items()}, want)
        limit = 20 * FAR[dtype] if workload == "conv4" and dtype == torch.float32 else FAR[dtype]
        if not off <= limit:
            raise SystemExit(
                f"{workload}, {algorithm} on {device}: the meta-gradient is off by {off:.1e}; nothing is timed"
            )
        found[str(dtype).removeprefix("torch.")] = off
    return found


def _peak(step: Callable[[], object], device: torch.device) -> float:
    """Return the MiB by which a step raises the device's memory at its peak."""
    step()
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    step()
    return (torch.cuda.max_memory_allocated(device) - before) / 2**20


def gpu_table(algorithms: tuple[str, ...], *, rounds: int = 7) -> list[dict[str, Any]]:
    """Return every cell on the first GPU, in float32 products that are not rounded to TF32; none where there is no GPU, and a line says so."""
    if not torch.cuda.is_available():
        say("no NVIDIA GPU here: its table is skipped")
        return []
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    device = torch.device("cuda", 0)
    make = partial(gpu_cell, device=device, rounds=rounds)
    return [make(name, algorithm, compiling=name != "conv4") for name in WORKLOADS for algorithm in algorithms]


def gpu_markdown(cells: list[dict[str, Any]]) -> list[str]:
    """Return the lines of the report."""
    lines = ["", "## On a GPU", ""]
    if not cells:
        return [*lines, "No NVIDIA GPU was at hand: the table was skipped."]
    lines += [f"{torch.cuda.get_device_name(0)}, {TASKS} tasks a meta-step, wall-clock, float32 without TF32.", ""]
    lines += [
        "| workload | algorithm | variant | ms | peak MiB | times as fast as the fastest loop |",
        "|---|---|---|---|---|---|",
    ]
    for each in cells:
        for name, value in each["milliseconds"].items():
            ratio = each["ratios"].get(f"{name} against the fastest loop")
            told = "" if ratio is None else f"{ratio[0]:.1f} ({ratio[1]:.1f} to {ratio[2]:.1f})"
            lines.append(
                f"| {each['workload']} | {each['algorithm']} | {name} | {value:.2f} | {each['peak MiB'].get(name, 0):.0f} | {told} |"
            )
    return lines
