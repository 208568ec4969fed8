"""The contract that every predictor keeps: `check_predictor(model.adapt(cases, labels), others)`."""

import copy
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from metamedica.errors import InputError
from metamedica.predictors.predictor import Predictor
from metamedica.predictors.support import Support
from metamedica.testing.actions import check_abstention, check_explanations, check_sets
from metamedica.testing.asking import Asked, some
from metamedica.testing.contents import changed, contents, shared_memory, tensors

_COVERAGES = (0.5, 0.8, 0.9, 0.95)
_ADDS_UP = 1e-5


def check_predictor(
    predictor: Predictor, cases: Any, *, other: Predictor | None = None, tolerance: float = 1e-4
) -> None:
    """Check that a predictor keeps the contract; quiet where it does.

    Probabilities sum to one and the prediction is the most probable class; the answer for a case does not depend on order, number or company of
    the cases asked, and is the same to the bit when asked again; asking changes nothing; wider intervals and sets hold the narrower ones, and
    asking for more help never asks for less; contributions add up; the table shows the same numbers; one case and none are answered or
    refused in words; a saved and loaded predictor and a copy answer the same; and predictors adapted from one model share nothing but the
    model, which they leave alone.

    Args:
        predictor: adapted to one task.
        cases: raw cases to ask about, at least 3, that the modality can read.
        other: another predictor adapted from the same model; one is made here in any case, of the same cases with their labels in reverse.
        tolerance: of numbers that are computed in batches of other sizes: probabilities, or regression targets in units of an interval's width.

    Raises:
        AssertionError: the contract is broken; the message says how. What the predictor itself raises is passed on.
    """
    if len(cases) < 3:
        raise InputError(f"got {len(cases)} cases to try the predictor on; give at least 3")
    with torch.random.fork_rng(devices=[]):
        asked = Asked(predictor, cases, tolerance)
        for check in CHECKS:
            check(asked)
        if other is not None:
            _check_shares_nothing(asked, other)


def check_answers(asked: Asked) -> None:
    """Check probabilities, or numbers, and what is refused."""
    predictor, n = asked.predictor, len(asked.cases)
    predicted = predictor.predict(asked.cases)
    asked.expect(
        np.shape(predicted) == (n,), f"predict gives the shape {np.shape(predicted)}; one value per case was wanted"
    )
    if predictor.kind == "regression":
        asked.expect(np.isfinite(predicted).all(), "predict gives what is no finite number")
        asked.refuses(lambda: predictor.predict_proba(asked.cases), "predict_proba answers for a regression task")
        return
    classes = predictor.classes or ()
    asked.expect(
        len(set(classes)) == len(classes) > 1, f"classes are {classes}; at least two different ones were wanted"
    )
    found = asked.want
    asked.expect(
        found.shape == (n, len(classes)), f"predict_proba gives the shape {found.shape}; {(n, len(classes))} was wanted"
    )
    asked.expect(np.isfinite(found).all(), "a probability is not a finite number")
    asked.expect((found >= 0).all() and (found <= 1).all(), "a probability is below 0 or above 1")
    wrong = abs(found.sum(1) - 1).max()
    asked.expect(wrong <= _ADDS_UP, f"the probabilities of a case do not sum to one (by up to {wrong:.2g})")
    place = [classes.index(label) if label in classes else -1 for label in predicted]
    asked.expect(min(place) >= 0, "predict gives a label that is none of classes")
    chosen = found[np.arange(n), place]
    asked.expect(
        (chosen >= found.max(1) - asked.tolerance).all(),
        "predict is not the most probable class, in the order of classes",
    )
    asked.refuses(lambda: predictor.predict_interval(asked.cases), "predict_interval answers for a task with classes")


def check_intervals(asked: Asked) -> None:
    """Check that intervals nest and hold the prediction."""
    predictor, n = asked.predictor, len(asked.cases)
    if predictor.kind != "regression":
        return
    inner, predicted = None, predictor.predict(asked.cases)
    for coverage in _COVERAGES:
        outer = predictor.predict_interval(asked.cases, coverage)
        near = asked.tolerance * asked.width
        asked.expect(outer.shape == (n, 2), f"predict_interval gives the shape {outer.shape}; {(n, 2)} was wanted")
        asked.expect((outer[:, 0] <= outer[:, 1]).all(), "the low end of an interval is not below its high end")
        held = (outer[:, 0] <= predicted + near) & (predicted <= outer[:, 1] + near)
        asked.expect(held.all(), f"the interval of coverage {coverage} does not hold the prediction")
        if inner is not None:
            nested = (outer[:, 0] <= inner[:, 0] + near) & (inner[:, 1] <= outer[:, 1] + near)
            asked.expect(nested.all(), f"the interval of coverage {coverage} does not hold a narrower one")
        inner = outer
    for coverage in (0.0, 1.0, -0.5, 1.5, float("nan")):
        ask = partial(predictor.predict_interval, asked.cases, coverage)
        asked.refuses(ask, f"predict_interval answers for a coverage of {coverage}")


def check_purity(asked: Asked) -> None:
    """Check that asking changes nothing, and again gives the same bits."""
    given = copy.deepcopy(asked.cases)
    torch.manual_seed(1)
    asked.same(asked.numbers(), asked.want, "asking twice gives two answers", exact=True)
    asked.predictor.predict_table(asked.cases)
    asked.unchanged("asking changed the predictor or its model")
    asked.expect(not changed(contents(given), contents(asked.cases)), "asking changed the cases that it was given")


def check_cases_are_apart(asked: Asked) -> None:
    """Check that the answer for a case does not depend on which others are asked, how many, and in which order."""
    want, n = asked.want, len(asked.cases)
    turned = list(range(n))[::-1]
    asked.same(asked.numbers(turned)[turned], want, "the order of the cases changes an answer")
    halves = np.concatenate([asked.numbers(range(n // 2)), asked.numbers(range(n // 2, n))])
    asked.same(halves, want, "the cases asked in two parts get other answers than together")
    for row in (0, n - 1):
        asked.same(asked.numbers([row]), want[[row]], "a case asked alone gets another answer than among others")
    twice = asked.numbers([0, *range(n), 0])
    asked.same(twice[[0, -1]], want[[0, 0]], "a case that is asked more than once gets several answers")


def check_no_case(asked: Asked) -> None:
    """Check that no case gets no answer, or a refusal in words."""
    try:
        found = asked.predictor.predict(some(asked.cases, []))
    except InputError:
        return
    except Exception as error:
        raise AssertionError(
            f"{asked.named}: no case raises {type(error).__name__}; give no answer, or an InputError"
        ) from error
    asked.expect(np.shape(found) == (0,), f"no case gets an answer of shape {np.shape(found)}")


def check_table(asked: Asked) -> None:
    """Check that `predict_table` shows what `predict`, `predict_proba` and `predict_interval` say."""
    predictor, n = asked.predictor, len(asked.cases)
    table = predictor.predict_table(asked.cases)
    asked.expect(len(table) == n, f"predict_table has {len(table)} rows for {n} cases")
    why = "predict_table shows other numbers than"
    if predictor.kind == "regression":
        shown = table[["prediction", "low", "high"]].to_numpy(dtype=float) / asked.width
        asked.same(shown, asked.want, f"{why} predict and predict_interval")
        return
    shown = table[[f"p_{label}" for label in predictor.classes or ()]].to_numpy(dtype=float)
    found = asked.want
    asked.same(shown, found, f"{why} predict_proba")
    clear = np.sort(found, axis=1)[:, -1] - np.sort(found, axis=1)[:, -2] > 2 * asked.tolerance
    same = table["prediction"].to_numpy() == predictor.predict(asked.cases)
    asked.expect(same[clear].all(), "predict_table shows other labels than predict")


def check_what_it_says(asked: Asked) -> None:
    """Check that it tells of itself in words and as JSON."""
    try:
        json.dumps(asked.predictor.as_dict(), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise AssertionError(f"{asked.named}: as_dict is no JSON value ({error})") from error
    asked.expect(asked.predictor.trust.verdict.strip(), "trust has no verdict")
    asked.expect("#" in asked.predictor.card(), "card is no Markdown with a heading")


def check_saved(asked: Asked) -> None:
    """Check that a saved and loaded predictor gives the same numbers."""
    want = asked.want
    with tempfile.TemporaryDirectory() as folder:
        asked.predictor.save(f"{folder}/predictor")
        again = type(asked.predictor).load(f"{folder}/predictor")
    asked.expect(again.classes == asked.predictor.classes, "a saved and loaded predictor has other classes")
    asked.same(asked.numbers(predictor=again), want, "a saved and loaded predictor gives other numbers", exact=True)


def check_copied(asked: Asked) -> None:
    """Check that a copy answers the same and is one's own, or is refused in words."""
    want = asked.want
    for copied in (copy.copy, copy.deepcopy):
        try:
            again: Predictor = copied(asked.predictor)
        except InputError:
            continue
        asked.same(asked.numbers(predictor=again), want, "a copy gives other numbers", exact=True)
    if copied is copy.deepcopy:
        _check_shares_nothing(asked, again)


def check_predictors_are_apart(asked: Asked) -> None:
    """Check that adapting and asking another predictor of the same model, and writing all over it, changes no answer of the first."""
    want, model = asked.want, asked.predictor.model
    twin = type(asked.predictor)(
        model,
        _turned(asked.predictor.support),
        guard=asked.predictor.guard,
        calibration=asked.predictor.calibration,
    )
    asked.unchanged("adapting another predictor changed this one or their model")
    asked.same(asked.numbers(), want, "adapting another predictor changes the answers of this one", exact=True)
    asked.numbers(predictor=twin)
    asked.same(asked.numbers(), want, "asking another predictor changes the answers of this one", exact=True)
    _check_shares_nothing(asked, twin)
    for each in tensors(twin, but=asked.of_model).values():
        torch.tensor([], dtype=torch.uint8).set_(each.untyped_storage()).fill_(255)
    asked.unchanged("writing to another predictor changes this one")
    asked.same(asked.numbers(), want, "writing to another predictor changes the answers of this one", exact=True)


def _check_shares_nothing(asked: Asked, other: Predictor) -> None:
    ours, theirs = tensors(asked.predictor, but=asked.of_model), tensors(other, but=asked.of_model)
    both = shared_memory(ours, theirs)
    asked.expect(not both, f"two predictors share memory beside their model's ({', '.join(both[:3])})")
    asked.expect(other.support is not asked.predictor.support, "two predictors share one support")


def _turned(support: Support) -> Support:
    """Return the same cases in memory of their own, with the labels in reverse."""
    own = copy.deepcopy(support)
    return replace(own, batch=own.batch.with_targets(own.batch.targets.flip(1)))


CHECKS: Sequence[Callable[[Asked], None]] = (
    check_answers,
    check_intervals,
    check_purity,
    check_cases_are_apart,
    check_no_case,
    check_table,
    check_what_it_says,
    check_saved,
    check_copied,
    check_predictors_are_apart,
    check_sets,
    check_abstention,
    check_explanations,
)
"""In this order; the last three where the predictor has the methods."""
