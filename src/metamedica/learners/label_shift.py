"""The pooled model at the task's own prevalence, which its cases without label tell, with its labels and earlier tasks' prevalences."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from metamedica.functional.classes import HALF
from metamedica.functional.fitted import Fitted, FittedKinds
from metamedica.functional.pooled_models import SIGNALS, LinearScore, linear_fit
from metamedica.functional.pooling import Pool, best_score, held_out_models, held_out_scores, pools
from metamedica.functional.prevalence import PrevalencePrior, fit_prevalence_prior, log_odds_of_prevalence
from metamedica.functional.stacked_score import LEVEL
from metamedica.functional.task_posterior import binary_law, task_posterior
from metamedica.types import CaseBatch, ClosedForm, Features, LabelledBatch, Law, Learner, Paper, RawEncoder, TaskKind
from metamedica.unlabelled import Unlabelled

_LOOSE = 5.0
"""Prior standard deviation of the source's log-odds."""
_FIRM = 0.5
"""That of the slope about 1."""


@dataclass(frozen=True)
class PrevalenceState:
    """Per task: logit of the prevalence."""

    log_odds: Float[Tensor, " tasks"]


class LabelShift(Learner[PrevalenceState], ClosedForm, Unlabelled):
    """Log-odds of a case: log p(x | 1) / p(x | 0), which all tasks share, plus the logit of the task's own prevalence.

    The ratio is the pooled linear model's score, in which each earlier task has an intercept of its own, less the log-odds that its scores already
    hold, with a slope; both are set right on earlier tasks, whose prevalences are known, by models that have not seen them. The prevalence is the
    maximum a posteriori given the cases without label, the labels, and a Beta law of the earlier tasks' prevalences.

    Deviates: a case without label counts for a part of a case, the part with the best likelihood where earlier tasks are played as
    new ones, all their cases without label: that tasks differ in prevalence only is never quite true. 0 is among the parts.

    Args:
        raw: its `flat` features are the inputs.
        parts: tried.
        signals: prior variances of the score of a usual case that are tried for the pooled model.
        most_cases: a task with more is cut down to so many.
    """

    paper: ClassVar[Paper] = Paper(
        "Adjusting the outputs of a classifier to new a priori probabilities", "Saerens, Latinne and Decaestecker", 2002,
        "doi:10.1162/089976602753284446",
    )  # fmt: skip
    kinds: ClassVar[frozenset[TaskKind]] = frozenset({"binary"})

    def __init__(
        self,
        raw: RawEncoder,
        *,
        parts: tuple[float, ...] = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0),
        signals: tuple[float, ...] = SIGNALS,
        most_cases: int = 2000,
    ) -> None:
        super().__init__()
        self.raw = raw
        self.parts = tuple(parts)
        self.signals = tuple(signals)
        self.most_cases = most_cases
        start = {
            "weight": torch.zeros(0),
            "intercept": torch.zeros(()),
            "positive": torch.ones(()),
            "negative": torch.ones(()),
            "part": torch.zeros(()),
        }
        self.taught = FittedKinds(self.kinds, start)

    def _ratio(self, features: Features, taught: Fitted) -> Float[Tensor, "tasks n"]:
        return LinearScore(taught["weight"], taught["intercept"])(self.raw.flat(features))

    def adapt(self, support: LabelledBatch) -> PrevalenceState:
        """Return the prevalence of each task from its labels."""
        return self.adapt_with(support, support.cases.map(lambda value: value[:, :0]))

    def adapt_with(self, support: LabelledBatch, unlabelled: CaseBatch) -> PrevalenceState:
        """Return the prevalence of each task from its labels and its cases without."""
        self.check_kind(support.kind)
        taught = self.taught.of(support.kind)
        ratio = self._ratio(unlabelled.features, taught).masked_fill(~unlabelled.mask, 0)
        there = support.mask.to(ratio.dtype)
        found = log_odds_of_prevalence(
            ratio,
            taught["part"] * unlabelled.mask.to(ratio.dtype),
            (support.targets * there).sum(1),
            there.sum(1),
            PrevalencePrior(taught["positive"], taught["negative"]),
        )
        return PrevalenceState(found)

    def predict(self, state: PrevalenceState, query: CaseBatch) -> Law:
        """Return the law of each query case at its task's prevalence."""
        return binary_law(self._ratio(query.features, self.taught.of("binary")) + state.log_odds[:, None])

    def fit_tasks(self, tasks: Sequence[LabelledBatch]) -> None:
        """Fit the ratio, the law of the prevalence, and what a case without label counts for.

        Raises:
            TaskError: no task of a kind that the learner allows.
        """
        pool = pools(tasks, self.raw, sorted(self.kinds), most_cases=self.most_cases)["binary"]
        fits = [linear_fit(signal=signal, level=LEVEL) for signal in self.signals]
        scores = held_out_scores(pool, held_out_models(pool, fits))
        best = best_score(pool, scores)
        prevalence = _Prevalences.of(pool)
        slope, odds = _ratio_of_score(scores[:, best], pool, prevalence)
        ratio = slope * scores[:, best] - odds
        part = self.parts[best_score(pool, self._rehearsed(pool, ratio, prevalence))]
        model = fits[best](pool, torch.ones_like(pool.task, dtype=torch.bool))
        prior = fit_prevalence_prior(prevalence.positives, prevalence.counts)
        score = {"weight": slope * model.weight, "intercept": slope * model.intercept - odds}
        self.taught.of("binary").keep({**score, **prior._asdict(), "part": torch.tensor(part)})

    def _rehearsed(
        self, pool: Pool, ratio: Float[Tensor, " n"], prevalence: "_Prevalences"
    ) -> Float[Tensor, "n parts"]:
        """Return the log-odds of each case where its task's cases have no label, for each part that one may count for."""
        scores = ratio.new_zeros(len(ratio), len(self.parts))
        nothing = torch.zeros(len(self.parts), dtype=ratio.dtype)
        for task in range(pool.n_tasks):
            rows, others = pool.rows_of(task), torch.arange(pool.n_tasks) != task
            prior = fit_prevalence_prior(prevalence.positives[others], prevalence.counts[others])
            wide = ratio[rows].expand(len(self.parts), -1)
            weight = torch.tensor(self.parts, dtype=ratio.dtype)[:, None].expand_as(wide)
            found = log_odds_of_prevalence(wide, weight, nothing, nothing, prior)
            scores[rows] = (wide + found[:, None]).mT
        return scores


class _Prevalences(NamedTuple):
    """Of the earlier tasks."""

    positives: Float[Tensor, " tasks"]
    counts: Float[Tensor, " tasks"]

    @classmethod
    def of(cls, pool: Pool) -> "_Prevalences":
        """Return those of a pool."""
        counts = torch.bincount(pool.task).to(pool.targets.dtype)
        return cls(torch.bincount(pool.task, pool.targets), counts)

    def log_odds(self) -> Float[Tensor, " tasks"]:
        """Return the log-odds of class 1, half a case of each class added."""
        return ((self.positives + HALF) / (self.counts - self.positives + HALF)).log()


def _ratio_of_score(score: Float[Tensor, " n"], pool: Pool, prevalence: _Prevalences) -> tuple[Tensor, Tensor]:
    """Return (b, o) such that b score - o + logit of a task's prevalence has the best likelihood."""
    offset = score + prevalence.log_odds()[pool.task]
    design = torch.stack([torch.full_like(score, -_LOOSE), _FIRM * score], dim=-1)
    found = task_posterior(design[None], offset[None], pool.targets[None], torch.ones_like(score)[None], kind="binary")
    return 1 + _FIRM * found.mode[0, 1], _LOOSE * found.mode[0, 0]
