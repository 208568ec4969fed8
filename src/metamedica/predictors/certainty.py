"""How sure an adapted method may be, told by its own labelled cases, each hidden in turn: sets, intervals, and when to ask a person."""

from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor
from torch.distributions import Categorical

from metamedica.errors import TaskError
from metamedica.functional import conformal
from metamedica.functional.density_ratio import log_density_ratio
from metamedica.predictors.held_out import HeldOut, held_out
from metamedica.predictors.method import Adapted, Method
from metamedica.predictors.support import Support
from metamedica.types import Features, Law, RawEncoder

_RATIO_SIGNAL = 1.0
"""Prior variance of the log-odds by which unlabelled cases are told from labelled ones."""
_MOST_RATIO = 3.0
"""Largest logarithm of a weight: no labelled case counts for more than twenty others."""


class Certainty:
    """What a support tells of the method adapted to it. The work is done when first asked for, and once.

    Args:
        method: the learner or guard, as it was adapted.
        adapted: what the method has learned from the support.
        support: of one task.
        raw: the modality's raw encoder.
    """

    def __init__(self, method: Method, adapted: Adapted, support: Support, raw: RawEncoder) -> None:
        self._method = method
        self._adapted = adapted
        self._support = support
        self._raw = raw

    @cached_property
    def held_out(self) -> HeldOut:
        """The law of every labelled case by the method adapted to the others."""
        support = self._support
        return held_out(self._method, support.batch, whole=self._adapted, unlabelled=support.unlabelled)

    @cached_property
    def _scores(self) -> Float[Tensor, "1 cases"]:
        """Nonconformity of every labelled case; without bound where hiding it left too little to learn from."""
        found = self.held_out
        return conformal.nonconformity(found.levelled, found.targets).masked_fill(~found.known, float("inf"))

    def _weights(self, features: Features) -> tuple[Tensor, Tensor] | tuple[None, None]:
        """Return how much denser cases without label lie at each labelled case and at each one asked about; None without such cases."""
        others = self._support.unlabelled
        if others is None or others.n_cases == 0 or self._support.batch.targets.shape[1] == 0:
            return None, None
        labelled = self._raw.summary(self._support.batch.features)[0]
        asked, there = self._raw.summary(features), self._raw.summary(others.features)
        both = torch.cat([labelled, asked.to(labelled)]) - labelled.mean(0)
        ratio = log_density_ratio(
            both[: len(labelled)],
            there - labelled.mean(0),
            others.mask.to(labelled),
            signal=_RATIO_SIGNAL,
            at=both,
        ).clamp(-_MOST_RATIO, _MOST_RATIO)
        weight = ratio.exp()
        return weight[:, : len(labelled)], weight[:, len(labelled) :]

    def reach(self) -> float:
        """Return the largest coverage that the labelled cases can vouch for."""
        return float(conformal.reach(self._support.batch.targets.shape[1]))

    def sets(self, law: Categorical, features: Features, coverage: float) -> Bool[Tensor, "cases classes"]:
        """Return which classes belong to the set of each case; all of them beyond `reach`.

        Args:
            law: of the cases, `[cases]`, by the adapted method.
            features: blocks `[cases, size]`.
            coverage: between 0 and 1.

        Raises:
            TaskError: an impossible coverage.
        """
        weight, own = self._weights(features)
        everyone = torch.ones_like(self._scores, dtype=torch.bool)
        largest = conformal.threshold(self._scores, everyone, coverage, weight=weight, own=own)
        each = Categorical(logits=law.logits[None], validate_args=False)
        return conformal.sets(each, largest)[0]

    def half_widths(self, features: Features | None, coverage: float) -> Float[Tensor, "#cases"]:
        """Return how many standard deviations an interval reaches to each side, one for all cases unless they are weighted.

        Args:
            features: blocks `[cases, size]` of the cases; None: one width, whatever the cases.
            coverage: between 0 and 1.

        Raises:
            TaskError: an impossible coverage.
        """
        weight, own = (None, None) if features is None else self._weights(features)
        return conformal.half_width(self._scores, self.held_out.known, coverage, weight=weight, own=own)[0]

    def sureness(self, law: Law) -> NDArray[np.float64]:
        """Return how sure the answer of each case is, 0 to 1: the probability of its class, or 1 / (1 + (deviation / the labels' deviation)^2).

        Args:
            law: of the cases, `[cases]`.
        """
        if isinstance(law, Categorical):
            return law.probs.double().amax(-1).numpy()
        spread = self._support.batch.targets.double().std(correction=0).clamp(min=1e-12)
        sure: NDArray[np.float64] = (1 / (1 + (law.stddev.double() / spread).square())).numpy()
        return sure

    def least_sure(self, share: float) -> float:
        """Return the sureness below which this share of the task's cases lies, judged by the labelled ones while hidden.

        Raises:
            TaskError: an impossible share, or no labelled case that can be hidden.
        """
        if not 0 <= share <= 1:
            raise TaskError(f"got a share of {share} to ask a person about; give a number from 0 to 1, such as 0.2")
        found = self.held_out
        known = found.known[0]
        if not bool(known.any()):
            raise TaskError(
                f"the {known.shape[0]} labelled cases are too few to tell which answers are unsure; label more, at least three of each class"
            )
        law = found.law
        one: Law = (
            Categorical(logits=law.logits[0][known], validate_args=False)
            if isinstance(law, Categorical)
            else torch.distributions.Normal(law.mean[0][known], law.stddev[0][known], validate_args=False)
        )
        if share in (0, 1):
            return float("-inf") if share == 0 else float("inf")
        return float(np.quantile(self.sureness(one), share))
