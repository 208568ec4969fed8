"""What every aligned network shares: pooled as it is where nothing says otherwise, at rest there, and taken as earlier tasks say."""

import pytest
import torch
from tests.shifted_tasks import cases_of, changed, of_prevalence, without_labels

from metamedica.functional.perceptron import Perceptron
from metamedica.learners.deep_adaptation import DeepAdaptation
from metamedica.testing import SIZE, VectorRaw
from metamedica.types import LabelledBatch

EYE = torch.eye(SIZE, dtype=torch.float64)
SHIFT = torch.tensor([2.0, 0.0, 1.5, 0.0], dtype=torch.float64)


def _tasks(apart: float) -> list[LabelledBatch]:
    random = torch.Generator().manual_seed(0)
    shifts = apart * torch.randn(5, SIZE, generator=random, dtype=torch.float64)
    return [changed(of_prevalence(0.5, 60, seed=seed), EYE, shift) for seed, shift in enumerate(shifts)]


def _taught(strengths: tuple[float, ...], *, apart: float = 0.0, steps: int = 10) -> DeepAdaptation:
    settings = {"hidden": 4, "most_compared": 60}
    learner = DeepAdaptation(VectorRaw(), strengths=strengths, steps=steps, signals=(1.0,), **settings).double()
    learner.fit_tasks(_tasks(apart))
    return learner


@pytest.fixture(scope="module")
def aligned() -> DeepAdaptation:
    return _taught((1.0,))


@pytest.fixture
def shifted() -> LabelledBatch:
    return changed(of_prevalence(0.5, 200, seed=9), EYE, SHIFT)


def _pooled(learner: DeepAdaptation) -> Perceptron:
    taught = learner.taught.of("binary")
    return Perceptron(*(taught[name] for name in Perceptron._fields))


def test_strength_0_and_a_task_without_cases_are_the_pooled_network_to_the_bit(
    aligned: DeepAdaptation, shifted: LabelledBatch
) -> None:
    vectors = shifted.features["vector"]
    asleep = _taught((0.0,))
    for learner, others in ((asleep, shifted.cases), (aligned, cases_of(shifted, slice(0)))):
        state = learner.adapt_with(without_labels(shifted), others)
        assert torch.equal(state.score(vectors)[0], _pooled(learner)(vectors[0]))
    moved = aligned.adapt_with(without_labels(shifted), shifted.cases)
    assert not torch.allclose(moved.score(vectors)[0], _pooled(aligned)(vectors[0]), atol=0.1)


def test_the_pooled_network_is_at_rest_where_the_alignment_counts_for_next_to_nothing(shifted: LabelledBatch) -> None:
    learner, vectors = _taught((1e-9,), steps=50), shifted.features["vector"]
    state = learner.adapt_with(without_labels(shifted), shifted.cases)
    torch.testing.assert_close(state.score(vectors)[0], _pooled(learner)(vectors[0]), atol=1e-2, rtol=0)


def test_few_cases_leave_the_network_nearly_as_it_is(aligned: DeepAdaptation, shifted: LabelledBatch) -> None:
    vectors = shifted.features["vector"]
    moved = []
    for n in (1, 10, 100):
        state = aligned.adapt_with(without_labels(shifted), cases_of(shifted, slice(n)))
        moved.append(float((state.score(vectors)[0] - _pooled(aligned)(vectors[0])).abs().mean()))
    assert moved[0] < moved[1] < moved[2]
    assert moved[0] < 0.3 * moved[2]


def test_earlier_tasks_of_many_devices_ask_for_alignment_and_those_of_one_do_not() -> None:
    chosen = [_taught((0.0, 3.0), apart=apart, steps=15) for apart in (2.0, 0.0)]
    assert [float(learner.taught.of("binary")["strength"]) for learner in chosen] == [3.0, 0.0]


def test_it_says_how_many_cases_it_holds(aligned: DeepAdaptation) -> None:
    assert aligned.n_kept() == 300
    assert DeepAdaptation(VectorRaw()).n_kept() == 0
