"""Units that are mistaken for each other: a whole column that would fit its declared range if it were divided by a known factor."""

import numpy as np
from numpy.typing import NDArray

from metamedica.modalities.tables.schema import Column

FACTORS: tuple[tuple[float, str], ...] = (
    (18.016, "mg/dL where mmol/L was declared (glucose)"),
    (38.67, "mg/dL where mmol/L was declared (cholesterol)"),
    (88.57, "mg/dL where mmol/L was declared (triglycerides)"),
    (88.42, "umol/L where mg/dL was declared (creatinine)"),
    (2.801, "mg/dL where mmol/L was declared (urea nitrogen)"),
    (17.1, "umol/L where mg/dL was declared (bilirubin)"),
    (10.0, "a unit ten times as small (g/L for g/dL, mm for cm)"),
    (100.0, "a unit a hundred times as small (cm for m, % for a share)"),
    (1000.0, "a unit a thousand times as small (g for kg, uL for mL)"),
    (7.5006, "mmHg where kPa was declared"),
    (2.2046, "pounds where kilograms were declared"),
    (2.54, "centimetres where inches were declared"),
    (365.25, "days where years were declared"),
    (12.0, "months where years were declared"),
)
"""Size of the declared unit in the mistaken one -> what that looks like. The other way round is tried too."""
FEWEST = 5
"""Different numbers of a column below which nothing is said: few may be odd by themselves, and one may be a code."""
_MOST_BEYOND = 0.5
_FEWEST_WITHIN = 0.9


def other_unit(values: NDArray[np.float64], column: Column) -> str | None:
    """Return a sentence where more than half of a column's numbers lie outside the declared range and nine of ten lie inside in another unit.

    Args:
        values: `[cases]`, NaN where missing.
        column: with its range.
    """
    there = values[~np.isnan(values)]
    if column.range is None or len(np.unique(there)) < FEWEST:
        return None
    if np.mean(_within(there, column)) > _MOST_BEYOND:
        return None
    unit = f" {column.unit}" if column.unit else ""
    fitting = []
    for factor, what in FACTORS:
        for turned, by in ((False, factor), (True, 1 / factor)):
            inside = float(np.mean(_within(there / by, column)))
            if inside >= _FEWEST_WITHIN:
                middle = abs(float(np.log(abs(np.median(there / by)) + 1e-12)) - _log_middle(column))
                fitting.append((-inside, middle, by, what if not turned else f"the reverse: {what}"))
    if (np.mean(_within((there - 32) * 5 / 9, column)) >= _FEWEST_WITHIN) and column.unit in ("°C", "C", "celsius"):
        fitting.append((-1.0, 0.0, 1.8, "degrees Fahrenheit where Celsius was declared"))
    if not fitting:
        return None
    _, _, by, what = min(fitting)
    share = 1 - float(np.mean(_within(there, column)))
    return (
        f"{share:.0%} of the numbers are outside {column.range[0]:g} to {column.range[1]:g}{unit} and would fit if divided by {by:g}: "
        f"this looks like another unit, such as {what}; convert the column"
    )


def _within(values: NDArray[np.float64], column: Column) -> NDArray[np.bool_]:
    assert column.range is not None
    inside: NDArray[np.bool_] = (values >= column.range[0]) & (values <= column.range[1])
    return inside


def _log_middle(column: Column) -> float:
    low, high = column.typical or column.range or (1.0, 1.0)
    return float(np.log(abs(low + high) / 2 + 1e-12))
