"""The weight of a kernel and a noise share, cell by cell, against refitting without each case."""

import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from metamedica.functional.hidden_labels import HiddenLabelProcess
from metamedica.learners.multi_kernel_gp import MultiKernelGP
from metamedica.testing import VectorRaw
from metamedica.types import Features, LabelledBatch, Paper, TaskKind
from refits import TwoLengths, few_cases, told_by_refits

NOISES = (0.1, 0.6)


class OneLength(VectorRaw):
    """Vectors compared by one RBF kernel."""

    length = 1.0

    def kernels(self, left: Features, right: Features) -> Tensor:
        return torch.exp(-0.5 * torch.cdist(left["vector"], right["vector"]) ** 2 / self.length**2)[..., None, :, :]


def _hidden(support: LabelledBatch, length: float, noise: float) -> Tensor:
    """The log-likelihood of each case under one kernel and noise, fitted without it."""
    raw = OneLength()
    raw.length = length
    return told_by_refits(MultiKernelGP(raw, noises=(noise,)).double(), support)


class Leaning(HiddenLabelProcess):
    """A process with a prior that favours later cells."""

    paper = Paper("none", "none", 2000, "none")

    def cell_prior(self, kind: TaskKind, like: Float[Tensor, "tasks cells"]) -> Float[Tensor, " cells"]:
        return 0.5 * torch.arange(like.shape[1]).to(like)


@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression"])
def test_a_cell_counts_by_its_prior_and_how_probable_it_makes_each_case_while_that_is_hidden(kind: TaskKind) -> None:
    support = few_cases(kind)
    learner = Leaning(TwoLengths(), noises=NOISES).double()
    cells = torch.stack([_hidden(support, length, noise) for length in (1.0, 3.0) for noise in NOISES])
    noise = learner.noise
    torch.testing.assert_close(noise, torch.tensor(NOISES).double())
    state = learner.adapt(support)
    torch.testing.assert_close(
        state.posterior.log_weight[0], torch.log_softmax(cells.sum(1) + 0.5 * torch.arange(4), 0), atol=1e-6, rtol=0.0
    )
