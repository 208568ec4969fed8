"""A figure with its 95 % interval over judged cases, or the sentence that says why there is none. Never an invented value."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metamedica.errors import TaskError

DRAWS = 1000
RANKED_DRAWS = 400
"""Of figures that are computed sample by sample."""
_MOST_NUMBERS = 10_000_000
_LEAST_DEFINED = 0.9
_LEVELS = (0.025, 0.975)


@dataclass(frozen=True)
class Estimate:
    """A figure.

    Args:
        value: NaN where it is not defined.
        low: lower end of the 95 % percentile bootstrap interval; NaN where there is none.
        high: its upper end.
        reason: why there is no value, or no interval; empty where there are both.
    """

    value: float
    low: float = float("nan")
    high: float = float("nan")
    reason: str = ""

    @classmethod
    def missing(cls, reason: str) -> "Estimate":
        """Return a figure that is not defined, and why."""
        return cls(float("nan"), reason=reason)

    @property
    def defined(self) -> bool:
        return bool(np.isfinite(self.value))

    def text(self, digits: int = 3) -> str:
        """Return value and interval for a person; a dash where there is no value."""
        if not self.defined:
            return "–"
        if not np.isfinite([self.low, self.high]).all():
            return f"{self.value:.{digits}f}"
        return f"{self.value:.{digits}f} ({self.low:.{digits}f} to {self.high:.{digits}f})"


def affordable(count: int, draws: int = DRAWS) -> int:
    """Return how many bootstrap samples of so many cases are drawn: fewer, at least 100, where they would fill the memory."""
    return max(100, min(draws, _MOST_NUMBERS // max(count, 1))) if draws > 100 else draws


def resampled(
    count: int, *, strata: NDArray[np.int64] | None = None, draws: int = DRAWS, seed: int = 0
) -> NDArray[np.int64]:
    """Return bootstrap samples of cases, `[draws, cases]`: positions drawn with replacement.

    Args:
        count: of the cases.
        strata: a class of each case; each sample then has as many of every class as there are. None draws freely.
        draws: number of samples.
        seed: decides them.
    """
    random = np.random.default_rng(seed)
    if strata is None:
        return random.integers(0, count, size=(draws, count))
    parts = [np.flatnonzero(strata == each) for each in np.unique(strata)]
    return np.concatenate([part[random.integers(0, len(part), size=(draws, len(part)))] for part in parts], axis=1)


def interval_of(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the 95 % percentile interval of a figure's bootstrap values; NaN where more than a tenth of them are not defined."""
    values = np.asarray(values, dtype=np.float64)
    finite = values[np.isfinite(values)]
    if len(values) == 0 or len(finite) < _LEAST_DEFINED * len(values):
        return float("nan"), float("nan")
    low, high = np.quantile(finite, _LEVELS)
    return float(low), float(high)


def estimated(
    figure: Callable[[NDArray[np.int64]], float],
    count: int,
    *,
    strata: NDArray[np.int64] | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> Estimate:
    """Return a figure of cases with its interval; a `TaskError` that it raises of all cases becomes the reason why there is none.

    Args:
        figure: of the cases at some positions.
        count: of the cases.
        strata: as in `resampled`.
        draws: bootstrap samples.
        seed: decides them.
    """
    try:
        value = figure(np.arange(count))
    except TaskError as error:
        return Estimate.missing(str(error))

    def of(sample: NDArray[np.int64]) -> float:
        try:
            return figure(sample)
        except TaskError:  # a sample may be of one class, or separable: counted by `interval_of`
            return float("nan")

    draws = affordable(count, draws)
    low, high = interval_of(np.array([of(each) for each in resampled(count, strata=strata, draws=draws, seed=seed)]))
    ends = "" if np.isfinite(low) else "the figure is not defined in more than a tenth of the bootstrap samples"
    return Estimate(value, low, high, ends)


def mean_estimated(values: NDArray[np.float64], *, draws: int = DRAWS, seed: int = 0) -> Estimate:
    """Return the mean of a number a case with its interval; NaN without a case."""
    values = np.asarray(values, dtype=np.float64)
    draws = affordable(len(values), draws)
    if len(values) == 0:
        return Estimate.missing("there is no case")
    return Estimate(float(values.mean()), *interval_of(values[resampled(len(values), draws=draws, seed=seed)].mean(1)))
