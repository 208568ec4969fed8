"""Profiles against dense arithmetic, against the law of who knows the covariance that tasks were drawn with, and where they know nothing."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from metamedica.functional.case_effects import Around
from metamedica.functional.descriptions import SIZE, described, gathered_descriptions
from metamedica.functional.profiles import Profiles, Stored, Told, fit_shares, gathered, profile_products, profile_rows

DOUBLE = torch.float64


def _seen(dense: Tensor) -> list[Around]:
    """Tasks whose residuals are the columns, NaN where a task has not measured a case; the hash of case i is 10 i."""
    tasks = []
    for column in dense.mT:
        some = (~torch.isnan(column)).nonzero()[:, 0]
        tasks.append(Around(10 * some, column[some]))
    return tasks


def _dense(cases: int, tasks: int, share: float, seed: int) -> Tensor:
    random = np.random.default_rng(seed)
    dense = random.normal(size=(cases, tasks))
    dense[random.random(dense.shape) > share] = np.nan
    return torch.tensor(dense)


def _made(dense: Tensor, *, most: int = 10_000, shares: tuple[float, float] = (0.25, 0.7)) -> Profiles:
    profiles = Profiles().double()
    profiles.keep(gathered(_seen(dense), most=most) | {"shares": torch.tensor(shares)})
    return profiles


@given(cases=st.integers(2, 9), tasks=st.integers(2, 7), share=st.floats(0.3, 1), seed=st.integers(0, 10_000))
def test_covariance_and_variance_are_second_moments_over_tasks(cases: int, tasks: int, share: float, seed: int) -> None:
    dense = _dense(cases, tasks, share, seed)
    if bool(torch.isnan(dense).all()):
        return
    profiles, filled = _made(dense), dense.nan_to_num(0)
    asked = torch.tensor([[*range(0, 10 * cases, 10), 7]])  # the last one is not known
    want = 0.7 * torch.nn.functional.pad(filled @ filled.mT / tasks, (0, 1, 0, 1))
    torch.testing.assert_close(profiles.covariance(asked, asked)[0], want)
    torch.testing.assert_close(profiles.variance(asked)[0], want.diagonal())
    known = torch.tensor([*(~torch.isnan(dense)).any(1), False])
    torch.testing.assert_close(profiles.amplitude(asked)[0], torch.where(known, 0.5, 1.0).double())


def test_near_tasks_count_for_more_in_covariance_and_variance_and_are_expected_to_be_repeated() -> None:
    dense = _dense(7, 4, 0.7, 3)
    profiles, filled = _made(dense), dense.nan_to_num(0)
    texts = ["MKVLAARNDC", "MKVLAARNDE", "GGHHIIKKLL", None]
    about = [None if text is None else described(text) for text in texts]
    profiles.descriptions.keep(gathered_descriptions(about))
    profiles.keep({"nearness": torch.tensor([0.6, 0.3])})
    asked = torch.stack([described("MKVLAARN"), torch.zeros(SIZE)])
    weights = profiles.weights(asked)
    assert weights is not None
    w = torch.softmax(profiles.descriptions.likeness(asked)[0] / 0.3, 0).double()
    assert w.argmax() in (0, 1)
    torch.testing.assert_close(weights.spread[0], (w + 0.25) / 2, check_dtype=False)
    torch.testing.assert_close(weights.spread[1], torch.full((4,), 0.25, dtype=DOUBLE))
    hashes = torch.tensor([[*range(0, 70, 10), 7]]).repeat(2, 1)  # the last one is not known
    rows = torch.nn.functional.pad(filled, (0, 0, 0, 1))
    for at, spread in enumerate(((w + 0.25) / 2, torch.full((4,), 0.25, dtype=DOUBLE))):
        want = 0.7 * (rows * spread) @ rows.mT
        torch.testing.assert_close(profiles.covariance(hashes, hashes, weights)[at], want, atol=1e-6, rtol=0)
        torch.testing.assert_close(profiles.variance(hashes, weights)[at], want.diagonal(), atol=1e-6, rtol=0)
    torch.testing.assert_close(profiles.expected(hashes, weights)[0], 0.6 * rows @ w, atol=1e-6, rtol=0)
    assert not profiles.expected(hashes, weights)[1].any()
    assert profiles.weights(None) is None
    assert _made(dense).weights(asked) is None  # earlier tasks that are not described


def test_of_too_many_values_the_largest_are_kept() -> None:
    dense = _dense(20, 5, 1.0, 0)
    profiles = _made(dense, most=40)
    assert len(profiles["residuals"]) == 40
    assert float(profiles["residuals"].abs().min()) == pytest.approx(float(dense.abs().flatten().sort().values[-40]))
    stored = Stored(*(profiles[name] for name in Stored._fields))
    rows = profile_rows(10 * torch.arange(20), stored, 5)
    torch.testing.assert_close(rows[rows != 0], dense[rows != 0])
    columns = torch.randn(1, 5, 3, dtype=DOUBLE)
    torch.testing.assert_close(profile_products(10 * torch.arange(20)[None], stored, columns), rows @ columns)


def test_the_shares_are_found_again_from_tasks_drawn_with_them() -> None:
    random = torch.Generator().manual_seed(0)
    tasks, n, left, profile = 400, 24, 0.3, 0.8
    x = torch.rand(tasks, n, 1, generator=random, dtype=DOUBLE)
    own = torch.exp(-((x - x.mT) ** 2) / 0.02)
    known = torch.rand(tasks, n, generator=random) < 0.6
    rows = torch.randn(tasks, n, 5, generator=random, dtype=DOUBLE) * known[..., None]
    moment, noise = rows @ rows.mT / 5, 0.1 * torch.eye(n, dtype=DOUBLE).expand(tasks, n, n)
    amplitude = torch.where(known, left**0.5, 1.0).double()
    covariance = own * amplitude[:, :, None] * amplitude[:, None, :] + profile * moment + noise
    drawn = torch.linalg.cholesky(covariance) @ torch.randn(tasks, n, 1, generator=random, dtype=DOUBLE)
    mask = torch.arange(n) < torch.randint(n // 2, n + 1, (tasks, 1), generator=random)
    found = fit_shares(own, noise, moment, known, drawn[..., 0].masked_fill(~mask, 0), mask)
    assert found is not None
    assert found.left == pytest.approx(left, rel=0.15)
    assert found.profile == pytest.approx(profile, rel=0.15)


def test_descriptions_are_believed_as_far_as_near_tasks_are_repeated() -> None:
    random = torch.Generator().manual_seed(4)
    tasks, n, after = 300, 20, 0.6
    eye, mask = torch.eye(n, dtype=DOUBLE).expand(tasks, n, n), torch.ones(tasks, n, dtype=torch.bool)
    rows = torch.randn(tasks, n, 5, generator=random, dtype=DOUBLE)
    moment, expected = 0.5 * rows @ rows.mT / 5, torch.randn(tasks, n, generator=random, dtype=DOUBLE)
    noise = torch.randn(tasks, n, generator=random, dtype=DOUBLE)
    away = torch.randn(tasks, n, generator=random, dtype=DOUBLE)
    told = [Told(0.1, moment, away), Told(0.2, moment, expected)]
    drawn = torch.linalg.cholesky(moment + 0.6 * eye) @ noise[..., None]
    shares = fit_shares(0.5 * eye, 0.1 * eye, moment, mask, after * expected + drawn[..., 0], mask, told)
    assert shares is not None
    assert shares.width == 0.2
    assert shares.after == pytest.approx(after, abs=0.05)
    nothing = fit_shares(0.5 * eye, 0.1 * eye, moment, mask, drawn[..., 0], mask, [Told(0.1, 0 * moment, away)])
    assert nothing is not None
    assert (nothing.width, nothing.after) == (0, 0)


def test_profiles_that_say_nothing_are_not_believed() -> None:
    random = torch.Generator().manual_seed(1)
    tasks, n = 200, 20
    rows = torch.randn(tasks, n, 5, generator=random, dtype=DOUBLE)
    eye, mask = torch.eye(n, dtype=DOUBLE).expand(tasks, n, n), torch.ones(tasks, n, dtype=torch.bool)
    targets = 1.1**0.5 * torch.randn(tasks, n, generator=random, dtype=DOUBLE)
    found = fit_shares(eye, 0.1 * eye, rows @ rows.mT / 5, mask, targets, mask)
    assert found is None or found.profile < 0.01


def test_weights_written_before_there_were_profiles_are_read_as_none() -> None:
    holder = torch.nn.Module()
    holder.profiles = _made(_dense(4, 3, 1.0, 2)).float()
    holder.load_state_dict({})
    assert len(holder.profiles) == 0
    again = torch.nn.Module()
    again.profiles = Profiles()
    whole = torch.nn.Module()
    whole.profiles = _made(_dense(4, 3, 1.0, 2)).float()
    again.load_state_dict(whole.state_dict())
    asked = torch.arange(0, 40, 10)[None]
    torch.testing.assert_close(again.profiles.covariance(asked, asked), whole.profiles.covariance(asked, asked))
