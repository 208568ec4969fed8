"""Padding and batching change nothing: in a batch of ragged tasks each task gets what it gets alone at its exact size."""

from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.contracts.test_learners import SMALLER, Leaks, ReadsPadding
from tests.generated_tasks import stirred
from torch import Tensor
from torch.distributions import Categorical, Normal

from metamedica import registry
from metamedica.functional.targets import standardise_episodes
from metamedica.testing import N_TASKS, SIZE, on_vectors
from metamedica.types import CaseBatch, EpisodeBatch, LabelledBatch, Law, Learner, TaskKind

CLASSES = 4
"""Of a batch of multiclass tasks; a task shows 2 to 4 of them. The batch says how many there are, so each task alone says it too."""
CLOSE = 1e-10
Sizes = list[tuple[int, int]]
SIZES = st.lists(st.tuples(st.integers(2, 12), st.integers(1, 8)), min_size=2, max_size=4)


def _task(kind: TaskKind, n: int, m: int, random: torch.Generator) -> tuple[LabelledBatch, LabelledBatch]:
    """One task without padding, supports unbalanced: class 0 fills what the others leave."""
    vectors = torch.randn(1, n + m, SIZE, generator=random, dtype=torch.float64)
    if kind == "regression":
        targets = vectors[..., 0] + torch.randn(1, n + m, generator=random, dtype=torch.float64)
    else:
        most = 2 if kind == "binary" else min(CLASSES, n)
        shown = int(torch.randint(2, most + 1, (), generator=random))
        known = torch.randint(shown, (n,), generator=random) * (torch.rand(n, generator=random) < 0.5)
        known[:shown] = torch.randperm(CLASSES if kind == "multiclass" else 2, generator=random)[:shown]
        asked = torch.randint(2 if kind == "binary" else CLASSES, (m,), generator=random)
        targets = torch.cat([known, asked])[None]
    n_classes = {"binary": 2, "multiclass": CLASSES}.get(kind)

    def part(rows: slice) -> LabelledBatch:
        cases = CaseBatch({"vector": vectors[:, rows]}, torch.ones_like(targets[:, rows], dtype=torch.bool))
        return LabelledBatch(cases, targets[:, rows], kind, n_classes)

    return part(slice(0, n)), part(slice(n, None))


def _padded(parts: list[LabelledBatch], more: int, random: torch.Generator) -> LabelledBatch:
    """The tasks in one batch, padded to the longest and `more` with large numbers."""
    n = max(part.mask.shape[1] for part in parts) + more

    def longer(value: Tensor) -> Tensor:
        filler = value.new_zeros(1, n - value.shape[1], *value.shape[2:])
        if value.dim() == 3:
            filler = 1000 * torch.randn(filler.shape, generator=random, dtype=value.dtype)
        return torch.cat([value, filler], 1)

    wide = [part.map(longer) for part in parts]
    features = {"vector": torch.cat([part.features["vector"] for part in wide])}
    cases = CaseBatch(features, torch.cat([part.mask for part in wide]))
    return LabelledBatch(cases, torch.cat([part.targets for part in wide]), parts[0].kind, parts[0].n_classes)


def _numbers(law: Law) -> Tensor:
    if isinstance(law, Normal):
        return torch.stack([law.mean, law.stddev], -1)
    assert isinstance(law, Categorical)
    return law.logits


def _check(learner: Learner[Any], sizes: Sizes, more: int, seed: int, kind: TaskKind) -> None:
    """Raise where a task of the padded batch gets another law than alone."""
    random = torch.Generator().manual_seed(seed)
    tasks = [_task(kind, n, m, random) for n, m in sizes]
    supports, queries = ([task[part] for task in tasks] for part in (0, 1))
    index = torch.arange(len(tasks)) % N_TASKS
    both = EpisodeBatch(_padded(supports, more, random), _padded(queries, more, random), index)
    both = standardise_episodes(both)
    found = _numbers(learner.predict(learner.adapt(both.support), both.query.cases))
    for task, (support, query) in enumerate(tasks):
        alone = standardise_episodes(EpisodeBatch(support, query, index[[task]]))
        want = _numbers(learner.predict(learner.adapt(alone.support), alone.query.cases))[0]
        torch.testing.assert_close(found[task, : len(want)], want, atol=CLOSE, rtol=CLOSE)


@pytest.mark.parametrize("name", registry.names("learners"))
def test_each_task_of_a_padded_batch_gets_what_it_gets_alone_at_its_exact_size(name: str) -> None:
    torch.manual_seed(0)
    learner: Learner[Any] = stirred(on_vectors(registry.learner_class(name), settings=SMALLER.get(name))).eval()

    @settings(max_examples=2, deadline=None, derandomize=True, database=None)
    @given(sizes=SIZES, more=st.integers(0, 3), seed=st.integers(0, 2**31), kind=st.sampled_from(sorted(learner.kinds)))
    def check(sizes: Sizes, more: int, seed: int, kind: TaskKind) -> None:
        _check(learner, sizes, more, seed, kind)

    for kind in sorted(learner.kinds):
        check = example(sizes=[(12, 1), (2, 8), (5, 4)], more=1, seed=0, kind=kind)(check)
    with torch.no_grad():
        check()


@pytest.mark.parametrize("broken", [ReadsPadding, Leaks], ids=lambda broken: broken.__name__)
def test_a_learner_that_reads_padding_or_other_tasks_is_caught(broken: type[Learner[Any]]) -> None:
    with pytest.raises(AssertionError, match="not close"):
        _check(broken().double(), [(5, 2), (4, 2)], 1, 0, "regression")
