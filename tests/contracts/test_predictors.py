"""Every learner keeps the contract of predictors on every modality that it can take, and the contract notices a predictor that does not."""

import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray

import tiny_predictors
from metamedica import registry
from metamedica.errors import InputError
from metamedica.predictors.model import FittedModel
from metamedica.predictors.predictor import Predictor
from metamedica.predictors.support import Support, read_support
from metamedica.testing import check_predictor
from metamedica.types import TaskKind

EVERY = tiny_predictors.every()
CASES = tiny_predictors.raw_cases("tables", seed=1, n=5)


@pytest.fixture(scope="module", autouse=True)
def _narrow_fingerprints() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        tiny_predictors.narrow_molecules(patch)
        tiny_predictors.narrow_images(patch)
        yield


def _adapted(
    made: type[Predictor], model: FittedModel, kind: TaskKind, *, seed: int = 0, guard: bool = True
) -> Predictor:
    cases = tiny_predictors.raw_cases(model.modality.name, seed=seed)
    model = model.with_own(cases)
    positive = "yes" if kind == "binary" else None
    return made(
        model,
        read_support(model, cases, tiny_predictors.targets(kind, seed=seed), kind=kind, positive=positive),
        guard=guard,
    )


@pytest.mark.parametrize(("name", "modality", "kind", "guard"), EVERY, ids=lambda value: str(value))
def test_a_learner_of_the_folder_gives_predictors_that_keep_the_contract(
    name: str, modality: str, kind: TaskKind, guard: bool
) -> None:
    model = tiny_predictors.model(name, modality, kind)
    check_predictor(_adapted(Predictor, model, kind, guard=guard), tiny_predictors.raw_cases(modality, seed=1, n=4))


def test_every_learner_modality_and_kind_is_tried_guarded_and_not() -> None:
    assert {name for name, *_ in EVERY} == set(registry.names("learners"))
    for modality in registry.names("modalities"):
        tried = {(kind, guard) for _, where, kind, guard in EVERY if where == modality}
        assert tried == {(kind, guard) for kind in tiny_predictors.KINDS for guard in (True, False)}


@pytest.mark.parametrize("modality", registry.names("modalities"))
@pytest.mark.parametrize("name", [name for name in registry.names("learners") if registry.takes(name, "encoder")])
def test_a_learner_that_is_not_tried_on_a_modality_is_one_that_is_refused_there(name: str, modality: str) -> None:
    assert tiny_predictors.refused(name, modality) is not tiny_predictors.takes(name, modality)


@pytest.fixture(scope="module")
def models() -> dict[TaskKind, FittedModel]:
    """A learner from scratch on tables, of each kind of task."""
    return {kind: tiny_predictors.model("linear", "tables", kind) for kind in tiny_predictors.KINDS}


class Remembers(Predictor):
    """Counts its questions."""

    asked = 0

    def law(self, features: Any) -> Any:
        self.asked = self.asked + 1
        return super().law(features)


class RemembersOnTheModel(Predictor):
    """Notes on the model how many cases it was asked about."""

    def law(self, features: Any) -> Any:
        self.model.usual_scale["asked"] = self.model.usual_scale.get("asked", 0.0) + 1
        return super().law(features)


class WritesToItsSupport(Predictor):
    """Centres its labelled cases on each question."""

    def law(self, features: Any) -> Any:
        self.support.batch.features["numbers"].sub_(0.1)
        return super().law(features)


class ChangesTheCases(Predictor):
    """Fills the cells that are missing in place."""

    def predict_table(self, cases: Any, **settings: Any) -> pd.DataFrame:
        cases["lactate"] = 0.0 * cases["age"]
        return super().predict_table(cases, **settings)


class AnswersForTheLast(Predictor):
    """Keeps what was adapted on the class."""

    last: ClassVar[list[Any]] = []

    def __init__(self, model: FittedModel, support: Support, **settings: Any) -> None:
        super().__init__(model, support, **settings)
        self.last.append(self._adapted)

    def law(self, features: Any) -> Any:
        return self._law(self.last[-1], features)


class AdaptsTheModel(Predictor):
    """Counts on the shared model how often it was adapted."""

    def __init__(self, model: FittedModel, support: Support, **settings: Any) -> None:
        super().__init__(model, support, **settings)
        model.record["predictors"] = model.record.get("predictors", 0) + 1


class SharesMemory(Predictor):
    """Keeps a buffer on the class that every predictor uses."""

    buffer: ClassVar[torch.Tensor] = torch.zeros(4)

    def __init__(self, model: FittedModel, support: Support, **settings: Any) -> None:
        super().__init__(model, support, **settings)
        self.scratch = self.buffer[1:]


class Random(Predictor):
    """Draws a little noise."""

    def predict_proba(self, cases: Any) -> NDArray[Any]:
        found = super().predict_proba(cases)
        noise = 1e-6 * torch.rand(len(found)).numpy()
        return found + np.stack([noise, -noise], axis=1)


class CountsOn(Predictor):
    """Is surer of earlier cases."""

    def predict_proba(self, cases: Any) -> NDArray[Any]:
        found = super().predict_proba(cases)
        share = np.linspace(0, 0.01, len(found))[:, None] if len(found) > 1 else 0.0
        return (1 - share) * found + share / 2


class LooksAround(Predictor):
    """Moves its answers to the mean of those that are asked together."""

    def predict_proba(self, cases: Any) -> NDArray[Any]:
        found = super().predict_proba(cases)
        return 0.99 * found + 0.01 * found.mean(0)


class SumsToMore(Predictor):
    """Gives probabilities that sum to more than one."""

    def predict_proba(self, cases: Any) -> NDArray[Any]:
        return 0.5 * super().predict_proba(cases) + 0.3


class NotANumber(Predictor):
    """Gives NaN for one case."""

    def predict_proba(self, cases: Any) -> NDArray[Any]:
        found = super().predict_proba(cases)
        found[:1] = np.nan
        return found


class BelowZero(Predictor):
    """Gives a probability below zero."""

    def predict_proba(self, cases: Any) -> NDArray[Any]:
        return 3 * super().predict_proba(cases) - 1


class OtherOrder(Predictor):
    """Gives the columns in another order than classes."""

    def predict_proba(self, cases: Any) -> NDArray[Any]:
        return super().predict_proba(cases)[:, ::-1]


class OneColumn(Predictor):
    """Gives the probability of the positive class alone."""

    def predict_proba(self, cases: Any) -> NDArray[Any]:
        return super().predict_proba(cases)[:, 1:]


class OtherLabels(Predictor):
    """Predicts by number."""

    def predict(self, cases: Any) -> NDArray[Any]:
        return super().predict_proba(cases).argmax(1)


class OtherTable(Predictor):
    """Shows rounded numbers in its table."""

    def predict_table(self, cases: Any, **settings: Any) -> pd.DataFrame:
        return super().predict_table(cases, **settings).round(1)


class BreaksOnNothing(Predictor):
    """Takes the first case without looking whether there is one."""

    def predict(self, cases: Any) -> NDArray[Any]:
        cases.iloc[0]
        return super().predict(cases)


class SaysNoJson(Predictor):
    """Tells NaN of itself."""

    def as_dict(self) -> dict[str, Any]:
        return {**super().as_dict(), "gain": float("nan")}


class LoadsAnother(Predictor):
    """Comes back from a file without its last labelled case."""

    @classmethod
    def load(cls, folder: str | Path) -> Predictor:
        found = Predictor.load(folder)
        batch = found.support.batch.map(lambda value: value[:, :-1])
        return Predictor(found.model, Support(found.support.canonical[:-1], batch, found.classes, None))


class CopiesNothing(Predictor):
    """Is its own deep copy."""

    def __deepcopy__(self, memo: object) -> "CopiesNothing":
        return self


class AnswersForEverything(Predictor):
    """Gives probabilities for numbers."""

    def predict_proba(self, cases: Any) -> NDArray[Any]:
        return np.ones((len(cases), 1)) if self.kind == "regression" else super().predict_proba(cases)


class NarrowerWhenSurer(Predictor):
    """Gives narrower intervals for wider coverage."""

    def predict_interval(self, cases: Any, coverage: float = 0.9) -> NDArray[Any]:
        return super().predict_interval(cases, 1 - coverage)


class BesideThePrediction(Predictor):
    """Gives intervals that do not hold the prediction."""

    def predict_interval(self, cases: Any, coverage: float = 0.9) -> NDArray[Any]:
        found = super().predict_interval(cases, coverage)
        return found + (found[:, 1:] - found[:, :1])


class UpsideDown(Predictor):
    """Gives the high end first."""

    def predict_interval(self, cases: Any, coverage: float = 0.9) -> NDArray[Any]:
        found = super().predict_interval(cases, coverage)
        return found if coverage == 0.9 else found[:, ::-1]


class CertainOfAll(Predictor):
    """Answers for a coverage of one."""

    def predict_interval(self, cases: Any, coverage: float = 0.9) -> NDArray[Any]:
        return super().predict_interval(cases, min(coverage, 0.999))


class RefusesWithAnotherError(Predictor):
    """Divides by zero where a coverage makes no sense."""

    def predict_interval(self, cases: Any, coverage: float = 0.9) -> NDArray[Any]:
        return super().predict_interval(cases, coverage if coverage < 1 else 1 / (coverage - coverage))


@dataclass(frozen=True)
class Told:
    """An explanation, as far as the contract reads one."""

    contributions: tuple[float, ...]
    base: float
    output: float
    exact: bool
    label: str | None


class Acts(Predictor):
    """Has sets, sureness and explanations, and keeps the contract. The broken ones below differ from it in one thing."""

    off = 0.0
    exact = True

    def predict_set(self, cases: Any, coverage: float = 0.9) -> NDArray[np.bool_]:
        if self.kind == "regression" or not 0 < coverage < 1:
            raise InputError(
                f"got a {self.kind} task and coverage {coverage}; give classes and a number between 0 and 1"
            )
        found = self.predict_proba(cases)
        return (found >= 1 - coverage) | (found == found.max(1, keepdims=True))

    def sureness(self, cases: Any) -> NDArray[Any]:
        if self.kind == "regression":
            return np.full(len(cases), 0.5)
        return self.predict_proba(cases).max(1)

    def asks(self, cases: Any, share: float = 0.2) -> NDArray[np.bool_]:
        sure = self.sureness(cases)
        found = np.zeros(len(sure), dtype=bool)
        found[np.argsort(sure, kind="stable")[: int(share * len(sure))]] = True
        return found

    def explain(self, cases: Any) -> list[Any]:
        if self.kind == "regression":
            return [
                Told((value / 2, value / 2), 0.0, value + self.off, self.exact, None) for value in self.predict(cases)
            ]
        odds = np.log(self.predict_proba(cases)[:, 1]) - np.log1p(-self.predict_proba(cases)[:, 1])
        label = (self.classes or ())[1]
        return [Told((value - 1.0, 0.5), 0.5, value + self.off, self.exact, label) for value in odds]


class EmptySets(Acts):
    """Gives an empty set for one case."""

    def predict_set(self, cases: Any, coverage: float = 0.9) -> NDArray[np.bool_]:
        found = super().predict_set(cases, coverage)
        found[:1] = False
        return found


class ShrinkingSets(Acts):
    """Gives the complement of a set where coverage is wide."""

    def predict_set(self, cases: Any, coverage: float = 0.9) -> NDArray[np.bool_]:
        found = super().predict_set(cases, coverage)
        return found if coverage < 0.95 else super().predict_set(cases, 0.01)


class SetsOfNumbers(Acts):
    """Gives probabilities for a set."""

    def predict_set(self, cases: Any, coverage: float = 0.9) -> NDArray[Any]:
        return super().predict_set(cases, coverage).astype(float)


class SurerThanSure(Acts):
    """Gives a sureness above one."""

    def sureness(self, cases: Any) -> NDArray[Any]:
        return 1 + super().sureness(cases)


class SureAmongOthers(Acts):
    """Ranks the cases that are asked together."""

    def sureness(self, cases: Any) -> NDArray[Any]:
        return super().sureness(cases).argsort().argsort() / max(len(cases), 1)


class AsksOthers(Acts):
    """Asks about the least sure, but the surest where it may ask about many."""

    def asks(self, cases: Any, share: float = 0.2) -> NDArray[np.bool_]:
        found = super().asks(cases, share)
        return found if share < 0.5 else ~super().asks(cases, 1 - share)


class AsksTheSurest(Acts):
    """Asks about the cases that it is surest of."""

    def asks(self, cases: Any, share: float = 0.2) -> NDArray[np.bool_]:
        return ~super().asks(cases, 1 - share)


class MissesTheOutput(Acts):
    """Contributions miss the output by more than rounding."""

    off, exact = 0.01, False


class NotExact(Acts):
    """Claims to be exact and is not."""

    off = 1e-5


class ExplainsAnotherAnswer(Acts):
    """Explains the other class."""

    def explain(self, cases: Any) -> list[Any]:
        return [Told((1.0, 1.0), 1.0, 3.0, True, told.label) for told in super().explain(cases)]


BROKEN: dict[type[Predictor], tuple[TaskKind, str]] = {
    Remembers: ("binary", "asking changed the predictor"),
    RemembersOnTheModel: ("binary", "asking changed the predictor or its model"),
    WritesToItsSupport: ("binary", "asking changed the predictor"),
    ChangesTheCases: ("binary", "asking changed the cases"),
    AnswersForTheLast: ("binary", "adapting another predictor change"),
    AdaptsTheModel: ("binary", "adapting another predictor changed this one or their model"),
    SharesMemory: ("binary", "share memory beside their model's"),
    Random: ("binary", "asking twice gives two answers"),
    CountsOn: ("binary", "the order of the cases"),
    LooksAround: ("binary", "asked in two parts"),
    SumsToMore: ("binary", "do not sum to one"),
    NotANumber: ("binary", "a probability is not a finite number"),
    BelowZero: ("multiclass", "below 0 or above 1"),
    OtherOrder: ("binary", "not the most probable class"),
    OneColumn: ("binary", "predict_proba gives the shape"),
    OtherLabels: ("binary", "none of classes"),
    OtherTable: ("binary", "predict_table shows other numbers"),
    BreaksOnNothing: ("binary", "no case raises IndexError"),
    SaysNoJson: ("regression", "as_dict is no JSON value"),
    LoadsAnother: ("regression", "a saved and loaded predictor gives other numbers"),
    CopiesNothing: ("binary", "share memory beside their model's"),
    AnswersForEverything: ("regression", "predict_proba answers for a regression task"),
    NarrowerWhenSurer: ("regression", "does not hold a narrower one"),
    BesideThePrediction: ("regression", "does not hold the prediction"),
    UpsideDown: ("regression", "the low end of an interval is not below its high end"),
    CertainOfAll: ("regression", "answers for a coverage of 1.0"),
    RefusesWithAnotherError: ("regression", "ZeroDivisionError for InputError"),
    EmptySets: ("binary", "is empty for a case"),
    ShrinkingSets: ("binary", "does not hold a smaller one"),
    SetsOfNumbers: ("binary", "predict_set gives float64"),
    SurerThanSure: ("binary", "sureness is not between 0 and 1"),
    SureAmongOthers: ("binary", "depends on the others asked"),
    AsksOthers: ("binary", "is asked about at a smaller share"),
    AsksTheSurest: ("binary", "asked about a surer case"),
    MissesTheOutput: ("regression", "contributions and the base miss the output"),
    NotExact: ("binary", "the exact contributions"),
    ExplainsAnotherAnswer: ("binary", "the output explained is not the answer"),
}


@pytest.mark.parametrize("kind", tiny_predictors.KINDS)
def test_the_predictor_that_the_broken_ones_are_made_of_keeps_the_contract(
    models: dict[TaskKind, FittedModel], kind: TaskKind
) -> None:
    check_predictor(_adapted(Acts, models[kind], kind), CASES, other=_adapted(Acts, models[kind], kind, seed=1))


@pytest.mark.parametrize("made", BROKEN, ids=lambda made: made.__name__)
def test_a_broken_predictor_is_caught_with_its_reason(
    made: type[Predictor], models: dict[TaskKind, FittedModel]
) -> None:
    kind, reason = BROKEN[made]
    with pytest.raises(AssertionError, match=reason):
        check_predictor(_adapted(made, models[kind], kind), CASES.copy())


def test_another_predictor_that_was_given_the_same_support_is_told_to_share_it(
    models: dict[TaskKind, FittedModel],
) -> None:
    predictor = _adapted(Predictor, models["binary"], "binary")
    other = Predictor(predictor.model, predictor.support)
    with pytest.raises(AssertionError, match="two predictors share memory beside their model's"):
        check_predictor(predictor, CASES, other=other)


def test_too_few_cases_to_try_a_predictor_on_are_refused(models: dict[TaskKind, FittedModel]) -> None:
    with pytest.raises(InputError, match="got 2 cases to try the predictor on; give at least 3"):
        check_predictor(_adapted(Predictor, models["binary"], "binary"), CASES[:2])


def test_running_the_contract_leaves_predictor_and_random_numbers_alone(models: dict[TaskKind, FittedModel]) -> None:
    predictor = _adapted(Predictor, models["regression"], "regression")
    want = predictor.predict(CASES)
    torch.manual_seed(7)
    drawn = torch.rand(3)
    torch.manual_seed(7)
    check_predictor(predictor, CASES)
    assert torch.equal(torch.rand(3), drawn)
    np.testing.assert_array_equal(predictor.predict(CASES), want)


@pytest.mark.parametrize("modality", registry.names("modalities"))
def test_a_pickled_predictor_gives_the_same_numbers(modality: str) -> None:
    predictor = _adapted(Predictor, tiny_predictors.model("linear", modality, "binary"), "binary")
    again = pickle.loads(pickle.dumps(predictor))  # noqa: S301
    cases = tiny_predictors.raw_cases(modality, seed=1)
    np.testing.assert_array_equal(again.predict_proba(cases), predictor.predict_proba(cases))
