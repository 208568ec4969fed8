"""Empirical Bayes over tasks: a new task's level, slope on the common score and own effects, with a prior that the earlier tasks teach."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from metamedica.blocks import OWN_BLOCK
from metamedica.functional.fitted import Fitted, FittedKinds
from metamedica.functional.gaussian_process import fit_cell_prior
from metamedica.functional.hierarchy import (
    Columns,
    Described,
    cell_offset,
    cell_prior,
    fit_hierarchy,
    span,
    start_cells,
)
from metamedica.functional.leaning import SCRATCH, Leaning, WeighsItself, gain_of
from metamedica.functional.model_average import Averageable, Played
from metamedica.functional.pooled_models import Growth, usual_columns
from metamedica.functional.pooling import Pool, pools
from metamedica.functional.population import HasPopulation
from metamedica.functional.rehearsal import Rehearsal
from metamedica.functional.stacked_score import STACK_START, fit_stack, stack_buffers, stack_of
from metamedica.functional.task_posterior import (
    TaskPosterior,
    averaged_evidence,
    averaged_law,
    cell_scores,
    row_variances,
    task_posterior,
)
from metamedica.types import (
    CaseBatch,
    ClosedForm,
    EpisodeBatch,
    Features,
    LabelledBatch,
    Law,
    Learner,
    OneOf,
    Paper,
    Ranges,
    RawEncoder,
    TaskKind,
)

OWN_EFFECTS = (0.5, 1.0, 2.0, 4.0)
"""How many times a usual column's effect those of its own columns are: averaged over, each as likely before labels."""
_AT_ONCE = 8
"""Cells whose variances are laid out at once, as a query may be long."""
START_EFFECT = 0.3
"""Standard deviation of the effect of such a column before earlier tasks have shown what a column usually does."""
_SMALL_LEVEL = 0.3
"""Standard deviation of a task's level, in log-odds, up to which it counts as that of earlier tasks."""


class Seen(NamedTuple):
    """Cases as the model reads them."""

    score: Float[Tensor, "*batch n"]
    """The common score minus its mean."""
    columns: Float[Tensor, "*batch n flat"]
    """Centred, of usual length 1."""
    own: Float[Tensor, "*batch n own"] | None
    """The block `own`, where there is one."""

    def directions(self, real: Bool[Tensor, "*batch n"]) -> "Bases":
        """Return the directions that these cases tell of, those that `real` is false for left out."""
        known = [None if block is None else span(block.masked_fill(~real[..., None], 0)) for block in self[1:]]
        assert known[0] is not None
        return Bases(known[0], known[1])


class Bases(NamedTuple):
    """The directions that each task's support tells of."""

    shared: Float[Tensor, "tasks flat p"]
    own: Float[Tensor, "tasks own q"] | None
    """None where the support has no block `own`."""


class Cells(NamedTuple):
    """The settings of the prior of a new task that are averaged over; with columns of its own, each at several sizes of their effect."""

    spread: Float[Tensor, "cells 3"]
    effect: Float[Tensor, " cells"]
    centre: Float[Tensor, "cells 2"]
    log_weight: Float[Tensor, " cells"]

    @classmethod
    def of(cls, taught: Fitted, bases: Bases) -> "Cells":
        """Return what earlier tasks have taught, for supports with these directions."""
        effects = taught["log_weight"].new_tensor([1.0] if bases.own is None else OWN_EFFECTS)
        times, cells = len(effects), len(taught["log_weight"])
        even = taught["log_weight"].repeat(times) - math.log(times)
        return cls(
            taught["spread"].repeat(times, 1), effects.repeat_interleave(cells), taught["centre"].repeat(times, 1), even
        )


@dataclass(frozen=True)
class HierarchicalState:
    """Per task: the posterior in every cell, the weight of each cell, and the directions that the support has told of."""

    kind: TaskKind
    posterior: TaskPosterior
    log_weight: Float[Tensor, "tasks cells"]
    bases: Bases
    size: Float[Tensor, " tasks"]
    """Support cases."""


class HierarchicalBayes(Learner[HierarchicalState], ClosedForm, WeighsItself, HasPopulation, Averageable):
    """The score (log-odds, or mean) of task t is a_t + b_t m(x) + w_t . x; its parameters are normal with a prior learned from earlier tasks.

    m is common to all tasks: linear models of several penalties and boosted trees, weighted by what they say of tasks that they have not seen
    (`functional/stacked_score`). How far a task's level a, slope b and effects w differ from the usual is learned from the earlier tasks'
    marginal likelihood in many settings at once (`functional/hierarchy`): from a task that is like all others, through one that
    is recalibrated, to one that has nothing in common with them. `adapt` weighs the settings by the support's marginal likelihood and
    `predict` averages over them and over the posterior, so that few labels, or labels of one class, leave an answer
    unsure. `fit_prior` weighs the settings anew by the query likelihood of meta-valid tasks; without any the earlier tasks' stands.

    A block `own` in the features holds columns that only this task has: their effects have a normal prior of the size that known columns'
    effects have, or some times that, which is averaged over too. Where it is absent, nothing changes.

    Deviates: Efron and Morris know each task's sampling variance; here it is Laplace's for classes and integrated out for regression, and
    the prior's variances are averaged over a grid instead of estimated.

    Args:
        raw: its `flat` features are the inputs.
        signals: prior variances of the pooled linear models' score of a usual case.
        trees: boosted trees in the common score.
        leaves: of each tree.
        most_cases: a task with more is cut down to so many.
    """

    paper: ClassVar[Paper] = Paper(
        "Data analysis using Stein's estimator and its generalizations", "Efron and Morris", 1975, "doi:10.1080/01621459.1975.10479864"
    )  # fmt: skip
    kinds: ClassVar[frozenset[TaskKind]] = frozenset({"binary", "regression"})
    least_classes: ClassVar[int] = 1
    reads_own: ClassVar[bool] = True
    ranges: ClassVar[Ranges] = {
        "signals": None,
        "trees": OneOf((40, 80, 150)),
        "leaves": OneOf((4, 6, 12)),
        "most_cases": None,
    }

    def __init__(
        self,
        raw: RawEncoder,
        *,
        signals: tuple[float, ...] = (0.4, 2.0, 20.0),
        trees: int = 80,
        leaves: int = 6,
        most_cases: int = 2000,
    ) -> None:
        super().__init__()
        self.raw = raw
        self.signals = tuple(signals)
        self.growth = Growth(trees, leaves)
        self.most_cases = most_cases
        cells = start_cells()
        start = {
            "spread": cells.spread,
            "centre": cells.centre,
            "log_weight": cell_prior(cells),
            "score_centre": torch.zeros(()),
            "size": torch.ones(()),
            "flat_centre": torch.zeros(0),
            "noise": torch.ones(()),
            "effect": torch.tensor(START_EFFECT),
        }
        single = {name: value.to(torch.get_default_dtype()) for name, value in start.items()}
        self.taught = FittedKinds(self.kinds, STACK_START | single)

    def adapt(self, support: LabelledBatch) -> HierarchicalState:
        """Return the posterior of each task in every cell. A support of one class, or of one case, is answered with doubt."""
        self.check_kind(support.kind)
        return self._condition(self._seen(support.features, support.kind), support.targets, support.mask, support.kind)

    def _seen(self, features: Features, kind: TaskKind) -> Seen:
        taught, flat = self.taught.of(kind), self.raw.flat(features)
        score = stack_of(taught)(flat) - taught["score_centre"]
        return Seen(score, usual_columns(flat, taught), features.get(OWN_BLOCK))

    def _condition(
        self, known: Seen, targets: Shaped[Tensor, "tasks n"], real: Bool[Tensor, "tasks n"], kind: TaskKind
    ) -> HierarchicalState:
        taught, bases = self.taught.of(kind), known.directions(real)
        described, cells = _described(known, bases, taught), Cells.of(taught, bases)
        offset = cell_offset(described.score, cells.centre)
        posterior = task_posterior(
            described.design(cells.spread, cells.effect),
            offset,
            targets.to(offset.dtype)[:, None].expand_as(offset),
            real.to(offset.dtype)[:, None].expand_as(offset),
            kind=kind,
            noise=taught["noise"],
        )
        log_weight = torch.log_softmax(cells.log_weight + posterior.log_evidence, dim=-1)
        return HierarchicalState(kind, posterior, log_weight, bases, real.sum(1).to(log_weight.dtype))

    def _cells(self, state: HierarchicalState) -> Cells:
        return Cells.of(self.taught.of(state.kind), state.bases)

    def _in_cells(
        self, state: HierarchicalState, asked: Seen
    ) -> tuple[Float[Tensor, "tasks cells m"], Float[Tensor, "tasks cells m"]]:
        """Return mean and variance of each query score in every cell."""
        described, cells = _described(asked, state.bases, self.taught.of(state.kind)), self._cells(state)
        offset = cell_offset(described.score, cells.centre)
        rows, widths = described.rows(), described.widths(cells.spread, cells.effect)
        mean = offset + (rows @ (widths * state.posterior.mode).mT).mT
        variances = []
        for first in range(0, len(cells.effect), _AT_ONCE):
            some = slice(first, first + _AT_ONCE)
            variance = row_variances(rows, widths[some], state.posterior.factor[:, some])
            variances.append(variance + described.unseen(cells.spread[some], cells.effect[some]))
        return mean, torch.cat(variances, dim=1)

    def _law(self, state: HierarchicalState, asked: Seen) -> Law:
        mean, variance = self._in_cells(state, asked)
        return averaged_law(mean, variance, state.posterior.noise, state.log_weight, kind=state.kind)

    def predict(self, state: HierarchicalState, query: CaseBatch) -> Law:
        """Return the law of each query case, averaged over cells and over the posterior in each."""
        return self._law(state, self._seen(query.features, state.kind))

    def log_evidence(self, state: HierarchicalState) -> Float[Tensor, " tasks"]:
        """Return the log marginal likelihood of each support, averaged over cells."""
        return averaged_evidence(self._cells(state).log_weight, state.posterior)

    def shares(self, state: HierarchicalState) -> dict[str, Float[Tensor, " tasks"]]:
        """Return the posterior weight of the cells in which a task is like the usual one, has a level of its own, effects of its own too, or
        nothing in common with earlier tasks."""
        cells = self._cells(state)
        alone = cells.centre[:, 1] == 0
        own = ~alone & (cells.spread[:, 2] > 0)
        level = ~alone & ~own & (cells.spread[:, 0] > _SMALL_LEVEL)
        parts = {
            "as earlier tasks": ~alone & ~own & ~level,
            "own level": level,
            "own effects": own,
            SCRATCH: alone,
        }
        weight = state.log_weight.exp()
        return {name: weight[:, here].sum(1) for name, here in parts.items()}

    def log_sides(self, state: HierarchicalState) -> tuple[Float[Tensor, "tasks 2"], Float[Tensor, " 2"]]:
        """Return the log weight of the cells that lean on earlier tasks and of those that do not, after the labels and before them."""
        cells = self._cells(state)
        alone, prior = cells.centre[:, 1] == 0, cells.log_weight.log_softmax(0)
        each = [[weight[..., here].logsumexp(-1) for here in (~alone, alone)] for weight in (state.log_weight, prior)]
        return torch.stack(each[0], dim=-1), torch.stack(each[1], dim=-1)

    def leaning(self, state: HierarchicalState) -> Leaning:
        """Return `shares`, and the gain of all but the last over the last."""
        return Leaning(self.shares(state), gain_of(*self.log_sides(state), state.size))

    def fit_tasks(self, tasks: Sequence[LabelledBatch]) -> None:
        """Fit the common score and the prior of a new task's parameters, for each kind that there are tasks of.

        Raises:
            TaskError: no task of a kind that the learner allows.
        """
        for pool in pools(tasks, self.raw, sorted(self.kinds), most_cases=self.most_cases).values():
            self.fit_pool(pool)

    def fit_pool(self, pool: Pool) -> Float[Tensor, " n"]:
        """Fit to the earlier tasks of one kind, and return the common score of each case by models that have not seen its task."""
        stack = fit_stack(pool, signals=self.signals, growth=self.growth)
        prior = fit_hierarchy(pool, stack.held_out)
        own = prior.noise.sqrt() if pool.kind == "regression" else torch.ones(())
        self.taught.of(pool.kind).keep(stack_buffers(stack.score) | prior._asdict() | {"effect": stack.effect / own})
        return stack.held_out

    def play(self, pool: Pool, held_out: Float[Tensor, " n"], play: Rehearsal) -> Played:
        """Return how the fitted learner does on an earlier task that is played as a new one."""
        taught = self.taught.of(pool.kind)
        score, columns = held_out - taught["score_centre"], usual_columns(pool.flat, taught)
        known, asked = (Seen(score[at], columns[at], None) for at in (play.support, play.query))
        targets = pool.targets[play.support]
        state = self._condition(known, targets, torch.ones_like(targets, dtype=torch.bool), pool.kind)
        return Played(self.log_evidence(state), self._law(state, asked).log_prob(pool.targets[play.query]))

    def fit_prior(self, episodes: Sequence[EpisodeBatch]) -> None:
        """Weigh the cells of each kind anew, by the query likelihood; the fewer tasks, the nearer to what the earlier tasks say."""
        for kind in sorted(self.kinds):
            batches = [batch for batch in episodes if batch.support.kind == kind]
            if not batches:
                continue
            taught = self.taught.of(kind)
            start, evidence, scores = taught["log_weight"], [], []
            with torch.no_grad():
                for batch in batches:
                    state, query = self.adapt(_without_own(batch.support)), batch.query
                    mean, variance = self._in_cells(state, self._seen(query.features, kind))
                    noise, weight = state.posterior.noise, query.mask.to(mean.dtype)
                    scores.append(cell_scores(mean, variance, noise, query.targets.to(mean.dtype), weight, kind=kind))
                    evidence.append(state.posterior.log_evidence)
            n_tasks = len(torch.unique(torch.cat([batch.task_index for batch in batches])))
            fitted = fit_cell_prior(torch.cat(evidence), torch.cat(scores), start, strength=1 / n_tasks)
            taught.keep({"log_weight": fitted})


def _described(seen: Seen, bases: Bases, taught: Fitted) -> Described:
    shared = Columns.of(seen.columns, bases.shared)
    if bases.own is None:
        return Described(seen.score, shared, None)
    # A query without the block has these columns missing, which is 0.
    own = seen.columns.new_zeros(*seen.score.shape, bases.own.shape[-2]) if seen.own is None else seen.own
    return Described(seen.score, shared, Columns.of(taught["effect"] * own, bases.own))


def _without_own(support: LabelledBatch) -> LabelledBatch:
    """Return the support as a task without columns of its own: the settings are weighed by what all tasks have."""
    features = {name: block for name, block in support.features.items() if name != OWN_BLOCK}
    return replace(support, cases=replace(support.cases, features=features))
