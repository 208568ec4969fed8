"""The measurement of meta-training at scale: its errors are those of the precisions, and its table holds every goal."""

from types import ModuleType

import pytest
import torch

from benchmark_modules import load_benchmark


@pytest.fixture
def scaling(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return load_benchmark("scaling", monkeypatch)


def test_bf16_is_further_from_double_precision_than_float32_and_still_near(scaling: ModuleType) -> None:
    found = scaling.gradient_errors("prototypical", columns=64, tasks=3)
    assert 1e-9 < found["float32"] < 1e-5 < 1e-4 < found["bf16"] < 0.05
    assert (found["tf32"] is None) == (not torch.cuda.is_available())
    assert torch.get_default_dtype() == torch.float32


def test_the_scaling_table_holds_every_goal_and_every_learner(scaling: ModuleType) -> None:
    goals = [scaling.goal("weak scaling", 0.9, 0.95, [0.9, 1.0]), scaling.goal("told", None, 0.5, [0.4, 0.6])]
    text = scaling.markdown(goals, {"maml": {"float32": 1e-7, "tf32": None, "bf16": 0.004}})
    assert "| weak scaling | 0.9 | 0.95 | 0.9 to 1 |" in text
    assert "| told | – | 0.5 | 0.4 to 0.6 |" in text
    assert "| maml | 1.0e-07 | – | 4.0e-03 |" in text
