"""The quadratic head in the dual against explicit matrices, and what it tells apart that a plane cannot."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical

from metamedica.errors import TaskError
from metamedica.functional.classes import membership
from metamedica.learners.linear_probe import LinearProbe
from metamedica.learners.quadratic_probe import QuadraticHead, QuadraticProbe, quadratic_distances
from metamedica.testing import N_TASKS, SIZE, VectorEncoder, on_vectors, vector_batch, vector_episodes
from metamedica.types import Encoder, EpisodeBatch, Features, LabelledBatch


def _head(labels: list[int], n_classes: int, *, seed: int = 0) -> tuple[QuadraticHead, np.ndarray]:
    """A head with prototypes anywhere in the span of the support; the labels."""
    rng = np.random.default_rng(seed)
    support = torch.tensor(rng.normal(size=(1, len(labels), SIZE)))
    position = torch.tensor(rng.normal(size=(1, n_classes, len(labels))))
    return QuadraticHead(support, position, torch.tensor(np.eye(n_classes)[labels])[None]), np.array(labels)


def _explicit_inverse(points: np.ndarray, prototype: np.ndarray, shrinkage: float) -> np.ndarray:
    """M = [(1 - shrinkage) S + shrinkage I]^-1 with S the second moment about the prototype."""
    away = points - prototype
    return np.linalg.inv((1 - shrinkage) * away.T @ away / len(points) + shrinkage * np.eye(points.shape[1]))


@pytest.mark.parametrize("shrinkage", [0.05, 0.2, 0.9])
@pytest.mark.parametrize(("labels", "n_classes"), [([0, 1, 1, 0, 1, 0, 1], 2), ([2, 0, 1, 0], 3)])
def test_the_woodbury_form_is_the_explicit_inverse(labels: list[int], n_classes: int, shrinkage: float) -> None:
    head, known = _head(labels, n_classes)
    query = np.random.default_rng(1).normal(size=(5, SIZE))
    found = quadratic_distances(torch.tensor(query)[None], head, shrinkage)[0].numpy()
    for k in range(n_classes):
        prototype = (head.position[0, k] @ head.support[0]).numpy()
        inverse = _explicit_inverse(head.support[0].numpy()[known == k], prototype, shrinkage)
        away = query - prototype
        np.testing.assert_allclose(found[:, k], np.einsum("md,de,me->m", away, inverse, away), rtol=1e-9)


def _embedded(learner: QuadraticProbe, batch: LabelledBatch) -> Tensor:
    vector = learner.encoder(batch.features).detach()
    return vector / (vector.square().mean(-1, keepdim=True) + 1e-6).sqrt() / vector.shape[-1] ** 0.5


def _prototypes(head: QuadraticHead) -> Tensor:
    return head.position @ head.support


def _learner(**settings: float) -> QuadraticProbe:
    torch.manual_seed(0)
    learner = on_vectors(QuadraticProbe, settings=settings).double()
    assert isinstance(learner, QuadraticProbe)
    return learner


def test_prototypes_start_at_the_class_means_brought_to_length_one() -> None:
    support, learner = vector_episodes("multiclass").support, _learner(steps=0)
    embedded = _embedded(learner, support)
    found = _prototypes(learner.adapt(support))
    for k in range(3):
        mean = embedded[:, support.targets[0] == k].mean(1)
        torch.testing.assert_close(found[:, k], mean / mean.norm(dim=-1, keepdim=True))


def test_a_step_moves_prototypes_down_the_cross_entropy_of_the_support_preconditioned() -> None:
    """The step is rate x M_k^-1 / (2 n_k) times minus the gradient that autograd finds with M_k fixed."""
    support = vector_episodes("binary").support
    before, after = (_learner(steps=steps).adapt(support) for steps in (0, 1))
    members = membership(support, torch.float64)
    for task in range(N_TASKS):
        points = before.support[task].numpy()
        prototypes = _prototypes(before)[task].clone().requires_grad_()
        inverses = [
            _explicit_inverse(points[members[task, :, k].bool().numpy()], prototypes[k].detach().numpy(), 0.2)
            for k in range(2)
        ]
        away = before.support[task][:, None] - prototypes
        logits = -torch.einsum("nkd,kde,nke->nk", away, torch.tensor(np.stack(inverses)), away)
        (-(torch.log_softmax(logits, -1) * members[task]).sum()).backward()
        assert prototypes.grad is not None
        for k in range(2):
            step = (
                -0.2 * np.linalg.inv(inverses[k]) @ prototypes.grad[k].numpy() / (2 * float(members[task, :, k].sum()))
            )
            np.testing.assert_allclose((_prototypes(after) - _prototypes(before))[task, k].numpy(), step, atol=1e-10)


def test_more_steps_lower_the_cross_entropy_of_the_support() -> None:
    support = vector_episodes("binary").support

    def cross_entropy(steps: int) -> Tensor:
        learner = _learner(steps=steps)
        return -support.log_likelihood(learner.predict(learner.adapt(support), support.cases)).detach()

    none, few, many = (cross_entropy(steps) for steps in (0, 5, 40))
    assert bool((few < none).all())
    assert bool((many < few).all())


class Same(Encoder):
    """The vectors as they are."""

    dim = SIZE

    def forward(self, features: Features) -> Tensor:
        return features["vector"]


def _crossed(n: int, seed: int) -> LabelledBatch:
    """Two classes about the same centre: one lies along the first two axes, the other along the last two."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    loud = np.where(labels[:, None], [0.05, 0.05, 1, 1], [1, 1, 0.05, 0.05])
    return vector_batch(torch.tensor(rng.normal(size=(1, n, 4)) * loud), torch.tensor(labels)[None], n_classes=2)


def test_classes_that_differ_in_covariance_only_are_told_apart_where_a_plane_sees_nothing() -> None:
    support, query = _crossed(40, 0), _crossed(400, 1)

    def accuracy(learner: QuadraticProbe | LinearProbe) -> float:
        law = learner.predict(learner.adapt(support), query.cases)
        assert isinstance(law, Categorical)
        return float((law.probs.argmax(-1) == query.targets).double().mean())

    assert accuracy(QuadraticProbe(Same(), 1).double()) > 0.9
    assert accuracy(LinearProbe(Same(), 1).double()) < 0.65


def test_a_class_without_cases_has_half_a_case() -> None:
    support = vector_episodes("binary").support
    batch = vector_batch(support.features["vector"], support.targets, n_classes=3)
    learner = _learner()
    law = learner.predict(learner.adapt(batch), batch.cases)
    two = learner.predict(learner.adapt(support), batch.cases)
    assert isinstance(law, Categorical)
    assert isinstance(two, Categorical)
    torch.testing.assert_close(law.probs[..., 2].detach(), torch.full((N_TASKS, 8), 0.5 / 9.5, dtype=torch.float64))
    torch.testing.assert_close(law.probs[..., :2], two.probs * (1 - 0.5 / 9.5))


def test_a_single_case_per_class_is_enough() -> None:
    support = vector_episodes("binary").support.map(lambda value: value[:, :2])
    learner = _learner()
    law = learner.predict(learner.adapt(support), support.cases)
    assert isinstance(law, Categorical)
    assert torch.equal(law.probs.argmax(-1), support.targets)


def test_a_support_of_one_class_is_refused() -> None:
    with pytest.raises(TaskError, match="one class only"):
        _learner().adapt(vector_batch(torch.ones(1, 3, SIZE).double(), torch.ones(1, 3).long(), n_classes=2))


def test_a_regression_task_is_refused_though_pre_training_may_use_them() -> None:
    episodes = vector_episodes("regression")
    with pytest.raises(TaskError, match="cannot learn a regression task"):
        _learner().adapt(episodes.support)
    assert bool(_learner().meta_loss(episodes).isfinite())


def test_pre_training_lowers_its_loss_and_raises_the_likelihood_of_new_tasks() -> None:
    """Labels are the sign of coordinate 0, in either direction; the other coordinates are as loud."""

    def episodes(count: int, seed: int) -> EpisodeBatch:
        random = torch.Generator().manual_seed(seed)
        x = torch.randn(count, 30, SIZE, generator=random)
        y = ((x[..., 0] * torch.randn(count, 1, generator=random)) > 0).long()
        known, asked = (
            vector_batch(x[:, part], y[:, part].clone(), n_classes=2) for part in (slice(10), slice(10, 30))
        )
        return EpisodeBatch(known, asked, torch.arange(count))

    torch.manual_seed(0)
    learner, tasks, new = QuadraticProbe(VectorEncoder(), 20), episodes(20, 0), episodes(60, 1)
    shown = new.support.targets.double().mean(1)
    new = EpisodeBatch(
        *(part.map(lambda value: value[(shown > 0) & (shown < 1)]) for part in (new.support, new.query)),
        torch.arange(60),
    )

    def likelihood() -> float:
        with torch.no_grad():
            return float(new.query.log_likelihood(learner.predict(learner.adapt(new.support), new.query.cases)).mean())

    before, first = likelihood(), float(learner.meta_loss(tasks).detach())
    optimiser = torch.optim.Adam(learner.parameters(), 0.03)
    for _ in range(150):
        loss = learner.meta_loss(tasks)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 0.5 * first
    assert likelihood() > before + 0.15
