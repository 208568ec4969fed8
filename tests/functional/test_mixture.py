"""Mixtures of laws, exact."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Categorical, Normal

from metamedica.errors import TaskError
from metamedica.functional.mixture import mix


@given(st.integers(0, 1000), st.integers(1, 4))
def test_the_average_of_classes_is_the_average_of_probabilities(seed: int, models: int) -> None:
    random = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(models, 2, 5, 3, generator=random, dtype=torch.float64)
    weight = torch.randn(2, models, generator=random, dtype=torch.float64).log_softmax(-1)
    law = mix([Categorical(logits=each) for each in logits], weight.exp())
    assert isinstance(law, Categorical)
    torch.testing.assert_close(law.probs, torch.einsum("tk,ktmc->tmc", weight.exp(), logits.softmax(-1)))


def test_the_average_of_normals_has_the_mean_and_the_variance_of_the_mixture() -> None:
    random = torch.Generator().manual_seed(0)
    mean, spread = torch.randn(2, 3, 4, generator=random), torch.rand(2, 3, 4, generator=random) + 0.1
    weight = torch.tensor([0.3, 0.7]).expand(3, 2)
    law = mix([Normal(m, s) for m, s in zip(mean, spread, strict=True)], weight)
    assert isinstance(law, Normal)
    draws = torch.where(torch.rand(200_000, 1, 1, generator=random) < 0.3, 0, 1)
    each = torch.where(draws == 0, mean[0], mean[1]) + torch.where(draws == 0, spread[0], spread[1]) * torch.randn(
        200_000, 3, 4, generator=random
    )
    torch.testing.assert_close(law.loc, each.mean(0), rtol=0.02, atol=0.02)
    torch.testing.assert_close(law.stddev, each.std(0), rtol=0.02, atol=0.02)


def test_laws_of_different_families_are_not_mixed() -> None:
    laws = [Categorical(probs=torch.tensor([[[0.2, 0.8]]])), Categorical(probs=torch.tensor([[[0.6, 0.4]]]))]
    law: Any = mix(laws, torch.tensor([[0.25, 0.75]]))
    torch.testing.assert_close(law.probs[0, 0], torch.tensor([0.5, 0.5]))
    with pytest.raises(TaskError, match="same family"):
        mix([laws[0], Normal(torch.zeros(1, 1), torch.ones(1, 1))], torch.tensor([[0.5, 0.5]]))
