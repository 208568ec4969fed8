"""Answers as a table: one row a case, with its uncertainty and the labelled case most like it."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch.distributions import Categorical

from metamedica.predictors.support import case_number, shown_cases
from metamedica.types import Features, PreparedCases

if TYPE_CHECKING:
    from metamedica.predictors.predictor import Predictor

_CHUNK = 1024


def answer_table(
    predictor: "Predictor", cases: Any, prepared: PreparedCases, *, coverage: float, problems: bool
) -> pd.DataFrame:
    """Return the table of `Predictor.predict_table`.

    Args:
        predictor: that answers.
        cases: raw.
        prepared: the same, read.
        coverage: of intervals and sets.
        problems: whether a column says why a case cannot be read.
    """
    row = np.array(prepared.row, dtype=np.int64)
    good = row >= 0
    law = predictor.law(prepared.features)
    near, similarity = nearest_labelled(predictor, prepared.features)
    text = np.array([*prepared.canonical, ""], dtype=object)
    columns: dict[str, Any] = {"case": shown_cases(cases), "canonical": text[row]}
    known = predictor.support.canonical
    if not predictor.model.modality.legible:  # a row is a person's, an image is no text: told by its number
        del columns["canonical"]
        known = [f"labelled case {number}" for number in range(1, len(known) + 1)]

    def spread(values: NDArray[Any], empty: Any) -> NDArray[Any]:
        padded = np.concatenate([values, np.array([empty], dtype=values.dtype)])
        return padded[np.where(good, row, len(values))]

    if isinstance(law, Categorical):
        probability = law.probs.double().numpy()
        labels = np.array(predictor.classes, dtype=object)
        columns["prediction"] = spread(labels[probability.argmax(-1)] if len(probability) else labels[:0], "")
        for index, label in enumerate(predictor.classes or ()):
            columns[f"p_{label}"] = spread(probability[:, index], np.nan)
        inside = predictor.set_of(law, prepared.features, coverage)
        columns["set"] = spread(np.array(["|".join(labels[each]) for each in inside], dtype=object), "")
    else:
        low_high = predictor.interval_of(law, prepared.features, coverage)
        columns["prediction"] = spread(law.mean.double().numpy(), np.nan)
        columns["low"] = spread(low_high[:, 0], np.nan)
        columns["high"] = spread(low_high[:, 1], np.nan)
    columns["nearest_labelled"] = spread(np.array([*known, ""], dtype=object)[near], "")
    columns["similarity"] = spread(similarity, np.nan)
    if problems:
        problem = np.full(len(cases), "", dtype=object)
        for each in prepared.problems:
            problem[each.position] = each.reason
        columns["problem"] = problem
    table = pd.DataFrame(columns)
    table.attrs["remarks"] = [f"{case_number(each)}column {each.text!r}: {each.reason}" for each in prepared.remarks]
    return table


def nearest_labelled(predictor: "Predictor", features: Features) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return place in `support.canonical` and similarity of the labelled case nearest to each; -1 and NaN where there is none.

    Args:
        predictor: whose labelled cases.
        features: blocks `[cases, size]`.
    """
    raw = predictor.model.raw
    known = raw(predictor.support.batch.features)[0]
    size = len(next(iter(features.values())))
    if len(known) == 0:
        return np.full(size, -1), np.full(size, np.nan)
    best, index = [np.zeros(0)], [np.zeros(0, dtype=np.int64)]
    for start in range(0, size, _CHUNK):
        chunk = {name: block[start : start + _CHUNK].to(torch.float32) for name, block in features.items()}
        value, where = raw.similarity(raw(chunk), known).max(-1)
        best.append(value.double().numpy())
        index.append(where.numpy())
    return np.concatenate(index), np.concatenate(best)
