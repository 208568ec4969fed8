"""Do no harm: how far a predictor leans on earlier tasks is decided from the support, against the best method from scratch.

Every candidate (the learned one, and those from scratch) is judged by its leave-one-out log-likelihood on the support: what it says of
each labelled case when that case is hidden. A small gate, fitted on meta-valid tasks whose cases the learner has not seen, turns
these scores, the support's size, its cohesion (are all its cases of one series?) and the share of its cases that earlier tasks have
measured too into weights; the law is the weighted mixture. The gate starts sceptical: before any evidence the learned candidate
counts for one part in twenty, and earlier tasks must earn more than that, on meta-valid tasks and on the support.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int64
from scipy.optimize import minimize
from torch import Tensor

from metamedica.errors import BundleError, TaskError
from metamedica.functional.mixture import mix
from metamedica.functional.shared import sharing
from metamedica.functional.targets import scale_of, standardise
from metamedica.predictors.folds import folds, too_few_left
from metamedica.predictors.method import Adapted, AdaptedLearner, LearnerMethod, check_uses_unlabelled, state_of
from metamedica.predictors.trust import EarlierTasks
from metamedica.types import CaseBatch, EpisodeBatch, LabelledBatch, Law, LeaveOneOut, Progress, RawEncoder
from metamedica.unlabelled import Unlabelled

MAX_FOLDS = 16
CLIP = 10.0
SCEPTICAL = (-3.0, 1.0, 0.0, 0.0, 0.0, 6.0)
"""Gate coefficients before anything is known (see `Evidence.columns`): 1 to 20 against the learned candidate where its cases are new, even
odds where half of them were measured in earlier tasks (on ChEMBL targets the gain over the Gaussian process was .035 with cases seen,
.003 without), and the held-out likelihood in full."""
_PENALTY = 0.01
"""Of the squared distance to `SCEPTICAL`, divided by the number of meta-valid tasks: a Gaussian prior of standard deviation 2 on each coefficient,
where what a task's query says counts for some ten independent cases (its cases agree on which candidate is better)."""


def held_out_log_likelihood(
    method: LearnerMethod,
    support: LabelledBatch,
    adapted: AdaptedLearner | None = None,
    *,
    unlabelled: CaseBatch | None = None,
) -> Float[Tensor, " tasks"]:
    """Return the mean log-likelihood of each task's support cases when they are hidden, in standardised units for regression.

    Leave-one-out where the learner has it in closed form or the support has at most `MAX_FOLDS` cases, `MAX_FOLDS` folds (one batch of
    tasks) otherwise. A case is left out of the mean where hiding it leaves one class only; a task with no case left scores 0.

    Args:
        method: to judge.
        support: in the tasks' own units.
        adapted: the method adapted to this support, where the caller has it already.
        unlabelled: further cases of the same tasks that the method knows, without label.
    """
    support = standardise(support, scale_of(support, usual_scale=method.usual_scale))
    if isinstance(method.learner, LeaveOneOut) and unlabelled is None:
        n = support.mask.shape[1]
        kept = support.mask[:, None, :] & ~torch.eye(n, dtype=torch.bool)
        counted = support.mask & ~too_few_left(support, kept)
        with torch.no_grad():
            each = method.learner.leave_one_out(support, adapted and adapted.state).masked_fill(~counted, 0)
        return each.sum(1) / counted.sum(1).clamp(min=1)
    return _folded_log_likelihood(method, support, unlabelled)


def _folded_log_likelihood(
    method: LearnerMethod, support: LabelledBatch, unlabelled: CaseBatch | None
) -> Float[Tensor, " tasks"]:
    n_tasks, n = support.mask.shape
    total = torch.zeros(n_tasks, dtype=torch.float64)
    count = torch.zeros(n_tasks, dtype=torch.float64)
    for part in folds(support, min(n, MAX_FOLDS)):
        hidden = part.hidden
        with torch.no_grad():
            others = None if unlabelled is None else unlabelled.map(lambda value, of=part.task: value[of])  # type: ignore[misc]
            law = method.learner.predict(state_of(method.learner, part.rest, others), hidden.cases)
            each = law.log_prob(hidden.targets).masked_fill(~hidden.mask, 0).sum(1)
        total = total.index_add(0, part.task, each.double())
        count = count.index_add(0, part.task, hidden.mask.sum(1).double())
    return torch.where(count > 0, total / count.clamp(min=1), torch.zeros_like(total))


def cohesion(raw: RawEncoder, support: LabelledBatch) -> Float[Tensor, " tasks"]:
    """Return the mean raw similarity between different support cases of each task: near 1 for one tight series."""
    rows = raw(support.features)
    pairs = support.mask[:, :, None] & support.mask[:, None, :] & ~torch.eye(support.mask.shape[1], dtype=torch.bool)
    return (raw.similarity(rows, rows) * pairs).sum((1, 2)) / pairs.sum((1, 2)).clamp(min=1)


class Evidence(NamedTuple):
    """What the gate sees of each task.

    Args:
        held_out: mean held-out log-likelihood of each candidate.
        size: of the support.
        cohesion: of the support.
        seen: share of the support's cases that earlier tasks have measured too.
    """

    held_out: Float[Tensor, "tasks candidates"]
    size: Float[Tensor, " tasks"]
    cohesion: Float[Tensor, " tasks"]
    seen: Float[Tensor, " tasks"]

    def columns(self) -> Float[Tensor, "tasks candidates 6"]:
        """Return, per candidate, what its log-odds against the last candidate are linear in."""
        gain = self.held_out - self.held_out[:, -1:]
        total = (gain * self.size[:, None]).clamp(-CLIP, CLIP)
        same = torch.ones_like(gain)
        sizes = torch.log(self.size / 16)
        return torch.stack(
            [same, total, gain.clamp(-1, 1), *(same * v[:, None] for v in (self.cohesion, sizes, self.seen))],
            dim=-1,
        )


@dataclass(frozen=True)
class Weighed:
    """A guarded prediction's decision: weights and evidence per task, candidates in the guard's order."""

    weights: Float[Tensor, "tasks candidates"]
    evidence: Evidence


class AdaptedMixture:
    """Adapted candidates with the weight of each for each task."""

    def __init__(self, parts: Sequence[Adapted], weighed: Weighed) -> None:
        self.parts = parts
        self.weighed = weighed

    def predict(self, query: CaseBatch) -> Law:
        """Return the mixture law of each query case, in the task's units."""
        with sharing():
            return mix([part.predict(query) for part in self.parts], self.weighed.weights)


def starting_gate(rivals: int, *, leaning: float = SCEPTICAL[0]) -> Float[Tensor, "rivals 6"]:
    """Return the gate before anything is known.

    Args:
        rivals: candidates but the last one.
        leaning: log-odds of the learned candidates before any evidence (`Modality.leaning`).
    """
    return torch.tensor((leaning, *SCEPTICAL[1:])).repeat(rivals, 1)


def _useful(method: LearnerMethod, unlabelled: CaseBatch | None) -> CaseBatch | None:
    """Return the unlabelled cases where the method learns from such; a candidate from scratch is there to learn without."""
    return unlabelled if isinstance(method.learner, Unlabelled) else None


class Guard:
    """A method that mixes candidates; the last one is the reference and comes from scratch.

    Args:
        candidates: name -> method; learned ones first, from-scratch ones last.
        raw: the modality's raw encoder.
        earlier: the earlier tasks, to know which cases they have measured.
        gate: `[candidates - 1, 6]` coefficients of the log-odds against the reference; None for `SCEPTICAL`.
    """

    def __init__(
        self,
        candidates: Mapping[str, LearnerMethod],
        raw: RawEncoder,
        *,
        earlier: EarlierTasks | None = None,
        gate: Tensor | None = None,
    ) -> None:
        if len(candidates) < 2:
            raise TaskError(f"got {len(candidates)} candidates; a guard needs a learned one and one from scratch")
        self.candidates = dict(candidates)
        self.raw = raw
        self.earlier = earlier or EarlierTasks([], torch.zeros(0, raw.dim), torch.zeros(0, dtype=torch.int64))
        plain = starting_gate(len(candidates) - 1)
        self.gate = plain if gate is None else gate.to(torch.float32)
        if self.gate.shape != plain.shape:
            raise BundleError(f"the guard's gate has shape {tuple(self.gate.shape)}, {tuple(plain.shape)} was wanted")

    @property
    def names(self) -> list[str]:
        return list(self.candidates)

    def weigh(
        self, support: LabelledBatch, parts: Sequence[AdaptedLearner] = (), *, unlabelled: CaseBatch | None = None
    ) -> Weighed:
        """Return how much each candidate counts for each task.

        Args:
            support: of every task.
            parts: the candidates adapted to this support, where the caller has them already.
            unlabelled: further cases of the same tasks, without label, for the candidates that use them.
        """
        known: Sequence[AdaptedLearner | None] = parts or [None] * len(self.candidates)
        methods = zip(self.candidates.values(), known, strict=True)
        each = [
            held_out_log_likelihood(method, support, part, unlabelled=_useful(method, unlabelled))
            for method, part in methods
        ]
        held_out = torch.stack(each, dim=-1).to(torch.float32)
        evidence = Evidence(
            held_out,
            support.counts().to(torch.float32),
            cohesion(self.raw, support).to(torch.float32),
            self.earlier.seen(self.raw, support).to(torch.float32),
        )
        return Weighed(gate_weights(evidence, self.gate), evidence)

    def adapt(self, support: LabelledBatch, unlabelled: CaseBatch | None = None) -> AdaptedMixture:
        """Return every candidate adapted to each task, and the weight of each.

        Args:
            support: of every task, in its unit.
            unlabelled: further cases of the same tasks, without label, for the learned candidates.

        Raises:
            InputError: unlabelled cases came and the first candidate does not use such.
        """
        if unlabelled is not None:
            check_uses_unlabelled(next(iter(self.candidates.values())).learner)
        with sharing():
            parts = [method.adapt(support, _useful(method, unlabelled)) for method in self.candidates.values()]
            return AdaptedMixture(parts, self.weigh(support, parts, unlabelled=unlabelled))

    def __call__(self, support: LabelledBatch, query: CaseBatch) -> Law:
        """Return the mixture law of each query case, in the units of the support's targets."""
        return self.adapt(support).predict(query)

    def observed(self, episodes: Sequence[EpisodeBatch], *, progress: Progress | None = None) -> list["Observed"]:
        """Return what the gate sees of each episode, and how every candidate did on its query.

        Args:
            episodes: in raw units, from tasks that the learned candidates have not been fitted on.
            progress: called once a batch of episodes.
        """
        found = []
        for done, batch in enumerate(episodes, start=1):
            evidence = self.weigh(batch.support).evidence
            laws = [method(batch.support, batch.query.cases) for method in self.candidates.values()]
            each = torch.stack([law.log_prob(batch.query.targets) for law in laws], dim=-1)
            scores = each.masked_fill(~batch.query.mask[..., None], float("nan"))
            found.append(Observed(evidence, scores, batch.task_index))
            if progress is not None:
                progress(done, len(episodes), "weighing earlier tasks against methods from scratch")
        return found


class Observed(NamedTuple):
    """A batch of episodes as the gate is fitted on it.

    Args:
        evidence: of the supports.
        scores: log-likelihood of every query case under every candidate, NaN where padded.
        task: number of the task that each episode comes from.
    """

    evidence: Evidence
    scores: Float[Tensor, "tasks cases candidates"]
    task: Int64[Tensor, " tasks"]


def fitted_gate(observed: Sequence[Observed], *, n_tasks: int, start: Tensor) -> Tensor:
    """Return the gate that maximises the mixture's query log-likelihood, the fewer tasks the nearer to `start`.

    Args:
        observed: episodes, possibly of guards that were fitted on different tasks.
        n_tasks: that they come from.
        start: `[candidates - 1, 6]`.
    """
    evidence, scores = [each.evidence for each in observed], [each.scores for each in observed]
    return _fit_gate(evidence, scores, start, penalty=_PENALTY / n_tasks)


def gate_weights(evidence: Evidence, gate: Tensor) -> Float[Tensor, "tasks candidates"]:
    """Return the weight that a gate `[candidates - 1, 6]` gives each candidate for each task."""
    logits = (evidence.columns()[:, :-1] * gate).sum(-1)
    return torch.softmax(torch.cat([logits, torch.zeros_like(logits[:, :1])], dim=1), dim=1)


def _fit_gate(evidence: Sequence[Evidence], scores: Sequence[Tensor], start: Tensor, *, penalty: float) -> Tensor:
    """Return the gate that maximises the mean over tasks of the query log-likelihood, pulled towards `start`."""
    where = [(~torch.isnan(each[..., 0])) for each in scores]

    def objective(flat: Any) -> tuple[float, Any]:
        gate = torch.tensor(flat, dtype=torch.float64).reshape(start.shape).requires_grad_()
        losses = []
        for seen, each, there in zip(evidence, scores, where, strict=True):
            doubled = Evidence(*(value.double() for value in seen))
            mixed = torch.logsumexp(gate_weights(doubled, gate).log()[:, None] + each.double().nan_to_num(0.0), dim=-1)
            losses.append(-(mixed * there).sum(1) / there.sum(1).clamp(min=1))
        loss = torch.cat(losses).mean() + penalty * ((gate - start.double()) ** 2).sum()
        (slope,) = torch.autograd.grad(loss, gate)
        return float(loss.detach()), slope.numpy().reshape(-1)

    found = minimize(objective, start.double().numpy().reshape(-1), jac=True, method="L-BFGS-B")
    return torch.tensor(found.x, dtype=torch.float32).reshape(start.shape)
