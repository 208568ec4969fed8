"""Prototypes stay where a support is small, and the network is tuned where earlier tasks gained by it."""

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical
from torch.nn import functional

from metamedica.encoders.conv4 import Conv4
from metamedica.errors import InputError, TaskError
from metamedica.functional.inner_loop.chain import Parameters
from metamedica.functional.inner_loop.descent import descend_if_better
from metamedica.functional.inner_loop.networks import encoder_parameters
from metamedica.learners.fine_tuned_prototypes import FineTunedPrototypes
from metamedica.learners.prototypical import Prototypical
from metamedica.testing import (
    N_TASKS,
    VectorEncoder,
    VectorRaw,
    check_learner,
    on_vectors,
    vector_batch,
    vector_episodes,
)
from metamedica.testing.vectors import rows_of
from metamedica.types import CaseBatch, Encoder, EpisodeBatch, Features, LabelledBatch, TaskKind

CLASS_KINDS: tuple[TaskKind, ...] = ("binary", "multiclass")
SIZES, STEPS, RATES = (2, 5, 20), (3, 12), (0.1, 1.0)


class OnSphere(Encoder):
    """Vectors of another encoder, of length 1."""

    def __init__(self, inner: Encoder) -> None:
        super().__init__()
        self.inner, self.dim = inner, inner.dim

    def forward(self, features: Features) -> Tensor:
        vectors: Tensor = self.inner(features)
        return vectors / (vectors.square().sum(-1, keepdim=True) + 1e-6 * self.dim).sqrt()


def _learner(encoder: Encoder | None = None, seed: int = 0) -> FineTunedPrototypes:
    torch.manual_seed(seed)
    learner = FineTunedPrototypes(encoder or VectorEncoder(), step_counts=STEPS, rates=RATES, sizes=SIZES)
    return learner.double().eval()


def _vouching(learner: FineTunedPrototypes, place: int, setting: int) -> FineTunedPrototypes:
    """The learner as if earlier tasks had gained by one setting at one size and lost at smaller ones."""
    learner.vouched.fill_(-1.0)
    learner.vouched[place:, setting] = 1.0
    return learner


def _law(learner: FineTunedPrototypes, support: LabelledBatch, query: CaseBatch) -> Tensor:
    with torch.no_grad():
        law = learner.predict(learner.adapt(support), query)
    assert isinstance(law, Categorical)
    return law.logits


@pytest.mark.parametrize("kind", CLASS_KINDS)
def test_before_any_evidence_it_is_the_prototypical_network_of_unit_vectors(kind: TaskKind) -> None:
    episodes, learner = vector_episodes(kind), _learner()
    plain = Prototypical(OnSphere(learner.encoder), temperature=0.2).double()
    want = plain.predict(plain.adapt(episodes.support), episodes.query.cases)
    assert isinstance(want, Categorical)
    torch.testing.assert_close(_law(learner, episodes.support, episodes.query.cases).exp(), want.probs.detach())
    torch.testing.assert_close(learner.meta_loss(episodes), plain.meta_loss(episodes))


def _left_out_loss(learner: FineTunedPrototypes, own: Parameters, support: LabelledBatch, task: int) -> Tensor:
    """Every prototype computed anew without the case that asks, one by one."""
    vectors = support.features["vector"][task][support.mask[task]]
    labels = support.targets[task][support.mask[task]]
    vectors = torch.tanh(vectors @ own["encoder.map.weight"].mT + own["encoder.map.bias"])
    vectors = vectors / (vectors.square().sum(-1, keepdim=True) + 6e-6).sqrt()
    losses = []
    for case, label in enumerate(labels.tolist()):
        others = torch.arange(len(labels)) != case
        shown = sorted(set(labels.tolist()))
        if not bool((labels[others] == label).any()):
            continue
        means = torch.stack([vectors[others & (labels == other)].mean(0) for other in shown])
        scores = -(vectors[case] - means).square().sum(-1) / learner.log_temperature.detach().exp()
        losses.append(functional.cross_entropy(scores[None], torch.tensor([shown.index(label)])))
    return torch.stack(losses).mean()


@pytest.mark.parametrize("kind", CLASS_KINDS)
def test_the_steps_go_down_the_loss_of_cases_left_out_one_by_one(kind: TaskKind) -> None:
    """Four and four cases of two classes; three, three and two of three, which have 2.6 a class."""
    support, learner = vector_episodes(kind).support, _vouching(_learner(), 0, 2)
    state = learner.adapt(support)
    assert state.steps.tolist() == [12] * N_TASKS
    assert state.rate.tolist() == pytest.approx([0.1] * N_TASKS)
    start = encoder_parameters(learner.encoder)
    for task in range(N_TASKS):

        def loss(own: Parameters, task: int = task) -> Tensor:
            return _left_out_loss(learner, own, support, task)

        want = descend_if_better(loss, start, rate=0.1, steps=12)
        for name, value in want.items():
            torch.testing.assert_close(state.parameters[name][task], value, atol=1e-6, rtol=1e-6)
    moved = state.parameters["encoder.map.weight"] - start["encoder.map.weight"].detach()
    assert bool((moved.square().sum((1, 2)) > 1e-4).all())


def test_with_one_case_a_class_nothing_moves_and_nothing_is_vouched_for() -> None:
    learner = _vouching(_learner(), 0, 3)
    support = rows_of(vector_episodes("binary").support, [0, 1])
    state = learner.adapt(support)
    assert state.steps.tolist() == [0] * N_TASKS
    assert not state.parameters
    one = torch.full((N_TASKS,), 1.0, dtype=torch.float64)
    *_, last = learner._descents(support, one, torch.full((N_TASKS,), 5))
    torch.testing.assert_close(last["encoder.map.weight"][0], learner.encoder.get_parameter("map.weight").detach())


@pytest.mark.parametrize("setting", [0, 3])
def test_a_learner_that_takes_steps_keeps_the_contract(setting: int) -> None:
    check_learner(
        lambda: _vouching(on_vectors(FineTunedPrototypes, settings={"step_counts": (2, 4), "rates": (0.1, 1.0)}), 0, setting),  # type: ignore[arg-type]
        tolerance=1e-9,
    )  # fmt: skip


def _ragged(counts: list[tuple[int, int]]) -> LabelledBatch:
    """Tasks of two classes with so many cases of each, padded with large numbers."""
    random, most = torch.Generator().manual_seed(3), max(map(sum, counts))
    vectors = torch.randn(len(counts), most, 4, generator=random, dtype=torch.float64)
    targets, mask = torch.zeros(len(counts), most, dtype=torch.int64), torch.zeros(len(counts), most, dtype=torch.bool)
    for task, (none, one) in enumerate(counts):
        targets[task, none : none + one], mask[task, : none + one] = 1, True
    vectors[~mask] = 1000.0
    return LabelledBatch(CaseBatch({"vector": vectors}, mask), targets, "binary", 2)


def test_each_task_of_a_batch_goes_as_far_as_its_own_size_is_vouched_for() -> None:
    support, learner = _ragged([(1, 9), (2, 2), (5, 5), (20, 20), (5, 60)]), _learner()
    learner.vouched.copy_(torch.tensor([[-1, -1, -1, -1], [0.1, -1, -1, -1], [0.1, -1, 0.3, 0.4]]))
    state = learner.adapt(support)
    assert state.steps.tolist() == [0, 0, 3, 12, 3]  # 5 and 60 count for 9.2 a class
    assert state.rate.tolist() == pytest.approx([0.1, 0.1, 0.1, 1.0, 0.1])
    asked = vector_batch(torch.randn(5, 3, 4, dtype=torch.float64), torch.zeros(5, 3).long(), n_classes=2).cases
    found = _law(learner, support, asked)
    for task in range(5):
        real = support.mask[task].nonzero()[:, 0].tolist()
        alone = rows_of(rows_of(support, [task], axis=0), real)
        want = _law(learner, alone, asked.map(lambda value, at=task: value[[at]]))  # type: ignore[misc]
        torch.testing.assert_close(found[[task]], want, atol=1e-9, rtol=1e-9)


LIFT = 1.5
"""Half of the distance between the classes along the coordinate that tells them apart."""


def _tasks(count: int, known: int, seed: int, *, asked: int = 100) -> EpisodeBatch:
    """Two classes, `known` cases of each, +-LIFT along the first of four coordinates, standard normal noise on all."""
    random = torch.Generator().manual_seed(seed)
    n = 2 * known + asked
    targets = (torch.arange(n) % 2).repeat(count, 1)
    vectors = torch.randn(count, n, 4, generator=random, dtype=torch.float64)
    vectors[..., 0] += LIFT * (2 * targets - 1)
    both = vector_batch(vectors, targets, n_classes=2)
    return EpisodeBatch(
        rows_of(both, range(2 * known)), rows_of(both, range(2 * known, n)), torch.arange(count) + 100 * seed
    )


def _best(tasks: EpisodeBatch) -> float:
    """Bayes' rule with the classes known exactly."""
    at = tasks.query.features["vector"][..., 0]
    law = Categorical(logits=torch.stack([-LIFT * at, LIFT * at], -1))
    return float(tasks.query.log_likelihood(law).mean())


def _world(temperature: float, dimmed: float = 1.0) -> FineTunedPrototypes:
    """Of an encoder that knows nothing of the tasks, or sees coordinate 0 less than the others (0.1), or nothing else (100)."""
    encoder = VectorEncoder()
    learner = FineTunedPrototypes(
        encoder, temperature=temperature, step_counts=(3, 8), rates=(1.0,), sizes=(2, 5, 20)
    ).double()
    with torch.no_grad():
        torch.manual_seed(0)
        encoder.map.weight.copy_(0.5 * torch.randn(6, 4))
        encoder.map.weight[:, 0] *= dimmed
        encoder.map.weight.mul_(min(1.0, 10 / dimmed))
        encoder.map.bias.zero_()
    return learner.eval()


@torch.no_grad()
def _score(learner: FineTunedPrototypes, tasks: EpisodeBatch) -> float:
    return float(tasks.query.log_likelihood(learner.predict(learner.adapt(tasks.support), tasks.query.cases)).mean())


def _steps(learner: FineTunedPrototypes, known: int) -> int:
    return int(learner.adapt(_tasks(1, known, 10).support).steps)


def _earlier(count: int = 6) -> list[EpisodeBatch]:
    """Earlier tasks with 2, 5 and 20 cases a class."""
    return [_tasks(count, known, seed) for seed, known in ((1, 2), (2, 5), (3, 20), (4, 20))]


def test_small_supports_keep_their_prototypes_and_large_ones_are_tuned_towards_the_optimum() -> None:
    learner, plain = _world(0.2), _world(0.2)
    learner.fit_prior(_earlier())
    assert [_steps(learner, known) for known in (1, 2, 3)] == [0, 0, 0]
    assert _steps(learner, 20) == _steps(learner, 40) > 0  # as far as was judged, and no further
    for known, gain in ((20, 0.2), (40, 0.3)):
        new = _tasks(30, known, 50 + known)
        assert _score(plain, new) + gain < _score(learner, new) < _best(new)
    small = _tasks(30, 2, 52)
    assert _score(learner, small) == pytest.approx(_score(plain, small))


def test_on_average_over_tasks_what_steps_gain_grows_with_the_support() -> None:
    learner = _world(0.2)
    learner.fit_prior(_earlier(30))
    gains = learner.vouched[:, 0].tolist()
    assert gains == sorted(gains)
    assert gains[0] < -0.02 < 0.1 < gains[-1]


def test_where_the_encoder_sees_little_of_what_matters_small_supports_are_tuned_too() -> None:
    learner, plain = _world(0.7, 0.1), _world(0.7, 0.1)
    learner.fit_prior(_earlier())
    assert _steps(learner, 2) > 0
    new = _tasks(30, 2, 52)
    assert _score(plain, new) + 0.2 < _score(learner, new) < _best(new)


def test_where_the_encoder_sees_nothing_but_what_matters_next_to_nothing_is_vouched_for() -> None:
    """Vectors are +-1 along one line; a temperature of 1.1 says what a sign can say of the class."""
    learner, plain = _world(1.1, 100.0), _world(1.1, 100.0)
    learner.fit_prior(_earlier())
    assert float(learner.vouched.max()) < 0.02
    new = _tasks(30, 20, 50)
    assert _score(learner, new) > _score(plain, new) - 0.01


def test_one_earlier_task_vouches_for_nothing() -> None:
    learner = _world(0.7, 0.1)
    learner.fit_prior(_earlier(1)[3:])
    assert float(learner.vouched.max()) <= 0
    learner.fit_prior(_earlier(2)[3:])
    assert bool((learner.vouched[2] > 0).any())


def test_beyond_the_largest_support_of_earlier_tasks_what_that_tells_stands() -> None:
    learner = _world(0.7, 0.1)
    learner.fit_prior(_earlier(3)[:2])
    assert torch.equal(learner.vouched[1], learner.vouched[2])
    assert bool(learner.vouched[2].any())


def test_earlier_tasks_of_one_case_of_a_class_tell_nothing() -> None:
    learner = _world(0.7, 0.1)
    learner.fit_prior([_lopsided(_tasks(4, 20, 3), 1), _tasks(4, 1, 4)])
    assert not bool(learner.vouched.any())


def _lopsided(tasks: EpisodeBatch, kept: int) -> EpisodeBatch:
    """Only so many cases of class 1."""
    support = tasks.support
    mask = (support.targets == 0) | ((support.targets.cumsum(1)) <= kept)
    part = LabelledBatch(CaseBatch(support.features, mask), support.targets * mask, "binary", 2)
    return EpisodeBatch(part, tasks.query, tasks.task_index)


def test_learning_the_schedule_again_begins_anew_and_leaves_the_encoder() -> None:
    learner = _world(0.2)
    before = [value.clone() for value in learner.parameters()]
    learner.fit_prior(_earlier(2))
    first = learner.vouched.clone()
    learner.fit_prior(_earlier(2))
    assert torch.equal(learner.vouched, first)
    assert all(torch.equal(now, then) for now, then in zip(learner.parameters(), before, strict=True))
    learner.fit_prior([])
    assert not bool(learner.vouched.any())


def test_an_encoder_that_cannot_move_leaves_plain_prototypes() -> None:
    learner = FineTunedPrototypes(VectorRaw()).double()
    learner.fit_prior(_earlier(2))
    assert not bool(learner.vouched.any())
    tasks = _tasks(2, 5, 9)
    plain = Prototypical(OnSphere(VectorRaw()), temperature=0.2).double()
    want = plain.predict(plain.adapt(tasks.support), tasks.query.cases)
    assert isinstance(want, Categorical)
    torch.testing.assert_close(_law(learner, tasks.support, tasks.query.cases).exp(), want.probs.detach())


def test_a_network_of_convolutions_is_tuned_task_by_task() -> None:
    torch.manual_seed(0)
    learner = FineTunedPrototypes(
        Conv4((1, 16, 16), width=4, groups=2), step_counts=(2,), rates=(0.1,), sizes=(2,)
    ).double()
    learner.vouched.fill_(1.0)
    pixels = torch.randn(2, 6, 256, dtype=torch.float64)
    pixels[0, :3] += 0.5
    cases = CaseBatch({"image": pixels}, torch.ones(2, 6, dtype=torch.bool))
    support = LabelledBatch(cases, torch.tensor([[0, 0, 0, 1, 1, 1]] * 2), "binary", 2)
    state = learner.adapt(support)
    kernel = state.parameters["encoder.convolutions.0.weight"]
    assert float((kernel[0] - kernel[1]).abs().max()) > 1e-4
    found = _law(learner, support, cases)
    alone = rows_of(support, [1], axis=0)
    torch.testing.assert_close(found[1:], _law(learner, alone, alone.cases))


def test_tuned_networks_carry_no_gradient_and_meta_training_takes_no_step() -> None:
    episodes, learner = vector_episodes("binary"), _vouching(_learner(), 0, 0)
    state = learner.adapt(episodes.support)
    assert not any(value.requires_grad for value in state.parameters.values())
    torch.testing.assert_close(learner.meta_loss(episodes), _learner().meta_loss(episodes))


def test_a_support_of_one_class_and_a_regression_task_are_refused() -> None:
    learner = _vouching(_learner(), 0, 0)
    support = vector_batch(torch.ones(1, 3, 4, dtype=torch.float64), torch.ones(1, 3, dtype=torch.int64), n_classes=2)
    with pytest.raises(TaskError, match="one class only"):
        learner.adapt(support)
    regression = vector_episodes("regression")
    for refused in (learner.adapt, lambda support: learner.fit_prior([regression])):
        with pytest.raises(TaskError, match="cannot learn a regression task; it allows binary, multiclass"):
            refused(regression.support)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"step_counts": ()}, r"got step_counts \[\]; give one or more ascending whole numbers from 1 on"),
        ({"step_counts": (5, 5)}, r"got step_counts \[5, 5\]"),
        ({"sizes": (1, 5)}, r"got sizes \[1, 5\]; give one or more ascending whole numbers from 2 on"),
        ({"rates": (0.1, 0.0)}, r"got rates \[0.1, 0.0\] and doubt 1.0; give numbers above 0"),
        ({"doubt": 0.0}, "doubt 0.0; give numbers above 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        FineTunedPrototypes(VectorEncoder(), **settings)  # type: ignore[arg-type]
