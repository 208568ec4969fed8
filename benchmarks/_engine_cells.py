"""What `make bench-engine` runs: networks, episodes, and a meta-step by our learners and by peers."""

import importlib.util
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks._engine_peers import Data, Network, Slopes, by_higher, by_torchopt, conv4, mlp, plain_loop
from benchmarks._record import say, spread
from metamedica import registry
from metamedica.blocks import SparseRows, SparseTable, as_block
from metamedica.compiled import CompiledGradient
from metamedica.encoders.conv4 import Conv4
from metamedica.encoders.mlp import MLP
from metamedica.functional.ragged import part_of
from metamedica.functional.sparse import is_mostly_zero
from metamedica.outer_gradient import parts_for, read_by_entries
from metamedica.types import CaseBatch, Encoder, EpisodeBatch, LabelledBatch, Learner

ALGORITHMS = ("prototypical", "anil", "maml", "first_order_maml", "reptile")
TASKS = 16
_TURN = 0.05
"""Seconds of steps in a row that each variant has in a round."""
_LONG = 30.0
"""A step that takes so many seconds is timed once, and has no turn."""
FAR = {torch.float64: 1e-9, torch.float32: 1e-3}


@dataclass(frozen=True)
class Workload:
    """What one column of the table runs.

    Args:
        title: in words.
        support: cases a task.
        query: likewise.
        goals: eager and compiled ratio to the fastest peer loop, by algorithm.
        rounds: timed.
    """

    title: str
    support: int
    query: int
    goals: dict[str, tuple[float, float | None]]
    rounds: int
    n_classes: int = 2


def _goals(*pairs: tuple[float, float | None]) -> dict[str, tuple[float, float | None]]:
    return dict(zip(ALGORITHMS, pairs, strict=True))


WORKLOADS = {
    "table": Workload(
        "table MLP 13-64-64-2 (10, 30)", 10, 30, _goals((10, 17), (12, 20), (8, 16), (9, 15), (18, 38)), 15
    ),
    "fingerprint": Workload(
        "fingerprint MLP 2048-256-2 (32, 32)", 32, 32, _goals((3.5, 11), (3, 8), (13, 30), (8, 28), (11, 36)), 11
    ),
    "conv4": Workload(
        "Conv-4 64, GroupNorm, 28x28, 5-way 5-shot (25, 25)", 25, 25, _goals(*[(1, None)] * 5), 3, n_classes=5
    ),
}


def network(workload: str, algorithm: str) -> tuple[Encoder, Network]:
    """Return our encoder and the peers' network of the same parameters."""
    head = ("heads.binary.weight", "heads.binary.bias")
    torch.manual_seed(0)
    if workload == "table":
        ours: Encoder = MLP(
            {"x": 13}, hidden=(64,), dim=64, dropout=0.0, activation="relu", norm="none", ends="activation"
        )
        return ours, mlp([_named("layers.0"), _named("layers.4")], head, 64)
    if workload == "fingerprint":
        ours = MLP({"bits": 2048}, hidden=(), dim=256, dropout=0.0, activation="relu", norm="none", ends="activation")
        return ours, mlp([_named("layers.0")], head, 256)
    blocks = [(*_named(f"convolutions.{4 * i}"), *_named(f"convolutions.{4 * i + 1}")) for i in range(4)]
    many = ("heads.multiclass.weight", "heads.multiclass.bias")
    return Conv4((1, 28, 28)), conv4(blocks, many, 64, 4, 28)


def _named(layer: str) -> tuple[str, str]:
    return f"encoder.{layer}.weight", f"encoder.{layer}.bias"


def rows(workload: str, shape: tuple[int, ...], random: torch.Generator) -> dict[str, Tensor]:
    """Return the cases of a batch by block."""
    if workload == "table":
        return {"x": torch.randn(*shape, 13, generator=random)}
    if workload == "fingerprint":  # about 51 bits set of 2,048, as ECFP4 has
        return {"bits": (torch.rand(*shape, 2048, generator=random) < 0.025).float()}
    return {"image": torch.randn(*shape, 784, generator=random)}


def episodes(workload: str, own: list[int], asked: list[int], n_classes: int, seed: int = 0) -> EpisodeBatch:
    """Return generated episodes of these sizes, padded with zeros."""
    random = torch.Generator().manual_seed(seed)

    def side(sizes: list[int]) -> LabelledBatch:
        n = max(sizes)
        mask = torch.tensor(sizes)[:, None] > torch.arange(n)
        features = {name: block * mask[..., None] for name, block in rows(workload, (len(sizes), n), random).items()}
        targets = (torch.arange(n) % n_classes).repeat(len(sizes), 1) * mask
        return LabelledBatch(
            CaseBatch(features, mask), targets, "binary" if n_classes == 2 else "multiclass", n_classes
        )

    return EpisodeBatch(side(own), side(asked), torch.arange(len(own)))


def handed_on(batch: EpisodeBatch, learner: Learner[Any]) -> EpisodeBatch:
    """Return the episodes as `EpisodeSampler` hands them to this learner: blocks that it reads by their entries as rows of a table."""

    own, asked = dict(batch.support.features), dict(batch.query.features)
    for name in read_by_entries(learner) & set(own):
        blocks = [side[name].flatten(0, 1) for side in (own, asked)]
        if is_mostly_zero(torch.cat(blocks)):
            table, first = SparseTable.of(torch.cat(blocks)), 1
            for side, block, mask in zip((own, asked), blocks, (batch.support.mask, batch.query.mask), strict=True):
                index = torch.arange(first, first + len(block)).reshape(mask.shape) * mask
                side[name], first = as_block(SparseRows(table, index)), first + len(block)
    support, query = (
        replace(side, cases=CaseBatch(features, side.mask))
        for side, features in ((batch.support, own), (batch.query, asked))
    )
    return EpisodeBatch(support, query, batch.task_index)


def for_peers(batch: EpisodeBatch, dtype: torch.dtype) -> Data:
    """Return the episodes task by task at their exact sizes."""

    def side(one: LabelledBatch) -> list[tuple[Tensor, Tensor]]:
        (block,) = one.features.values()
        return [(x[real].to(dtype), y[real]) for x, y, real in zip(block, one.targets, one.mask, strict=True)]

    return Data(side(batch.support), side(batch.query), batch.support.n_classes or 0)


def learner_for(workload: str, algorithm: str) -> tuple[Learner[Any], Network]:
    """Return a new learner, its weights the same each time, and the network for peers."""
    encoder, peers = network(workload, algorithm)
    settings: dict[str, Any] = {} if algorithm == "prototypical" else {"rate": 0.1, "steps": 5, "max_classes": 5}
    return registry.learner_class(algorithm)(encoder=encoder, **settings), peers


def own_parameters(learner: Learner[Any], peers: Network) -> Slopes:
    """Return those of the learner's parameters that the peers' networks have."""
    wanted = {*peers.names, *peers.head, "log_temperature"}
    return {name: value for name, value in learner.named_parameters() if name in wanted}


def cpu_time(step: Callable[[], object]) -> float:
    """Return the seconds of CPU time that a call takes."""
    begun = time.process_time()
    step()
    return time.process_time() - begun


def interleaved(
    variants: dict[str, Callable[[], object]], rounds: int, *, clock: Callable[[Callable[[], object]], float] = cpu_time
) -> dict[str, list[float]]:
    """Return the seconds of a step of every variant in every round, in turns.

    Steps of a training follow each other, so a turn is one step that is not counted, as others have just had the caches, and then as many in a row as
    fill `_TURN` seconds, their mean.
    """
    once = {name: _second(step, clock) for name, step in variants.items()}
    each = {name: max(1, round(_TURN / max(seconds, 1e-6))) for name, seconds in once.items()}
    found: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, step in variants.items():
            if once[name] > _LONG:
                found[name].append(once[name])
                continue
            step()
            found[name].append(clock(lambda: [step() for _ in range(each[name])]) / each[name])  # noqa: B023
    return found


def _second(step: Callable[[], object], clock: Callable[[Callable[[], object]], float]) -> float:
    """Return the seconds of the second call: the first builds what is built once."""
    step()
    return clock(step)


def eager_step(learner: Learner[Any], batch: EpisodeBatch) -> Callable[[], Slopes]:
    """Return what gives the meta-gradient as training takes it, ragged batches in parts."""

    def backward(part: EpisodeBatch, share: float) -> None:
        (learner.meta_loss(part) * share).backward()  # type: ignore[no-untyped-call]

    return _step(learner, batch, backward)


def compiled_step(gradient: CompiledGradient, batch: EpisodeBatch) -> Callable[[], Slopes]:
    """Return what gives the meta-gradient as one compiled graph a part."""

    def backward(part: EpisodeBatch, share: float) -> None:
        if gradient.serves(part):
            gradient(part, share=share)

    return _step(gradient.learner, batch, backward)


def _step(
    learner: Learner[Any], batch: EpisodeBatch, backward: Callable[[EpisodeBatch, float], None]
) -> Callable[[], Slopes]:
    own = dict(learner.named_parameters())

    def step() -> Slopes:
        for value in own.values():
            value.grad = None
        for rows_ in parts_for(learner, batch):
            backward(part_of(batch, rows_), len(rows_) / len(batch.task_index))
        return {name: value.grad for name, value in own.items() if value.grad is not None}

    return step


def loops_of(algorithm: str, peers: Network, own: Slopes, data: Data) -> dict[str, Callable[[], Slopes]]:
    """Return the loops over tasks that people write: plain, and by the peers that are installed and know the algorithm."""
    loops: dict[str, Callable[[], Slopes]] = {"plain loop": lambda: plain_loop(algorithm, peers, own, data)}
    if algorithm in ("maml", "first_order_maml") and "higher" in peers_here():
        loops["higher"] = lambda: by_higher(algorithm, peers, own, data)
    if algorithm == "maml" and "torchopt" in peers_here():
        loops["torchopt"] = lambda: by_torchopt(algorithm, peers, own, data)
    return loops


def compiled_variant(learner: Learner[Any], batch: EpisodeBatch) -> tuple[dict[str, Callable[[], Slopes]], float]:
    """Return the compiled step by its name, none where it could not be compiled (and a line says why), and the seconds that it took."""
    gradient = CompiledGradient(learner)
    begun = time.perf_counter()
    step = compiled_step(gradient, batch)
    step()
    seconds = time.perf_counter() - begun
    if gradient.not_compiled:
        say(f"  not compiled: {next(iter(gradient.not_compiled.values()))}")
        return {}, seconds
    return {"ours, compiled": step}, seconds


def compared(times: dict[str, list[float]]) -> dict[str, Any]:
    """Return milliseconds, the fastest peer loop, and the ratios of peer / ours: median, 10th and 90th percentile over rounds."""
    loops = [name for name in times if name in ("plain loop", "higher", "torchopt")]
    fastest = min(loops, key=lambda name: float(np.median(times[name])))
    ratios = {}
    for name in ("ours", "ours, compiled"):
        for other in (fastest, "jax"):
            if name in times and other in times:
                each = np.array(times[other]) / np.array(times[name])
                key = f"{name} against {'jax' if other == 'jax' else 'the fastest loop'}"
                ratios[key] = [float(np.median(each)), *spread(each)]
    return {
        "milliseconds": {name: 1e3 * float(np.median(each)) for name, each in times.items()},
        "fastest peer loop": fastest,
        "ratios": ratios,
    }


def error(found: Slopes, want: Slopes) -> float:
    """Return the largest difference from the reference, as a share of its largest slope."""
    largest = max(float(slope.abs().max()) for slope in want.values())
    return max(float((found[name].double() - slope).abs().max()) / largest for name, slope in want.items())


def peers_here() -> list[str]:
    """Return the peers that are installed."""
    return [name for name in ("higher", "torchopt", "jax") if importlib.util.find_spec(name)]


def double(batch: EpisodeBatch) -> EpisodeBatch:
    """Return the episodes in double precision."""

    def side(one: LabelledBatch) -> LabelledBatch:
        return one.map(lambda value: value.double() if value.is_floating_point() else value)

    return EpisodeBatch(side(batch.support), side(batch.query), batch.task_index)
