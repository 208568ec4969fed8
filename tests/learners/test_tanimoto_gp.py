"""The Gaussian process from scratch against scikit-learn's, cell by cell."""

import numpy as np
import torch
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from torch.distributions import Categorical, Normal

from metamedica.functional.gaussian_process import MEAN_VARIANCE
from metamedica.learners.tanimoto_gp import TanimotoGP
from metamedica.testing import VectorRaw
from metamedica.types import CaseBatch, LabelledBatch


def _data(n: int, m: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, 3)), rng.normal(size=n), rng.normal(size=(m, 3))


def _cases(x: np.ndarray) -> CaseBatch:
    return CaseBatch({"vector": torch.tensor(x)[None]}, torch.ones(1, len(x), dtype=torch.bool))


def test_one_noise_value_gives_scikit_learns_gaussian_process() -> None:
    x, y, z = _data(12, 6)
    noise = 0.25
    kernel = ConstantKernel(1 - noise, "fixed") * RBF(1.0, "fixed") + ConstantKernel(MEAN_VARIANCE, "fixed")
    known = GaussianProcessRegressor(kernel + WhiteKernel(noise, "fixed"), alpha=0, optimizer=None).fit(x, y)
    want_mean, want_std = known.predict(z, return_std=True)
    ours = TanimotoGP(VectorRaw(3), noises=(noise,)).double()
    law = ours.predict(ours.adapt(LabelledBatch(_cases(x), torch.tensor(y)[None], "regression")), _cases(z))
    assert isinstance(law, Normal)
    np.testing.assert_allclose(law.mean[0].numpy(), want_mean, atol=1e-9)
    np.testing.assert_allclose(law.stddev[0].numpy(), want_std, atol=1e-9)


def test_several_noise_values_are_averaged_by_their_marginal_likelihood() -> None:
    x, y, z = _data(12, 6)
    noises = (0.1, 0.6)
    means, evidence = [], []
    for noise in noises:
        kernel = ConstantKernel(1 - noise, "fixed") * RBF(1.0, "fixed") + ConstantKernel(MEAN_VARIANCE, "fixed")
        known = GaussianProcessRegressor(kernel + WhiteKernel(noise, "fixed"), alpha=0, optimizer=None).fit(x, y)
        means.append(known.predict(z))
        evidence.append(known.log_marginal_likelihood_value_)
    weight = np.exp(evidence - np.max(evidence))
    want = np.average(means, axis=0, weights=weight)
    ours = TanimotoGP(VectorRaw(3), noises=noises)
    ours.noise = torch.tensor(noises, dtype=torch.float64)
    law = ours.double().predict(ours.adapt(LabelledBatch(_cases(x), torch.tensor(y)[None], "regression")), _cases(z))
    np.testing.assert_allclose(law.mean[0].numpy(), want, atol=1e-9)


def test_classes_follow_their_neighbours() -> None:
    x = np.array([[0.0, 0, 0], [0.1, 0, 0], [3, 0, 0], [3.1, 0, 0], [0, 4, 0], [0, 4.1, 0]])
    learner = TanimotoGP(VectorRaw(3)).double()
    batch = LabelledBatch(_cases(x), torch.tensor([[0, 0, 1, 1, 2, 2]]), "multiclass", 3)
    law = learner.predict(learner.adapt(batch), _cases(x + 0.05))
    assert isinstance(law, Categorical)
    assert law.probs[0].argmax(-1).tolist() == [0, 0, 1, 1, 2, 2]


def test_it_has_nothing_to_learn_from_earlier_tasks() -> None:
    assert not TanimotoGP(VectorRaw(3)).learns_from_tasks()
