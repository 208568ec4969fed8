"""The hyper-gradient against fitting again, the law against scikit-learn's, and tasks of unlike smoothness."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
from torch import Tensor

from metamedica.errors import TaskError
from metamedica.functional.gaussian_process import MEAN_VARIANCE
from metamedica.learners import adaptive_deep_kernel
from metamedica.learners.adaptive_deep_kernel import AdaptiveDeepKernel
from metamedica.testing import VectorEncoder, VectorRaw, vector_batch, vector_episodes
from metamedica.types import Encoder, EpisodeBatch, Features, TaskKind

KINDS: tuple[TaskKind, ...] = ("binary", "multiclass", "regression")


def _learner() -> AdaptiveDeepKernel:
    torch.manual_seed(0)
    return AdaptiveDeepKernel(VectorEncoder(dim=3)).double()


def _ragged(kind: TaskKind) -> EpisodeBatch:
    """Supports of 8, 4 and 6 cases."""
    episodes = vector_episodes(kind)
    mask = torch.arange(8) < torch.tensor([[8], [4], [6]])
    support = episodes.support
    cases = replace(support.cases, mask=mask)
    return replace(episodes, support=replace(support, cases=cases, targets=support.targets.masked_fill(~mask, 0)))


def _slopes(learner: AdaptiveDeepKernel, episodes: EpisodeBatch) -> dict[str, Tensor]:
    names, values = zip(*learner.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(learner.meta_loss(episodes), values), strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_the_hyper_gradient_is_that_of_finite_differences_with_every_kernel_fitted_again(kind: TaskKind) -> None:
    learner, episodes, small = _learner(), _ragged(kind), 1e-5
    found = _slopes(learner, episodes)
    assert set(found) == {"encoder.map.weight", "encoder.map.bias"}
    flat, want = [], []
    for name, value in learner.named_parameters():
        entries = value.data.view(-1)
        for entry in range(entries.numel()):
            kept, ends = float(entries[entry]), []
            for moved in (kept + small, kept - small):
                entries[entry] = moved
                ends.append(float(learner.meta_loss(episodes).detach()))
            entries[entry] = kept
            want.append((ends[0] - ends[1]) / (2 * small))
            flat.append(float(found[name].reshape(-1)[entry]))
    assert max(map(abs, want)) > 1e-3
    np.testing.assert_allclose(flat, want, rtol=1e-6, atol=1e-6 * max(map(abs, want)))


def test_a_gradient_that_forgets_how_the_kernel_was_fitted_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    learner, episodes = _learner(), _ragged("regression")
    whole, fit = _slopes(learner, episodes), adaptive_deep_kernel.fit_kernel
    monkeypatch.setattr(adaptive_deep_kernel, "fit_kernel", lambda *given: fit(*given).detach())
    direct = _slopes(learner, episodes)
    for name, slope in whole.items():
        assert float((direct[name] - slope).abs().max()) > 0.01 * float(slope.abs().max())


def test_the_law_is_scikit_learns_under_the_kernel_that_was_fitted() -> None:
    learner, episodes = _learner(), _ragged("regression")
    with torch.no_grad():
        state = learner.adapt(episodes.support)
        law = learner.predict(state, episodes.query.cases)
        known, asked = (learner.encoder(part.features).numpy() for part in (episodes.support, episodes.query))
    for task, n in enumerate([8, 4, 6]):
        length, scale, noise = state.hyper[task].exp().tolist()
        squares = ((known[task, :n, None] - known[task, None, :n]) ** 2).sum(-1)
        usual = math.sqrt(0.5 * squares[np.triu_indices(n, 1)].mean())
        kernel = ConstantKernel(scale) * Matern(length * usual, nu=2.5)
        process = GaussianProcessRegressor(
            kernel + ConstantKernel(MEAN_VARIANCE) + WhiteKernel(noise), alpha=0, optimizer=None
        ).fit(known[task, :n], episodes.support.targets[task, :n].numpy())
        mean, deviation = process.predict(asked[task], return_std=True)
        np.testing.assert_allclose(law.mean[task].numpy(), mean, atol=1e-8)
        np.testing.assert_allclose(law.stddev[task].numpy(), deviation, atol=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_the_unit_of_the_embedding_changes_nothing(kind: TaskKind) -> None:
    episodes = vector_episodes(kind)
    learner = AdaptiveDeepKernel(VectorRaw()).double()
    law = learner.predict(learner.adapt(episodes.support), episodes.query.cases)
    wider = EpisodeBatch(
        *(replace(part, cases=replace(part.cases, features={"vector": 30 * part.features["vector"]}))
          for part in (episodes.support, episodes.query)),
        episodes.task_index,
    )  # fmt: skip
    again = learner.predict(learner.adapt(wider.support), wider.query.cases)
    torch.testing.assert_close(
        again.log_prob(wider.query.targets), law.log_prob(episodes.query.targets), atol=1e-8, rtol=0
    )


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_hyper_parameters_and_hyper_gradient_are_finite_at_one_to_five_cases(n: int) -> None:
    learner, episodes = _learner(), vector_episodes("regression")
    few = replace(episodes, support=episodes.support.map(lambda each: each[:, :n]))
    assert bool(learner.adapt(few.support).hyper.isfinite().all())
    assert all(bool(slope.isfinite().all()) for slope in _slopes(learner, few).values())


def test_equal_cases_with_unlike_targets_have_a_finite_hyper_gradient() -> None:
    learner, episodes = _learner(), vector_episodes("regression")
    support = episodes.support
    same = replace(support.cases, features={"vector": support.features["vector"][:, :1].expand(-1, 8, -1).clone()})
    slopes = _slopes(learner, replace(episodes, support=replace(support, cases=same)))
    assert all(bool(slope.isfinite().all()) for slope in slopes.values())


def test_a_support_of_one_class_is_refused() -> None:
    support = vector_episodes("multiclass").support
    with pytest.raises(TaskError, match="one class only"):
        _learner().adapt(support.with_targets(torch.zeros_like(support.targets)))


def _waves(count: int, seed: int, *, extra: int = 0) -> EpisodeBatch:
    """Waves of unlike pace in one coordinate, odd tasks slow and even ones fast; `extra` coordinates say nothing."""
    random = torch.Generator().manual_seed(seed)
    x = 4 * torch.rand(count, 36, 1 + extra, generator=random, dtype=torch.float64) - 2
    pace = torch.where(torch.arange(count) % 2 == 1, 0.7, 4.0).double()[:, None]
    phase = 6.28 * torch.rand(count, 1, generator=random, dtype=torch.float64)
    y = 1.4 * torch.sin(pace * x[..., 0] + phase) + 0.2 * torch.randn(count, 36, generator=random, dtype=torch.float64)
    known, asked = (vector_batch(x[:, part], y[:, part].clone()) for part in (slice(16), slice(16, 36)))
    return EpisodeBatch(known, asked, torch.arange(count))


def _likelihood(learner: AdaptiveDeepKernel, tasks: EpisodeBatch) -> float:
    with torch.no_grad():
        law = learner.predict(learner.adapt(tasks.support), tasks.query.cases)
        return float(tasks.query.log_likelihood(law).mean())


def test_slow_and_fast_waves_get_long_and_short_lengths_and_a_better_law_than_any_one_length_gives() -> None:
    tasks = _waves(40, 0)
    own = AdaptiveDeepKernel(VectorRaw(1), spread=1.0).double()
    length = own.adapt(tasks.support).hyper[:, 0]
    assert float(length[1::2].min()) > float(length[::2].max())
    shared = []
    for centre in torch.linspace(-2, 1.5, 15).tolist():
        one = AdaptiveDeepKernel(VectorRaw(1), noise=0.05, spread=1e-3).double()
        one.prior = one.prior._replace(centre=(centre, *one.prior.centre[1:]))
        shared.append(_likelihood(one, tasks))
    assert int(np.argmax(shared)) not in (0, 14)
    assert _likelihood(own, tasks) > max(shared) + 0.05


class Scaled(Encoder):
    """Each coordinate times a number that is learned."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.dim = size
        self.scale = torch.nn.Parameter(torch.ones(size))

    def forward(self, features: Features) -> Tensor:
        return features["vector"] * self.scale


def test_meta_training_finds_the_coordinate_that_matters_and_nears_the_likelihood_of_knowing_it() -> None:
    new, training = _waves(40, 1, extra=3), _waves(20, 2, extra=3)
    learner, knowing = (AdaptiveDeepKernel(Scaled(4)).double() for _ in range(2))
    knowing.encoder.scale.data = torch.tensor([1.0, 0.0, 0.0, 0.0]).double()
    before, best = _likelihood(learner, new), _likelihood(knowing, new)
    optimiser = torch.optim.Adam(learner.parameters(), 0.2)
    for _ in range(12):
        loss = learner.meta_loss(training)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    weight = learner.encoder.scale.detach().abs()
    assert float(weight[0]) > 5 * float(weight[1:].max())
    assert before < best - 0.3
    assert _likelihood(learner, new) > best - 0.05
