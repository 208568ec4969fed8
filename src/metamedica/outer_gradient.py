"""The gradient of one batch of tasks: the tasks shared by the processes, each share taken in parts, the gradients summed.

Tasks of very different sizes are taken in parts too, so that little is padded. The batch's loss is the mean over its tasks, so a part's
loss counts by its tasks: sum over parts of (tasks of the part / tasks of the batch) x (mean loss of the part). A task's episode and its
dropout are functions of the batch's number and the task's position in it, whatever process takes it and with which others.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, nn

from metamedica.compiled import CompiledGradient
from metamedica.data.episodes import Roster
from metamedica.errors import TrainingError
from metamedica.functional.ragged import part_of, parts_by_size
from metamedica.functional.targets import standardise_episodes
from metamedica.functional.task_random import TaskSeeds
from metamedica.precision import backward_in, forward_in
from metamedica.ranks import ALONE, Ranks
from metamedica.schedule import TrainingSettings
from metamedica.types import Encoder, EpisodeBatch, LabelledBatch, Learner

_NEAR = 1e-3


@contextmanager
def random_numbers_of(seeds: Sequence[int], device: torch.device) -> Iterator[None]:
    """Seed torch's generators, and put them back afterwards."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(int(np.random.SeedSequence(seeds).generate_state(1, np.uint64)[0] >> np.uint64(1)))
        yield


def moved(episodes: EpisodeBatch, device: torch.device) -> EpisodeBatch:
    """Return the episodes on a device."""

    def move(batch: LabelledBatch) -> LabelledBatch:
        return batch.map(partial(Tensor.to, device=device))

    return EpisodeBatch(move(episodes.support), move(episodes.query), episodes.task_index.to(device))


def learned_parameters(learner: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that training moves, by name."""
    return {name: value for name, value in learner.named_parameters() if value.requires_grad}


def read_by_entries(learner: nn.Module) -> frozenset[str]:
    """Return the names of the blocks that every encoder of a learner reads as rows of a table."""
    read = [module.by_entries for module in learner.modules() if isinstance(module, Encoder)]
    return frozenset.intersection(*read) if read else frozenset()


def parts_for(learner: Learner[Any], episodes: EpisodeBatch) -> list[Int[Tensor, " tasks"]]:
    """Return the rows of the tasks whose gradient is taken together: those of like sizes, and where tasks adapt one after another, so many at once,
    whose graph is let go before the next ones'."""
    parts = parts_by_size(episodes)
    at_once = learner.tasks_at_once(episodes.support.kind)
    return parts if at_once is None else [some for rows in parts for some in torch.split(rows, at_once)]


def outer_gradient(
    learner: Learner[Any],
    roster: Roster,
    seeds: Sequence[int],
    settings: TrainingSettings,
    ranks: Ranks = ALONE,
    graph: CompiledGradient | None = None,
) -> float:
    """Leave the gradient of the batch's meta-loss in the parameters' `.grad`, the same in every process; return the loss.

    The same number of processes and parts gives the same bits; another one gives the same up to rounding, dropout included.

    Args:
        learner: in training mode, on the device where it shall compute.
        roster: the batch.
        seeds: of the batch's random numbers.
        settings: `accumulate` and `precision` are read.
        ranks: the processes; each calls this with the same arguments.
        graph: of the learner, where its steps are compiled.

    Raises:
        RunEnded: another process is gone.
    """
    parameters = list(learned_parameters(learner).values())
    device = parameters[0].device
    own = np.random.SeedSequence([*seeds]).generate_state(len(roster), np.uint64).view(np.int64)
    task_seeds = torch.from_numpy(own).to(device)
    loss = torch.zeros((), dtype=torch.float64, device=device)
    for parameter in parameters:
        parameter.grad = None
    for rows in ranks.parts(len(roster), settings.accumulate):
        episodes = standardise_episodes(moved(roster.episodes(rows), device))
        with random_numbers_of([*seeds, rows.start], device):
            for tasks in parts_for(learner, episodes):
                part, share = part_of(episodes, tasks), len(tasks) / len(roster)
                if graph is not None and graph.serves(part):
                    loss += graph(part, share=share)
                    continue
                with forward_in(settings.precision, learner, device), TaskSeeds(task_seeds[rows.start + tasks]):
                    value = learner.meta_loss(part) * share
                with backward_in(settings.precision, device):
                    value.backward()  # type: ignore[no-untyped-call]
                loss += value.detach()
    return _summed(parameters, loss, ranks)


def _summed(parameters: Sequence[nn.Parameter], loss: Tensor, ranks: Ranks) -> float:
    """Sum loss and gradients over the processes; a parameter that has no gradient in any of them has none afterwards."""
    if ranks.size == 1:
        return float(loss)
    known = [float(parameter.grad is not None) for parameter in parameters]
    told = ranks.sum_(torch.cat([loss[None], torch.tensor(known, dtype=loss.dtype, device=loss.device)])).tolist()
    taught = [parameter for parameter, count in zip(parameters, told[1:], strict=True) if count]
    for group in _by_type(taught):
        flat = torch.cat([(p.grad if p.grad is not None else torch.zeros_like(p)).reshape(-1) for p in group])
        pieces = torch.split(ranks.sum_(flat), [p.numel() for p in group])
        for parameter, piece in zip(group, pieces, strict=True):
            parameter.grad = piece.view_as(parameter)
    return float(told[0])


def _by_type(parameters: Sequence[nn.Parameter]) -> list[list[nn.Parameter]]:
    groups: dict[torch.dtype, list[nn.Parameter]] = {}
    for parameter in parameters:
        groups.setdefault(parameter.dtype, []).append(parameter)
    return list(groups.values())


def check_divisible(learner: Learner[Any], roster: Roster) -> None:
    """Refuse a learner whose loss of two tasks together is not the mean of their losses: its batches cannot be divided.

    Raises:
        TrainingError: it is not.
    """
    if len(roster) < 2:
        return
    device = next(iter(learned_parameters(learner).values())).device
    learner.eval()
    with torch.no_grad():
        both, one, other = (
            float(learner.meta_loss(standardise_episodes(moved(roster.episodes(rows), device))))
            for rows in (range(2), range(1), range(1, 2))
        )
    if not abs(both - (one + other) / 2) <= _NEAR * (1 + abs(one) + abs(other)):
        raise TrainingError(
            f"the loss of {type(learner).__name__} on two tasks is {both:.6g} and not the mean {(one + other) / 2:.6g} of its losses on each, "
            "so a batch cannot be divided; train in one process with accumulate 1, or let meta_loss be a mean over tasks"
        )
