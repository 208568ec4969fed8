"""How earlier tasks differ from what they have in common: the prior of a new task's own level, slope and effects, under several settings.

The score of task t is a_t + b_t m(x) + w_t . x with m common to all tasks and

    a_t ~ N(a_0, s_a^2),    b_t ~ N(b_0, s_b^2),    w_t ~ N(0, s_w^2 I / usual square of x).

A *cell* is one setting of (s_a, s_b, s_w, is b_0 1 or 0). In each cell a_0 and b_0 are found from the earlier tasks; the uncertainty that is
left of them, as they come from so few tasks, widens s_a and s_b for a new one. The cells themselves are not chosen but weighed by how
likely they make the earlier tasks' targets (marginal likelihood, given m of models that have not seen the task) under a weak
prior: with three hospitals many cells stay possible, with thirty few. (Gelman et al. 2013, Bayesian data analysis, sections 5.3 and 15.1.)
"""

import math
from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from metamedica.functional.pooled_models import usual_square_of
from metamedica.functional.pooling import Pool, noise_of
from metamedica.functional.task_posterior import task_posterior
from metamedica.types import TaskKind

LEVELS = (0.1, 0.3, 0.6, 1.2, 2.4)
"""Standard deviations of a task's level, in log-odds (in units of the noise, for regression)."""
SLOPES = (0.05, 0.3)
"""Standard deviations of a task's slope on the common score."""
OWNS = (0.0, 0.25, 0.7)
"""Standard deviations of what a task's own effects change the score of a usual case by."""
LOCAL_LEVELS, LOCAL_SLOPE, LOCAL_OWNS = (1.5,), 0.05, (1.0, 3.0)
"""The cells of a task that has nothing in common with the earlier ones: b_0 is 0."""
_WIDTHS = (1.5, 0.4, 0.5)
"""Scales of the half-normal priors of s_a, s_b and s_w."""
_LOCAL_SHARE = 0.01
"""What the local cells count for together before anything is seen."""
_DOUBT = 0.05
"""Weight of the prior of the cells that stays whatever the earlier tasks say: a new task may be of another sort."""
_TEMPER = 0.5
"""Power of the earlier tasks' likelihood, as their differences are not quite normal (Gruenwald 2012, The safe Bayesian)."""
_LEVEL_VARIANCE, _SLOPE_VARIANCE = 4.0, 0.25
"""Prior variances of a_0 and b_0."""
_ROUNDS = 6


class Cells(NamedTuple):
    """Settings of the prior, one row each."""

    spread: Float[Tensor, "cells 3"]
    """s_a, s_b, s_w."""
    centre: Float[Tensor, "cells 2"]
    """a_0, b_0."""


class Hierarchy(NamedTuple):
    """What earlier tasks teach about a new one."""

    spread: Float[Tensor, "cells 3"]
    """Of a new task: the uncertainty of a_0 and b_0 included."""
    centre: Float[Tensor, "cells 2"]
    log_weight: Float[Tensor, " cells"]
    score_centre: Float[Tensor, ""]
    """Mean of m: subtracted from it, so that level and slope are nearly independent."""
    size: Float[Tensor, ""]
    """Root of the mean squared distance of a case from the centre."""
    flat_centre: Float[Tensor, " flat"]
    noise: Float[Tensor, ""]


def start_cells() -> Cells:
    """Return the cells before anything was learned: a_0 is 0, b_0 is 1, or 0 in the local cells, which come last."""
    common = [(*spread, 1.0) for spread in product(LEVELS, SLOPES, OWNS)]
    local = [(level, LOCAL_SLOPE, own, 0.0) for level, own in product(LOCAL_LEVELS, LOCAL_OWNS)]
    cells = torch.tensor([*common, *local], dtype=torch.float64)
    return Cells(cells[:, :3], torch.stack([torch.zeros(len(cells), dtype=torch.float64), cells[:, 3]], dim=1))


def cell_prior(cells: Cells) -> Float[Tensor, " cells"]:
    """Return the log prior of the cells, before any task is seen."""
    local = cells.centre[:, 1] == 0
    height = -0.5 * (cells.spread / cells.spread.new_tensor(_WIDTHS)).square().sum(1)
    common = torch.log_softmax(height.masked_fill(local, -math.inf), dim=0) + math.log(1 - _LOCAL_SHARE)
    return torch.where(local, math.log(_LOCAL_SHARE / int(local.sum())), common)


class Columns(NamedTuple):
    """Columns of cases in coordinates of the span of a support's columns, and the squared length of what is outside of it."""

    inside: Float[Tensor, "*batch n p"]
    outside: Float[Tensor, "*batch n"]

    @classmethod
    def of(cls, columns: Float[Tensor, "*batch n flat"], basis: Float[Tensor, "*batch flat p"]) -> "Columns":
        """Return the columns seen from a basis, as `span` gives it."""
        inside = columns @ basis
        return cls(inside, (columns.square().sum(-1) - inside.square().sum(-1)).clamp(min=0))


def span(rows: Float[Tensor, "*batch n flat"]) -> Float[Tensor, "*batch flat p"]:
    """Return p = min(n, flat) orthonormal columns whose span holds the rows: what is orthogonal to them no row can tell."""
    if rows.shape[-2] >= rows.shape[-1]:
        eye = torch.eye(rows.shape[-1], dtype=rows.dtype, device=rows.device)
        return eye.expand(*rows.shape[:-2], -1, -1)
    basis, _ = torch.linalg.qr(rows.mT)
    found: Tensor = basis
    return found


class Described(NamedTuple):
    """Cases as the model reads them."""

    score: Float[Tensor, "*batch n"]
    """m minus its mean."""
    shared: Columns
    """x minus its mean over its usual size."""
    own: Columns | None
    """Columns that only this task has, times the standard deviation of a usual column's effect; None without any."""

    def design(
        self, spread: Float[Tensor, "cells 3"], effect: Float[Tensor, " cells"]
    ) -> Float[Tensor, "*batch cells n q"]:
        """Return the design (1, m, x, own) of whitened parameters in each cell.

        Args:
            spread: of the cells.
            effect: how many times a usual column's effect those of the task's own columns are.
        """
        return self.rows()[..., None, :, :] * self.widths(spread, effect)[:, None, :]

    def rows(self) -> Float[Tensor, "*batch n q"]:
        """Return (1, m, x, own)."""
        own = self.shared.inside[..., :0] if self.own is None else self.own.inside
        return torch.cat(
            [torch.ones_like(self.score)[..., None], self.score[..., None], self.shared.inside, own], dim=-1
        )

    def widths(self, spread: Float[Tensor, "cells 3"], effect: Float[Tensor, " cells"]) -> Float[Tensor, "cells q"]:
        """Return the prior's standard deviation of each parameter in each cell; the arguments are those of `design`."""
        n_own = 0 if self.own is None else self.own.inside.shape[-1]
        each = spread[:, 2:].expand(-1, self.shared.inside.shape[-1])
        return torch.cat([spread[:, :2], each, effect[:, None].expand(-1, n_own)], dim=1)

    def unseen(
        self, spread: Float[Tensor, "cells 3"], effect: Float[Tensor, " cells"]
    ) -> Float[Tensor, "*batch cells n"]:
        """Return the prior variance of what no case of the support can tell of the score; the arguments are those of `design`."""
        outside = spread[:, 2:].square() * self.shared.outside[..., None, :]
        return outside if self.own is None else outside + effect.square()[:, None] * self.own.outside[..., None, :]


def cell_offset(score: Float[Tensor, "*batch n"], centre: Float[Tensor, "cells 2"]) -> Float[Tensor, "*batch cells n"]:
    """Return the score at the prior's mean in each cell."""
    return centre[:, :1] + centre[:, 1:] * score[..., None, :]


def fit_hierarchy(pool: Pool, held_out: Float[Tensor, " n"]) -> Hierarchy:
    """Return the prior of a new task, from the earlier ones.

    Args:
        pool: of one kind.
        held_out: m of each case, by models that have not seen its task.
    """
    cells = start_cells()
    flat_centre, score_centre = pool.flat.mean(0), held_out.mean()
    size = pool.flat.new_tensor(usual_square_of(pool.flat)).sqrt()
    columns, score = (pool.flat - flat_centre) / size, held_out - score_centre
    noise = noise_of(pool, held_out[:, None])[0]
    own = noise.sqrt() if pool.kind == "regression" else 1.0
    tasks = [
        _Task.of(score[rows], columns[rows], pool.targets[rows], noise)
        for rows in map(pool.rows_of, range(pool.n_tasks))
    ]
    local = cells.centre[:, 1] == 0
    expected = torch.where(local[:, None], cells.centre.new_tensor([1.0, 0.0]), 1.0) * cells.centre
    expected[:, 0] = score_centre
    allowed = cells.centre.new_tensor([_LEVEL_VARIANCE, _SLOPE_VARIANCE]).expand_as(expected)
    between = (own * cells.spread[:, :2]).square()
    remaining = 1 / (len(tasks) / between + 1 / allowed)
    centre = expected
    modes: dict[tuple[int, bool], Tensor] = {}
    for _ in range(_ROUNDS):
        evidence, found = _evidence(tasks, Cells(cells.spread, centre), pool.kind, modes)
        centre = remaining * (found / between + expected / allowed)
        centre = torch.where(local[:, None] & (torch.arange(2) == 1), 0.0, centre)
    wider = (between + remaining).sqrt() / own
    prior = cell_prior(cells)
    learned = torch.log_softmax(prior + _TEMPER * evidence, dim=0) + math.log(1 - _DOUBT)
    weight = torch.log_softmax(torch.logaddexp(learned, prior + math.log(_DOUBT)), dim=0)
    spread = torch.cat([wider, cells.spread[:, 2:]], dim=1)
    return Hierarchy(spread, centre, weight, score_centre, size, flat_centre, noise)


class _Task(NamedTuple):
    described: Described
    targets: Float[Tensor, " n"]
    noise: Float[Tensor, ""]

    @classmethod
    def of(cls, score: Tensor, columns: Tensor, targets: Tensor, noise: Tensor) -> "_Task":
        return cls(Described(score, Columns.of(columns, span(columns)), None), targets, noise)


def _evidence(
    tasks: Sequence[_Task], cells: Cells, kind: TaskKind, modes: dict[tuple[int, bool], Tensor]
) -> tuple[Float[Tensor, " cells"], Float[Tensor, "cells 2"]]:
    """Return the log evidence of all tasks in each cell, and the sum over tasks of the expected level and slope.

    A cell without own effects is one of two parameters, however many columns there are, and the search for a mode begins where the last one
    ended: the time is that of the columns squared in every cell otherwise.

    Args:
        tasks: the earlier ones.
        cells: settings of the prior.
        kind: of the tasks.
        modes: of each task in the cells with and without own effects, as the last call left them, put in by this one; empty at first.
    """
    evidence, total = torch.zeros_like(cells.spread[:, 0]), torch.zeros_like(cells.centre)
    plain = cells.spread[:, 2] == 0
    for at, task in enumerate(tasks):
        for own, some in ((False, plain), (True, ~plain)):
            spread, centre = cells.spread[some], cells.centre[some]
            design = task.described.design(spread, spread[:, 0])
            offset = cell_offset(task.described.score, centre)
            posterior = task_posterior(
                design if own else design[..., :2],
                offset,
                task.targets.expand_as(offset),
                torch.ones_like(offset),
                kind=kind,
                noise=task.noise,
                start=modes.get((at, own)),
            )
            modes[at, own] = posterior.mode
            evidence[some] += posterior.log_evidence
            total[some] += centre + spread[:, :2] * posterior.mode[..., :2]
    return evidence, total
