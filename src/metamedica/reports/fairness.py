"""An audit by declared sensitive columns: how well each subgroup is served, and how far groups are treated alike.

Figures a subgroup and differences between them through fairlearn (Weerts et al. 2023, JMLR 24:257); demographic parity and equalised odds as in
Agarwal et al. 2018 (arXiv:1803.02453) and Hardt et al. 2016 (arXiv:1610.02413).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from metamedica.errors import InputError, MissingExtraError
from metamedica.reports.estimates import DRAWS, Estimate, affordable, interval_of
from metamedica.reports.metrics import Labels, Numbers, check_probabilities, roc_auc
from metamedica.reports.subgroups import Division, divided

LEAST_CASES = 10
LEAST_OF_A_CLASS = 3
THRESHOLD = 0.5


@dataclass(frozen=True)
class Subgroup:
    """One subgroup of a sensitive column.

    Args:
        column: the sensitive column.
        name: of the subgroup.
        cases: how many.
        positives: how many of class 1.
        figures: figure -> value with interval; empty where the subgroup is too small.
        reason: why there are none.
    """

    column: str
    name: str
    cases: int
    positives: int
    figures: Mapping[str, Estimate]
    reason: str = ""


@dataclass(frozen=True)
class ColumnAudit:
    """One sensitive column.

    Args:
        column: its name.
        how: how numbers were cut, in words; empty for levels.
        subgroups: in order, those too small among them.
        demographic_parity: largest minus smallest selection rate of the subgroups that are large enough.
        equalised_odds: the larger of the differences in sensitivity and in false positive rate.
    """

    column: str
    how: str
    subgroups: tuple[Subgroup, ...]
    demographic_parity: Estimate
    equalised_odds: Estimate


@dataclass(frozen=True)
class FairnessAudit:
    """All sensitive columns at one threshold of risk, from which a case counts as selected."""

    threshold: float
    columns: tuple[ColumnAudit, ...]

    def frame(self) -> pd.DataFrame:
        """Return a row a subgroup: `column`, `subgroup`, `cases`, `positives`, each figure with `_low` and `_high`, and `reason`."""
        rows = []
        for group in (group for audit in self.columns for group in audit.subgroups):
            row: dict[str, Any] = {
                "column": group.column, "subgroup": group.name, "cases": group.cases, "positives": group.positives,
            }  # fmt: skip
            for name in FIGURES:
                each = group.figures.get(name, Estimate(float("nan")))
                row |= {name: each.value, f"{name}_low": each.low, f"{name}_high": each.high}
            rows.append(row | {"reason": group.reason})
        return pd.DataFrame(rows)


def _auc(labels: Any, probability: Any) -> float:
    return roc_auc(np.asarray(labels, dtype=np.int64), np.asarray(probability, dtype=np.float64))


def _large(labels: Any, probability: Any) -> float:
    return float(np.mean(probability) - np.mean(labels))


FIGURES: dict[str, str] = {
    "roc_auc": "ROC-AUC",
    "in_the_large": "predicted minus observed",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "selection_rate": "selected",
}
"""Figure -> its name for people."""


def fairness_audit(
    labels: Labels,
    probability: Numbers,
    sensitive: pd.DataFrame,
    *,
    threshold: float = THRESHOLD,
    cuts: Mapping[str, Sequence[float | int]] | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> FairnessAudit:
    """Return the audit of a binary predictor.

    Intervals come from bootstrap samples within each subgroup (and class, for figures that are of one class). A difference of the largest and
    the smallest is above 0 by chance alone where subgroups are small.

    Args:
        labels: 0 or 1, `[cases]`.
        probability: of class 1, `[cases]`.
        sensitive: a row a case, a column each that results are told apart by.
        threshold: the risk from which a case counts as selected.
        cuts: bounds of numeric columns (`subgroups.divided`).
        draws: bootstrap samples.
        seed: decides them.

    Raises:
        InputError: no sensitive column, one that cannot be divided, or a threshold that is not between 0 and 1.
        TaskError: probabilities that are none, or no case.
        MissingExtraError: fairlearn is not installed.
    """
    if sensitive.shape[1] == 0:
        raise InputError("no sensitive column came, so fairness cannot be audited; give at least one")
    if not 0 < threshold < 1:
        raise InputError(f"got the threshold {threshold}; give a risk between 0 and 1 from which one acts, such as 0.2")
    check_probabilities(labels, probability)
    if len(sensitive) != len(labels):
        raise InputError(f"got {len(sensitive)} rows of sensitive columns for {len(labels)} cases; give one a case")
    divisions = divided(sensitive, [str(name) for name in sensitive.columns], cuts=cuts)
    audits = [_audited(each, labels, probability, threshold, draws=draws, seed=seed) for each in divisions]
    return FairnessAudit(threshold, tuple(audits))


def _audited(
    division: Division, labels: Labels, probability: Numbers, threshold: float, *, draws: int, seed: int
) -> ColumnAudit:
    members = {name: np.flatnonzero(division.place == at) for at, name in enumerate(division.names)}
    reasons = {name: _too_small(labels[where]) for name, where in members.items()}
    judged = [name for name, reason in reasons.items() if not reason]
    figures: dict[str, dict[str, Estimate]] = {}
    parity = odds = Estimate.missing("fewer than two subgroups are large enough to compare")
    if judged:
        kept = np.concatenate([members[name] for name in judged])
        groups = np.concatenate([np.full(len(members[name]), at) for at, name in enumerate(judged)])
        frame, both = _through_fairlearn(labels[kept], probability[kept], groups, threshold)
        samples = [
            _sampled(labels[members[name]], probability[members[name]], threshold, draws, seed) for name in judged
        ]
        for at, name in enumerate(judged):
            figures[name] = {
                figure: Estimate(float(frame[figure].iloc[at]), *interval_of(samples[at][figure])) for figure in FIGURES
            }
        if len(judged) > 1:
            parity = Estimate(both["parity"], *interval_of(_widest(samples, "selection_rate")))
            wider = np.maximum(_widest(samples, "sensitivity"), _widest(samples, "specificity"))
            odds = Estimate(both["odds"], *interval_of(wider))
    subgroups = tuple(
        Subgroup(division.column, name, len(where), int(labels[where].sum()), figures.get(name, {}), reasons[name])
        for name, where in members.items()
        if len(where)
    )
    return ColumnAudit(division.column, division.how, subgroups, parity, odds)


def _too_small(labels: Labels) -> str:
    """Return why a subgroup gets no figure, nothing where it gets them."""
    if len(labels) < LEAST_CASES:
        return f"too small to judge (n={len(labels)})"
    rarer = int(min(labels.sum(), len(labels) - labels.sum()))
    return f"too small to judge (n={len(labels)}, {rarer} of the rarer class)" if rarer < LEAST_OF_A_CLASS else ""


def _through_fairlearn(
    labels: Labels, probability: Numbers, groups: NDArray[np.int64], threshold: float
) -> tuple[pd.DataFrame, dict[str, float]]:
    """Return figures a subgroup (index: its number) and the two differences between subgroups."""
    try:
        from fairlearn.metrics import (
            MetricFrame,
            demographic_parity_difference,
            equalized_odds_difference,
            selection_rate,
            true_negative_rate,
            true_positive_rate,
        )
    except ImportError:
        raise MissingExtraError("fairlearn", "audit") from None

    selected = (probability >= threshold).astype(np.int64)
    of_risk = MetricFrame(
        metrics={"roc_auc": _auc, "in_the_large": _large}, y_true=labels, y_pred=probability, sensitive_features=groups
    )
    of_choice = MetricFrame(
        metrics={
            "sensitivity": true_positive_rate,
            "specificity": true_negative_rate,
            "selection_rate": selection_rate,
        },
        y_true=labels,
        y_pred=selected,
        sensitive_features=groups,
    )
    differences: dict[str, Callable[..., float]] = {
        "parity": demographic_parity_difference,
        "odds": equalized_odds_difference,
    }
    told = {name: float(of(labels, selected, sensitive_features=groups)) for name, of in differences.items()}
    return of_risk.by_group.join(of_choice.by_group), told


def _sampled(
    labels: Labels, probability: Numbers, threshold: float, draws: int, seed: int
) -> dict[str, NDArray[np.float64]]:
    """Return every figure of bootstrap samples of one subgroup, `[draws]` each; figures of one class or of ranks are drawn within the classes."""
    random = np.random.default_rng(seed)
    draws = affordable(len(labels), draws)
    free = random.integers(0, len(labels), size=(draws, len(labels)))
    ones, zeros = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    positive = probability[ones[random.integers(0, len(ones), size=(draws, len(ones)))]]
    negative = probability[zeros[random.integers(0, len(zeros), size=(draws, len(zeros)))]]
    found, spared = (positive >= threshold).mean(1), (negative < threshold).mean(1)
    return {
        "roc_auc": np.array([_ranked(*each) for each in zip(positive, negative, strict=True)]),
        "in_the_large": (probability - labels)[free].mean(1),
        "sensitivity": found,
        "specificity": spared,
        "selection_rate": (probability >= threshold)[free].mean(1),
    }


def _ranked(positive: Numbers, negative: Numbers) -> float:
    labels = np.repeat(np.array([1, 0], dtype=np.int64), [len(positive), len(negative)])
    return roc_auc(labels, np.concatenate([positive, negative]))


def _widest(samples: Sequence[Mapping[str, NDArray[np.float64]]], figure: str) -> NDArray[np.float64]:
    fewest = min(len(each[figure]) for each in samples)
    every = np.stack([each[figure][:fewest] for each in samples])
    return np.asarray(every.max(0) - every.min(0))
