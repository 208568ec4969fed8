"""The folder is the catalogue: methods, encoders, modalities and applications are found by listing their folder."""

import importlib
import inspect
import pkgutil
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any, cast

from metamedica.errors import InputError
from metamedica.types import Encoder, Learner, Modality, TaskKind


def names(room: str) -> list[str]:
    """Return the names in a room (`learners`, `encoders`, `modalities`, `applications`), sorted."""
    package = importlib.import_module(f"metamedica.{room}")
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__) if not module.name.startswith("_"))


@cache
def _only_class(room: str, name: str, base: type) -> type:
    """Return the class; a folder is listed once for it, as that takes longer than an adaptation."""
    if name not in names(room):
        one = {"modalities": "modality"}.get(room, room.removesuffix("s"))
        raise InputError(f"there is no {one} {name!r}; choose one of: {', '.join(names(room))}")
    module = importlib.import_module(f"metamedica.{room}.{name}")
    found = [
        member
        for member in vars(module).values()
        if inspect.isclass(member)
        and issubclass(member, base)
        and not inspect.isabstract(member)
        and member.__module__.startswith(module.__name__)
    ]
    if len(found) != 1:
        raise TypeError(f"metamedica.{room}.{name} must define exactly one {base.__name__}; it defines {len(found)}")
    return cast(type, found[0])


def learner_class(name: str) -> type[Learner[Any]]:
    """Return the learner class of `learners/<name>.py`."""
    return _only_class("learners", name, Learner)


def learners_that(capability: type) -> list[str]:
    """Return the names of the learners that add a capability (an abstract class such as `functional.descriptions.ReadsDescriptions`)."""
    return [name for name in names("learners") if issubclass(learner_class(name), capability)]


def encoder_class(name: str) -> type[Encoder]:
    """Return the encoder class of `encoders/<name>.py`."""
    return _only_class("encoders", name, Encoder)


def modality(name: str, settings: Mapping[str, Any] | None = None) -> Modality:
    """Return the modality of `modalities/<name>`, with the settings that `Modality.settings` returned.

    Raises:
        InputError: an unknown name, or settings that it does not have.
    """
    made = _only_class("modalities", name, Modality)
    known = inspect.signature(made).parameters
    for setting in settings or {}:
        if setting not in known:
            raise InputError(f"the modality {name!r} has no setting {setting!r}; leave it out")
    return cast(Modality, made(**(settings or {})))


def build_encoder(
    name: str, offered: Mapping[str, Any], *, settings: Mapping[str, Any], cases: str, fitting: Sequence[str]
) -> Encoder:
    """Return a new learned encoder, given what its constructor names of what a modality offers, and its settings.

    Args:
        name: a file of `encoders/`.
        offered: what the modality knows of its blocks, by the name that constructors give it.
        settings: of the encoder.
        cases: what the modality calls its cases, in errors.
        fitting: the encoders that read them, in errors.

    Raises:
        InputError: an unknown encoder or setting, or an encoder that reads none of the blocks, or what the modality does not have.
    """
    made = encoder_class(name)
    parameters = inspect.signature(made).parameters
    own = [setting for setting in parameters if setting not in offered]
    missing = [given for given in own if parameters[given].default is inspect.Parameter.empty]
    if missing or len(own) == len(parameters):
        raise InputError(
            f"encoder {name!r} reads {' and '.join(missing) or 'no blocks'}, which {cases} do not have; choose {' or '.join(fitting)}"
        )
    for setting in settings:
        if setting not in own:
            raise InputError(f"encoder {name!r} has no setting {setting!r}; it has: {', '.join(own) or 'none'}")
    return made(**{given: value for given, value in offered.items() if given in parameters}, **settings)


GIVEN: tuple[str, ...] = ("encoder", "raw", "rich", "n_tasks")
"""What a learner's constructor may name beside its hyper-parameters."""


def takes(learner: str, given: str) -> bool:
    """Return whether the method's constructor names one of `GIVEN`."""
    return given in inspect.signature(learner_class(learner).__init__).parameters


def default_learner(modality: Modality, kinds: Collection[TaskKind], *, by_steps: bool = False) -> str:
    """Return the name of the learner that is fitted where none is named.

    Args:
        modality: whose default it is.
        kinds: of the tasks; where the default allows none of them, it is the learner that allows every kind.
        by_steps: whether something was named that only training in steps has (an encoder); the default is then one that has an encoder.
    """
    own = modality.default_learner
    if not modality.comparable:  # no encoder reads its cases
        return own
    fits = bool(learner_class(own).kinds & set(kinds)) and (not by_steps or takes(own, "encoder"))
    return own if fits else Modality.default_learner


def build_learner(
    name: str,
    kind_of_case: Modality,
    *,
    encoder: str = "mlp",
    encoder_settings: dict[str, Any] | None = None,
    n_tasks: int = 1,
    settings: dict[str, Any] | None = None,
) -> Learner[Any]:
    """Return a new learner, given what its constructor names: of `GIVEN`, and hyper-parameters.

    Raises:
        InputError: a setting that the method does not have.
    """
    made = learner_class(name)
    wanted = inspect.signature(made.__init__).parameters
    arguments: dict[str, Any] = dict(settings or {})
    for setting in arguments:
        if setting not in wanted or setting in ("self", *GIVEN):
            own = [w for w in wanted if w not in ("self", *GIVEN)]
            raise InputError(f"learner {name!r} has no setting {setting!r}; it has: {', '.join(own) or 'none'}")
    if "encoder" in wanted:
        arguments["encoder"] = kind_of_case.encoder(encoder, **(encoder_settings or {}))
    if "raw" in wanted:
        arguments["raw"] = kind_of_case.raw_encoder()
    if "rich" in wanted:
        arguments["rich"] = kind_of_case.rich_encoder()
    if "n_tasks" in wanted:
        arguments["n_tasks"] = n_tasks
    return made(**{argument: _listed(value) for argument, value in arguments.items()})


def _listed(value: Any) -> Any:
    """Return a list that came from a JSON file as the tuple that constructors want."""
    return tuple(_listed(each) for each in value) if isinstance(value, list) else value
