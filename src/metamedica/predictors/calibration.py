"""Probabilities that are right as often as they say: a method's law, set right for each task by its own labelled cases, each hidden in turn."""

from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias, get_args

import torch
from jaxtyping import Bool, Shaped
from torch import Tensor
from torch.distributions import Categorical

from metamedica.errors import InputError, TaskError
from metamedica.functional.calibration import Beta, Isotonic, Map, Temperature
from metamedica.predictors.held_out import HeldOut, held_out
from metamedica.predictors.method import Adapted, Method, adapted
from metamedica.types import CaseBatch, LabelledBatch, Law, TaskKind

Calibration = Literal["none", "temperature", "beta", "isotonic", "auto"]
CALIBRATIONS: tuple[Calibration, ...] = get_args(Calibration)
LEAST: dict[Calibration, int] = {"temperature": 10, "beta": 50, "isotonic": 2000}
"""Labelled cases from which `auto` takes a map; below all of them it takes none."""
LEAST_OF_A_CLASS = 3
_FitMap: TypeAlias = Callable[[Law, Tensor, Tensor], Map]


def check_calibration(name: str) -> Calibration:
    """Return the name of a calibration.

    Raises:
        InputError: there is none of that name.
    """
    if name not in CALIBRATIONS:
        raise InputError(f"got calibration {name!r}; give one of: {', '.join(CALIBRATIONS)}")
    return name


def chosen(how: Calibration, kind: TaskKind, size: int) -> Calibration:
    """Return the map that a support of this size gets.

    Raises:
        TaskError: a map that this kind of task does not allow.
    """
    if how == "auto":
        allowed: dict[Calibration, int] = LEAST if kind != "regression" else {"temperature": LEAST["temperature"]}
        fitting: list[Calibration] = [name for name, least in allowed.items() if size >= least]
        return max(fitting, key=LEAST.__getitem__, default="none")
    if kind == "regression" and how in ("beta", "isotonic"):
        raise TaskError(
            f"calibration {how!r} is for classes and this is a regression task; give none, temperature or auto"
        )
    return how


def check_enough(found: HeldOut, how: Calibration, classes: Sequence[str] | None) -> None:
    """Refuse labelled cases that a map which was asked for by name cannot be fitted on.

    Args:
        found: of one task.
        how: the map.
        classes: labels by class index; None for regression.

    Raises:
        TaskError: fewer than 3 of a class, or none, can be hidden.
    """
    counts = found.known.sum().reshape(1) if classes is None else _of_each_class(found)[0]
    if int(counts.min()) < LEAST_OF_A_CLASS:
        of = "" if classes is None else f" of class {classes[int(counts.argmin())]!r}"
        raise TaskError(
            f"calibration {how!r} needs {LEAST_OF_A_CLASS} labelled cases{'' if classes is None else ' of each class'} that can be hidden, "
            f"{int(counts.min())}{of} came; label more, or leave it out"
        )


def fit_map(how: Calibration, found: HeldOut) -> Map | None:
    """Return the map of each task, or None for none.

    A task whose known cases show fewer than 3 of a class keeps its law.

    Args:
        how: as `chosen` returned it.
        found: laws of cases that the method did not know.
    """
    makers: dict[Calibration, _FitMap] = {
        "temperature": Temperature.fit,
        "beta": lambda law, targets, known: Beta.fit(_classes(law), targets, known),
        "isotonic": lambda law, targets, known: Isotonic.fit(_classes(law), targets, known),
    }
    if how == "none":
        return None
    return makers[how](found.law, found.targets, _enough(found))


def _classes(law: Law) -> Categorical:
    assert isinstance(law, Categorical)
    return law


def _enough(found: HeldOut) -> Bool[Tensor, "tasks cases"]:
    """Return the known cases of tasks that show enough of every class."""
    if not isinstance(found.law, Categorical):
        return found.known
    enough = (_of_each_class(found) >= LEAST_OF_A_CLASS).all(-1)
    return found.known & enough[:, None]


def _of_each_class(found: HeldOut) -> Shaped[Tensor, "tasks classes"]:
    """Return how many known cases of each class a task has."""
    each = torch.nn.functional.one_hot(found.targets, _classes(found.law).logits.shape[-1]) * found.known[..., None]
    counts: Shaped[Tensor, "tasks classes"] = each.sum(1)
    return counts


class AdaptedCalibrated:
    """An adapted method whose laws go through a map."""

    def __init__(self, inner: Adapted, change: Map) -> None:
        self.inner = inner
        self.change = change

    def predict(self, query: CaseBatch) -> Law:
        """Return the calibrated law of each query case, in the task's units."""
        return self.change(self.inner.predict(query))


class Calibrated:
    """A method whose laws are set right for each task by its support: what a predictor does, for evaluation.

    Args:
        method: learner or guard.
        how: one of `CALIBRATIONS`.
    """

    def __init__(self, method: Method, *, how: Calibration = "auto") -> None:
        self.method = method
        self.how = check_calibration(how)

    def adapt(self, support: LabelledBatch, unlabelled: CaseBatch | None = None) -> Adapted:
        """Return the method adapted to each task, and set right; supports of one batch get the same map.

        Raises:
            TaskError: a map that this kind of task does not allow.
        """
        inner = adapted(self.method, support, unlabelled)
        how = chosen(self.how, support.kind, int(support.counts().min()) if len(support.mask) else 0)
        change = None if how == "none" else fit_map(how, held_out(self.method, support, unlabelled=unlabelled))
        return inner if change is None else AdaptedCalibrated(inner, change)

    def __call__(self, support: LabelledBatch, query: CaseBatch) -> Law:
        """Return the law of each query case, in the units of the support's targets."""
        return self.adapt(support).predict(query)
