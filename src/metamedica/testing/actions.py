"""What a predictor that one may act on keeps beside its answers: sets nest, abstention is monotone, contributions add up.

Each check is quiet where the predictor has no such method.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from metamedica.testing.asking import Asked, some

_COVERAGES = (0.5, 0.8, 0.9, 0.95)
_SHARES = (0.1, 0.2, 0.5, 0.9)
_EXPLAINED = 2
_ADDS_UP, _EXACTLY = 1e-3, 1e-8


def _method(asked: Asked, name: str) -> Callable[..., Any] | None:
    return getattr(asked.predictor, name, None)


def check_sets(asked: Asked) -> None:
    """Check that sets of classes are never empty and nest with coverage."""
    predict_set = _method(asked, "predict_set")
    if predict_set is None:
        return
    if asked.predictor.kind == "regression":
        asked.refuses(lambda: predict_set(asked.cases), "predict_set answers for a regression task")
        return
    shape = (len(asked.cases), len(asked.predictor.classes or ()))
    inner = np.zeros(shape, dtype=bool)
    for coverage in _COVERAGES:
        outer: NDArray[np.bool_] = predict_set(asked.cases, coverage)
        right = outer.shape == shape and outer.dtype == bool
        asked.expect(right, f"predict_set gives {outer.dtype} of shape {outer.shape}; bool of {shape} was wanted")
        asked.expect(outer.any(1).all(), f"the set of coverage {coverage} is empty for a case")
        asked.expect((outer | ~inner).all(), f"the set of coverage {coverage} does not hold a smaller one")
        inner = outer
    for coverage in (0.0, 1.0, float("nan")):
        ask = partial(predict_set, asked.cases, coverage)
        asked.refuses(ask, f"predict_set answers for a coverage of {coverage}")


def check_abstention(asked: Asked) -> None:
    """Check that sureness lies between 0 and 1, that the least sure are asked about, and more of them where more is allowed."""
    sureness, asks = _method(asked, "sureness"), _method(asked, "asks")
    if sureness is None or asks is None:
        return
    sure = np.asarray(sureness(asked.cases))
    n = len(asked.cases)
    asked.expect(sure.shape == (n,), f"sureness gives the shape {sure.shape}; one number per case was wanted")
    asked.expect(np.isfinite(sure).all() and (sure >= 0).all() and (sure <= 1).all(), "sureness is not between 0 and 1")
    asked.same(
        np.asarray(sureness(some(asked.cases, [0]))), sure[:1], "the sureness of a case depends on the others asked"
    )
    fewer = np.zeros(n, dtype=bool)
    for share in _SHARES:
        more: NDArray[np.bool_] = asks(asked.cases, share)
        right = more.shape == (n,) and more.dtype == bool
        asked.expect(right, f"asks gives {more.dtype} of shape {more.shape}; one bool per case was wanted")
        asked.expect((more | ~fewer).all(), f"a case that a person is asked about at a smaller share is not at {share}")
        if more.any() and not more.all():
            least = sure[more].max() <= sure[~more].min() + asked.tolerance
            asked.expect(
                least, f"at a share of {share} a person is asked about a surer case than one that is not asked about"
            )
        fewer = more


def check_explanations(asked: Asked) -> None:
    """Check that contributions and base add up to the output, exactly where they claim to, and that the output is the predictor's answer."""
    explain = _method(asked, "explain")
    if explain is None:
        return
    cases = some(asked.cases, range(_EXPLAINED))
    found = explain(cases)
    asked.expect(len(found) == _EXPLAINED, f"explain gives {len(found)} explanations for {_EXPLAINED} cases")
    for row, told in enumerate(found):
        off = abs(float(np.sum(told.contributions)) + told.base - told.output)
        allowed = _EXACTLY if told.exact else _ADDS_UP
        claim = "exact " if told.exact else ""
        asked.expect(
            off <= allowed,
            f"the {claim}contributions and the base miss the output by {off:.2g}; {allowed:g} is allowed",
        )
        wrong = abs(_shown(told.output, told.label) - _answer(asked, some(asked.cases, [row]), told.label))
        asked.expect(wrong <= _ADDS_UP, f"the output explained is not the answer (by {wrong:.2g})")


def _shown(output: float, label: str | None) -> float:
    """Return the expected value as it is, log-odds of a class as its probability."""
    return output if label is None else float(expit(output))


def _answer(asked: Asked, case: Any, label: str | None) -> float:
    """Return the expected value of one case, or the probability of a class."""
    if label is None:
        return float(asked.predictor.predict(case)[0])
    return float(asked.predictor.predict_proba(case)[0, (asked.predictor.classes or ()).index(label)])
