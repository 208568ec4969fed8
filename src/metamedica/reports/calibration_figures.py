"""How far predicted risks are those that come true: slope and intercept of logistic recalibration, and the reliability curve.

Cox 1958 (Biometrika 45:562); Van Calster et al. 2019 (BMC Medicine 17:230) for what the figures mean to a clinician.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import norm

from metamedica.errors import TaskError
from metamedica.reports.estimates import DRAWS, RANKED_DRAWS, Estimate, affordable, interval_of, resampled
from metamedica.reports.metrics import (
    Labels,
    Numbers,
    brier,
    check_probabilities,
    expected_calibration_error,
    log_loss_of,
)

_STEPS = 40
_TOLERANCE = 1e-10
_CLIP = 1e-6
BINS = 10
_LEAST_IN_BIN = 5


@dataclass(frozen=True)
class Calibration:
    """Figures of calibration with 95 % bootstrap intervals; one that is not defined says why.

    Args:
        slope: of the true log-odds on the predicted ones; 1 is right, below 1 the predictions are too extreme.
        intercept: of the true log-odds with the slope held at 1; 0 is right, below 0 the risks are too high.
        in_the_large: mean predicted risk minus observed share; 0 is right.
        ece: expected calibration error over ten bins of equal mass (0 is right; a small sample alone has some).
        brier: mean squared error of the probabilities.
        log_loss: in nats.
    """

    slope: Estimate
    intercept: Estimate
    in_the_large: Estimate
    ece: Estimate
    brier: Estimate
    log_loss: Estimate


@dataclass(frozen=True)
class Reliability:
    """Observed against predicted in bins of equal mass, `[bins]` each.

    Args:
        predicted: mean predicted risk of the bin.
        observed: share of positives.
        low: lower end of the share's 95 % Wilson interval (Wilson 1927).
        high: its upper end.
        cases: in the bin.
    """

    predicted: Numbers
    observed: Numbers
    low: Numbers
    high: Numbers
    cases: NDArray[np.int64]


def calibration_slope(labels: Labels, probability: Numbers) -> float:
    """Return b of the maximum likelihood fit of a + b x logit(probability) to the labels.

    Raises:
        TaskError: probabilities that are none, cases of one class, constant predictions, or classes told apart without error, where b is infinite.
    """
    return recalibration(labels, probability)[1]


def recalibration(labels: Labels, probability: Numbers) -> tuple[float, float]:
    """Return (a, b) of the maximum likelihood fit of a + b x logit(probability) to the labels, by Newton's method.

    Raises:
        TaskError: as for `calibration_slope`.
    """
    check_probabilities(labels, probability, both=True)
    score = _log_odds(probability)
    if np.ptp(score) < 1e-9:
        raise TaskError(
            f"all {len(labels)} predicted probabilities are {probability[0]:.3f}: the calibration slope of constant predictions is not "
            "defined; look at the calibration in the large"
        )
    found = _lines(labels[None], score[None])[0]
    if not np.isfinite(found).all():
        raise TaskError(
            "the predictions tell the classes apart without error, or nearly: the calibration slope has no finite value; judge on more cases"
        )
    return float(found[0]), float(found[1])


def calibration_intercept(labels: Labels, probability: Numbers) -> float:
    """Return a of the maximum likelihood fit of a + logit(probability) to the labels.

    Raises:
        TaskError: probabilities that are none, or cases of one class.
    """
    check_probabilities(labels, probability, both=True)
    return float(_levels(labels[None], _log_odds(probability)[None])[0])


def in_the_large(labels: Labels, probability: Numbers) -> float:
    """Return the mean predicted risk minus the observed share.

    Raises:
        TaskError: probabilities that are none, or no case.
    """
    check_probabilities(labels, probability)
    return float(probability.mean() - labels.mean())


def calibration(labels: Labels, probability: Numbers, *, draws: int = DRAWS, seed: int = 0) -> Calibration:
    """Return every figure of calibration.

    Args:
        labels: 0 or 1, `[cases]`.
        probability: of class 1, `[cases]`.
        draws: bootstrap samples of the cases.
        seed: decides them.

    Raises:
        TaskError: probabilities that are none, or no case. One class or constant predictions are told by the figures they concern.
    """
    check_probabilities(labels, probability)
    samples = resampled(len(labels), draws=affordable(len(labels), draws), seed=seed)
    y, score = labels[samples], _log_odds(probability)[samples]

    def told(figure: Callable[[Labels, Numbers], float], values: Numbers) -> Estimate:
        try:
            return Estimate(figure(labels, probability), *interval_of(values))
        except TaskError as error:
            return Estimate.missing(str(error))

    return Calibration(
        told(calibration_slope, _lines(y, score)[:, 1]),
        told(calibration_intercept, _levels(y, score)),
        told(in_the_large, probability[samples].mean(1) - y.mean(1)),
        told(
            expected_calibration_error,
            np.array([expected_calibration_error(labels[at], probability[at]) for at in samples[:RANKED_DRAWS]]),
        ),
        told(brier, ((probability - labels) ** 2)[samples].mean(1)),
        told(
            log_loss_of,
            np.array([log_loss_of(labels[at : at + 1], probability[at : at + 1]) for at in range(len(labels))])[
                samples
            ].mean(1),
        ),
    )


def reliability(labels: Labels, probability: Numbers, *, bins: int = BINS) -> Reliability:
    """Return the reliability curve in at most `bins` bins of equal mass and of at least five cases; equal predictions share a bin.

    Raises:
        TaskError: probabilities that are none, or no case.
    """
    check_probabilities(labels, probability)
    order = np.argsort(probability, kind="stable")
    size = max(1, min(bins, len(labels) // _LEAST_IN_BIN))
    bin_of = np.zeros(len(labels), dtype=np.int64)
    for number, part in enumerate(np.array_split(order, size)):
        bin_of[part] = number
    _, same = np.unique(probability, return_inverse=True)
    first = np.full(same.max() + 1, size)
    np.minimum.at(first, same, bin_of)
    _, place = np.unique(first[same], return_inverse=True)
    cases = np.bincount(place)
    observed = np.bincount(place, weights=labels) / cases
    low, high = wilson(observed, cases)
    return Reliability(np.bincount(place, weights=probability) / cases, observed, low, high, cases)


def wilson(share: Numbers, count: NDArray[np.int64]) -> tuple[Numbers, Numbers]:
    """Return the 95 % interval of a share of so many (Wilson 1927, JASA 22:209)."""
    z = float(norm.ppf(0.975))
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return np.clip(centre - half, 0, 1), np.clip(centre + half, 0, 1)


def _log_odds(probability: Numbers) -> Numbers:
    """Return log-odds; probabilities of 0 and 1 are taken a millionth inside, where they still cost most."""
    return np.asarray(logit(np.clip(probability, _CLIP, 1 - _CLIP)), dtype=np.float64)


def _lines(labels: NDArray[np.int64], score: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (a, b) of the logistic regression of labels on a score for each sample, `[samples, 2]`; NaN where there is no finite one.

    Args:
        labels: `[samples, cases]`.
        score: `[samples, cases]`.
    """
    centre, spread = score.mean(1), score.std(1)
    usable = spread > _TOLERANCE
    x = (score - centre[:, None]) / np.where(usable, spread, 1.0)[:, None]
    w = np.zeros((len(score), 2))
    for _ in range(_STEPS):
        p = expit(w[:, :1] + w[:, 1:] * x)
        weight = np.maximum(p * (1 - p), 1e-12)
        slope = np.stack([(labels - p).sum(1), ((labels - p) * x).sum(1)], axis=1)
        one, cross, square = weight.sum(1), (weight * x).sum(1), (weight * x**2).sum(1)
        size = np.maximum(one * square - cross**2, 1e-12)
        step = np.stack([square * slope[:, 0] - cross * slope[:, 1], one * slope[:, 1] - cross * slope[:, 0]], axis=1)
        step = np.clip(step / size[:, None], -1, 1)  # far from the maximum a whole step may overshoot
        w += step
        if np.abs(step[usable]).max(initial=0) < _TOLERANCE:
            break
    done = usable & (np.abs(step).max(1) < 1e-6)  # of separable classes the steps never end
    w[~done] = np.nan
    return np.stack(
        [w[:, 0] - w[:, 1] * centre / np.where(usable, spread, 1.0), w[:, 1] / np.where(usable, spread, 1.0)], axis=1
    )


def _levels(labels: NDArray[np.int64], score: NDArray[np.float64]) -> Numbers:
    """Return a of the logistic regression a + score for each sample, `[samples]`; NaN where the labels are of one class."""
    a = np.zeros(len(score))
    share = labels.mean(1)
    usable = (share > 0) & (share < 1)
    for _ in range(_STEPS):
        p = expit(a[:, None] + score)
        step = np.clip((labels - p).sum(1) / np.maximum((p * (1 - p)).sum(1), 1e-12), -1, 1)
        a = a + np.where(usable, step, 0)
        if np.abs(step[usable]).max(initial=0) < _TOLERANCE:
            break
    return np.where(usable, a, np.nan)
