"""Run by test_compiled.py in a process of its own: shape checks at run time, which the tests turn on, cannot be compiled."""

import json
import logging
import sys
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from metamedica.blocks import SparseRows, SparseTable, as_block
from metamedica.compiled import CompiledGradient
from metamedica.encoders.mlp import MLP
from metamedica.functional.sparse import FEWEST_COLUMNS
from metamedica.learners.maml import Maml
from metamedica.learners.prototypical import Prototypical
from metamedica.types import CaseBatch, EpisodeBatch, LabelledBatch, Learner


def part(sizes: list[int], width: int, seed: int, name: str) -> LabelledBatch:
    random = torch.Generator().manual_seed(seed)
    tasks, n = len(sizes), max(sizes)
    mask = torch.tensor(sizes)[:, None] > torch.arange(n)
    rows = torch.randn(tasks, n, width, generator=random, dtype=torch.float64)
    if width >= FEWEST_COLUMNS:
        rows = (torch.rand(tasks, n, width, generator=random) < 0.03).double()
    targets = (torch.arange(n) % 2).repeat(tasks, 1) * mask
    return LabelledBatch(CaseBatch({name: rows}, mask), targets, "binary", 2)


def as_rows(episodes: EpisodeBatch) -> EpisodeBatch:
    """Return the same episodes, their block as rows of one table."""
    sides = (episodes.support, episodes.query)
    blocks = [side.features["bits"].flatten(0, 1) for side in sides]
    table, first = SparseTable.of(torch.cat(blocks)), 1
    made = []
    for side in sides:
        index = torch.arange(first, first + side.mask.numel()).reshape(side.mask.shape) * side.mask
        made.append(replace(side, cases=CaseBatch({"bits": as_block(SparseRows(table, index))}, side.mask)))
        first += side.mask.numel()
    return EpisodeBatch(made[0], made[1], episodes.task_index)


def network(width: int, name: str) -> MLP:
    torch.manual_seed(0)
    return MLP({name: width}, hidden=(5,), dim=4, dropout=0.0, norm="none")


def slopes(learner: Learner[Any]) -> dict[str, Tensor]:
    found = {name: value.grad.clone() for name, value in learner.named_parameters() if value.grad is not None}
    learner.zero_grad()
    return found


def furthest(found: dict[str, Tensor], want: dict[str, Tensor]) -> float:
    assert found.keys() == want.keys()
    largest = max(float(slope.abs().max()) for slope in want.values())
    return max(float((found[name] - slope).abs().max()) / largest for name, slope in want.items())


class Looking(Prototypical):
    """Its steps depend on a number: no graph holds that."""

    def meta_loss(self, episodes: EpisodeBatch) -> Tensor:
        loss = super().meta_loss(episodes)
        return loss * 2 if float(loss.detach()) > 0 else loss


def compared(
    learner: Learner[Any], batches: list[EpisodeBatch], gradient: CompiledGradient | None = None
) -> dict[str, Any]:
    gradient, far, losses = gradient or CompiledGradient(learner), [], []
    graphs: list[int] = []
    for episodes in batches:
        if not gradient.serves(episodes):
            continue
        loss = gradient(episodes)
        found = slopes(learner)
        plain = learner.meta_loss(episodes)
        plain.backward()
        far.append(furthest(found, slopes(learner)))
        losses.append(abs(float(loss - plain.detach())))
        graphs.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])
    return {"far": far, "losses": losses, "graphs": graphs, "not_compiled": list(gradient.not_compiled.values())}


def main(what: str) -> dict[str, Any]:
    if what == "maml":
        sizes = [([9, 5, 9], [3, 3, 2]), ([5, 7, 3], [4, 4, 4]), ([8, 6, 2], [4, 3, 4]), ([9, 9, 9], [3, 3, 3])]
        learner: Learner[Any] = Maml(network(3, "x"), steps=1).double()
        return compared(learner, [_batch(own, asked, 3, "x") for own, asked in sizes])
    if what == "reset":
        learner, again = Maml(network(3, "x"), steps=1).double(), _batch([5, 7, 3], [4, 4, 4], 3, "x")
        gradient = CompiledGradient(learner)
        found = compared(learner, [again], gradient)
        learner.steps = 2
        return {**found, "far": found["far"] + compared(learner, [again], gradient)["far"]}
    if what == "alike":
        batch = _batch([5, 7, 3], [4, 4, 4], 3, "x")
        each = [compared(Maml(network(3, "x"), steps=steps).double(), [batch]) for steps in (1, 3, 1)]
        return {name: [value for found in each for value in found[name]] for name in each[0]}
    if what == "sparse":
        learner = Prototypical(network(300, "bits")).double()
        return compared(learner, [as_rows(_batch([60, 50, 60], [50, 50, 48], 300, "bits"))])
    if what == "wide":
        rows = as_rows(_batch([5, 7, 3], [4, 4, 4], 300, "bits"))
        return compared(Maml(network(300, "bits"), steps=2).double(), [rows])
    learner = Looking(network(3, "x")).double()
    return compared(learner, [_batch([5, 7, 3], [4, 4, 4], 3, "x")] * 2)


def _batch(own: list[int], asked: list[int], width: int, name: str) -> EpisodeBatch:
    return EpisodeBatch(part(own, width, 0, name), part(asked, width, 1, name), torch.arange(3))


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    torch.set_num_threads(1)
    sys.stdout.write("\n" + json.dumps(main(sys.argv[1])))
