"""What predictions are judged by. One query set at a time; NaN where a figure is not defined, never an invented value.

Ranks and areas are written out: a query of twenty patients is judged a hundred thousand times, and the checks that scikit-learn makes of its
arguments took a hundred times as long as the figure.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, spearmanr

from metamedica.errors import TaskError

Numbers = NDArray[np.float64]
Labels = NDArray[np.int64]
NAN = float("nan")
_BINS = 10


def _two_classes(labels: Labels) -> bool:
    return len(labels) > 0 and 0 < int(labels.sum()) < len(labels)


def check_probabilities(labels: Labels, probability: Numbers, *, both: bool = False) -> None:
    """Refuse what cannot be judged, before a figure is made of it.

    Args:
        labels: 0 or 1, `[cases]`.
        probability: of class 1, `[cases]`.
        both: whether cases of both classes are needed.

    Raises:
        TaskError: no case, not one probability a case, one that is no number between 0 and 1, or one class where both are needed.
    """
    labels, probability = np.asarray(labels), np.asarray(probability)
    if labels.ndim != 1 or labels.shape != probability.shape or len(labels) == 0:
        raise TaskError(
            f"got {labels.shape} labels and {probability.shape} probabilities; give one of each a case, of at least one case"
        )
    odd = np.flatnonzero(~((labels == 0) | (labels == 1)))
    if len(odd):
        raise TaskError(
            f"the label of case {odd[0] + 1} is neither 0 nor 1 ({len(odd)} such cases); a binary task is judged by those"
        )
    odd = np.flatnonzero(~np.isfinite(probability))
    if len(odd):
        raise TaskError(
            f"{len(odd)} of {len(labels)} predicted probabilities are not numbers (NaN or infinite; the first is of case {odd[0] + 1}), so "
            "nothing is judged; mend the learner that returned them"
        )
    odd = np.flatnonzero((probability < 0) | (probability > 1))
    if len(odd):
        raise TaskError(
            f"the predicted probability of case {odd[0] + 1} is not between 0 and 1 ({len(odd)} such cases); mend the learner"
        )
    if both and not _two_classes(labels):
        raise TaskError(
            f"all {len(labels)} cases are of class {int(labels[0])}; this figure needs cases of both classes: add cases of the other one"
        )


def delta_auprc(labels: Labels, score: Numbers) -> float:
    """Return average precision minus the share of positives in the query (FS-Mol, Stanley et al. 2021, section 4.2)."""
    return average_precision(labels, score) - float(labels.mean()) if _two_classes(labels) else NAN


def average_precision(labels: Labels, score: Numbers) -> float:
    """Return the mean over positives of the precision at their score: equal scores are one threshold.

    Raises:
        ValueError: a score is not finite.
    """
    if not _two_classes(labels):
        return NAN
    order = np.argsort(-np.asarray_chkfinite(score), kind="stable")
    ranked, hits = score[order], np.cumsum(labels[order])
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    precision, found = hits[last] / (last + 1), np.diff(hits[last], prepend=0)
    return float((precision * found).sum() / hits[-1])


def roc_auc(labels: Labels, score: Numbers) -> float:
    """Return the area under the ROC curve: how often a positive scores above a negative, equal scores counting half.

    Raises:
        ValueError: a score is not finite.
    """
    if not _two_classes(labels):
        return NAN
    score = np.asarray_chkfinite(score)
    positive, negative = score[labels == 1], np.sort(score[labels == 0])
    below = np.searchsorted(negative, positive, side="left") + np.searchsorted(negative, positive, side="right")
    return float(below.sum() / (2 * len(positive) * len(negative)))


def brier(labels: Labels, probability: Numbers) -> float:
    """Return the mean squared difference of probability and label."""
    return float(np.mean((probability - labels) ** 2)) if len(labels) else NAN


def log_loss_of(labels: Labels, probability: Numbers) -> float:
    """Return the mean negative log-likelihood in nats; probabilities are clipped at machine precision.

    Raises:
        ValueError: a probability is not finite.
    """
    return float(losses_of(labels, probability).mean()) if len(labels) else NAN


def losses_of(labels: Labels, probability: Numbers) -> Numbers:
    """Return the negative log-likelihood of each label in nats, as `log_loss_of` averages it.

    Raises:
        ValueError: a probability is not finite.
    """
    given = np.where(labels == 1, np.asarray_chkfinite(probability), 1 - probability)
    losses: Numbers = -np.log(np.clip(given, np.finfo(float).eps, 1))
    return losses


def expected_calibration_error(labels: Labels, probability: Numbers, *, bins: int = _BINS) -> float:
    """Return the mean gap of probability and frequency over `bins` bins of equal mass, weighted by size (Naeini et al. 2015)."""
    if len(labels) == 0:
        return NAN
    count = min(bins, len(labels))
    size, longer = divmod(len(labels), count)
    starts = np.arange(count) * size + np.minimum(np.arange(count), longer)  # as np.array_split has them
    gaps = np.add.reduceat((probability - labels)[np.argsort(probability, kind="stable")], starts)
    return float(np.abs(gaps).sum() / len(labels))


def r2(targets: Numbers, predicted: Numbers) -> float:
    """Return 1 - squared error / variance about the query's own mean, as FS-Mol's regression figures do."""
    spread = float(np.sum((targets - targets.mean()) ** 2)) if len(targets) > 1 else 0.0
    return 1 - float(np.sum((targets - predicted) ** 2)) / spread if spread > 0 else NAN


def spearman(targets: Numbers, predicted: Numbers) -> float:
    """Return Spearman's rank correlation; 0 where every prediction is the same (such a ranking is no ranking)."""
    if len(targets) < 2 or np.ptp(targets) == 0:
        return NAN
    return float(spearmanr(targets, predicted).statistic) if np.ptp(predicted) > 0 else 0.0


def rmse(targets: Numbers, predicted: Numbers) -> float:
    """Return the root mean squared error, in the target's unit."""
    return float(np.sqrt(np.mean((targets - predicted) ** 2))) if len(targets) else NAN


def hits_in_top(targets: Numbers, predicted: Numbers, *, top: int = 50, share: float = 0.1) -> float:
    """Return how many of the `top` highest predictions are among the best `share` of all targets."""
    if len(targets) == 0:
        return NAN
    best = set(np.argsort(-targets, kind="stable")[: max(1, round(share * len(targets)))].tolist())
    return float(len(best.intersection(np.argsort(-predicted, kind="stable")[:top].tolist())))


def interval_coverage(targets: Numbers, mean: Numbers, deviation: Numbers, *, coverage: float = 0.9) -> float:
    """Return the share of targets inside the central interval of a Normal law."""
    half = float(norm.ppf(0.5 + coverage / 2)) * deviation
    return float(np.mean(np.abs(targets - mean) <= half)) if len(targets) else NAN


def binary_figures(labels: Labels, probability: Numbers) -> dict[str, float]:
    """Return every figure of a binary task."""
    return {
        "delta_auprc": delta_auprc(labels, probability),
        "roc_auc": roc_auc(labels, probability),
        "brier": brier(labels, probability),
        "ece": expected_calibration_error(labels, probability),
        "log_loss": log_loss_of(labels, probability),
    }


def regression_figures(targets: Numbers, mean: Numbers, deviation: Numbers) -> dict[str, float]:
    """Return every figure of a regression task; `log_loss` is the negative log density in nats, in the target's unit."""
    return {
        "r2": r2(targets, mean),
        "spearman": spearman(targets, mean),
        "rmse": rmse(targets, mean),
        "coverage": interval_coverage(targets, mean, deviation),
        "hits": hits_in_top(targets, mean),
        "log_loss": float(-np.mean(norm.logpdf(targets, mean, deviation))) if len(targets) else NAN,
    }


def multiclass_figures(labels: Labels, probability: Numbers) -> dict[str, float]:
    """Return accuracy, macro one-vs-rest ROC-AUC over the classes that occur, and log loss.

    Args:
        labels: class indices.
        probability: `[cases, classes]`.
    """
    present = [c for c in range(probability.shape[1]) if _two_classes((labels == c).astype(np.int64))]
    areas = [roc_auc((labels == c).astype(np.int64), probability[:, c]) for c in present]
    given = np.clip(probability[np.arange(len(labels)), labels], np.finfo(float).eps, 1) if len(labels) else np.ones(0)
    return {
        "accuracy": float(np.mean(probability.argmax(1) == labels)) if len(labels) else NAN,
        "roc_auc": float(np.mean(areas)) if areas else NAN,
        "log_loss": float(-np.log(given).mean()) if len(labels) else NAN,
    }
