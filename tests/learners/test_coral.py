"""CORAL: cases measured on another device are given back the source's mean and covariance; SciPy's matrix roots as oracle."""

import numpy as np
import scipy.linalg
import torch
from tests.shifted_tasks import cases_of, changed, loss, of_prevalence, without_labels
from torch.distributions import Categorical

from metamedica.functional.aligned_score import AS_IT_IS
from metamedica.learners.coral import Coral
from metamedica.testing import SIZE, VectorRaw, check_learner, on_vectors
from metamedica.types import LabelledBatch

PREVALENCES = (0.45, 0.5, 0.55, 0.5, 0.5, 0.5)


def _device(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    scale = 0.3 + 2 * torch.rand(SIZE, generator=random, dtype=torch.float64)
    return torch.diag(scale), 2 * torch.randn(SIZE, generator=random, dtype=torch.float64)


def _measured(prevalence: float, n: int, *, seed: int) -> LabelledBatch:
    return changed(of_prevalence(prevalence, n, seed=seed), *_device(seed))


def _aligned() -> Coral:
    """Return a learner of tasks from one device that aligns every task in full."""
    learner = Coral(VectorRaw(), mean_cases=(1e-9,), spread_cases=(1e-9,), ridge=1e-3).double()
    learner.fit_tasks([of_prevalence(p, 300, seed=seed) for seed, p in enumerate(PREVALENCES)])
    return learner


def test_the_score_of_a_case_is_that_of_the_case_recoloured() -> None:
    learner = _aligned()
    task = _measured(0.5, 60, seed=20)
    state = learner.adapt_with(without_labels(task), task.cases)
    taught = {name: value.numpy() for name, value in learner.taught.of("binary").named_buffers()}
    cases = task.features["vector"][0].numpy()
    ridge = 1e-3 * np.eye(SIZE)
    own = np.linalg.inv(scipy.linalg.sqrtm(np.cov(cases.T, bias=True) + ridge).real)
    source = scipy.linalg.sqrtm(taught["covariance"] + ridge).real
    recoloured = (cases - cases.mean(0)) @ own @ source + taught["mean"]
    np.testing.assert_allclose(
        state.score(task.features["vector"])[0], recoloured @ taught["weight"] + taught["intercept"], atol=1e-8
    )


def test_cases_of_another_device_without_label_make_up_for_it() -> None:
    learner = _aligned()
    task = changed(of_prevalence(0.5, 3000, seed=30), torch.diag(torch.tensor([3.0, 0.2, 1.0, 2.0]).double()), torch.full((4,), 2.0))  # fmt: skip
    nothing = without_labels(task)
    blind = loss(learner.predict(learner.adapt(nothing), task.cases), task)
    found = loss(learner.predict(learner.adapt_with(nothing, cases_of(task, slice(300))), task.cases), task)
    same = of_prevalence(0.5, 3000, seed=30)
    at_home = loss(learner.predict(learner.adapt(without_labels(same)), same.cases), same)
    assert found < at_home + 0.03
    assert blind > found + 0.3


def test_earlier_tasks_of_many_devices_ask_for_alignment_and_those_of_one_do_not() -> None:
    chosen = []
    for made in (_measured, of_prevalence):
        learner = Coral(VectorRaw(), mean_cases=(AS_IT_IS, 1.0), spread_cases=(AS_IT_IS,)).double()
        learner.fit_tasks([made(p, 150, seed=seed) for seed, p in enumerate(PREVALENCES)])
        chosen.append(float(learner.taught.of("binary")["mean_cases"]))
    assert chosen == [1.0, AS_IT_IS]


def test_few_cases_leave_the_task_nearly_as_it_is() -> None:
    learner = Coral(VectorRaw(), mean_cases=(300.0,), spread_cases=(10.0,)).double()
    learner.fit_tasks([of_prevalence(p, 300, seed=seed) for seed, p in enumerate(PREVALENCES)])
    task = _measured(0.5, 200, seed=20)
    nothing = without_labels(task)

    def chance(cases: int) -> torch.Tensor:
        law = learner.predict(learner.adapt_with(nothing, cases_of(task, slice(cases))), task.cases)
        assert isinstance(law, Categorical)
        return law.probs[..., 1]

    moved = [float((chance(n) - chance(0)).abs().mean()) for n in (2, 20, 200)]
    assert moved[0] < 0.02 < moved[1] < moved[2]


def test_it_keeps_the_contract_where_it_aligns() -> None:
    check_learner(lambda: on_vectors(Coral, settings={"mean_cases": (5.0,), "spread_cases": (1.0,)}))
