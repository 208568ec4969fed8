"""The shift of a task's log-odds from cases without label: expectation maximisation, two Gaussians, and a prior as oracles."""

import pytest
import torch
from torch import Tensor

from metamedica.functional.prevalence import odds_in_score, unlabelled_shift

ODDS = torch.tensor(-0.4, dtype=torch.float64)


def _cases(prevalence: float, n: int, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return log p(x | 1) / p(x | 0) and label of cases from N(1, 1) and N(-1, 1)."""
    random = torch.Generator().manual_seed(seed)
    label = (torch.rand(n, generator=random, dtype=torch.float64) < prevalence).double()
    return 2 * (2 * label - 1 + torch.randn(n, generator=random, dtype=torch.float64)), label


def _shift(score: Tensor, *, variance: float, part: float = 1.0) -> tuple[float, float]:
    found = unlabelled_shift(
        score[None],
        torch.full_like(score, part)[None],
        odds=ODDS,
        variance=torch.tensor(variance, dtype=torch.float64),
    )
    return float(found.mean), float(found.variance)


def test_without_a_prior_it_is_where_expectation_maximisation_ends() -> None:
    ratio, _ = _cases(0.85, 400)
    prevalence = torch.sigmoid(ODDS)
    for _ in range(5000):  # Saerens et al. 2002, equation 2.4
        prevalence = torch.sigmoid(ratio + prevalence.logit()).mean()
    found, _ = _shift(ratio + ODDS, variance=1e8)
    assert abs(found - float(prevalence.logit() - ODDS)) < 1e-6


def test_it_finds_the_prevalence_that_black_box_shift_estimation_finds_too() -> None:
    source, source_label = _cases(0.4, 20_000, seed=1)
    ratio, _ = _cases(0.9, 20_000, seed=2)
    called = (source > 0).double()
    hit = float((called * source_label).sum() / source_label.sum())
    false = float((called * (1 - source_label)).sum() / (1 - source_label).sum())
    black_box = (float((ratio > 0).double().mean()) - false) / (hit - false)  # Lipton et al. 2018
    ours = float(torch.sigmoid(ODDS + _shift(ratio + ODDS, variance=1e8)[0]))
    assert abs(ours - 0.9) < 0.01
    assert abs(ours - black_box) < 0.01


def test_the_prior_holds_a_small_task_and_lets_a_large_one_go() -> None:
    ratio, _ = _cases(0.9, 2000)
    wide, _ = _shift(ratio + ODDS, variance=1e8)
    few, many = (_shift((ratio + ODDS)[:n], variance=0.05)[0] for n in (20, 2000))
    assert 0 < few < 0.5 * wide < 0.8 * wide < many < wide


def test_the_law_narrows_with_cases_and_is_the_prior_without() -> None:
    ratio, _ = _cases(0.7, 2000)
    score = ratio + ODDS
    for prior in (_shift(score[:0], variance=0.7), _shift(score, variance=0.7, part=0.0)):
        assert prior == pytest.approx((0.0, 0.7), abs=1e-12)
    widths = [_shift(score[:n], variance=0.7)[1] for n in (5, 50, 500)]
    assert 0.7 >= widths[0] > widths[1] > widths[2] > 0


def test_the_variance_is_the_inverse_curvature_of_the_likelihood_there() -> None:
    ratio, _ = _cases(0.6, 300)
    mean, variance = _shift(ratio + ODDS, variance=2.0)
    at = torch.tensor(mean, dtype=torch.float64, requires_grad=True)
    prevalence = torch.sigmoid(ODDS + at)
    height = torch.log(prevalence * ratio.exp() + 1 - prevalence).sum() - at**2 / 4
    (slope,) = torch.autograd.grad(height, at, create_graph=True)
    (bend,) = torch.autograd.grad(slope, at)
    assert abs(slope.item()) < 1e-8
    assert abs(variance + 1 / bend.item()) < 1e-8


def test_the_odds_in_a_score_are_taken_out_where_prevalences_differ() -> None:
    parts = [_cases(prevalence, 4000, seed=seed) for seed, prevalence in enumerate((0.2, 0.5, 0.8))]
    ratio, label = (torch.cat(column) for column in zip(*parts, strict=True))
    known = torch.tensor([0.2, 0.5, 0.8], dtype=torch.float64).logit().repeat_interleave(4000)
    assert abs(float(odds_in_score(ratio + 1.3, label, known)) - 1.3) < 0.1
