"""Every learner on tiny tasks of every modality that it can take: what the contract of predictors is tried on."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from metamedica import registry
from metamedica.data.collection import Task, TaskCollection
from metamedica.errors import InputError
from metamedica.functional.scattering import Scattering
from metamedica.meta_learner import MetaLearner
from metamedica.modalities.images import encoding, patches, spreads
from metamedica.modalities.images import modality as image_modality
from metamedica.modalities.images import texture as image_texture
from metamedica.modalities.molecules import Molecules, environments
from metamedica.modalities.molecules import modality as molecule_modality
from metamedica.predictors.model import FittedModel, LearnerSpec
from metamedica.types import Features, PreparedCases, TaskKind

KINDS: tuple[TaskKind, ...] = ("binary", "multiclass", "regression")
N_TASKS, N_CASES, N_LABELLED = 3, 18, 6
CHEAP: Mapping[str, Mapping[str, Any]] = {
    "random_forest": {"trees": 3},
    "fine_tune": {"steps": 2},
    "pooled_trees": {"growths": ((4, 3), (8, 4))},
    "bayesian_model_averaging": {"trees": 4},
    "hierarchical_bayes": {"trees": 4},
    "deep_adaptation": {"hidden": 3, "steps": 2, "strengths": (0.0, 1.0), "signals": (1.0,)},
    "domain_adversarial": {"hidden": 3, "steps": 2, "strengths": (0.0, 1.0), "signals": (1.0,)},
    "prior_fitted_network": {"width": 8, "layers": 1},
}
"""Settings that make a learner cheap without changing what the contract sees."""
_CLASSES: dict[TaskKind, tuple[str, ...] | None] = {
    "binary": ("no", "yes"), "multiclass": ("high", "low", "usual"), "regression": None,
}  # fmt: skip
_ENDS = ("O", "N", "Cl", "C(=O)O", "c1ccccc1", "C#N", "OC", "S", "F", "Br", "C=O", "NC")


_COLUMNS = 64


def narrow_molecules(patch: pytest.MonkeyPatch) -> None:
    """Fold the fingerprints of molecules to 64 columns, each molecule featurised once: some learners solve in the number of columns."""
    texts = ["C" * length + end for length in range(1, 7) for end in _ENDS]
    reader = Molecules()
    prepared = reader.prepare(texts)
    more = reader.blocks(reader.rich_blocks, prepared.canonical)
    counts = prepared.features["counts"].view(len(texts), -1, _COLUMNS).sum(1, dtype=torch.uint8)
    known = {"counts": counts, "descriptors": prepared.features["descriptors"], **more}
    place = {text: row for row, text in enumerate(texts)} | {text: row for row, text in enumerate(prepared.canonical)}

    def blocks(names: Sequence[str], texts: Sequence[str]) -> Features:
        rows = torch.tensor([place[text] for text in texts], dtype=torch.int64)
        return {name: known[name][rows] for name in names}

    def prepare(self: Molecules, cases: Sequence[str], **_: object) -> PreparedCases:
        distinct = list(dict.fromkeys(cases))
        canonical = [prepared.canonical[place[text]] for text in distinct]
        return PreparedCases(
            [distinct.index(text) for text in cases], canonical, blocks(("counts", "descriptors"), distinct)
        )

    patch.setattr(Molecules, "prepare", prepare)
    patch.setattr(Molecules, "blocks", lambda self, names, canonical, **_: blocks(names, canonical))
    patch.setattr(molecule_modality, "FINGERPRINT_SIZE", _COLUMNS)
    patch.setattr(environments, "FINGERPRINT_SIZE", _COLUMNS)  # what folds to 2,048 columns folds on to 64


def narrow_images(patch: pytest.MonkeyPatch) -> None:
    """Read images by their coarse greys, their texture in a few numbers, and their patches as a grid of 2 x 2."""

    def coarse(grey: Any) -> Any:
        part = grey.shape[1] // 4
        return grey.reshape(len(grey), 4, part, 4, part).mean((2, 4)).reshape(len(grey), 16).astype(np.float32) / 255

    texture = Scattering(16, scales=2, angles=2)
    patch.setattr(image_modality, "classical", coarse)
    patch.setattr(image_modality, "SIZE", 16)
    size = 5 * texture.channels
    patch.setattr(image_texture, "_WAVES", texture)
    patch.setattr(image_modality, "TEXTURE_SIZE", texture.channels * texture.windows**2)
    patch.setattr(image_modality, "ZONES_SIZE", size)
    waves = {**spreads.spreads(), "waves": spreads.spreads()["waves"][:size]}
    patch.setattr(encoding, "spreads", lambda: waves)
    patch.setattr(patches, "GRID", 2)


def takes(name: str, modality: str) -> bool:
    """Return whether the learner can be built for the modality: an encoder that learns what columns mean is refused by `any_table`."""
    return modality != "any_table" or not (registry.takes(name, "encoder") or name == "common_mean_gp")


def refused(name: str, modality: str) -> bool:
    """Return whether building the learner for the modality is refused in words."""
    try:
        LearnerSpec(name, "mlp").build(registry.modality(modality, tasks(modality, "binary").settings))
    except InputError:
        return True
    return False


def every() -> list[tuple[str, str, TaskKind, bool]]:
    """Return each learner with each modality that it can take, a kind of task that it allows, and whether it is guarded: kinds in turn, other
    ones on another modality, and of each kind every other learner guarded."""
    found: list[tuple[str, str, TaskKind, bool]] = []
    for offset, modality in enumerate(registry.names("modalities")):
        names = [name for name in registry.names("learners") if takes(name, modality)]
        for place, name in enumerate(names):
            kinds = [kind for kind in KINDS if kind in registry.learner_class(name).kinds]
            kind = kinds[(place + offset) % len(kinds)]
            before = sum(each[1:3] == (modality, kind) for each in found)
            found.append((name, modality, kind, before % 2 == 0))
    return found


def raw_cases(modality: str, *, seed: int = 0, n: int = N_LABELLED) -> Any:
    """Return raw cases: SMILES, pixels, or patients with a cell missing."""
    random = np.random.default_rng(seed)
    if modality == "molecules":
        every = ["C" * length + end for length in range(1, 7) for end in _ENDS]
        return [every[place] for place in random.permutation(len(every))[:n]]
    if modality == "images":
        return [random.integers(0, 256, (16, 16), dtype=np.uint8) for _ in range(n)]
    frame = pd.DataFrame({"age": random.normal(60, 9, n), "ward": [*"AB" * n][:n]})
    frame["lactate"] = random.normal(2, 1, n) + 0.02 * frame["age"]
    frame.loc[2, "lactate"] = None
    return frame


def targets(kind: TaskKind, *, seed: int = 0, n: int = N_LABELLED) -> list[Any]:
    """Return a target for each of `n` cases; every class occurs more than once."""
    random, classes = np.random.default_rng(seed), _CLASSES[kind]
    if classes is None:
        return random.normal(5, 1, n).round(3).tolist()
    return [classes[place] for place in random.permutation(np.arange(n) % len(classes))]


@functools.cache
def tasks(modality: str, kind: TaskKind) -> TaskCollection:
    """Return `N_TASKS` tasks of `N_CASES` cases; the last one is meta-valid."""
    cases, numbers = raw_cases(modality, n=N_TASKS * N_CASES, seed=3), range(N_TASKS)
    reader = registry.modality(modality)
    reader = reader.fitted(cases)
    prepared, made, classes = reader.prepare(cases), {}, _CLASSES[kind]
    for number in numbers:
        rows = np.arange(number * N_CASES, (number + 1) * N_CASES)
        values = targets(kind, seed=number, n=N_CASES)
        encoded = np.array(values if classes is None else [classes.index(value) for value in values])
        made[f"t{number}"] = Task(f"t{number}", kind, rows, encoded, classes=classes)
    split = {name: "meta_valid" if name == f"t{N_TASKS - 1}" else "meta_train" for name in made}
    settings = {} if modality == "any_table" else reader.settings()
    return TaskCollection(modality, prepared.canonical, features=prepared.features, tasks=made, split=split, settings=settings)  # type: ignore[arg-type]  # fmt: skip


def model(name: str, modality: str, kind: TaskKind) -> FittedModel:
    """Return the learner after one step on the tiny tasks."""
    made = MetaLearner(
        name,
        settings=dict(CHEAP.get(name, {})),
        encoder_settings={"hidden": [6], "dim": 5},
        steps=1,
        tasks_per_batch=2,
        support=(5,),
        query=3,
        binary_share=0.0,
        guard=False,
    )
    heads = kind == "multiclass" and registry.takes(name, "n_tasks")  # a head a task: several classes share none
    return made.fit(tasks(modality, "binary" if heads else kind)).model_
