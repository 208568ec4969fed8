"""How sure a difference of two methods at one site is: over the supports that were drawn and over the patients who were asked.

A figure is averaged over draws of support and query. Given the site's cases the draws are independent, so that what they leave open is their
variance over their number. That these patients were asked and not others is the larger part at small sites, and draws say nothing of it, as their
queries are the same patients over and over. By the law of total variance both are added:

    Var(mean gap) = Var(gaps over draws) / draws + Var over patients of the mean gap.

The second is the sum over patients of their squared influence on the mean gap. For the area under the ROC curve the influence of a case is its
placement, so that with one draw it is DeLong's variance (DeLong, DeLong and Clarke-Pearson 1988, Biometrics 44:837; by ranks, Sun and Xu 2014, IEEE
Signal Processing Letters 21:1389); influences of a patient's cases are added (Obuchowski 1997, Biometrics 53:567). An influence averaged over draws
also holds a part that is due to the draws, so the sum is a little too large. The degrees of freedom are Satterthwaite's, as for the placements of two
samples (Brunner and Munzel 2000, Biometrical Journal 42:17).

Left out is that the supports come from the same few patients too: where they are a large part of a site, no sum over draws can tell that
(Bengio and Grandvalet 2004, Journal of Machine Learning Research 5:1089). On the made-up sites of tests/reports/test_influence.py an interval of
95 % holds the expected gap in 92 to 98 of 100 where up to a third of the patients are labelled, and in 85 to 90 where 50 of 60 are (72 with 150
draws, as more of them only hide it); one over draws alone in 42 to 80.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import t as student

from metamedica.data.task import IntArray
from metamedica.reports.metrics import NAN, Labels, Numbers


def roc_auc_influence(labels: Labels, score: Numbers) -> Numbers:
    """Return, for each case, (placement - area) / cases of its class: how far it moves the area under the ROC curve; NaN for one class.

    The placement of a case is the share of the other class that it is on the right side of, equal scores counting half.
    """
    positive, negative = score[labels == 1], score[labels == 0]
    found = np.full(len(score), NAN)
    if not len(positive) or not len(negative):
        return found
    above, below = _share_below(positive, negative), 1 - _share_below(negative, positive)
    area = above.mean()
    found[labels == 1] = (above - area) / len(positive)
    found[labels == 0] = (below - area) / len(negative)
    return found


def _share_below(values: Numbers, others: Numbers) -> Numbers:
    ordered = np.sort(others)
    return (np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")) / (2 * len(ordered))


def mean_influence(values: Numbers) -> Numbers:
    """Return how far each value moves their mean: (value - mean) / number."""
    return (values - values.mean()) / len(values) if len(values) else values


class Gap(NamedTuple):
    """The mean difference of two methods at one site.

    Args:
        mean: over draws.
        over_draws: variance that the supports leave; NaN for one draw.
        over_patients: variance that the patients asked leave; NaN where a class was asked of one patient only.
        freedom: degrees of freedom of their sum.
    """

    mean: float
    over_draws: float
    over_patients: float
    freedom: float

    @property
    def variance(self) -> float:
        return self.over_draws + self.over_patients

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Return the interval that covers the expected gap with this probability; NaN where it cannot be told."""
        if self.variance == 0:
            return self.mean, self.mean
        half = float(student.ppf(0.5 + level / 2, self.freedom)) * math.sqrt(self.variance)
        return self.mean - half, self.mean + half


def site_gap(gaps: Numbers, influence: Numbers, *, strata: Labels, patients: IntArray) -> Gap:
    """Return the mean gap of a site and what is not known of it.

    Args:
        gaps: the difference of the figure, one a draw in which it is defined, at least one.
        influence: the difference of the influences of each case that was asked at all, averaged over those draws.
        strata: of each case: its class for an area under the ROC curve, 0 for all where the figure is a mean over cases.
        patients: of each case, as a number from 0.
    """
    draws = len(gaps)
    parts = [(float(gaps.var(ddof=1)) / draws if draws > 1 else NAN, float(draws - 1))]
    total = np.zeros(int(patients.max()) + 1)
    for stratum in np.unique(strata):
        here = strata == stratum
        count = len(np.unique(patients[here]))
        if count < 2:
            return Gap(float(gaps.mean()), parts[0][0], NAN, NAN)
        moved = math.sqrt(count / (count - 1)) * np.bincount(patients[here], influence[here], len(total))
        parts.append((float(moved @ moved), float(count - 1)))
        total += moved
    return Gap(float(gaps.mean()), parts[0][0], float(total @ total), _freedom(parts))


def mean_gap(gaps: Sequence[Gap]) -> Gap:
    """Return the mean over these very sites, whose patients are others at each; not what is to be expected of another site."""
    sites = len(gaps)
    draws, patients = (sum(getattr(each, name) for each in gaps) / sites**2 for name in ("over_draws", "over_patients"))
    freedom = _freedom([(each.variance / sites**2, each.freedom) for each in gaps])
    return Gap(sum(each.mean for each in gaps) / sites, draws, patients, freedom)


def _freedom(parts: Sequence[tuple[float, float]]) -> float:
    """Return Satterthwaite's degrees of freedom of a sum of variances; infinite where it is 0."""
    doubt = sum(variance**2 / freedom for variance, freedom in parts if variance > 0)
    return sum(variance for variance, _ in parts) ** 2 / doubt if doubt > 0 else math.inf
