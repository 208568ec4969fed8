"""A file of settings: what a search writes and `metamedica fit --settings` reads."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from metamedica.errors import FileFormatError
from metamedica.storage import replace_file

_PARTS = ("learner", "encoder", "settings", "encoder_settings", "training")
_TRAINING = ("learning_rate", "weight_decay", "steps")


@dataclass(frozen=True)
class FitSettings:
    """How to fit: names, and settings that differ from the defaults.

    Args:
        learner: a method.
        encoder: of the method.
        settings: of the method by name.
        encoder_settings: of the encoder by name.
        training: `learning_rate`, `weight_decay`, `steps`.
    """

    learner: str
    encoder: str = "mlp"
    settings: dict[str, Any] = field(default_factory=dict)
    encoder_settings: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the settings as a JSON object."""
        return {name: getattr(self, name) for name in _PARTS}

    def write(self, path: Path, *, found: Mapping[str, Any]) -> None:
        """Write the settings, and how they were found, whole or not at all."""
        replace_file(path, (json.dumps(self.as_json() | {"found": found}, indent=1, sort_keys=True) + "\n").encode())

    @classmethod
    def read(cls, path: Path) -> "FitSettings":
        """Return the settings of a file.

        Raises:
            FileFormatError: there is no such file, or it is not one of settings.
        """
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise FileFormatError(
                f"{path} cannot be read ({error.strerror}); name the best.json of 'metamedica tune'"
            ) from None
        except (ValueError, RecursionError):
            held = None
        if not isinstance(held, dict) or not isinstance(held.get("learner"), str):
            raise FileFormatError(f"{path} is no file of settings; name the best.json of 'metamedica tune'")
        unknown = sorted(held.keys() - {*_PARTS, "found"}) + sorted(
            dict(held.get("training", {})).keys() - set(_TRAINING)
        )
        if unknown:
            raise FileFormatError(
                f"{path} has {unknown[0]!r}, which is no setting; it may have: {', '.join((*_PARTS, *_TRAINING))}"
            )
        return cls(**{name: held[name] for name in _PARTS if name in held})


def parted(values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return `part.name` -> value as part -> name -> value."""
    parts: dict[str, dict[str, Any]] = {"settings": {}, "encoder_settings": {}, "training": {}}
    for place, value in values.items():
        part, name = place.split(".", 1)
        parts[part][name] = value
    return parts
