"""What each part of a case contributes to an answer: Shapley values of the game in which the parts are the players.

The worth of a coalition is the mean answer for the case with the other parts replaced by those of background cases (interventional values:
Janzing, Minorics and Bloebaum 2020, arXiv:1910.13413). Where the answer is a sum over columns and every column is of one part, the values
are differences of two answers, exact.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float64
from numpy.typing import NDArray
from torch import Tensor

from metamedica.functional.shapley import coalitions_of
from metamedica.parts import CaseParts
from metamedica.predictors.answers import Answer
from metamedica.types import Features

COALITIONS = (256, 1024)
"""Coalitions that are asked of a case: the first where each stands for `MOST_BACKGROUND` cases, the second where for one."""
_ANSWERS = 4096
MOST_BACKGROUND = 16
FEWEST_BACKGROUND = 8
"""Labelled cases below which a table's typical row stands for what is away: the mean of so few would tell of each."""


@dataclass(frozen=True)
class Contributions:
    """What each part contributes; `base` plus all of them is `output`.

    Args:
        base: the answer with every part away.
        output: the answer.
        values: one a part.
        exact: whether they are exact: the answer is a sum, or every coalition was asked.
    """

    base: float
    output: float
    values: NDArray[np.float64]
    exact: bool


def worths(answer: Answer, parts: CaseParts, present: Bool[Tensor, "coalitions parts"]) -> NDArray[np.float64]:
    """Return the mean answer over versions of the case with these parts, one a coalition."""
    found: NDArray[np.float64] = answer(parts.without(present)).reshape(len(present), parts.versions).mean(1).numpy()
    return found


def contributions(answer: Answer, parts: CaseParts, *, coalitions: int | None = None, seed: int = 0) -> Contributions:
    """Return what each part contributes to the answer.

    Args:
        answer: that is explained.
        parts: of the case.
        coalitions: most that are asked; None: what the parts say, or as many as take about 4,000 answers (`COALITIONS`), or four a part where that
            is more.
        seed: of the coalitions that are drawn.

    Raises:
        InputError: fewer coalitions than tell of all parts.
    """
    count = len(parts.names)
    if coalitions is not None:  # said before any part is found to be idle
        coalitions_of(count, coalitions=coalitions, seed=seed)
    active = np.ones(count, dtype=bool)
    if parts.separate:
        ends = torch.stack([torch.zeros(count), torch.ones(count)]).bool()
        alone = torch.cat([ends, ~torch.eye(count, dtype=torch.bool)])
        if answer.sum is not None:
            told = worths(answer, parts, alone)
            base, output = float(told[0]), float(told[1])
            return Contributions(base, output, output - told[2:], exact=True)
        active = _changes(parts.without(alone[1:]), parts.versions)
    playing = int(active.sum())
    usual = parts.coalitions or usual_coalitions(parts.versions)
    budget = max(usual, 4 * playing) if coalitions is None else coalitions
    asked = coalitions_of(playing, coalitions=budget, seed=seed)
    present = np.ones((len(asked.present), count), dtype=bool)
    present[:, active] = asked.present
    told = worths(answer, parts, torch.from_numpy(present))
    values = np.zeros(count)
    values[active] = asked.values(told)
    return Contributions(float(told[0]), float(told[1]), values, asked.complete)


def usual_coalitions(versions: int) -> int:
    """Return how many coalitions are asked where each takes so many answers."""
    return min(max(_ANSWERS // max(versions, 1), COALITIONS[0]), COALITIONS[1])


def _changes(features: Features, versions: int) -> NDArray[np.bool_]:
    """Return which parts change anything when they are away: the blocks hold the case whole and then with each part away, `versions` times."""
    changed: NDArray[np.bool_] | None = None
    for block in features.values():
        each = block.reshape(-1, versions, block.shape[-1])
        here = (each[1:] != each[:1]).flatten(1).any(1).numpy()
        changed = here if changed is None else changed | here
    assert changed is not None
    return changed


def background_rows(answer: Answer, rows: Features, *, least: int, most: int = MOST_BACKGROUND) -> Features:
    """Return cases that stand for what is away: those of a task at even steps of their answers, so that few speak for all; none below `least`.

    Args:
        answer: that is explained.
        rows: blocks `[cases, size]` of the task.
        least: cases below which none is taken.
        most: cases that are taken.
    """
    count = len(next(iter(rows.values()))) if rows else 0
    if count < least:
        return {name: block[:0] for name, block in rows.items()}
    if count > most:
        chosen = evenly(answer(rows), most)
        rows = {name: block[chosen] for name, block in rows.items()}
    return rows


def evenly(answers: Float64[Tensor, " cases"], most: int) -> list[int]:
    """Return at most so many cases, at even steps of their answers, in their own order."""
    count = len(answers)
    if count <= most:
        return list(range(count))
    steps = ((torch.arange(most) + 0.5) * count / most).long()
    return sorted(torch.argsort(answers, stable=True)[steps].tolist())
