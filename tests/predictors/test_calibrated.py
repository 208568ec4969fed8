"""A method's laws are set right for each task by its own labels; few labels, or one class, change nothing."""

import pytest
import torch
from torch.distributions import Categorical

from metamedica.errors import InputError, TaskError
from metamedica.functional.calibration import Temperature
from metamedica.predictors.calibration import LEAST, AdaptedCalibrated, Calibrated, check_calibration, chosen, fit_map
from metamedica.predictors.held_out import HeldOut
from metamedica.predictors.method import LearnerMethod
from metamedica.testing import vector_batch
from metamedica.types import CaseBatch, LabelledBatch, Law, Learner, Paper


class TooSure(Learner[None]):
    """Says the right log-odds, the first coordinate, three times as large."""

    paper = Paper("a test", "us", 2026, "none")
    kinds = frozenset({"binary"})

    def adapt(self, support: LabelledBatch) -> None:
        return None

    def predict(self, state: None, query: CaseBatch) -> Law:
        score = 3 * query.features["vector"][..., 0]
        return Categorical(logits=torch.stack([torch.zeros_like(score), score], -1), validate_args=False)


def _task(n: int, *, seed: int = 0) -> LabelledBatch:
    random = torch.Generator().manual_seed(seed)
    vectors = 1.5 * torch.randn(1, n, 4, generator=random)
    label = (torch.rand(1, n, generator=random) < torch.sigmoid(vectors[..., 0])).long()
    return vector_batch(vectors, label, n_classes=2)


@pytest.mark.parametrize(("n", "how"), [(30, "auto"), (30, "temperature"), (100, "beta"), (2000, "auto")])
def test_a_learner_that_is_too_sure_is_set_right(n: int, how: str) -> None:
    support, query = _task(n), _task(2000, seed=1)
    plain = LearnerMethod(TooSure())
    right = Calibrated(plain, how=check_calibration(how))
    before, after = (query.log_likelihood(method(support, query.cases)).item() for method in (plain, right))
    assert after > before + 0.1


def test_the_number_of_labels_decides_the_map() -> None:
    sizes = sorted(LEAST.values())
    assert chosen("auto", "binary", sizes[0] - 1) == "none"
    assert [chosen("auto", "binary", size) for size in sizes] == ["temperature", "beta", "isotonic"]
    assert chosen("auto", "regression", 10_000) == "temperature"
    assert chosen("isotonic", "binary", 3) == "isotonic"


def test_few_labels_and_few_of_a_class_leave_the_law_as_it_is() -> None:
    few = _task(8)
    assert not isinstance(Calibrated(LearnerMethod(TooSure())).adapt(few), AdaptedCalibrated)
    law = Categorical(logits=torch.randn(1, 20, 2, generator=torch.Generator().manual_seed(0)))
    targets = torch.zeros(1, 20, dtype=torch.int64)
    targets[0, :2] = 1
    there = torch.ones(1, 20, dtype=torch.bool)
    change = fit_map("temperature", HeldOut(law, targets, there, there))
    assert isinstance(change, Temperature)
    assert change.sharpness.item() == pytest.approx(0, abs=1e-9)


def test_a_map_that_is_not_there_or_does_not_fit_is_refused() -> None:
    with pytest.raises(
        InputError, match="got calibration 'platt'; give one of: none, temperature, beta, isotonic, auto"
    ):
        check_calibration("platt")
    with pytest.raises(TaskError, match="'beta' is for classes and this is a regression task"):
        chosen("beta", "regression", 100)
