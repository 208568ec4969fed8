"""Generated functions are what their papers say, and their exact posterior is scikit-learn's."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ExpSineSquared, Kernel, Matern, WhiteKernel
from torch.distributions import Normal

from metamedica.data.generated_functions import FunctionFamily, FunctionPlan, GaussianProcesses, Sinusoids
from metamedica.errors import InputError
from metamedica.types import EpisodeBatch

PLAN = FunctionPlan(tasks_per_batch=6, support=(3, 9), query=7, places=(-5.0, 5.0))
NOISE = 0.05
KERNELS: dict[str, Kernel] = {
    "eq": RBF(0.25),
    "matern": Matern(0.25, nu=2.5),
    "weakly_periodic": RBF(0.5) * ExpSineSquared(1.0, 0.25),
}
FAMILIES = [Sinusoids(PLAN, seed=0), *(GaussianProcesses(PLAN, seed=0, kernel=kernel) for kernel in KERNELS)]


def _all(episodes: EpisodeBatch) -> tuple[torch.Tensor, torch.Tensor]:
    """Places and targets of every case, `[tasks, cases]`."""
    parts = (episodes.support, episodes.query)
    return torch.cat([part.features["x"][..., 0] for part in parts], 1), torch.cat([part.targets for part in parts], 1)


@pytest.mark.parametrize("functions", FAMILIES)
def test_a_batch_is_a_pure_function_of_seed_and_number(functions: FunctionFamily) -> None:
    first, again, other = functions.batch(4), functions.batch(4), functions.batch(5)
    for one, two in zip(_all(first), _all(again), strict=True):
        assert torch.equal(one, two)
    assert not torch.isin(_all(first)[0], _all(other)[0]).any()
    assert first.support.targets.dtype == torch.float32
    assert first.support.mask.all()
    assert first.query.mask.all()


def test_two_seeds_share_no_function() -> None:
    one, two = (Sinusoids(PLAN, seed=seed).batch(0) for seed in (0, 1))
    assert not torch.isin(_all(one)[1], _all(two)[1]).any()


def test_every_size_between_the_fewest_and_the_most_known_cases_comes_up() -> None:
    functions = Sinusoids(PLAN, seed=0)
    assert {functions.batch(number).support.mask.shape[1] for number in range(120)} == set(range(3, 10))


def test_known_and_asked_cases_lie_where_the_plan_says() -> None:
    episodes = Sinusoids(replace(PLAN, asked=(5.0, 10.0)), seed=0).batch(0)
    known, asked = episodes.support.features["x"], episodes.query.features["x"]
    assert -5 <= known.min() < known.max() <= 5 <= asked.min() < asked.max() <= 10


def test_a_sinusoid_of_the_maml_paper_has_its_amplitude_and_phase() -> None:
    x, y = _all(Sinusoids(replace(PLAN, tasks_per_batch=400), seed=0).batch(0))
    waves = torch.stack([x.sin(), x.cos()], -1).double()
    parts = torch.linalg.lstsq(waves, y.double()[..., None]).solution
    assert (waves @ parts - y[..., None]).abs().max() < 1e-4  # nothing but A sin(x - phase)
    amplitude, phase = parts.square().sum((1, 2)).sqrt(), torch.atan2(-parts[:, 1, 0], parts[:, 0, 0])
    for value, low, high in ((amplitude, 0.1, 5.0), (phase, 0.0, math.pi)):
        assert low - 1e-4 <= value.min() < low + 0.05 * (high - low)
        assert high - 0.05 * (high - low) < value.max() <= high + 1e-4
        assert value.mean() == pytest.approx((low + high) / 2, abs=0.1 * (high - low))


def test_the_noise_of_a_sinusoid_has_the_standard_deviation_asked_for() -> None:
    clean, noisy = (Sinusoids(replace(PLAN, query=300), seed=0, noise=noise).batch(0) for noise in (0.0, 0.1))
    assert (noisy.query.targets - clean.query.targets).std() == pytest.approx(0.1, rel=0.1)


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_posterior_is_that_of_another_library(kernel: str) -> None:
    functions = GaussianProcesses(replace(PLAN, places=(-2.0, 2.0)), seed=1, kernel=kernel, noise=NOISE)
    episodes = functions.batch(0)
    ours = functions.posterior(episodes.support, episodes.query.cases)
    for task in range(PLAN.tasks_per_batch):
        theirs = GaussianProcessRegressor(KERNELS[kernel] + WhiteKernel(NOISE), optimizer=None)
        theirs.fit(episodes.support.features["x"][task].double(), episodes.support.targets[task].double())
        mean, covariance = theirs.predict(episodes.query.features["x"][task].double(), return_cov=True)
        np.testing.assert_allclose(ours.mean[task], mean, atol=1e-8)
        np.testing.assert_allclose(ours.covariance_matrix[task], covariance, atol=1e-8)


@pytest.mark.parametrize(
    ("kernel", "diagonal", "trivial"),
    [("eq", 0.40, 1.19), ("matern", 0.40, 1.08), ("weakly_periodic", 0.38, 0.82)],
)
def test_the_tasks_are_those_of_the_thesis_whose_tables_are_compared(
    kernel: str, diagonal: float, trivial: float
) -> None:
    """Rows "Diagonal GP" and "Trivial" of Bruinsma's tables need no training: the draws, sizes and measure must be theirs."""
    found: dict[str, list[torch.Tensor]] = {"diagonal": [], "trivial": []}
    for size in range(31):
        plan = FunctionPlan(tasks_per_batch=60, support=(size, size), query=50, places=(-2.0, 2.0))
        functions = GaussianProcesses(plan, seed=2, kernel=kernel)
        episodes = functions.batch(0)
        exact = functions.posterior(episodes.support, episodes.query.cases)
        targets = episodes.query.targets.double()
        joint = exact.log_prob(targets) / 50
        found["diagonal"].append(joint - Normal(exact.mean, exact.variance.sqrt()).log_prob(targets).mean(1))
        found["trivial"].append(joint - Normal(0.0, 1.05**0.5).log_prob(targets).mean(1))
    assert float(torch.cat(found["diagonal"]).mean()) == pytest.approx(diagonal, abs=0.025)
    assert float(torch.cat(found["trivial"]).mean()) == pytest.approx(trivial, abs=0.025)


@pytest.mark.parametrize("kernel", KERNELS)
def test_draws_are_white_under_their_own_law_also_with_nothing_known(kernel: str) -> None:
    plan = FunctionPlan(tasks_per_batch=300, support=(0, 0), query=12, places=(-2.0, 2.0))
    functions = GaussianProcesses(plan, seed=3, kernel=kernel)
    episodes = functions.batch(0)
    law = functions.posterior(episodes.support, episodes.query.cases)
    white = torch.linalg.solve_triangular(law.scale_tril, episodes.query.targets.double()[..., None], upper=False)
    assert float(white.mean()) == pytest.approx(0, abs=0.06)
    assert float(white.var()) == pytest.approx(1, abs=0.08)


def test_a_plan_or_kernel_that_makes_no_sense_is_refused_in_one_sentence() -> None:
    with pytest.raises(InputError, match="supports of 5 to 3"):
        FunctionPlan(tasks_per_batch=1, support=(5, 3), query=1, places=(0.0, 1.0))
    with pytest.raises(InputError, match="at least one query"):
        FunctionPlan(tasks_per_batch=1, support=(1, 1), query=0, places=(0.0, 1.0))
    with pytest.raises(InputError, match="got kernel 'cubic'"):
        GaussianProcesses(PLAN, seed=0, kernel="cubic")
    with pytest.raises(InputError, match="positive variance"):
        GaussianProcesses(PLAN, seed=0, kernel="eq", noise=0.0)
