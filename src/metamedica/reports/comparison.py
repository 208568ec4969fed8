"""One method against others, paired over tasks."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import wilcoxon

from metamedica.errors import InputError
from metamedica.reports.evaluation import LOWER_IS_BETTER, Evaluation, bootstrap


@dataclass(frozen=True)
class Paired:
    """The difference of a method and a baseline on the same tasks at one support size; positive is better for the method.

    Args:
        p: of the two-sided Wilcoxon signed-rank test; 1 where no task differs.
        worst: the task with the most negative difference, and that difference.
    """

    method: str
    baseline: str
    shots: int
    figure: str
    mean: float
    low: float
    high: float
    p: float
    wins: int
    ties: int
    losses: int
    worst: tuple[str, float]


def compare(evaluation: Evaluation, method: str, baseline: str, *, shots: int, figure: str | None = None) -> Paired:
    """Return the paired comparison over the tasks that both did.

    Raises:
        InputError: a method, figure or support size that the evaluation does not have.
    """
    figure = figure or evaluation.leading
    asked = [("method", method, evaluation.methods), ("method", baseline, evaluation.methods)]
    for what, name, known in [*asked, ("figure", figure, evaluation.figures)]:
        if name not in known:
            raise InputError(f"the evaluation has no {what} {name!r}; it has: {', '.join(known)}")
    if shots not in evaluation.shots:
        raise InputError(f"the evaluation has no support of {shots}; it has: {', '.join(map(str, evaluation.shots))}")
    table = evaluation.per_task(figure).reindex(columns=list(dict.fromkeys([method, baseline])))
    both = table[table.index.get_level_values("shots") == shots].droplevel("shots").dropna()
    gap = both[method] - both[baseline]
    if figure in LOWER_IS_BETTER:
        gap = -gap
    values = gap.to_numpy(dtype=float)
    low, high = bootstrap(values)
    differs = np.abs(values) > 0
    p = float(wilcoxon(values[differs]).pvalue) if differs.sum() > 0 else 1.0
    worst = (str(gap.idxmin()), float(gap.min())) if len(gap) else ("", float("nan"))
    mean = float(values.mean()) if len(values) else float("nan")
    return Paired(
        method, baseline, shots, figure, mean, low, high, p,
        int((values > 0).sum()), int((values == 0).sum()), int((values < 0).sum()), worst,
    )  # fmt: skip
