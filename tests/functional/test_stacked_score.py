"""Stacking: weights are not negative, go to models that tell, and the whole is the weighted sum."""

import torch
from tests.hospitals import EFFECTS, hospitals

from metamedica.functional.pooled_models import Growth
from metamedica.functional.pooling import Pool, pools
from metamedica.functional.stacked_score import STACK_START, fit_stack, stack_buffers, stack_of, stack_weights
from metamedica.testing import VectorRaw
from metamedica.types import TaskKind


def _pool(kind: TaskKind = "binary", *, level: float = 1.0) -> Pool:
    return pools(hospitals(5, 150, kind=kind, level=level), VectorRaw(), [kind], most_cases=1000)[kind]


def test_the_weight_goes_to_the_score_that_tells() -> None:
    for kind in ("binary", "regression"):
        pool = _pool(kind)
        true = pool.flat @ EFFECTS
        noise = torch.randn(len(true), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        weights = stack_weights(pool, torch.stack([true, noise, noise - true], dim=1))
        assert float(weights[0]) > 0.7
        assert float(weights[1]) < 0.15
        assert 0 <= float(weights[2]) < 0.15


def test_the_stacked_score_is_near_the_true_one_and_knows_how_large_an_effect_usually_is() -> None:
    pool = _pool()
    stack = fit_stack(pool, signals=(0.4, 20.0), growth=Growth(10, 4))
    both = torch.stack([stack.score(pool.flat), stack.held_out, pool.flat @ EFFECTS])
    assert float(torch.corrcoef(both)[0, 2]) > 0.95
    assert float(torch.corrcoef(both)[1, 2]) > 0.9
    assert abs(stack.effect - float(EFFECTS.square().mean().sqrt())) < 0.3


def test_buffers_hold_the_whole_score() -> None:
    pool = _pool()
    score = fit_stack(pool, signals=(2.0,), growth=Growth(10, 4)).score
    buffers = stack_buffers(score)
    assert set(buffers) == set(STACK_START)
    torch.testing.assert_close(stack_of(buffers)(pool.flat), score(pool.flat))
    assert not bool(stack_of(STACK_START)(pool.flat).any())
