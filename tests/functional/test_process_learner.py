"""Two processes of our own making: against the closed form of one kernel, and against hiding each case in truth."""

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from generated_tasks import ragged
from metamedica.errors import TaskError
from metamedica.functional.gaussian_process import MEAN_VARIANCE
from metamedica.functional.process_learner import AveragedProcess, AveragedState
from metamedica.testing import N_TASKS, VectorRaw, vector_batch
from metamedica.types import Features, LabelledBatch, TaskKind

KINDS: tuple[TaskKind, ...] = ("binary", "multiclass", "regression")


class Single(AveragedProcess):
    """The raw similarity alone."""

    def kernels(self, left: Features, right: Features) -> Tensor:
        return self.raw.similarity(self.raw(left), self.raw(right))[:, None]


class Couple(AveragedProcess):
    """The raw similarity and its square."""

    def kernels(self, left: Features, right: Features) -> Tensor:
        alike = self.raw.similarity(self.raw(left), self.raw(right))
        return torch.stack([alike, alike**2], 1)


def _hidden(batch: LabelledBatch, task: int, keep: list[int]) -> LabelledBatch:
    return batch.map(lambda value: value[task : task + 1, keep])


def test_one_kernel_and_one_noise_are_the_gaussian_process_in_closed_form() -> None:
    episodes = ragged("regression")
    learner = Single(VectorRaw(), noises=(0.25,)).double()
    law = learner.predict(learner.adapt(episodes.support), episodes.query.cases)
    assert isinstance(law, Normal)
    for task in range(N_TASKS):
        real = episodes.support.mask[task]
        x, y = episodes.support.features["vector"][task, real], episodes.support.targets[task, real]
        z = episodes.query.features["vector"][task]

        def covariance(left: Tensor, right: Tensor) -> Tensor:
            return 0.75 * torch.exp(-0.5 * torch.cdist(left, right) ** 2) + MEAN_VARIANCE

        inverse = torch.linalg.inv(covariance(x, x) + 0.25 * torch.eye(len(x)).double())
        cross = covariance(z, x)
        variance = 1 + MEAN_VARIANCE - (cross @ inverse * cross).sum(-1)
        torch.testing.assert_close(law.mean[task], cross @ inverse @ y, atol=1e-10, rtol=0)
        torch.testing.assert_close(law.variance[task], variance, atol=1e-10, rtol=0)


def test_cells_are_weighed_by_the_density_of_the_targets() -> None:
    support = ragged("regression").support
    learner = Couple(VectorRaw(), noises=(0.1, 0.6)).double()
    found = learner.adapt(support).posterior.log_weight
    for task in range(N_TASKS):
        real = support.mask[task]
        x, y = support.features["vector"][task, real], support.targets[task, real]
        alike, evidence = torch.exp(-0.5 * torch.cdist(x, x) ** 2), []
        for kernel in (alike, alike**2):
            for noise in learner.noise:
                covariance = (1 - noise) * kernel + MEAN_VARIANCE + noise * torch.eye(len(x)).double()
                evidence.append(torch.distributions.MultivariateNormal(torch.zeros_like(y), covariance).log_prob(y))
        torch.testing.assert_close(found[task], torch.log_softmax(torch.stack(evidence), 0), atol=1e-10, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_leaving_a_case_out_by_the_formula_is_hiding_it_in_truth(kind: TaskKind) -> None:
    torch.manual_seed(0)
    n_classes = {"binary": 2, "multiclass": 3, "regression": None}[kind]
    labels = torch.arange(9).repeat(2, 1) % (n_classes or 1)
    targets = torch.randn(2, 9).double() if n_classes is None else labels
    support = vector_batch(torch.randn(2, 9, 4).double(), targets, n_classes=n_classes)
    learner = Couple(VectorRaw()).double()
    found = learner.leave_one_out(support)
    for task in range(2):
        for case in range(9):
            rest = _hidden(support, task, [other for other in range(9) if other != case])
            asked = _hidden(support, task, [case])
            want = asked.log_likelihood(learner.predict(learner.adapt(rest), asked.cases))[0]
            torch.testing.assert_close(found[task, case], want, atol=1e-9, rtol=0)


def test_a_state_that_is_given_is_not_made_again() -> None:
    support, made = ragged("binary").support, []

    class Counting(Single):
        def adapt(self, support: LabelledBatch) -> AveragedState:
            made.append(1)
            return super().adapt(support)

    learner = Counting(VectorRaw()).double()
    state = learner.adapt(support)
    torch.testing.assert_close(learner.leave_one_out(support, state), learner.leave_one_out(support), atol=0, rtol=0)
    assert len(made) == 2


def test_a_support_of_one_class_is_refused() -> None:
    support = vector_batch(torch.ones(1, 3, 4), torch.ones(1, 3, dtype=torch.int64), n_classes=2)
    with pytest.raises(TaskError, match="one class only"):
        Single(VectorRaw()).adapt(support)


def test_a_process_keeps_its_noise_shares_and_nothing_else() -> None:
    assert list(Couple(VectorRaw(), noises=(0.1, 0.6)).state_dict()) == ["noise"]
