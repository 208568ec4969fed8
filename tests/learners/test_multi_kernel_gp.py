"""The average over kernels against scikit-learn's Gaussian processes, cell by cell."""

import numpy as np
import torch
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, Kernel, WhiteKernel
from torch import Tensor
from torch.distributions import Categorical, Normal

from metamedica.functional.gaussian_process import MEAN_VARIANCE
from metamedica.learners.multi_kernel_gp import MultiKernelGP
from metamedica.learners.tanimoto_gp import TanimotoGP
from metamedica.testing import VectorRaw
from metamedica.types import CaseBatch, Features, LabelledBatch


class TwoLengths(VectorRaw):
    """Vectors compared by RBF kernels of length 1 and 3."""

    def kernels(self, left: Features, right: Features) -> Tensor:
        squares = torch.cdist(left["vector"], right["vector"]) ** 2
        return torch.stack([torch.exp(-0.5 * squares / length**2) for length in (1.0, 3.0)], dim=-3)


def _cases(x: np.ndarray) -> CaseBatch:
    return CaseBatch({"vector": torch.tensor(x)[None]}, torch.ones(1, len(x), dtype=torch.bool))


def _data() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(12, 4)), rng.normal(size=12), rng.normal(size=(6, 4))


def test_kernels_and_noise_are_averaged_by_their_marginal_likelihood() -> None:
    x, y, z = _data()
    noises = (0.1, 0.6)
    means, variances, evidence = [], [], []
    for length in (1.0, 3.0):
        for noise in noises:
            kernel: Kernel = ConstantKernel(1 - noise, "fixed") * RBF(length, "fixed")
            kernel = kernel + ConstantKernel(MEAN_VARIANCE, "fixed") + WhiteKernel(noise, "fixed")
            known = GaussianProcessRegressor(kernel, alpha=0, optimizer=None).fit(x, y)
            mean, std = known.predict(z, return_std=True)
            means.append(mean)
            variances.append(std**2)
            evidence.append(known.log_marginal_likelihood_value_)
    weight = np.exp(evidence - np.max(evidence))
    centre = np.average(means, axis=0, weights=weight)
    spread = np.average(np.array(variances) + (np.array(means) - centre) ** 2, axis=0, weights=weight)
    ours = MultiKernelGP(TwoLengths(), noises=noises)
    ours.noise = torch.tensor(noises, dtype=torch.float64)
    law = ours.predict(ours.adapt(LabelledBatch(_cases(x), torch.tensor(y)[None], "regression")), _cases(z))
    assert isinstance(law, Normal)
    np.testing.assert_allclose(law.mean[0].numpy(), centre, atol=1e-9)
    np.testing.assert_allclose(law.variance[0].numpy(), spread, atol=1e-9)


def test_with_the_similarity_alone_it_is_the_gaussian_process_with_that_kernel() -> None:
    x, y, z = _data()
    support = LabelledBatch(_cases(x), torch.tensor((y > 0).astype(np.int64))[None], "binary", 2)
    laws = []
    for made in (MultiKernelGP, TanimotoGP):
        learner = made(VectorRaw()).double()
        law = learner.predict(learner.adapt(support), _cases(z))
        assert isinstance(law, Categorical)
        laws.append(law.probs)
    torch.testing.assert_close(laws[0], laws[1], atol=1e-12, rtol=0)


def test_hiding_a_case_by_the_formula_is_hiding_it_in_truth() -> None:
    x, y, _ = _data()
    learner = MultiKernelGP(TwoLengths()).double()
    support = LabelledBatch(_cases(x), torch.tensor(y)[None], "regression")
    ours = learner.leave_one_out(support)[0]
    for i in range(len(x)):
        rest = np.delete(np.arange(len(x)), i)
        state = learner.adapt(LabelledBatch(_cases(x[rest]), torch.tensor(y[rest])[None], "regression"))
        law = learner.predict(state, _cases(x[i : i + 1]))
        torch.testing.assert_close(law.log_prob(torch.tensor(y[i : i + 1])[None])[0, 0], ours[i], atol=1e-9, rtol=0)


def test_it_has_nothing_to_learn_from_earlier_tasks() -> None:
    assert not MultiKernelGP(TwoLengths()).learns_from_tasks()
