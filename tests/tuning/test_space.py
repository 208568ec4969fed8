"""What a search tries is read from constructors: every learner of the folder, whatever it tries, can be built."""

import inspect
import random
from typing import Any, ClassVar

import pytest

from metamedica import registry
from metamedica.errors import InputError
from metamedica.testing import VectorEncoder, on_vectors
from metamedica.tuning.space import Space, around, decoded, encoded, space_of
from metamedica.types import Between, OneOf, Ranges

TRAINING = {"learning_rate": 2e-3, "weight_decay": 1e-2}
NOTHING = {"leave_one_out_gp", "linear", "multi_kernel_gp", "similarity_search", "tanimoto_gp"}
"""Learners from scratch that choose everything by the support."""


def _drawn(space: Space, part: str, seed: int) -> dict[str, Any]:
    rng, held = random.Random(seed), {"settings": space.settings, "encoder_settings": space.encoder_settings}[part]
    return {
        name: rng.choice(choice.values) if isinstance(choice, OneOf) else rng.choice((choice.low, choice.high))
        for name, choice in held.items()
    }


@pytest.mark.parametrize("name", registry.names("learners"))
def test_a_learner_can_be_built_wherever_the_search_looks(name: str) -> None:
    if name in NOTHING:
        with pytest.raises(InputError, match="no number to search over"):
            space_of(name, "mlp", training=TRAINING)
        return
    space = space_of(name, "mlp", training=TRAINING)
    for seed in range(6):
        on_vectors(registry.learner_class(name), settings=_drawn(space, "settings", seed))
    wanted = inspect.signature(registry.learner_class(name)).parameters
    assert bool(space.training) == ("encoder" in wanted)
    assert "max_classes" not in space.settings
    assert set(space.defaults) == set(space.choices())


@pytest.mark.parametrize("name", registry.names("encoders"))
def test_an_encoder_can_be_built_wherever_the_search_looks(name: str) -> None:
    space = space_of("prototypical", name, training=TRAINING)
    assert space.encoder_settings
    given: dict[str, Any] = {"blocks": {"counts": 8}, "atoms": (4, 3), "bonds": (3,), "image": (1, 32, 32)}
    wanted = inspect.signature(registry.encoder_class(name)).parameters
    given = {each: value for each, value in given.items() if each in wanted}
    for seed in range(4):
        registry.encoder_class(name)(**given, **_drawn(space, "encoder_settings", seed))


def test_the_defaults_are_among_what_is_tried() -> None:
    for name in sorted(set(registry.names("learners")) - NOTHING):
        space = space_of(name, "mlp", training=TRAINING)
        for place, choice in space.choices().items():
            default = space.defaults[place]
            inside = default in choice.values if isinstance(choice, OneOf) else choice.low <= default <= choice.high
            assert inside, (name, place, default)


@pytest.mark.parametrize(
    ("default", "choice"),
    [
        (0.1, Between(0.01, 1.0, log=True)),
        (8, OneOf((2, 4, 8, 16, 32))),
        (1, OneOf((1, 2, 4))),
        (0.0, None),
        (True, None),
        (None, None),
        ("gelu", None),
        ((0.1, 0.2), None),
    ],
)
def test_a_default_says_what_is_tried_around_it(default: Any, choice: Between | OneOf | None) -> None:
    assert around(default) == choice


def test_a_class_adds_to_what_its_parents_say(monkeypatch: pytest.MonkeyPatch) -> None:
    class Parent(VectorEncoder):
        ranges: ClassVar[Ranges] = {"most": None}

    class Child(Parent):
        ranges: ClassVar[Ranges] = {"share": Between(0.1, 0.9)}

        def __init__(self, *, most: int = 3, share: float = 0.5, rate: float = 1.0) -> None:
            super().__init__()

    monkeypatch.setattr(registry, "encoder_class", lambda name: Child)
    found = space_of("prototypical", "child", training=TRAINING).encoder_settings
    assert found == {"share": Between(0.1, 0.9), "rate": Between(0.1, 10.0, log=True)}


def test_a_list_is_kept_as_text_and_comes_back_a_list() -> None:
    choice = OneOf(([256], [512, 512]))
    assert encoded(choice, [512, 512]) == "[512, 512]"
    assert decoded(choice, encoded(choice, [512, 512])) == [512, 512]
    assert decoded(Between(0.0, 1.0), encoded(Between(0.0, 1.0), 0.25)) == 0.25
