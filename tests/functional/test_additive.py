"""A linear score and its recalibration, in double precision."""

import torch

from metamedica.functional.additive import LinearIn
from metamedica.functional.recalibration import calibrated


def _normal(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_one_model_stands_for_every_task() -> None:
    found = LinearIn.of(_normal(4), torch.tensor(0.5), like=torch.zeros(3, 2))
    assert found.weight.shape == (3, 4)
    assert found.intercept.tolist() == [0.5] * 3
    assert found.weight.dtype == torch.float64


def test_a_recalibrated_sum_is_the_recalibrated_score() -> None:
    weight, flat, found, level = (
        _normal(4).double(),
        _normal(2, 5, 4).double(),
        _normal(2, 2).double(),
        torch.tensor(0.3).double(),
    )
    score = flat @ weight - 1.0
    linear = LinearIn.of(weight, torch.tensor(-1.0), like=found).recalibrated(level, found)
    ours = (flat @ linear.weight[..., None])[..., 0] + linear.intercept[:, None]
    torch.testing.assert_close(ours, calibrated(score, level, found), atol=1e-12, rtol=1e-12)
