"""How much better a predictor is expected to be than the best method from scratch, with an interval: from earlier tasks, or from hidden labels."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64
from scipy.stats import t as student
from torch import Tensor
from torch.distributions import Categorical, Normal, kl_divergence

from metamedica.predictors.guard import Evidence, Observed, gate_weights
from metamedica.predictors.held_out import HeldOut
from metamedica.types import Law

COVERAGE = 0.9
_CLIP = 1.0
_LEAST = 1e-12
_FEWEST_TASKS = 5
_FEWEST = 3
_PRIOR_CASES = 200.0


@dataclass(frozen=True)
class ExpectedGain:
    """Log-likelihood a case that leaning on earlier tasks is expected to add, in nats; below 0 where it is expected to harm.

    Args:
        mean: expected.
        low, high: 90 % interval of what a task like this one gains.
        source: "earlier tasks": how tasks with such evidence fared; "hidden labels": what the laws promise, and how the
            labelled cases fare, each hidden in turn.
    """

    mean: float
    low: float
    high: float
    source: Literal["earlier tasks", "hidden labels"]

    @property
    def verdict(self) -> str:
        """One sentence for a person."""
        by = (
            "by how earlier tasks with such labels fared"
            if self.source == "earlier tasks"
            else "by what both say of its cases, and by its own labels, each hidden in turn"
        )
        side = "gain" if self.mean >= 0 else "loss"
        return (
            f"Expected {side} over the best method from scratch: {abs(self.mean):.2g} nats a case in log-likelihood, {by} "
            f"(90 % interval {self.low:+.2g} to {self.high:+.2g})."
        )

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON value."""
        return {**asdict(self), "verdict": self.verdict}


def _shown(evidence: Evidence, weight: Float[Tensor, "tasks candidates"]) -> Float[Tensor, " tasks"]:
    """Return what hidden labels show of the gain: the learned candidate's held-out log-likelihood a case minus the reference's, times its weight."""
    gain = (evidence.held_out[:, 0] - evidence.held_out[:, -1]).double()
    return weight[:, 0].double() * gain.clamp(-_CLIP, _CLIP)


class Foretold(NamedTuple):
    """What the gain of a task follows from: `usual` + `slope` (shown - `centre`), give or take `spread`.

    Args:
        usual: mean gain of earlier tasks.
        centre: mean of what their hidden labels showed.
        slope: of the gain on what one support's hidden labels show, not below 0.
        spread: standard deviation about it.
    """

    usual: float
    centre: float
    slope: float
    spread: float


def fitted_gain(observed: Sequence[Observed], gate: Tensor) -> Float[Tensor, " 4"] | None:
    """Return a `Foretold` from tasks that the learned candidates have not seen.

    The gain of an episode is the mean over its query of the mixture's log-likelihood minus that of the last candidate. The slope is that between
    the tasks' means: within a task, a support unlike its query makes its own hidden cases look well explained, and the query badly, so that
    episodes alone would give a slope below 0. It is shrunk by how much one support tells of its task (the reliability of what is shown).

    Args:
        observed: episodes.
        gate: fitted on them.

    Returns:
        None where there are fewer than `_FEWEST_TASKS` tasks.
    """
    shown, gains, tasks = [], [], []
    for each in observed:
        evidence = Evidence(*(value.double() for value in each.evidence))
        weight = gate_weights(evidence, gate.double())
        mixed = torch.logsumexp(weight.log()[:, None] + each.scores.double(), dim=-1)
        there = ~torch.isnan(mixed)
        gains.append((mixed - each.scores[..., -1].double()).masked_fill(~there, 0).sum(1) / there.sum(1).clamp(min=1))
        shown.append(_shown(evidence, weight))
        tasks.append(each.task)
    x, gain = torch.cat(shown), torch.cat(gains)
    _, task, count = torch.unique(torch.cat(tasks), return_inverse=True, return_counts=True)
    if len(count) < _FEWEST_TASKS:
        return None
    means = [torch.zeros(len(count), dtype=torch.float64).index_add(0, task, each) / count for each in (x, gain)]
    across = means[0].var()
    within = (x - means[0][task]).square().sum() / max(len(x) - len(count), 1)
    between = (across - within / count.double().mean()).clamp(min=0)
    covariance = ((means[0] - means[0].mean()) * (means[1] - means[1].mean())).sum() / (len(count) - 1)
    slope = (covariance / across.clamp(min=_LEAST)).clamp(min=0) * between / (between + within).clamp(min=_LEAST)
    left = gain - means[1].mean() - slope * (x - means[0].mean())
    return torch.stack([means[1].mean(), means[0].mean(), slope, left.std()]).to(torch.float32)


def foretold(evidence: Evidence, gate: Tensor, fitted: Float[Tensor, " 4"]) -> Float[Tensor, " tasks"]:
    """Return the expected gain of each task. Arguments as those of `gain_by_evidence`."""
    line = Foretold(*fitted.tolist())
    return line.usual + line.slope * (_shown(evidence, gate_weights(evidence, gate)) - line.centre)


def gain_by_evidence(evidence: Evidence, gate: Tensor, fitted: Float[Tensor, " 4"]) -> ExpectedGain:
    """Return the expected gain of the first task.

    Args:
        evidence: of its support.
        gate: of the guard.
        fitted: what `fitted_gain` found.
    """
    mean = float(foretold(evidence, gate, fitted)[0])
    width = 1.645 * Foretold(*fitted.tolist()).spread
    return ExpectedGain(mean, mean - width, mean + width, "earlier tasks")


def promised_gain(ours: Law, plain: Law) -> Float64[Tensor, "*cases"]:
    """Return what each case gains if our law of it is right, whatever its label turns out to be: the divergence of the other's law from ours
    (Cover and Thomas 2006, section 5.4); of regression laws that of normal ones of their mean and spread."""
    if isinstance(ours, Categorical):
        return kl_divergence(ours, plain).double()
    return kl_divergence(*(Normal(law.mean.double(), law.stddev.double()) for law in (ours, plain)))


def gain_of_hidden(ours: HeldOut, plain: HeldOut, promised: Float64[Tensor, " cases"]) -> ExpectedGain | None:
    """Return the expected gain of the first task from its labelled cases, each hidden in turn; None where fewer than 3 can be.

    It is what the laws promise, those after all labels. A few labels say little about whether these are right: their own gains while hidden, minus
    what the laws of hidden cases promise, count as if `_PRIOR_CASES` cases before them had shown no difference. Ranked by the labels' own gains
    alone, supports of new sites come in no better than chance order; by what hidden cases promise, in a worse one than by this
    (.13 instead of .26 at heart's hospitals, -.11 and .21 in eICU's regions, .38 and .79 in the IMPACT studies, where cases without label reach
    .40, .57 and .86).

    Args:
        ours: of the predictor.
        plain: of the best method from scratch.
        promised: `promised_gain` of cases of the task after all labels: the labelled ones, and those without label.
    """
    both = (ours.known & plain.known)[0]
    n = int(both.sum())
    if n < _FEWEST:
        return None
    excess = (ours.law.log_prob(ours.targets) - plain.law.log_prob(plain.targets)).double()[0]
    excess = (excess - promised_gain(ours.law, plain.law)[0])[both]
    mean = float(promised.mean() + n / (n + _PRIOR_CASES) * excess.mean())
    spread = np.hypot(excess.std().item() / np.sqrt(n + _PRIOR_CASES), promised.std().item() / np.sqrt(len(promised)))
    width = float(student.ppf(0.5 + COVERAGE / 2, n - 1) * spread)
    return ExpectedGain(mean, mean - width, mean + width, "hidden labels")
