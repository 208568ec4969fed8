"""The rooms list what their folders hold, and unknown names give the choices."""

import inspect
from pathlib import Path

import pytest

import metamedica
from metamedica import registry
from metamedica.errors import InputError
from metamedica.types import Encoder, Learner, Modality, TaskKind

ROOMS = ("applications", "encoders", "learners", "modalities")
_ROOT = Path(metamedica.__file__).parent


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_lists_every_file_and_folder_in_it(room: str) -> None:
    folder = _ROOT / room
    files = {path.stem for path in folder.glob("*.py")}
    folders = {path.parent.name for path in folder.glob("*/__init__.py")}
    expected = sorted(name for name in files | folders if not name.startswith("_"))
    assert registry.names(room) == expected
    assert expected


@pytest.mark.parametrize("name", registry.names("learners"))
def test_every_learner_is_one_class_with_its_paper_and_kinds(name: str) -> None:
    made = registry.learner_class(name)
    assert issubclass(made, Learner)
    assert made.__module__ == f"metamedica.learners.{name}"
    assert made.paper.title
    assert made.paper.link
    assert 1900 < made.paper.year < 2100
    assert made.kinds
    assert made.kinds <= {"binary", "multiclass", "regression"}


@pytest.mark.parametrize("name", registry.names("encoders"))
def test_every_encoder_is_one_class(name: str) -> None:
    made = registry.encoder_class(name)
    assert issubclass(made, Encoder)
    assert made.__module__.startswith(f"metamedica.encoders.{name}")


@pytest.mark.parametrize("name", registry.names("modalities"))
def test_every_modality_knows_its_name_and_methods_from_scratch_that_exist(name: str) -> None:
    pytest.importorskip("rdkit")
    made = registry.modality(name)
    assert isinstance(made, Modality)
    assert made.name == name
    assert made.version
    assert set(made.from_scratch) <= set(registry.names("learners"))


@pytest.mark.parametrize(
    ("look_up", "what", "room"),
    [
        (registry.learner_class, "learner", "learners"),
        (registry.encoder_class, "encoder", "encoders"),
        (registry.modality, "modality", "modalities"),
    ],
)
def test_an_unknown_name_gives_the_choices(look_up: object, what: str, room: str) -> None:
    assert callable(look_up)
    for unknown in ("alchemy", "", "..", "os.path", "__init__"):
        with pytest.raises(InputError) as caught:
            look_up(unknown)
        assert str(caught.value) == (
            f"there is no {what} {unknown!r}; choose one of: {', '.join(registry.names(room))}"
        )


def test_a_learner_gets_what_its_constructor_names_and_its_settings() -> None:
    pytest.importorskip("rdkit")
    kind_of_case = registry.modality("molecules")
    for name in registry.names("learners"):
        made = registry.build_learner(name, kind_of_case, encoder_settings={"hidden": (8,), "dim": 4}, n_tasks=3)
        assert isinstance(made, registry.learner_class(name))
        wanted = inspect.signature(type(made).__init__).parameters
        assert ("encoder" in wanted) == hasattr(made, "encoder")
    deep = registry.build_learner(
        "deep_kernel", kind_of_case, encoder_settings={"hidden": (8,), "dim": 4}, settings={"length": 2.5}
    )
    assert deep.length == 2.5


@pytest.mark.parametrize(
    ("modality", "kind", "by_steps", "wanted"),
    [
        ("molecules", "regression", False, "common_mean_gp"),
        ("molecules", "binary", False, "common_mean_gp"),
        ("molecules", "multiclass", False, "deep_kernel"),
        ("molecules", "binary", True, "deep_kernel"),
        ("tables", "binary", False, "bayesian_model_averaging"),
        ("any_table", "regression", True, "prior_fitted_network"),
    ],
)
def test_where_no_learner_is_named_the_default_fits_kind_and_encoder(
    modality: str, kind: TaskKind, by_steps: bool, wanted: str
) -> None:
    assert registry.default_learner(registry.modality(modality), [kind], by_steps=by_steps) == wanted


@pytest.mark.parametrize("name", ["boil", "first_order_maml", "maml", "reptile"])
def test_a_learner_that_inherits_its_constructor_takes_its_settings(name: str) -> None:
    pytest.importorskip("rdkit")
    molecules = registry.modality("molecules")
    small = {"hidden": (8,), "dim": 4}
    made = registry.build_learner(name, molecules, encoder_settings=small, settings={"rate": 0.3, "steps": 2})
    assert (made.rate, made.steps, made.chunk) == (0.3, 2, None)
    with pytest.raises(
        InputError, match=r"has no setting 'depth'; it has: max_classes, rate, steps, chunk, checkpoint$"
    ):
        registry.build_learner(name, molecules, settings={"depth": 3})


@pytest.mark.parametrize("setting", ["depth", "encoder", "self", "n_tasks", "raw"])
def test_an_unknown_setting_gives_the_learners_own(setting: str) -> None:
    pytest.importorskip("rdkit")
    with pytest.raises(
        InputError, match=rf"^learner 'deep_kernel' has no setting '{setting}'; it has: .*length, .*noises"
    ):
        registry.build_learner("deep_kernel", registry.modality("molecules"), settings={setting: 3})
