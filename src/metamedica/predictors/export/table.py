"""PyTorch's operators by name, and the function that writes each to a drawing."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from metamedica.errors import InputError
from metamedica.predictors.export.drawing import Drawing
from metamedica.predictors.export.trace import Step

Translation: TypeAlias = Callable[[Drawing, Step], Sequence[str]]
"""Returns the names of an operator's results, those that are read."""
TABLE: dict[str, Translation] = {}


def writes(*operators: str) -> Callable[[Callable[[Drawing, Step], str]], Callable[[Drawing, Step], str]]:
    """Register the translation of operators with one result that is read."""

    def register(translate: Callable[[Drawing, Step], str]) -> Callable[[Drawing, Step], str]:
        for operator in operators:
            TABLE[operator] = lambda drawing, step: [translate(drawing, step)]
        return translate

    return register


def only(step: Step, **wanted: Any) -> None:
    """Refuse an argument with another value than the one that is written."""
    for name, value in wanted.items():
        if step.given.get(name, value) != value:
            raise InputError(
                f"the predictor uses {step.operator} with {name}={step.given[name]}, which is not written to ONNX"
            )
