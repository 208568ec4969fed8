"""Net benefit of acting on a prediction, over the risk from which one acts (Vickers and Elkin 2006, Med Decis Making 26:565).

A threshold t says what a false alarm costs: who acts from a risk of t on holds 1 missed case to be as bad as (1 - t) / t needless actions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metamedica.errors import InputError
from metamedica.reports.estimates import DRAWS, affordable, interval_of, resampled
from metamedica.reports.metrics import Labels, Numbers, check_probabilities

THRESHOLDS = tuple(round(0.01 * step, 2) for step in range(1, 91))
_LEAST_RUN = 0.05


@dataclass(frozen=True)
class DecisionCurve:
    """Net benefit a case (true positives a case, less the false ones at their price), `[thresholds]` each; treating nobody has 0.

    Args:
        thresholds: risks from which one acts.
        model: of acting where the predicted risk is at least the threshold.
        low: lower end of its 95 % bootstrap interval over cases.
        high: its upper end.
        treat_all: of acting on everybody.
        gain: of the model above the better of acting on everybody and on nobody.
        gain_low: lower end of its interval, paired over the same samples.
        gain_high: its upper end.
    """

    thresholds: Numbers
    model: Numbers
    low: Numbers
    high: Numbers
    treat_all: Numbers
    gain: Numbers
    gain_low: Numbers
    gain_high: Numbers

    def useful(self) -> list[tuple[float, float]]:
        """Return the ranges of thresholds (first, last), at least 0.05 long, over which the whole interval of the gain lies above 0."""
        runs: list[tuple[float, float]] = []
        above = self.gain_low > 0
        start: float | None = None
        for threshold, there in zip([*self.thresholds.tolist(), np.inf], [*above.tolist(), False], strict=True):
            if there:
                start = threshold if start is None else start
                last = threshold
            elif start is not None:
                if last - start >= _LEAST_RUN - 1e-9:
                    runs.append((start, last))
                start = None
        return runs

    def verdict(self) -> str:
        """Return one sentence for a person."""
        runs = self.useful()
        if not runs:
            return "At no range of thresholds is acting on the prediction clearly better (95 % interval) than acting on everybody or on nobody."
        told = " and ".join(f"{low:.0%} to {high:.0%}" for low, high in runs)
        return f"Acting on the prediction is clearly better (95 % interval) than acting on everybody or on nobody from {told} risk."


def net_benefit(labels: Labels, probability: Numbers, threshold: float) -> float:
    """Return true positives a case minus false positives a case x t / (1 - t), acting where the probability is at least t.

    Raises:
        InputError: a threshold that is not between 0 and 1.
        TaskError: probabilities that are none, or no case.
    """
    _check_thresholds([threshold])
    check_probabilities(labels, probability)
    acted = probability >= threshold
    price = threshold / (1 - threshold)
    return float((acted & (labels == 1)).mean() - price * (acted & (labels == 0)).mean())


def decision_curve(
    labels: Labels,
    probability: Numbers,
    *,
    thresholds: Sequence[float | int] = THRESHOLDS,
    draws: int = DRAWS,
    seed: int = 0,
) -> DecisionCurve:
    """Return net benefit over thresholds with bootstrap intervals over cases.

    Args:
        labels: 0 or 1, `[cases]`.
        probability: of class 1, `[cases]`.
        thresholds: between 0 and 1.
        draws: bootstrap samples, of both classes together.
        seed: decides them.

    Raises:
        InputError: thresholds that are not between 0 and 1.
        TaskError: probabilities that are none, no case, or cases of one class, of which no decision can be judged.
    """
    _check_thresholds(thresholds)
    check_probabilities(labels, probability, both=True)
    at = np.asarray(thresholds, dtype=np.float64)
    price = at / (1 - at)
    acted = probability[:, None] >= at
    worth = np.where(labels[:, None] == 1, 1.0, -price)  # of acting on this case at this threshold
    each = acted * worth  # [cases, thresholds]
    weights = _weights(len(labels), affordable(len(labels), draws), seed)
    model, everybody = each.mean(0), worth.mean(0)
    sampled, all_sampled = weights @ each, weights @ worth
    gains = sampled - np.maximum(all_sampled, 0)
    ends = np.array([[*interval_of(sampled[:, t]), *interval_of(gains[:, t])] for t in range(len(at))])
    gain = model - np.maximum(everybody, 0)
    return DecisionCurve(at, model, ends[:, 0], ends[:, 1], everybody, gain, ends[:, 2], ends[:, 3])


def _weights(count: int, draws: int, seed: int) -> NDArray[np.float64]:
    """Return how often each bootstrap sample holds each case, as a share of the sample, `[draws, cases]`."""
    samples = resampled(count, draws=draws, seed=seed)
    counts = np.zeros((draws, count))
    np.add.at(counts, (np.arange(draws)[:, None], samples), 1.0)
    return counts / count


def _check_thresholds(thresholds: Sequence[float | int]) -> None:
    odd = [each for each in thresholds if not 0 < each < 1]
    if odd or not len(thresholds):
        came = f"the threshold {odd[0]}" if odd else "no threshold"
        raise InputError(f"got {came}; give risks between 0 and 1 from which one acts, such as 0.1")
