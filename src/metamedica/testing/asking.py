"""A predictor, and the cases that its contract is tried on."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metamedica.errors import InputError
from metamedica.predictors.predictor import Predictor
from metamedica.testing.contents import changed, contents, memory


def some(cases: Any, rows: Sequence[int]) -> Any:
    """Return these raw cases of a list or a data frame."""
    return cases.iloc[list(rows)] if hasattr(cases, "iloc") else [cases[row] for row in rows]


class Asked:
    """A predictor and raw cases to ask it about.

    Args:
        predictor: on trial.
        cases: that its modality can read.
        tolerance: of numbers that are computed in batches of other sizes.

    `before` is what it held before it was asked anything, `want` what it answers at first, `of_model` the memory of its model.
    """

    def __init__(self, predictor: Predictor, cases: Any, tolerance: float) -> None:
        self.predictor = predictor
        self.cases = cases
        self.tolerance = tolerance
        self.before = contents(predictor)
        self.of_model = memory(predictor.model)
        self.width = 1.0
        if predictor.kind == "regression":
            ends = predictor.predict_interval(cases)
            width = float(np.median(ends[:, 1] - ends[:, 0]))
            self.expect(np.isfinite(ends).all() and width > 0, "an interval is empty, or its ends are not finite")
            self.width = width
        self.want = self.numbers()

    @property
    def named(self) -> str:
        """What is on trial, in words."""
        guarded = "guarded" if self.predictor.guard else "unguarded"
        return f"{type(self.predictor).__name__} of {self.predictor.model.spec.learner} ({guarded}) on a {self.predictor.kind} task"

    def expect(self, fine: object, why: str) -> None:
        """Raise `AssertionError` where something is not fine."""
        if not fine:
            raise AssertionError(f"{self.named}: {why}")

    def same(self, found: NDArray[Any], want: NDArray[Any], why: str, *, exact: bool = False) -> None:
        """Raise `AssertionError` where numbers are not the same to the bit, or within the tolerance."""
        near = 0.0 if exact else self.tolerance
        self.expect(found.shape == want.shape, f"{why} (in another shape)")
        if not np.allclose(found, want, rtol=0.0, atol=near, equal_nan=True):
            self.expect(False, f"{why} (by up to {np.nanmax(abs(found - want)):.2g})")

    def unchanged(self, why: str) -> None:
        """Raise `AssertionError` where predictor or model hold something else than at first."""
        different = changed(self.before, contents(self.predictor))
        self.expect(not different, f"{why} ({', '.join(different[:3])})")

    def refuses(self, ask: Callable[[], object], why: str) -> None:
        """Raise `AssertionError` where a question that makes no sense is answered, or refused by another error than `InputError`."""
        try:
            ask()
        except InputError:
            return
        except Exception as error:
            raise AssertionError(f"{self.named}: {why}, with {type(error).__name__} for InputError") from error
        self.expect(False, why)

    def numbers(self, rows: Sequence[int] | None = None, *, predictor: Predictor | None = None) -> NDArray[np.float64]:
        """Return the answers `[cases, *]`: probabilities; or prediction, low and high in units of an interval's width.

        Args:
            rows: of the cases; None: all of them.
            predictor: that is asked; None: the one on trial.
        """
        asked = self.predictor if predictor is None else predictor
        cases = self.cases if rows is None else some(self.cases, rows)
        if asked.kind != "regression":
            return asked.predict_proba(cases)
        return np.column_stack([asked.predict(cases), asked.predict_interval(cases)]) / self.width
