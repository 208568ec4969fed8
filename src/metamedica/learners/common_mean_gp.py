"""Gaussian process whose prior mean, covariance and noise are learned from all earlier tasks, in closed form."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from metamedica.functional.case_effects import content_hash, recalled
from metamedica.functional.common_mean import OFFSET_VARIANCE, START_NOISE, CommonMean, fit_common
from metamedica.functional.descriptions import ReadsDescriptions
from metamedica.functional.gaussian_process import (
    Posterior,
    average_law,
    cell_log_likelihood,
    condition_on_covariance,
    fit_cell_prior,
    predict_from_covariance,
    signed_targets,
)
from metamedica.functional.known_cases import fit_known
from metamedica.functional.population import HasPopulation, without_labels
from metamedica.functional.process_learner import ProcessLearner
from metamedica.functional.profiles import Profiles, Weights
from metamedica.types import (
    Between,
    CaseBatch,
    ClosedForm,
    EpisodeBatch,
    Features,
    LabelledBatch,
    Law,
    OneOf,
    Paper,
    Ranges,
    RawEncoder,
    TaskKind,
)

KINDS: tuple[TaskKind, ...] = ("regression", "binary")
"""Regression first: its targets say more than classes, so the common mean is learned from them where there are any."""
LEANINGS = (0.0, 0.7, 1.4, 2.8)
"""Factors of the common mean that are averaged over; 0 is a task that has nothing in common with the earlier ones."""
SCALES = (0.25, 0.5, 1.0, 2.0)
"""Factors of the learned kernel weights that are averaged over."""
NOISES = (0.4, 1.0, 2.5)
"""Factors of the learned noise that are averaged over."""
_FITTED = ("weights", "noise", "linear", "landmarks", "landmark_weights", "known", "effects")
"""Buffers whose sizes are known once tasks have been seen."""


@dataclass(frozen=True)
class CommonMeanState:
    """Per task: the support and the posterior in every cell (a leaning on the common mean, a scale, a noise)."""

    batch: LabelledBatch
    posterior: Posterior
    weights: Weights | None = None
    """Of earlier tasks, where descriptions tell which are near."""


class CommonMeanGP(ProcessLearner[CommonMeanState], ClosedForm, HasPopulation, ReadsDescriptions):
    """Gaussian process y = b + a (m(x) + c) + g(x) + e: m is common to all tasks, c is the level of this very case in earlier tasks (0
    for a new one), g is the task's own, with the raw encoder's kernels.

    Four things are learned, all without gradient steps on a network. The weights of the kernels and the noise maximise the marginal
    likelihood of the earlier tasks (one set a kind of task). The common mean m, linear in the raw vector plus an RBF on its
    summary, is the posterior mean given all targets of all earlier tasks (`functional/common_mean`). The level c is what the targets
    of one case in several tasks have in common beyond m (`functional/case_effects`). How far a task leans on both (a), and how its own
    scale and noise differ, is averaged over a grid by marginal likelihood, under a prior over the cells that is fitted on
    meta-valid tasks, whose targets have taught neither. Of the earlier cases the learner keeps m, its landmarks' summaries, and c under a
    hash of each case, with its value in each earlier task; `most_known=0` keeps neither.

    Where several tasks measured the same cases, g also has the covariance that those tasks had between them (`functional/profiles`). Where
    tasks are described, those that are described alike have more say in it, and what they measured of a case is part of c.

    Deviates: Leroy et al. share a mean over time, given at each instant, and find the covariances by EM; here m is a function of the
    case with a Gaussian prior over its weights, the covariances are fitted once, before m, and a task's hyper-parameters are averaged
    over a grid, which takes care of what m explains and of how uncertain it is. Classes are learned by least squares on +1 / -1.

    Args:
        rich: its `kernels` compare cases, its vectors and its `summary` describe them to m.
        strength: inverse prior variance of m's weights, each of features of mean square 1.
        n_landmarks: most cases at which the RBF part of m stands.
        most_cases: a task with more is cut down to so many, by chance, for learning m.
        most_known: cases whose c is kept, those with the largest.
        most_values: single values of earlier cases that are kept, those that are farthest from what was expected.
    """

    paper: ClassVar[Paper] = Paper(
        "MAGMA: inference and prediction using multi-task Gaussian processes",
        "Leroy, Latouche, Guedj and Gey",
        2022,
        "doi:10.1007/s10994-022-06172-1",
    )
    kinds: ClassVar[frozenset[TaskKind]] = frozenset(KINDS)
    ranges: ClassVar[Ranges] = {
        "strength": Between(1.0, 300.0, log=True),
        "n_landmarks": OneOf((100, 300, 1000)),
        "most_cases": None,
        "most_known": None,
        "most_values": None,
    }
    cells: Tensor
    weights: Tensor
    noise: Tensor
    linear: Tensor
    landmarks: Tensor
    landmark_weights: Tensor
    known: Tensor
    effects: Tensor
    log_prior: Tensor

    def __init__(
        self,
        rich: RawEncoder,
        *,
        strength: float = 20.0,
        n_landmarks: int = 300,
        most_cases: int = 512,
        most_known: int = 200_000,
        most_values: int = 1_000_000,
    ) -> None:
        super().__init__()
        self.rich = rich
        self.strength = strength
        self.n_landmarks = n_landmarks
        self.most_cases = most_cases
        self.most_known = most_known
        self.most_values = most_values
        cells = torch.tensor(list(product(LEANINGS, SCALES, NOISES)))
        self.register_buffer("cells", cells, persistent=False)
        self.register_buffer("log_prior", torch.full((len(KINDS), len(cells)), -math.log(len(cells))))
        self.register_buffer("weights", torch.zeros(len(KINDS), 0))
        self.register_buffer("noise", torch.full((len(KINDS),), START_NOISE))
        self.register_buffer("linear", torch.zeros(0))
        self.register_buffer("landmarks", torch.zeros(0, 0))
        self.register_buffer("landmark_weights", torch.zeros(0))
        self.register_buffer("known", torch.zeros(0, dtype=torch.int64))
        self.register_buffer("effects", torch.zeros(0))
        self.profiles = Profiles()

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        for name in _FITTED:  # torch refuses another size
            if prefix + name in state_dict:
                setattr(self, name, getattr(self, name).new_empty(state_dict[prefix + name].shape))
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def _mean(self, features: Features, weights: Weights | None = None) -> Float[Tensor, "*batch n"]:
        """Return m + c; 0 before anything was learned."""
        vectors: Tensor = self.rich(features)
        if len(self.linear) == 0:
            return vectors.new_zeros(vectors.shape[:-1])
        mean = CommonMean(self.linear, self.landmarks, self.landmark_weights)
        expected = mean(vectors, self.rich.summary(features))
        hashes = content_hash(vectors) if len(self.known) or weights else None
        if hashes is not None and len(self.known):
            expected = expected + recalled(hashes, self.known, self.effects)
        return expected if hashes is None or weights is None else expected + self.profiles.expected(hashes, weights)

    def _signal(
        self, left: Features, right: Features, kind: TaskKind, earlier: Weights | None = None
    ) -> tuple[Float[Tensor, "tasks n m"], Float[Tensor, "tasks n"]]:
        """Return the covariance of g between cases at scale 1, and its variance in those on the left."""
        kernels = self.rich.kernels(left, right)
        weights = self.weights[KINDS.index(kind)]
        if len(weights) == 0:
            count = kernels.shape[-3]
            weights = torch.full((count,), (1 - START_NOISE) / count, dtype=weights.dtype, device=weights.device)
        signal = torch.einsum("c,tcij->tij", weights, kernels)
        variance = weights.sum().expand(signal.shape[:-1])
        if len(self.profiles) == 0:
            return signal, variance
        hashes = content_hash(self.rich(left))
        known = hashes if right is left else content_hash(self.rich(right))
        here, there = self.profiles.amplitude(hashes), self.profiles.amplitude(known)
        signal = here[:, :, None] * there[:, None, :] * signal + self.profiles.covariance(hashes, known, earlier)
        return signal, here.square() * variance + self.profiles.variance(hashes, earlier)

    def adapt(self, support: LabelledBatch) -> CommonMeanState:
        """Return the posterior of each task given its support.

        Raises:
            TaskError: classes, and a support of one class only.
        """
        self.check_kind(support.kind)
        return self._conditioned(support, signed_targets(support, self.noise.dtype))

    def population(self, support: LabelledBatch) -> CommonMeanState:
        """Return the prior: the common mean and the level of each case in earlier tasks, at the leanings that earlier tasks teach."""
        nothing = without_labels(support)
        return self._conditioned(nothing, self.noise.new_zeros(*nothing.mask.shape, 1))

    def compares_tasks(self) -> bool:
        """Return whether earlier tasks that measured the same cases were described, and alike ones varied alike."""
        return bool(self.profiles.descriptions)

    def _conditioned(self, support: LabelledBatch, targets: Float[Tensor, "tasks n 1"]) -> CommonMeanState:
        kind = KINDS.index(support.kind)
        earlier = self.profiles.weights(support.about)
        signal, _ = self._signal(support.features, support.features, support.kind, earlier)
        targets = targets.to(signal.dtype)
        leaning, scale, noise = self.cells.to(signal.dtype)[..., None, None].unbind(1)
        eye = torch.eye(signal.shape[-1], dtype=signal.dtype, device=signal.device)
        covariance = scale * signal[:, None] + OFFSET_VARIANCE + noise * self.noise[kind] * eye
        mean = leaning[..., 0] * self._mean(support.features, earlier)[:, None]
        posterior = condition_on_covariance(covariance, targets, support.mask, self.log_prior[kind], mean=mean)
        return CommonMeanState(support, posterior, earlier)

    def _in_cells(
        self, state: CommonMeanState, query: CaseBatch
    ) -> tuple[Float[Tensor, "tasks cells m 1"], Float[Tensor, "tasks cells m"]]:
        support, posterior = state.batch, state.posterior
        signal, variance = self._signal(query.features, support.features, support.kind, state.weights)
        # The leaning has no part in the covariance: the cells that differ in it alone are outputs of one process.
        apart = len(SCALES) * len(NOISES)
        leaning = self.cells[::apart, 0].to(signal.dtype)
        scale, noise = self.cells[:apart, 1:].to(signal.dtype)[..., None].unbind(1)
        real = support.mask[:, None, None].to(signal.dtype)
        cross = scale[..., None] * (signal[:, None] * real) + OFFSET_VARIANCE * real
        own = scale * variance[:, None] + OFFSET_VARIANCE + noise * self.noise[KINDS.index(support.kind)]
        whitened = posterior.whitened.reshape(len(cross), len(leaning), apart, -1)
        mean, spread = predict_from_covariance(
            Posterior(posterior.cholesky[:, :apart], whitened.movedim(1, -1), posterior.log_weight),
            cross,
            own,
        )
        mean = mean + (leaning * self._mean(query.features, state.weights)[..., None])[:, None]
        return mean.movedim(-1, 1).flatten(1, 2)[..., None], spread.repeat(1, len(leaning), 1)

    def predict(self, state: CommonMeanState, query: CaseBatch) -> Law:
        """Return the predictive law of each query case, averaged over cells."""
        mean, variance = self._in_cells(state, query)
        return average_law(mean, variance, state.posterior.log_weight, state.batch.kind)

    def fit_tasks(self, tasks: Sequence[LabelledBatch]) -> None:
        """Fit kernel weights and noise of each kind, then the common mean, then what is known of single cases.

        Raises:
            TaskError: no task of a kind that the learner allows.
        """
        found = fit_common(
            tasks,
            self.rich,
            KINDS,
            strength=self.strength,
            n_landmarks=self.n_landmarks,
            most_cases=self.most_cases,
        )
        known = fit_known(
            lambda: (task for task in tasks if task.kind == found.taught),
            self.rich,
            found.own[found.taught],
            found.mean,
            most_cases=self.most_cases,
            most_known=self.most_known if self.rich.distinct else 0,  # two patients with equal rows are two
            most_values=self.most_values if self.rich.distinct and self.most_known else 0,
        )
        like = self.log_prior
        owns = [found.own.get(kind, next(iter(found.own.values()))) for kind in KINDS]
        self.weights = torch.stack([own.weights for own in owns]).to(like)
        self.noise = torch.stack([own.noise for own in owns]).to(like)
        self.linear, self.landmarks, self.landmark_weights = (part.to(like) for part in found.mean)
        self.known, self.effects = known.effects.known.to(like.device), known.effects.values.to(like)
        self.profiles = Profiles().to(like)  # what an earlier fit found of other tasks is forgotten
        self.profiles.keep(known.profiles)
        self.profiles.descriptions.keep(known.descriptions)

    def fit_prior(self, episodes: Sequence[EpisodeBatch]) -> None:
        """Set the prior over cells of each kind to the one that maximises the query likelihood; the fewer tasks, the nearer to uniform."""
        for at, kind in enumerate(KINDS):
            batches = [batch for batch in episodes if batch.support.kind == kind]
            if not batches:
                continue
            evidence, scores = [], []
            with torch.no_grad():
                for batch in batches:
                    state = self.adapt(batch.support)
                    scores.append(cell_log_likelihood(*self._in_cells(state, batch.query.cases), batch.query))
                    evidence.append(state.posterior.log_weight - self.log_prior[at])
            n_tasks = len(torch.unique(torch.cat([batch.task_index for batch in batches])))
            uniform = torch.full_like(self.log_prior[at], -math.log(self.log_prior.shape[1]))
            self.log_prior[at] = fit_cell_prior(torch.cat(evidence), torch.cat(scores), uniform, strength=1 / n_tasks)
