"""What learners and modalities say of themselves for explanations holds: sums are sums, an answer without labels reads none, parts are whole."""

from typing import Any

import numpy as np
import pytest
import torch
from tests.contracts.test_learners import SMALLER
from torch import Tensor
from torch.distributions import Categorical

from metamedica import registry
from metamedica.functional.additive import Additive
from metamedica.functional.population import HasPopulation
from metamedica.modalities.any_table import AnyTable
from metamedica.modalities.images import Images
from metamedica.modalities.molecules.modality import Molecules
from metamedica.modalities.tables.modality import Tables
from metamedica.parts import NamesParts
from metamedica.testing import on_vectors, vector_episodes
from metamedica.types import ClosedForm, EpisodeBatch, Law, Learner, Modality, TaskKind

KINDS: tuple[TaskKind, ...] = ("binary", "multiclass", "regression")
ADDITIVE = {
    "linear", "pooled_linear", "recalibrated", "parameter_transfer", "pooled_and_local", "label_shift", "coral", "linear_transport",
    "importance_weighting", "subspace_alignment", "entropic_transport",
}  # fmt: skip
"""Learners whose score is a sum over columns."""


def _able(capability: type) -> list[tuple[str, TaskKind]]:
    found = registry.learners_that(capability)
    return [(name, kind) for name in found for kind in KINDS if kind in registry.learner_class(name).kinds]


def _fitted(name: str, kind: TaskKind) -> Learner[Any]:
    learner = on_vectors(registry.learner_class(name), settings=SMALLER.get(name)).double()
    if isinstance(learner, ClosedForm):
        support = vector_episodes(kind, seed=7).support
        learner.fit_tasks([support.map(lambda v, at=at: v[at : at + 1]) for at in range(support.cases.n_tasks)])
    return learner.double().eval()


def _number(law: Law) -> Tensor:
    return law.logits[..., 1] - law.logits[..., 0] if isinstance(law, Categorical) else law.mean


def test_the_learners_that_can_be_explained_exactly_are_these() -> None:
    found = {name for name, kind in _able(Additive) if _sum(name, kind, vector_episodes(kind)) is not None}
    assert found == ADDITIVE


def _sum(name: str, kind: TaskKind, episodes: EpisodeBatch) -> Any:
    learner = _fitted(name, kind)
    assert isinstance(learner, Additive)
    with torch.no_grad():
        return learner.additive(learner.adapt(episodes.support))


@pytest.mark.parametrize(("name", "kind"), _able(Additive))
def test_what_a_learner_gives_as_a_sum_over_columns_is_its_answer_to_eight_digits(name: str, kind: TaskKind) -> None:
    episodes = vector_episodes(kind)
    learner = _fitted(name, kind)
    assert isinstance(learner, Additive)
    with torch.no_grad():
        state = learner.adapt(episodes.support)
        told = learner.additive(state)
        if told is None:
            assert kind == "multiclass" or (name, kind) == ("pooled_and_local", "binary") or name not in ADDITIVE
            return
        flat = learner.raw.flat(episodes.query.features)
        sums = (flat @ told.weight[..., None])[..., 0] + told.intercept[:, None]
        torch.testing.assert_close(sums, _number(learner.predict(state, episodes.query.cases)), atol=1e-8, rtol=1e-8)


@pytest.mark.parametrize(("name", "kind"), _able(HasPopulation))
def test_an_answer_before_any_label_reads_neither_labels_nor_cases(name: str, kind: TaskKind) -> None:
    learner = _fitted(name, kind)
    assert isinstance(learner, HasPopulation)
    one, other = vector_episodes(kind), vector_episodes(kind, seed=3)
    with torch.no_grad():
        answers = [_number(learner.predict(learner.population(each.support), one.query.cases)) for each in (one, other)]
        adapted = _number(learner.predict(learner.adapt(one.support), one.query.cases))
    torch.testing.assert_close(answers[0], answers[1], atol=1e-9, rtol=1e-9)
    assert bool(torch.isfinite(answers[0]).all())
    if not name.startswith("pooled_linear") and name != "pooled_trees":  # these read no labels in any case
        assert not torch.allclose(adapted, answers[0], atol=1e-4)


ROWS = [
    {"age": 50 + at, "sex": "mf"[at % 2], "dose": None if at % 3 else 0.1 * at, "smoker": ["no", "yes"][at % 4 == 0]}
    for at in range(12)
]
CASES: dict[str, tuple[Modality, Any]] = {
    "tables": (Tables().fitted(ROWS), ROWS),
    "any_table": (AnyTable().fitted(ROWS), ROWS),
    "images": (Images(side=32), list(np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8))),
    "molecules": (Molecules(), ["CCO", "c1ccccc1C(=O)N", "CC(C)Cc1ccc(cc1)C(C)C(=O)O", "C" * 60]),
}


def test_every_modality_that_names_parts_is_tried_here() -> None:
    modalities = {name: registry.modality(name) for name in registry.names("modalities")}
    assert {name for name, made in modalities.items() if isinstance(made, NamesParts)} == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_with_all_parts_there_a_case_is_itself_and_every_part_has_a_name_and_a_place(name: str) -> None:
    modality, cases = CASES[name]
    assert isinstance(modality, NamesParts)
    prepared = modality.prepare(cases)
    features = (
        {**prepared.features, **modality.blocks(modality.rich_blocks, prepared.canonical)}
        if modality.rich_blocks
        else prepared.features
    )
    for background in (features, {block: rows[:0] for block, rows in features.items()}):
        every = modality.parts(prepared.canonical, features, background)
        assert len(every) == len(prepared.canonical)
        for at, parts in enumerate(every):
            count = len(parts.names)
            assert len(set(parts.names)) == count == len(parts.shown)
            there = parts.without(torch.ones(2, count, dtype=torch.bool))
            assert set(there) == set(features)
            for block, rows in there.items():
                assert rows.shape == (2 * parts.versions, features[block].shape[1])
                assert rows.dtype == features[block].dtype
                assert bool((rows == features[block][at]).all()), block
            assert modality.draw_parts(prepared.canonical[at], np.linspace(-1, 1, count).tolist()).startswith("<")


@pytest.mark.parametrize("name", CASES)
def test_parts_that_claim_to_be_separate_never_share_a_column(name: str) -> None:
    modality, cases = CASES[name]
    assert isinstance(modality, NamesParts)
    prepared = modality.prepare(cases)
    for parts in modality.parts(prepared.canonical, prepared.features, prepared.features):
        if not parts.separate:
            continue
        count = len(parts.names)
        alone = parts.without(~torch.eye(count, dtype=torch.bool))
        whole = parts.without(torch.ones(1, count, dtype=torch.bool))
        for block, rows in alone.items():
            changed = (rows.reshape(count, parts.versions, -1) != whole[block].reshape(1, parts.versions, -1)).any(1)
            assert int(changed.sum(0).max()) <= 1, block
