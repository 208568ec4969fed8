"""Batch norms are found wherever they are, and refused unless they are in evaluation mode."""

import pytest
from torch import nn

from metamedica.errors import TrainingError
from metamedica.functional.batch_norm import frozen_batch_norms


def test_a_batch_norm_in_training_mode_is_refused_by_name() -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.BatchNorm2d(2)))
    with pytest.raises(TrainingError, match=r"1\.0 is a BatchNorm2d"):
        frozen_batch_norms(module)


def test_frozen_ones_are_returned_and_norms_of_single_cases_are_none_of_them() -> None:
    module = nn.Sequential(nn.BatchNorm1d(2).eval(), nn.LayerNorm(2), nn.GroupNorm(1, 2), nn.InstanceNorm1d(2))
    assert frozen_batch_norms(module) == [module[0]]
