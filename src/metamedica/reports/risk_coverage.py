"""Risk against coverage: the mean error of the cases that are answered, as the least sure are left to a person.

El-Yaniv and Wiener 2010 (JMLR 11:1605); area: Geifman, Uziel and El-Yaniv 2018 (arXiv:1805.08206).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metamedica.errors import InputError

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class RiskCoverage:
    """Mean error of the surest 1, 2, ... n cases.

    Cases that are equally sure enter in a random order, of which the expectation is taken: the order of the input says nothing.

    Args:
        coverage: share of cases answered, `[cases]`, 1/n to 1.
        risk: mean error of those, `[cases]`.
        best: the same for a sureness that ranks by the errors themselves, which none can beat.
    """

    coverage: Numbers
    risk: Numbers
    best: Numbers

    @property
    def area(self) -> float:
        """Mean risk over coverages; a sureness that says nothing has the mean error."""
        return float(self.risk.mean())

    @property
    def excess(self) -> float:
        """How far the area lies above the least possible: 0 for a perfect ranking."""
        return float(self.risk.mean() - self.best.mean())

    @property
    def error(self) -> float:
        """Mean error when every case is answered."""
        return float(self.risk[-1])

    def at(self, coverage: float) -> float:
        """Return the mean error of the surest cases that make up at least this share.

        Raises:
            InputError: a share that is not above 0 and at most 1.
        """
        if not 0 < coverage <= 1:
            raise InputError(f"got coverage {coverage}; give the share that is answered, above 0 and at most 1")
        return float(self.risk[int(np.ceil(round(coverage * len(self.risk), 9))) - 1])

    def cut(self, share: float = 0.2) -> float:
        """Return by which part the error falls when this share, the least sure, is left to a person; NaN where there is no error.

        Raises:
            InputError: a share that is not at least 0 and below 1.
        """
        if not 0 <= share < 1:
            raise InputError(f"got the share {share} to leave to a person; give a number of at least 0 and below 1")
        return 1 - self.at(1 - share) / self.error if self.error > 0 else float("nan")


def risk_coverage(error: Numbers, sureness: Numbers) -> RiskCoverage:
    """Return the curve.

    Args:
        error: of each case, at least 0: 1 where the label is wrong, an absolute error, a log loss.
        sureness: of each case; larger is surer.

    Raises:
        InputError: no case, different lengths, or a number that is not finite.
    """
    error, sureness = np.asarray(error, dtype=np.float64), np.asarray(sureness, dtype=np.float64)
    if error.ndim != 1 or error.shape != sureness.shape or len(error) == 0:
        raise InputError(
            f"got {error.shape} errors and {sureness.shape} numbers for how sure each is; give one of each a case"
        )
    for name, values in (("error", error), ("sureness", sureness)):
        odd = np.flatnonzero(~np.isfinite(values))
        if len(odd):
            raise InputError(
                f"the {name} of case {odd[0] + 1} is not a number ({len(odd)} such); mend or leave them out"
            )
    count = np.arange(1, len(error) + 1)
    _, block = np.unique(-sureness, return_inverse=True)
    shared = np.bincount(block, weights=error) / np.bincount(block)
    risk = np.cumsum(shared[np.sort(block)]) / count
    return RiskCoverage(count / len(error), risk, np.cumsum(np.sort(error)) / count)
