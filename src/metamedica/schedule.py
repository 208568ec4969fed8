"""How long and how fast a learner is meta-trained."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from metamedica.errors import InputError
from metamedica.precision import PRECISIONS, Precision


@dataclass(frozen=True)
class TrainingSettings:
    """How long and how fast to learn.

    Args:
        steps: most steps; a step is one batch of tasks.
        learning_rate: of AdamW at its peak.
        weight_decay: of AdamW, on matrices only.
        warmup: steps over which the rate rises linearly, at most a tenth of all; then a cosine takes it to 0.
        clip: largest norm of the gradient; a larger one is scaled down to it.
        validate_every: steps between two looks at the meta-valid tasks.
        patience: looks without a better score before training stops.
        checkpoint_every: steps between two checkpoints.
        seed: of the random numbers inside a step (dropout); the batches have the sampler's seed.
        accumulate: parts that each process takes its share of a batch in, one after the other; memory falls with the largest part, the
            gradient stays the same up to rounding.
        precision: "float32", "tf32" or "bf16", of the encoder and of inner loops within a step (`metamedica.precision`).

    Raises:
        InputError: a value that makes no sense.
    """

    steps: int = 2000
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    warmup: int = 100
    clip: float = 1.0
    validate_every: int = 100
    patience: int = 8
    checkpoint_every: int = 100
    seed: int = 0
    accumulate: int = 1
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        for name in ("steps", "validate_every", "patience", "checkpoint_every", "accumulate"):
            if getattr(self, name) < 1:
                raise InputError(f"got {name} {getattr(self, name)}; give at least 1")
        for name in ("learning_rate", "clip"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"got {name} {getattr(self, name)}; give a number above 0")
        for name in ("warmup", "seed", "weight_decay"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"got {name} {getattr(self, name)}; give 0 or more")
        if self.precision not in PRECISIONS:
            raise InputError(f"got precision {self.precision!r}; give one of {', '.join(PRECISIONS)}")

    def as_json(self) -> dict[str, Any]:
        """Return the settings as a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "TrainingSettings":
        """Return the settings that `as_json` wrote.

        Raises:
            InputError: a setting that does not exist.
        """
        known = [each.name for each in fields(cls)]
        for name in value:
            if name not in known:
                raise InputError(f"there is no training setting {name!r}; the settings are: {', '.join(known)}")
        return cls(**value)

    def rate(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0: linear warm-up, then half a cosine to 0 after the last step."""
        warmup = min(self.warmup, self.steps // 10)
        if step < warmup:
            return self.learning_rate * (step + 1) / warmup
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (self.steps - warmup)))
