"""The deep kernel contains the Gaussian process from scratch, and its prior leans where unseen tasks say."""

import numpy as np
import torch
from torch import Tensor, nn

from metamedica.functional.gaussian_process import Grid, average_law, condition, predictive
from metamedica.functional.process_learner import NOISES
from metamedica.learners.deep_kernel import WEIGHTS, DeepKernel
from metamedica.learners.tanimoto_gp import TanimotoGP
from metamedica.testing import VectorRaw
from metamedica.types import CaseBatch, Encoder, EpisodeBatch, Features, LabelledBatch


class Linear(Encoder):
    """A linear map, or one that keeps the coordinates in `keep` only."""

    def __init__(self, keep: list[int] | None = None) -> None:
        super().__init__()
        self.dim = 4
        self.map = nn.Linear(4, 4, bias=False)
        if keep is not None:
            with torch.no_grad():
                self.map.weight.zero_()
                for coordinate in keep:
                    self.map.weight[coordinate, coordinate] = 1.0

    def forward(self, features: Features) -> Tensor:
        return self.map(features["vector"])


class Codes(Linear):
    """Reads the block `kind` as whole numbers, which pick a row of a table."""

    codes = frozenset({"kind"})

    def forward(self, features: Features) -> Tensor:
        kind = features["kind"][..., 0]
        assert bool((kind == kind.round()).all())
        return super().forward(features) + kind.long()[..., None]


def _tasks(n: int, m: int, seed: int, *, signal: int = 0, count: int = 8) -> EpisodeBatch:
    """Tasks whose target is plus or minus the sign of one coordinate among four; the raw similarity sees all four."""
    rng = np.random.default_rng(seed)
    x = torch.tensor(rng.normal(size=(count, n + m, 4)), dtype=torch.float64)
    slope = torch.tensor([1.0, -1.0]).repeat(count)[:count, None]
    y = slope * torch.sign(x[..., signal]) + 0.1 * torch.tensor(rng.normal(size=(count, n + m)))

    def part(rows: slice) -> LabelledBatch:
        there = torch.ones(y[:, rows].shape, dtype=torch.bool)
        return LabelledBatch(CaseBatch({"vector": x[:, rows]}, there), y[:, rows], "regression")

    return EpisodeBatch(part(slice(0, n)), part(slice(n, n + m)), torch.arange(count))


def _learner(keep: list[int] | None = None) -> DeepKernel:
    torch.manual_seed(0)
    return DeepKernel(Linear(keep), VectorRaw(4), 8, feature_dropout=0.0).double()


def test_with_all_prior_on_the_raw_kernel_it_is_the_gaussian_process_from_scratch() -> None:
    episodes = _tasks(10, 7, 0)
    learner = _learner()
    n_noise = len(NOISES)
    learner.log_prior[n_noise:] = -torch.inf
    learner.log_prior[:n_noise] = -np.log(n_noise)
    scratch = TanimotoGP(VectorRaw(4)).double()
    scratch.noise = learner.noise[:n_noise]
    ours = learner.predict(learner.adapt(episodes.support), episodes.query.cases)
    theirs = scratch.predict(scratch.adapt(episodes.support), episodes.query.cases)
    torch.testing.assert_close(ours.mean, theirs.mean, atol=1e-10, rtol=0)
    torch.testing.assert_close(ours.stddev, theirs.stddev, atol=1e-10, rtol=0)


def test_one_cell_equals_the_exact_gaussian_process_with_that_kernel() -> None:
    episodes = _tasks(9, 5, 1, count=1)
    learner = _learner()
    cell = WEIGHTS.index((0.5, 0.5, 0.0)) * len(NOISES) + 2
    learner.log_prior[:] = -torch.inf
    learner.log_prior[cell] = 0.0
    with torch.no_grad():
        x, z = episodes.support.features["vector"], episodes.query.features["vector"]
        embed = learner.embed({"vector": torch.cat([x, z], 1)})[0]
        points = torch.cat([x, z], 1)
        raw = VectorRaw(4).similarity(points, points)[0]
        kernel = 0.5 * raw + 0.5 * raw * torch.exp(-0.5 * torch.cdist(embed, embed) ** 2 / 4)
        grid = Grid(torch.ones(1, 1, dtype=torch.float64), learner.noise[cell : cell + 1])
        posterior = condition(
            kernel[None, None, :9, :9],
            episodes.support.targets[..., None],
            episodes.support.mask,
            grid,
            torch.zeros(1).double(),
        )
        mean, variance = predictive(
            posterior, kernel[None, None, 9:, :9], torch.ones(1, 1, 5).double(), episodes.support.mask, grid
        )
        want = average_law(mean, variance, posterior.log_weight, "regression")
        law = learner.predict(learner.adapt(episodes.support), episodes.query.cases)
    torch.testing.assert_close(law.mean, want.mean, atol=1e-9, rtol=0)
    torch.testing.assert_close(law.stddev, want.stddev, atol=1e-9, rtol=0)


def test_the_fitted_prior_leans_on_an_embedding_that_helps_and_off_one_that_does_not() -> None:
    episodes = [_tasks(8, 30, seed) for seed in range(6)]

    def learned_share(learner: DeepKernel) -> float:
        learner.fit_prior(episodes)
        return float((learner.log_prior.exp()[:, None] * learner.weights)[:, 2].sum())

    assert learned_share(_learner(keep=[0])) > learned_share(_learner(keep=[2])) + 0.1


def test_fitting_the_prior_does_not_lower_the_likelihood_of_the_tasks_it_was_fitted_on() -> None:
    episodes = [_tasks(8, 30, seed) for seed in range(6)]
    learner = _learner(keep=[0])

    def likelihood() -> float:
        with torch.no_grad():
            laws = [learner.predict(learner.adapt(batch.support), batch.query.cases) for batch in episodes]
            return float(
                np.mean([float(b.query.log_likelihood(law).mean()) for b, law in zip(episodes, laws, strict=True)])
            )

    before = likelihood()
    learner.fit_prior(episodes)
    assert likelihood() > before


def test_meta_training_learns_the_coordinate_that_matters() -> None:
    learner = _learner()
    optimiser = torch.optim.Adam(learner.parameters(), 0.03)
    for step in range(150):
        loss = learner.meta_loss(_tasks(8, 24, 1000 + step % 10))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    importance = learner.encoder.map.weight.detach().norm(dim=0)
    assert int(importance.argmax()) == 0


def test_feature_dropout_leaves_codes_as_they_are() -> None:
    torch.manual_seed(0)
    learner = DeepKernel(Codes(), VectorRaw(4), 8, feature_dropout=0.9).double().train()
    features = {
        "vector": torch.ones(2, 5, 4, dtype=torch.float64),
        "kind": torch.tensor([1.0, 2, 3, 4, 5]).view(1, 5, 1),
    }
    seen: list[Features] = []
    learner.encoder.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    learner.embed(features)
    assert torch.equal(seen[0]["kind"], features["kind"])
    assert not torch.equal(seen[0]["vector"], features["vector"])
