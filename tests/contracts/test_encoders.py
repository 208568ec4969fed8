"""Every learner works with every encoder: adapts, predicts and learns on tiny cases of whatever kind the encoder reads."""

import inspect
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Normal

from metamedica import registry
from metamedica.errors import TaskError
from metamedica.functional.targets import standardise_episodes
from metamedica.functional.task_random import TaskSeeds
from metamedica.testing import VectorRaw
from metamedica.types import CaseBatch, Encoder, EpisodeBatch, Features, LabelledBatch, Learner, TaskKind

SUPPORTS, QUERIES = (6, 4), (2, 4)
N_TASKS = len(SUPPORTS)
CLOSE = 1e-10
ATOMS, BONDS, MOST_ATOMS, IMAGE = (5, 3), (4, 2), 4, (1, 16, 16)
OFFERED: dict[str, Any] = {"blocks": {"vector": 4}, "atoms": ATOMS, "bonds": BONDS, "image": IMAGE}
"""What a constructor may ask of the cases; a new encoder that reads something else adds it here and to `_features`."""
SMALL: dict[str, Any] = {"hidden": (6,), "dim": 5, "dropout": 0.3, "depth": 2, "groups": 2}
CHEAP: dict[str, Any] = {"steps": 2, "layers": 1, "solver_steps": 3}
LEARNERS = [name for name in registry.names("learners") if registry.takes(name, "encoder")]


def _encoder(name: str) -> Encoder:
    made = registry.encoder_class(name)
    asked = inspect.signature(made).parameters
    small = SMALL | {"width": {"conv4": 4, "resnet": 2}.get(name, 8)}
    return made(**{given: value for given, value in (OFFERED | small).items() if given in asked})


def _learner(name: str, encoder: str) -> Learner[Any]:
    torch.manual_seed(0)
    made, wanted = registry.learner_class(name), inspect.signature(registry.learner_class(name)).parameters
    given = {"encoder": _encoder(encoder), "raw": VectorRaw(), "n_tasks": N_TASKS} | CHEAP
    return made(**{argument: value for argument, value in given.items() if argument in wanted}).double()


def _features(n: int, random: torch.Generator) -> Features:
    """`N_TASKS` x n cases as vectors, images and graphs at once; graphs are chains of 2 to 4 atoms."""

    def draw(*shape: int) -> Tensor:
        return torch.randn(N_TASKS, n, *shape, generator=random, dtype=torch.float64)

    def codes(sizes: tuple[int, ...], rows: int) -> Tensor:
        return torch.stack([torch.randint(1, size, (N_TASKS, n, rows), generator=random) for size in sizes], -1)

    size = torch.randint(2, MOST_ATOMS + 1, (N_TASKS, n, 1, 1), generator=random)
    place = torch.arange(MOST_ATOMS)[:, None]
    atoms = codes(ATOMS, MOST_ATOMS) * (place < size)
    begin = place[:-1].expand(N_TASKS, n, -1, 1)
    bonds = torch.cat([begin, begin + 1, codes(BONDS, MOST_ATOMS - 1)], -1) * (place[1:] < size)
    return {
        "vector": draw(4),
        "image": draw(IMAGE[0] * IMAGE[1] * IMAGE[2]),
        "atoms": atoms.flatten(2).double(),
        "bonds": bonds.flatten(2).double(),
    }


def _part(kind: TaskKind, sizes: tuple[int, ...], random: torch.Generator) -> LabelledBatch:
    n = max(sizes)
    mask = torch.arange(n) < torch.tensor(sizes)[:, None]
    features = _features(n, random)
    if kind == "regression":
        return LabelledBatch(CaseBatch(features, mask), features["vector"][..., 0] * mask, kind)
    n_classes = 2 if kind == "binary" else 3
    targets = (torch.arange(n) % n_classes).repeat(N_TASKS, 1) * mask
    return LabelledBatch(CaseBatch(features, mask), targets, kind, n_classes)


def _episodes(kind: TaskKind) -> EpisodeBatch:
    random = torch.Generator().manual_seed(0)
    support, query = (_part(kind, sizes, random) for sizes in (SUPPORTS, QUERIES))
    return standardise_episodes(EpisodeBatch(support, query, torch.arange(N_TASKS)))


def _law(learner: Learner[Any], support: LabelledBatch, query: CaseBatch) -> Tensor:
    """The law as numbers `[tasks, cases, *]`, finite, of the right type and shape."""
    with torch.no_grad():
        law = learner.predict(learner.adapt(support), query)
    if support.kind == "regression":
        assert isinstance(law, Normal)
        found = torch.stack([law.mean, law.stddev.log()], -1)
    else:
        assert isinstance(law, Categorical)
        found = law.probs
    assert found.shape == (*query.mask.shape, support.n_classes or 2)
    assert bool(found[query.mask].isfinite().all())
    return found


def _alone(episodes: EpisodeBatch, task: int) -> EpisodeBatch:
    """One task at its exact size."""

    def part(batch: LabelledBatch) -> LabelledBatch:
        n = int(batch.counts()[task])
        return batch.map(lambda value: value[[task], :n])

    return EpisodeBatch(part(episodes.support), part(episodes.query), episodes.task_index[[task]])


def _learns(learner: Learner[Any], episodes: EpisodeBatch) -> tuple[Tensor, Tensor] | None:
    """The loss of a step in training mode, dropout by the task, and the gradient of the encoder; None where this kind is not taught."""
    encoder = list(learner.get_submodule("encoder").parameters())
    with TaskSeeds(7 + episodes.task_index):
        try:
            loss = learner.train().meta_loss(episodes)
        except TaskError:
            assert episodes.support.kind == "multiclass"  # heads of each task cannot be shared
            return None
    slopes = torch.autograd.grad(loss, encoder, materialize_grads=True)
    return loss.detach(), torch.cat([slope.flatten() for slope in slopes])


@pytest.mark.parametrize("encoder", registry.names("encoders"))
@pytest.mark.parametrize("name", LEARNERS)
def test_a_learner_of_the_folder_works_with_an_encoder_of_the_folder(name: str, encoder: str) -> None:
    learner = _learner(name, encoder)
    for kind in learner.kinds:
        episodes = _episodes(kind)
        both = _law(learner.eval(), episodes.support, episodes.query.cases)
        for task in range(N_TASKS):
            support, query = _alone(episodes, task).support, _alone(episodes, task).query.cases
            want = _law(learner, support, query)[0]
            torch.testing.assert_close(both[task, : len(want)], want, atol=CLOSE, rtol=CLOSE)
        step = _learns(learner, episodes)
        if step is not None:
            assert step[0].shape == ()
            assert bool(step[0].isfinite())
            assert bool(step[1].isfinite().all())
            assert bool(step[1].any())


@pytest.mark.parametrize("encoder", registry.names("encoders"))
@pytest.mark.parametrize("name", LEARNERS)
def test_loss_and_gradient_of_a_padded_batch_are_the_means_over_its_tasks_alone_dropout_included(
    name: str, encoder: str
) -> None:
    learner, episodes = _learner(name, encoder), _episodes("binary")
    step = _learns(learner, episodes)
    alone = [_learns(learner, _alone(episodes, task)) for task in range(N_TASKS)]
    for found, parts in zip(step or (), zip(*alone, strict=True), strict=True):
        torch.testing.assert_close(found, torch.stack(parts).mean(0), atol=CLOSE, rtol=CLOSE)
