"""A task's score is the pooled one plus a small function of its own, which is 0 until labels say otherwise."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from metamedica.functional.fitted import Fitted, FittedKinds
from metamedica.functional.gaussian_process import fit_cell_prior
from metamedica.functional.model_average import Averageable, Played
from metamedica.functional.pooled_models import SIGNALS, LinearScore, linear_fit, usual_columns, usual_square_of
from metamedica.functional.pooling import Pool, best_model, pools
from metamedica.functional.population import HasPopulation
from metamedica.functional.rehearsal import Rehearsal, rehearsals
from metamedica.functional.task_posterior import (
    TaskPosterior,
    averaged_evidence,
    averaged_law,
    cell_scores,
    posterior_scores,
    task_posterior,
)
from metamedica.types import CaseBatch, ClosedForm, Features, LabelledBatch, Law, Learner, Paper, RawEncoder, TaskKind

SIZES = (0.1, 0.3, 1.0, 3.0)
"""Standard deviations of the correction, in log-odds (in units of the noise, for regression); 0 is a cell of its own."""
_SHAPES = 2
_JITTER = 1e-4


class Seen(NamedTuple):
    """Cases as the model reads them."""

    score: Float[Tensor, "*batch n"]
    columns: Float[Tensor, "*batch n flat"]
    """Centred, of usual length 1."""
    vectors: Float[Tensor, "*batch n dim"]


@dataclass(frozen=True)
class AdditiveState:
    """Per task: the support, the factors of both covariances of the correction there, and the posterior in every cell."""

    kind: TaskKind
    known: Seen
    real: Float[Tensor, "tasks n"]
    factor: Float[Tensor, "tasks shapes n n"]
    posterior: TaskPosterior
    log_weight: Float[Tensor, "tasks cells"]


class AdditiveTransfer(Learner[AdditiveState], ClosedForm, HasPopulation, Averageable):
    """Score m(x) + alpha(x): m is the pooled linear model and alpha a Gaussian process with mean 0, the task's own correction.

    alpha has the covariance size^2 (1 + k(x, x')) / 2 with k the raw similarity or the inner product of the columns; kernel and size are
    averaged over by the support's marginal likelihood, under a prior that the earlier tasks teach, played as new ones with a pooled model
    that has not seen them. At size 0 the answer is the pooled one. A support of one class, or of one case, is answered.

    Deviates: Kennedy and O'Hagan scale m by a factor too and estimate it; their two outputs are numbers at nested designs.

    Args:
        raw: its `flat` features are the inputs of m, its similarity is alpha's.
        signals: prior variances of the score of a usual case that are tried for m.
        sizes: of alpha.
        most_cases: a task with more is cut down to so many.
    """

    paper: ClassVar[Paper] = Paper(
        "Predicting the output from a complex computer code when fast approximations are available",
        "Kennedy and O'Hagan",
        2000,
        "doi:10.1093/biomet/87.1.1",
    )
    kinds: ClassVar[frozenset[TaskKind]] = frozenset({"binary", "regression"})
    least_classes: ClassVar[int] = 1

    def __init__(
        self,
        raw: RawEncoder,
        *,
        signals: tuple[float, ...] = SIGNALS,
        sizes: tuple[float, ...] = SIZES,
        most_cases: int = 2000,
    ) -> None:
        super().__init__()
        self.raw = raw
        self.signals = tuple(signals)
        self.sizes = (0.0, *sizes)
        self.most_cases = most_cases
        cells = _SHAPES * len(self.sizes)
        start = {
            "weight": torch.zeros(0),
            "intercept": torch.zeros(()),
            "noise": torch.ones(()),
            "flat_centre": torch.zeros(0),
            "size": torch.ones(()),
            "log_prior": torch.full((cells,), -math.log(cells)),
        }
        self.taught = FittedKinds(self.kinds, start)

    def _seen(self, features: Features, taught: Fitted) -> Seen:
        flat = self.raw.flat(features)
        score = LinearScore(taught["weight"], taught["intercept"])(flat)
        return Seen(score, usual_columns(flat, taught), self.raw(features))

    def _covariance(self, left: Seen, right: Seen) -> Float[Tensor, "*batch shapes n m"]:
        """Return the covariance of alpha at size 1, for each shape."""
        shapes = [self.raw.similarity(left.vectors, right.vectors), left.columns @ right.columns.mT]
        return (1 + torch.stack(shapes, dim=-3)) / 2

    def _condition(
        self,
        known: Seen,
        targets: Float[Tensor, "tasks n"],
        real: Float[Tensor, "tasks n"],
        taught: Fitted,
        kind: TaskKind,
    ) -> AdditiveState:
        both = (real[:, :, None] * real[:, None, :])[:, None] > 0
        eye = torch.eye(real.shape[1], dtype=real.dtype, device=real.device)
        covariance = torch.where(both, self._covariance(known, known), eye) + _JITTER * eye
        factor = torch.linalg.cholesky(covariance)
        design = torch.cat([size * factor for size in self.sizes], dim=1)
        spread = [part[:, None].expand(design.shape[:3]) for part in (known.score, targets, real)]
        posterior = task_posterior(design, *spread, kind=kind, noise=taught["noise"])
        log_weight = torch.log_softmax(taught["log_prior"] + posterior.log_evidence, dim=-1)
        return AdditiveState(kind, known, real, factor, posterior, log_weight)

    def _in_cells(
        self, state: AdditiveState, asked: Seen
    ) -> tuple[Float[Tensor, "tasks cells m"], Float[Tensor, "tasks cells m"]]:
        cross = self._covariance(state.known, asked) * state.real[:, None, :, None]
        rows = torch.linalg.solve_triangular(state.factor, cross, upper=False).mT
        # A column's length differs from case to case, so the variance is not 1 for the inner product.
        own = torch.stack([torch.ones_like(asked.score), (1 + asked.columns.square().sum(-1)) / 2], dim=1)
        left = (own + _JITTER - rows.square().sum(-1)).clamp(min=0)
        design = torch.cat([size * rows for size in self.sizes], dim=1)
        mean, variance = posterior_scores(state.posterior, design, asked.score[:, None].expand(design.shape[:3]))
        return mean, variance + torch.cat([size**2 * left for size in self.sizes], dim=1)

    def adapt(self, support: LabelledBatch) -> AdditiveState:
        """Return the posterior of each task's correction in every cell."""
        self.check_kind(support.kind)
        taught = self.taught.of(support.kind)
        known = self._seen(support.features, taught)
        real = support.mask.to(known.score.dtype)
        return self._condition(known, support.targets.to(real.dtype), real, taught, support.kind)

    def predict(self, state: AdditiveState, query: CaseBatch) -> Law:
        """Return the law of each query case, averaged over cells and over the correction."""
        return self._law(state, self._seen(query.features, self.taught.of(state.kind)))

    def _law(self, state: AdditiveState, asked: Seen) -> Law:
        mean, variance = self._in_cells(state, asked)
        return averaged_law(mean, variance, state.posterior.noise, state.log_weight, kind=state.kind)

    def log_evidence(self, state: AdditiveState) -> Float[Tensor, " tasks"]:
        """Return the log marginal likelihood of each support, averaged over cells."""
        return averaged_evidence(self.taught.of(state.kind)["log_prior"], state.posterior)

    def shares(self, state: AdditiveState) -> dict[str, Float[Tensor, " tasks"]]:
        """Return the posterior weight of the cells in which a task has no correction, and of those in which it has one."""
        usual = state.log_weight[:, :_SHAPES].exp().sum(1)
        return {"as earlier tasks": usual, "own correction": 1 - usual}

    def log_sides(self, state: AdditiveState) -> tuple[Float[Tensor, "tasks 2"], Float[Tensor, " 2"]]:
        """Return 0 and minus infinity: every cell leans on earlier tasks."""
        before = state.log_weight.new_tensor([0.0, -math.inf])
        return before.expand(len(state.log_weight), -1), before

    def fit_tasks(self, tasks: Sequence[LabelledBatch]) -> None:
        """Fit the pooled model and the prior of kernel and size, for each kind that there are tasks of.

        Raises:
            TaskError: no task of a kind that the learner allows.
        """
        for pool in pools(tasks, self.raw, sorted(self.kinds), most_cases=self.most_cases).values():
            self.fit_pool(pool)

    def fit_pool(self, pool: Pool) -> Float[Tensor, " n"]:
        """Fit to the earlier tasks of one kind, and return the pooled score of each case by models that have not seen its task."""
        best = best_model(pool, [linear_fit(signal=signal) for signal in self.signals])
        centre, size = pool.flat.mean(0), torch.tensor(usual_square_of(pool.flat)).sqrt()
        taught = self.taught.of(pool.kind)
        taught.keep({**best.model._asdict(), "noise": best.noise, "flat_centre": centre, "size": size})
        taught.keep({"log_prior": self._rehearse(pool, best.held_out)})
        return best.held_out

    def play(self, pool: Pool, held_out: Float[Tensor, " n"], play: Rehearsal) -> Played:
        """Return how the fitted learner does on an earlier task that is played as a new one."""
        state, asked = self._played(pool, held_out, play)
        return Played(self.log_evidence(state), self._law(state, asked).log_prob(pool.targets[play.query]))

    def _played(self, pool: Pool, held_out: Float[Tensor, " n"], play: Rehearsal) -> tuple[AdditiveState, Seen]:
        taught = self.taught.of(pool.kind)
        columns = usual_columns(pool.flat, taught)
        known, asked = (Seen(held_out[at], columns[at], pool.vectors[at]) for at in (play.support, play.query))
        targets = pool.targets[play.support]
        return self._condition(known, targets, torch.ones_like(targets), taught, pool.kind), asked

    def _rehearse(self, pool: Pool, held_out: Float[Tensor, " n"]) -> Float[Tensor, " cells"]:
        """Return the log prior of the cells with the best query likelihood where earlier tasks are played as new ones."""
        evidence, scores = [], []
        for play in rehearsals(pool):
            state, asked = self._played(pool, held_out, play)
            targets, cells = pool.targets[play.query], (*self._in_cells(state, asked), state.posterior.noise)
            scores.append(cell_scores(*cells, targets, torch.ones_like(targets), kind=pool.kind))
            evidence.append(state.posterior.log_evidence)
        even = torch.full((_SHAPES * len(self.sizes),), -math.log(_SHAPES * len(self.sizes)), dtype=torch.float64)
        return fit_cell_prior(torch.cat(evidence), torch.cat(scores), even, strength=1 / pool.n_tasks)
