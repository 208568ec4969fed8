"""Units that are mistaken for each other: a whole column that would fit its declared range if it were divided by a known factor."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from metamedica.modalities.tables.schema import Column


class Mistake(NamedTuple):
    """Two units of one quantity that are taken for each other; a number in the first is `factor` times the number in the second."""

    factor: float
    larger: str
    smaller: str
    of: str = ""
    named: tuple[str, ...] = ()
    """What the names of columns that hold it have in common."""

    def told(self, came: str, declared: str) -> str:
        """Return in words which unit came for which."""
        return f"{came} where {declared} was declared{f' (as of {self.of})' if self.of else ''}"

    def speaks_of(self, name: str) -> bool:
        """Return whether a column of this name holds the quantity."""
        return any(part in name.lower() for part in self.named)


MISTAKES: tuple[Mistake, ...] = (
    Mistake(18.016, "mg/dL", "mmol/L", "glucose", ("gluc", "sugar")),
    Mistake(38.67, "mg/dL", "mmol/L", "cholesterol", ("chol", "ldl", "hdl")),
    Mistake(88.57, "mg/dL", "mmol/L", "triglycerides", ("trig",)),
    Mistake(88.42, "umol/L", "mg/dL", "creatinine", ("crea",)),
    Mistake(2.801, "mg/dL", "mmol/L", "urea nitrogen", ("urea", "bun")),
    Mistake(17.1, "umol/L", "mg/dL", "bilirubin", ("bili",)),
    Mistake(10.0, "g/L", "g/dL"),
    Mistake(10.0, "mm", "cm"),
    Mistake(100.0, "cm", "m"),
    Mistake(100.0, "%", "a share"),
    Mistake(1000.0, "g", "kg"),
    Mistake(1000.0, "mL", "L"),
    Mistake(1000.0, "a unit a thousand times as small", "the larger one"),
    Mistake(7.5006, "mmHg", "kPa"),
    Mistake(2.2046, "pounds", "kg"),
    Mistake(2.54, "cm", "inches"),
    Mistake(365.25, "days", "years"),
    Mistake(12.0, "months", "years"),
)
"""Mistakes that happen, whichever of the two units was declared."""
FEWEST = 5
"""Different numbers of a column below which nothing is said: few may be odd by themselves, and one may be a code."""
_MOST_BEYOND = 0.5
_FEWEST_WITHIN = 0.9
_CELSIUS = ("°C", "C", "celsius")
_LEAST_SHARE = 0.05
"""Of a column partly in another unit (one hospital's, say) at least so much is beyond the range."""


def other_unit(name: str, values: NDArray[np.float64], column: Column) -> str | None:
    """Return a sentence where a column's numbers, or some hospital's among them, look like another unit than the declared one.

    It is said where more than half of all numbers lie outside the declared range, or fewer whose declared unit is one of a known mistake; and nine
    of ten of those numbers lie inside in the other unit.

    Args:
        name: of the column, which tells between mistakes that would fit both.
        values: `[cases]`, NaN where missing.
        column: with its range.
    """
    there = values[~np.isnan(values)]
    if column.range is None or not len(there):
        return None
    beyond = there[~_within(there, column)]
    share = len(beyond) / len(there)
    if len(np.unique(beyond)) < FEWEST or share < _LEAST_SHARE:
        return None
    suspects = beyond if share < _MOST_BEYOND else there
    fitting: list[tuple[int, float, str, str]] = []
    for mistake in MISTAKES:
        for by, came, declared in (
            (mistake.factor, mistake.larger, mistake.smaller),
            (1 / mistake.factor, mistake.smaller, mistake.larger),
        ):
            known = column.unit is not None and _plain(declared) == _plain(column.unit)
            if (known or share >= _MOST_BEYOND) and np.mean(_within(suspects / by, column)) >= _FEWEST_WITHIN:
                way = f"divided by {by:g}" if by > 1 else f"multiplied by {mistake.factor:g}"
                off = abs(float(np.log(abs(np.median(suspects / by)) + 1e-12)) - _log_middle(column))
                fitting.append((-known - mistake.speaks_of(name), off, way, mistake.told(came, declared)))
    if column.unit in _CELSIUS and np.mean(_within((suspects - 32) * 5 / 9, column)) >= _FEWEST_WITHIN:
        fitting.append((-2, -1.0, "turned from Fahrenheit", "degrees Fahrenheit where Celsius was declared"))
    if not fitting:
        return None
    _, _, way, what = min(fitting)
    unit = f" {column.unit}" if column.unit else ""
    return (
        f"{share:.0%} of the numbers are outside {column.range[0]:g} to {column.range[1]:g}{unit} and would fit if {way}: "
        f"this looks like {what}; convert them"
    )


def _plain(unit: str) -> str:
    return unit.replace("\u00b5", "u").replace("\u03bc", "u").replace(" ", "").lower()


def _within(values: NDArray[np.float64], column: Column) -> NDArray[np.bool_]:
    assert column.range is not None
    inside: NDArray[np.bool_] = (values >= column.range[0]) & (values <= column.range[1])
    return inside


def _log_middle(column: Column) -> float:
    low, high = column.typical or column.range or (1.0, 1.0)
    return float(np.log(abs(low + high) / 2 + 1e-12))
