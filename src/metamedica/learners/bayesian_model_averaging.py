"""Two accounts of how tasks differ, averaged by what the labels say of each, under weights that the earlier tasks teach."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from metamedica.functional.fitted import FittedKinds
from metamedica.functional.leaning import Leaning, WeighsItself, gain_of
from metamedica.functional.model_average import Contest, Evident, Known, Played, average_of_laws, fit_model_weights
from metamedica.functional.pooling import pools
from metamedica.functional.population import HasPopulation
from metamedica.functional.rehearsal import rehearsals
from metamedica.learners.additive_transfer import AdditiveState, AdditiveTransfer
from metamedica.learners.hierarchical_bayes import HierarchicalBayes, HierarchicalState
from metamedica.types import (
    CaseBatch,
    ClosedForm,
    EpisodeBatch,
    LabelledBatch,
    Law,
    Learner,
    OneOf,
    Paper,
    Ranges,
    RawEncoder,
    TaskKind,
)


@dataclass(frozen=True)
class AveragedState:
    """Per task: what each model knows, and its weight."""

    kind: TaskKind
    hierarchy: HierarchicalState
    correction: AdditiveState
    log_weight: Float[Tensor, "tasks 2"]


class BayesianModelAveraging(Learner[AveragedState], ClosedForm, WeighsItself, HasPopulation):
    """The average of `hierarchical_bayes` (a task has its own level, slope and linear effects about a common score) and `additive_transfer` (a
    task has a smooth correction of its own on a pooled linear score), by the support's marginal likelihood (Hoeting et al., eq. 1 to 3).

    What each model counts for before any label makes the earlier tasks most likely, played as new ones with scores that have not seen them
    (`functional/model_average`): with a few earlier tasks about a half, with many whatever they say.

    Deviates: the paper's prior over models is given; here the earlier tasks teach it.

    Args:
        raw: of both models.
        trees: of `hierarchical_bayes`.
        leaves: of each tree.
        most_cases: a task with more is cut down to so many.
    """

    paper: ClassVar[Paper] = Paper(
        "Bayesian model averaging: a tutorial", "Hoeting, Madigan, Raftery and Volinsky", 1999, "doi:10.1214/ss/1009212519"
    )  # fmt: skip
    kinds: ClassVar[frozenset[TaskKind]] = frozenset({"binary", "regression"})
    least_classes: ClassVar[int] = 1
    ranges: ClassVar[Ranges] = {
        "trees": OneOf((40, 80, 150)),
        "leaves": OneOf((4, 6, 12)),
        "most_cases": None,
    }

    def __init__(self, raw: RawEncoder, *, trees: int = 80, leaves: int = 6, most_cases: int = 2000) -> None:
        super().__init__()
        self.raw = raw
        self.most_cases = most_cases
        self.hierarchy = HierarchicalBayes(raw, trees=trees, leaves=leaves, most_cases=most_cases)
        self.correction = AdditiveTransfer(raw, most_cases=most_cases)
        self.taught = FittedKinds(self.kinds, {"log_weight": torch.full((2,), 0.5).log()})

    def adapt(self, support: LabelledBatch) -> AveragedState:
        """Return what both models make of each task, and their weights. A support of one class, or of one case, is answered with doubt."""
        self.check_kind(support.kind)
        hierarchy, correction = self.hierarchy.adapt(support), self.correction.adapt(support)
        evidence = [self.hierarchy.log_evidence(hierarchy), self.correction.log_evidence(correction)]
        prior = self.taught.of(support.kind)["log_weight"]
        log_weight = torch.log_softmax(prior + torch.stack(evidence, dim=-1), dim=-1)
        return AveragedState(support.kind, hierarchy, correction, log_weight)

    def predict(self, state: AveragedState, query: CaseBatch) -> Law:
        """Return the law of each query case, averaged over both models."""
        laws = [self.hierarchy.predict(state.hierarchy, query), self.correction.predict(state.correction, query)]
        return average_of_laws(laws, state.log_weight)

    def leaning(self, state: AveragedState) -> Leaning:
        """Return the posterior weight of a task that is like earlier ones, has a level, effects or a correction of its own, or nothing in common
        with them; and the gain of all but the last over the last."""
        hierarchy, correction = state.log_weight.exp().unbind(-1)
        usual, *own, alone = (
            (name, hierarchy * share) for name, share in self.hierarchy.leaning(state.hierarchy).shares.items()
        )
        corrected = correction * self.correction.corrected(state.correction)
        shares = dict([(usual[0], usual[1] + correction - corrected), *own, ("own correction", corrected), alone])
        prior = self.taught.of(state.kind)["log_weight"].log_softmax(0)
        sides = self.hierarchy.log_shares(state.hierarchy)
        after, before = (
            _with_correction(each, weight) for each, weight in zip(sides, (state.log_weight, prior), strict=True)
        )
        return Leaning(shares, gain_of(after, before, state.hierarchy.size))

    def fit_tasks(self, tasks: Sequence[LabelledBatch]) -> None:
        """Fit both models and what each counts for, for each kind that there are tasks of.

        Raises:
            TaskError: no task of a kind that the learner allows.
        """
        for kind, pool in pools(tasks, self.raw, sorted(self.kinds), most_cases=self.most_cases).items():
            models = (self.hierarchy, self.correction)
            fitted = [(model, model.fit_pool(pool)) for model in models]
            contests = [
                Contest(
                    [model.play(pool, held_out, play) for model, held_out in fitted], play.query.shape[1], play.share
                )
                for play in rehearsals(pool)
            ]
            self.taught.of(kind).keep({"log_weight": fit_model_weights(contests, len(fitted))})

    def fit_prior(self, episodes: Sequence[EpisodeBatch]) -> None:
        """Fit the prior of `hierarchical_bayes`, then what each model counts for, to the queries of meta-valid tasks."""
        self.hierarchy.fit_prior(episodes)
        for kind in sorted(self.kinds):
            batches = [batch for batch in episodes if batch.support.kind == kind]
            if batches:
                contests, before = self._contests(batches), self.taught.of(kind)["log_weight"]
                self.taught.of(kind).keep({"log_weight": fit_model_weights(contests, len(before), start=before)})

    def _contests(self, batches: Sequence[EpisodeBatch]) -> list[Contest]:
        """Return how both models do on each episode; the episodes of a task count for as many cases as one."""
        times = Counter(int(task) for batch in batches for task in batch.task_index)
        contests = []
        with torch.no_grad():
            for batch in batches:
                played = [_played(self.hierarchy, batch), _played(self.correction, batch)]
                for at, (task, real) in enumerate(zip(batch.task_index, batch.query.mask, strict=True)):
                    each = [Played(evidence[at, None], likelihood[at, None, real]) for evidence, likelihood in played]
                    contests.append(Contest(each, int(real.sum()), 1 / times[int(task)]))
        return contests


def _played(model: Evident[Known], batch: EpisodeBatch) -> Played:
    state = model.adapt(batch.support)
    law = model.predict(state, batch.query.cases)
    return Played(model.log_evidence(state), law.log_prob(batch.query.targets))


def _with_correction(
    hierarchy: Float[Tensor, "*tasks 2"], log_weight: Float[Tensor, "*tasks 2"]
) -> Float[Tensor, "*tasks 2"]:
    """Return the log weight of what leans on earlier tasks, which `additive_transfer` always does, and of what does not."""
    leans, alone = (log_weight[..., :1] + hierarchy).unbind(-1)
    return torch.stack([torch.logaddexp(leans, log_weight[..., 1]), alone], dim=-1)
