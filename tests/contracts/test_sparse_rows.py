"""Every learner learns the same from rows of a table as from the same rows laid out."""

import inspect
from typing import Any

import pytest
import torch

from metamedica import registry
from metamedica.blocks import SparseRows, SparseTable, as_block
from metamedica.encoders.mlp import MLP
from metamedica.errors import TaskError
from metamedica.functional.sparse import FEWEST_COLUMNS
from metamedica.functional.targets import standardise_episodes
from metamedica.functional.task_random import TaskSeeds
from metamedica.outer_gradient import learned_parameters, read_by_entries
from metamedica.testing import VectorRaw
from metamedica.types import CaseBatch, EpisodeBatch, LabelledBatch, Learner, TaskKind

SUPPORTS, QUERIES = (9, 6), (4, 5)
CHEAP: dict[str, Any] = {"steps": 2, "layers": 1, "solver_steps": 2}
LEARNERS = [name for name in registry.names("learners") if registry.takes(name, "encoder")]
MIXED = [name for name in LEARNERS if registry.takes(name, "raw") or registry.takes(name, "rich")]
"""Learners that a raw encoder serves too."""
READING = [
    (name, kind)
    for name in LEARNERS
    if name not in MIXED
    for kind in ("binary", "multiclass", "regression")
    if kind in registry.learner_class(name).kinds
]


def _learner(name: str) -> Learner[Any]:
    torch.manual_seed(0)
    wanted = inspect.signature(registry.learner_class(name)).parameters
    encoder = MLP({"bits": FEWEST_COLUMNS, "vector": 3}, hidden=(6,), dim=5, dropout=0.3)
    given = {"encoder": encoder, "raw": VectorRaw(), "n_tasks": len(SUPPORTS)} | CHEAP
    made = registry.learner_class(name)(**{key: value for key, value in given.items() if key in wanted})
    return made.double()


def _episodes(kind: TaskKind) -> tuple[EpisodeBatch, EpisodeBatch]:
    """Return the same episodes laid out and as rows of a table."""
    random = torch.Generator().manual_seed(0)
    known = (torch.rand(40, FEWEST_COLUMNS, generator=random) < 0.04).double()
    table = SparseTable.of(known)

    def part(sizes: tuple[int, ...]) -> tuple[LabelledBatch, LabelledBatch]:
        mask = torch.arange(max(sizes)) < torch.tensor(sizes)[:, None]
        rows = SparseRows(table, torch.randint(1, 41, mask.shape, generator=random) * mask)
        vector = torch.randn(*mask.shape, 3, generator=random, dtype=torch.float64)
        if kind == "regression":
            targets, n_classes = vector[..., 0] * mask, None
        else:
            n_classes = 2 if kind == "binary" else 3
            targets = (torch.arange(mask.shape[1]) % n_classes).repeat(len(sizes), 1) * mask
        blocks = (rows.laid_out(), as_block(rows))
        both = [
            LabelledBatch(CaseBatch({"bits": each, "vector": vector}, mask), targets, kind, n_classes)
            for each in blocks
        ]
        return both[0], both[1]

    (support, sparse_support), (query, sparse_query) = part(SUPPORTS), part(QUERIES)
    index = torch.arange(len(SUPPORTS))
    dense, sparse = EpisodeBatch(support, query, index), EpisodeBatch(sparse_support, sparse_query, index)
    return standardise_episodes(dense), standardise_episodes(sparse)


def _loss_and_slopes(learner: Learner[Any], episodes: EpisodeBatch) -> dict[str, torch.Tensor]:
    learner.zero_grad()
    torch.manual_seed(1)
    with TaskSeeds(torch.arange(len(SUPPORTS))):
        loss = learner.meta_loss(episodes)
    loss.backward()  # type: ignore[no-untyped-call]
    slopes = {name: value.grad for name, value in learned_parameters(learner).items() if value.grad is not None}
    return {"loss": loss.detach()} | slopes


@pytest.mark.parametrize("name", MIXED)
def test_a_learner_with_a_raw_encoder_is_handed_blocks_laid_out(name: str) -> None:
    assert not read_by_entries(_learner(name))  # the raw encoder reads no rows of a table


@pytest.mark.parametrize(("name", "kind"), READING)
def test_rows_of_a_table_teach_what_the_same_rows_laid_out_teach(name: str, kind: TaskKind) -> None:
    learner = _learner(name)
    assert read_by_entries(learner) == {"bits", "counts"}
    dense, sparse = _episodes(kind)
    try:
        want = _loss_and_slopes(learner, dense)
    except TaskError as refused:
        with pytest.raises(TaskError, match=str(refused)):
            learner.meta_loss(sparse)
        return
    found = _loss_and_slopes(learner, sparse)
    assert found.keys() == want.keys()
    for key, value in want.items():
        torch.testing.assert_close(found[key], value, atol=1e-10, rtol=1e-10)
