"""How much better a predictor is expected to be than the best method from scratch, with an interval: from earlier tasks, or from hidden labels."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import t as student
from torch import Tensor
from torch.distributions import kl_divergence

from metamedica.predictors.guard import Evidence, Observed, gate_weights
from metamedica.predictors.held_out import HeldOut

COVERAGE = 0.9
_PULL = 0.05
"""Ridge penalty a task, on columns of size about 1."""
_FEWEST = 3
_PRIOR_CASES = 200.0


@dataclass(frozen=True)
class ExpectedGain:
    """Log-likelihood a case that leaning on earlier tasks is expected to add, in nats; below 0 where it is expected to harm.

    Args:
        mean: expected.
        low, high: 90 % interval of what a task like this one gains.
        source: "earlier tasks": how tasks with such evidence fared; "hidden labels": how the labelled cases fare, each hidden in turn.
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
            else "by its own labels, each hidden in turn"
        )
        side = "gain" if self.mean >= 0 else "loss"
        return (
            f"Expected {side} over the best method from scratch: {abs(self.mean):.2g} nats a case in log-likelihood, {by} "
            f"(90 % interval {self.low:+.2g} to {self.high:+.2g})."
        )

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON value."""
        return {**asdict(self), "verdict": self.verdict}


def _columns(evidence: Evidence, gate: Tensor) -> Float[Tensor, "tasks 7"]:
    """Return what the gain is linear in: the gate's columns of the learned candidate, and its weight."""
    weight = gate_weights(evidence, gate)[:, :1]
    return torch.cat([evidence.columns()[:, 0].double(), weight.double()], dim=1)


def fitted_gain(observed: Sequence[Observed], gate: Tensor) -> Float[Tensor, " 8"] | None:
    """Return the ridge regression of realised gains on the evidence: seven coefficients, and the standard deviation about them.

    The gain of an episode is the mean over its query of the mixture's log-likelihood minus that of the last candidate.

    Args:
        observed: episodes of tasks that the learned candidates have not seen.
        gate: fitted on them.

    Returns:
        None where there are fewer episodes than it has coefficients.
    """
    rows, gains = [], []
    for each in observed:
        evidence = Evidence(*(value.double() for value in each.evidence))
        weight = gate_weights(evidence, gate.double())
        mixed = torch.logsumexp(weight.log()[:, None] + each.scores.double(), dim=-1)
        there = ~torch.isnan(mixed)
        count = there.sum(1).clamp(min=1)
        gains.append((mixed - each.scores[..., -1].double()).masked_fill(~there, 0).sum(1) / count)
        rows.append(_columns(evidence, gate.double()))
    design, gain = torch.cat(rows), torch.cat(gains)
    n, size = design.shape
    if n <= size:
        return None
    held = _PULL * n * torch.eye(size, dtype=torch.float64)
    found = torch.linalg.solve(design.mT @ design + held, design.mT @ gain)
    spread = (gain - design @ found).square().sum().div(n - size).sqrt()
    return torch.cat([found, spread[None]]).to(torch.float32)


def foretold(evidence: Evidence, gate: Tensor, fitted: Float[Tensor, " 8"]) -> Float[Tensor, " tasks"]:
    """Return the expected gain of each task. Arguments as those of `gain_by_evidence`."""
    return _columns(evidence, gate) @ fitted[:-1].double()


def gain_by_evidence(evidence: Evidence, gate: Tensor, fitted: Float[Tensor, " 8"]) -> ExpectedGain:
    """Return the expected gain of the first task.

    Args:
        evidence: of its support.
        gate: of the guard.
        fitted: what `fitted_gain` found.
    """
    mean = float(foretold(evidence, gate, fitted)[0])
    width = 1.645 * float(fitted[-1])
    return ExpectedGain(mean, mean - width, mean + width, "earlier tasks")


def gain_of_hidden(ours: HeldOut, plain: HeldOut) -> ExpectedGain | None:
    """Return the expected gain of the first task from its labelled cases, each hidden in turn; None where fewer than 3 can be.

    If our laws are right, a case gains the divergence of the other's law from ours, whatever its label turns out to be (Cover and Thomas 2006,
    section 5.4). A few labels say little about whether they are: their own gains minus that count as if `_PRIOR_CASES` cases before them had shown no
    difference. Ranked by the labels' own gains alone, supports of new sites come in no better than chance order.

    Args:
        ours: of the predictor.
        plain: of the best method from scratch.
    """
    both = (ours.known & plain.known)[0]
    n = int(both.sum())
    if n < _FEWEST:
        return None
    promised = kl_divergence(ours.law, plain.law)[0][both].double()
    excess = (ours.law.log_prob(ours.targets) - plain.law.log_prob(plain.targets))[0][both].double() - promised
    mean = float(promised.mean() + n / (n + _PRIOR_CASES) * excess.mean())
    spread = np.hypot(excess.std().item() / np.sqrt(n + _PRIOR_CASES), promised.std().item() / np.sqrt(n))
    width = float(student.ppf(0.5 + COVERAGE / 2, n - 1) * spread)
    return ExpectedGain(mean, mean - width, mean + width, "hidden labels")
