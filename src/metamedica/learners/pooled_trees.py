"""Gradient-boosted trees on all earlier tasks' cases, used as they are (scikit-learn grows them, tensors keep them)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from metamedica.functional.fitted import FittedKinds
from metamedica.functional.pooled_models import NO_TREES, BoostedScore, Growth, boosted_buffers, boosted_fit
from metamedica.functional.pooling import best_model, pools
from metamedica.functional.population import HasPopulation
from metamedica.functional.task_posterior import score_law
from metamedica.functional.trees import TreeArrays
from metamedica.types import CaseBatch, ClosedForm, LabelledBatch, Law, Learner, Paper, RawEncoder, TaskKind

GROWTHS = ((30, 4), (80, 6), (150, 8))
"""Numbers of trees and of leaves that are tried, the smallest first: tables of a few hundred cases bear no more."""


@dataclass(frozen=True)
class PooledTreesState:
    """What is asked: the trees are the same for every task."""

    kind: TaskKind


class PooledTrees(Learner[PooledTreesState], ClosedForm, HasPopulation):
    """Gradient boosting by scikit-learn on the pool of all earlier tasks' cases; the labels of the support are not read.

    Number and size of the trees have the best likelihood on tasks left out (on cases left out, where there is one task only); a
    regression's noise is the mean squared residual there. The trees are kept as tensors, so a saved model holds no code.

    Deviates: splits are sought over histograms of at most 255 bins, and leaf values are penalised.

    Args:
        raw: its `flat` features are the inputs.
        growths: pairs (trees, leaves of a tree) that are tried.
        most_cases: a task with more is cut down to so many.
    """

    paper: ClassVar[Paper] = Paper(
        "Greedy function approximation: a gradient boosting machine", "Friedman", 2001, "doi:10.1214/aos/1013203451"
    )
    kinds: ClassVar[frozenset[TaskKind]] = frozenset({"binary", "regression"})
    least_classes: ClassVar[int] = 1

    def __init__(
        self, raw: RawEncoder, *, growths: tuple[tuple[int, int], ...] = GROWTHS, most_cases: int = 2000
    ) -> None:
        super().__init__()
        self.raw = raw
        self.growths = tuple(Growth(*each) for each in growths)
        self.most_cases = most_cases
        self.taught = FittedKinds(self.kinds, NO_TREES | {"noise": torch.ones(())})

    def adapt(self, support: LabelledBatch) -> PooledTreesState:
        """Return what kind of task is asked."""
        self.check_kind(support.kind)
        return PooledTreesState(support.kind)

    def predict(self, state: PooledTreesState, query: CaseBatch) -> Law:
        """Return the trees' law of each query case."""
        taught = self.taught.of(state.kind)
        trees = TreeArrays(*(taught[name] for name in TreeArrays._fields))
        score = BoostedScore(trees, taught["baseline"], taught["depth"])(self.raw.flat(query.features))
        return score_law(score, taught["noise"], state.kind)

    def fit_tasks(self, tasks: Sequence[LabelledBatch]) -> None:
        """Grow the trees of each kind that there are tasks of.

        Raises:
            TaskError: no task of a kind that the learner allows.
        """
        for kind, pool in pools(tasks, self.raw, sorted(self.kinds), most_cases=self.most_cases).items():
            best = best_model(pool, [boosted_fit(growth) for growth in self.growths])
            self.taught.of(kind).keep(boosted_buffers(best.model) | {"noise": best.noise})
