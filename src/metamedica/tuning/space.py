"""Which settings a search tries: read from the constructors of learner and encoder, so that a new one needs no list.

A number with a default is tried around it: floats from a tenth to ten times, evenly in logarithms; whole numbers at a quarter, a half,
once, twice and four times (so a width stays a multiple of its heads). Where that makes no sense the class says what does, in `ranges`.
Grids, words and settings without a default number are left as they are.
"""

import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from metamedica import registry
from metamedica.errors import InputError
from metamedica.types import Between, OneOf, Ranges

FACTOR = 10.0
STEPS = (0.25, 0.5, 1, 2, 4)
TRAINING: Mapping[str, Between] = {
    "learning_rate": Between(2e-4, 2e-2, log=True),
    "weight_decay": Between(1e-4, 1e-1, log=True),
}
"""Of the meta-training, where there is one."""
_GIVEN = ("self", *registry.GIVEN, "blocks", "atoms", "bonds")

Choice: TypeAlias = Between | OneOf


@dataclass(frozen=True)
class Space:
    """What a search tries for one learner: setting -> choice, of the learner, its encoder and the training."""

    learner: str
    settings: dict[str, Choice]
    encoder_settings: dict[str, Choice]
    training: dict[str, Choice]
    defaults: dict[str, Any]
    """`part.name` -> the value that is tried first."""

    def choices(self) -> dict[str, Choice]:
        """Return every choice by `part.name`."""
        parts = {"settings": self.settings, "encoder_settings": self.encoder_settings, "training": self.training}
        return {f"{part}.{name}": choice for part, held in parts.items() for name, choice in held.items()}


def space_of(learner: str, encoder: str, *, training: Mapping[str, Any]) -> Space:
    """Return what a search tries for a learner with an encoder.

    Args:
        learner: a name of `learners/`.
        encoder: a name of `encoders/`; not read by a learner without one.
        training: defaults of the meta-training by name, for those of `TRAINING`.

    Raises:
        InputError: an unknown name, or nothing to search.
    """
    made = registry.learner_class(learner)
    wanted = inspect.signature(made.__init__).parameters
    own, defaults = _choices(made)
    found = {f"settings.{name}": value for name, value in defaults.items()}
    of_encoder: dict[str, Choice] = {}
    of_training: dict[str, Choice] = {}
    if "encoder" in wanted:
        kind = registry.encoder_class(encoder)
        of_encoder, defaults = _choices(kind)
        found |= {f"encoder_settings.{name}": value for name, value in defaults.items()}
        of_training = dict(TRAINING)
        found |= {f"training.{name}": training[name] for name in TRAINING}
    if not own and not of_encoder:
        raise InputError(
            f"learner {learner!r} has no number to search over; fit it as it is, or name another with --learner"
        )
    return Space(learner, own, of_encoder, of_training, found)


def _choices(made: type) -> tuple[dict[str, Choice], dict[str, Any]]:
    """Return choice and default of each setting of a constructor that a search tries; a class adds to the `ranges` of its parents."""
    ranges: Ranges = {
        name: choice for kind in reversed(made.__mro__) for name, choice in vars(kind).get("ranges", {}).items()
    }
    choices: dict[str, Choice] = {}
    defaults: dict[str, Any] = {}
    for name, parameter in inspect.signature(made).parameters.items():
        if name in _GIVEN or parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            continue
        choice = ranges[name] if name in ranges else around(parameter.default)
        if choice is not None:
            choices[name] = choice
            default = parameter.default
            defaults[name] = list(default) if isinstance(default, tuple) else default
    return choices, defaults


def around(default: Any) -> Choice | None:
    """Return what is tried around a default; None where it is no number above 0."""
    if isinstance(default, bool) or not isinstance(default, int | float) or default <= 0:
        return None
    if isinstance(default, int):
        return OneOf(tuple(sorted({max(1, round(default * step)) for step in STEPS})))
    return Between(default / FACTOR, default * FACTOR, log=True)


def encoded(choice: Choice, value: Any) -> Any:
    """Return a value as a search keeps it: lists as text."""
    return json.dumps(value) if isinstance(choice, OneOf) else value


def decoded(choice: Choice, value: Any) -> Any:
    """Return what `encoded` was given."""
    return json.loads(value) if isinstance(choice, OneOf) else value
