"""What many tasks have in common, in closed form: a mean function shared by all, and the covariance of what is a task's own.

A target of task t is (Leroy et al. 2022, doi:10.1007/s10994-022-06172-1)

    y_t(x) = b_t + m(x) + g_t(x) + e,    b_t ~ N(0, B),  g_t ~ GP(0, sum_c v_c K_c),  e ~ N(0, s),

with one m for all tasks. Here m(x) = w^T phi(x) with w ~ N(0, I / strength): phi is a linear part and an RBF part by landmarks. Given
Sigma_t, the covariance of task t's targets without m, the posterior mean of w is that of generalised least squares with a ridge,

    w = (strength I + sum_t Phi_t^T Sigma_t^-1 Phi_t)^-1 sum_t Phi_t^T Sigma_t^-1 y_t,

so that fifty analogues of one series count for little more than one of them.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from scipy.optimize import minimize
from torch import Tensor
from torch.nn.functional import pad

from metamedica.errors import TaskError
from metamedica.functional.gaussian_process import signed_targets
from metamedica.functional.kernels import rbf_kernel
from metamedica.types import LabelledBatch, RawEncoder, TaskKind

MOST_SAMPLED = 64
"""Cases of a task that say what its covariance is like."""
OFFSET_VARIANCE = 1.0
"""B: prior variance of a task's own level, in standard units."""
START_NOISE = 0.3
"""Noise before anything was learned; the kernels share what is left of 1."""
_LEAST_SHARE = 1e-3
_SPREAD = 3.0
_ROUNDING = 1e-6


class OwnCovariance(NamedTuple):
    """Covariance of what is a task's own: `sum_c weights_c K_c + OFFSET_VARIANCE 1 1^T + noise I`, in standard units."""

    weights: Float[Tensor, " kernels"]
    noise: Float[Tensor, ""]


class CommonMean(NamedTuple):
    """m(x) = raw(x) linear + k(summary(x), landmarks) weights, with k the RBF kernel of length 1 per column."""

    linear: Float[Tensor, " raw"]
    landmarks: Float[Tensor, "landmarks summary"]
    weights: Float[Tensor, " landmarks"]

    def __call__(
        self, raw: Float[Tensor, "*batch n raw"], summary: Float[Tensor, "*batch n summary"]
    ) -> Float[Tensor, "*batch n"]:
        """Return m of each case."""
        rows = summary.reshape(-1, summary.shape[-1])
        curved = rbf_kernel(rows, self.landmarks) @ self.weights
        return raw @ self.linear + curved.reshape(summary.shape[:-1])


def fit_own_covariance(
    kernels: Float[Tensor, "tasks kernels n n"], targets: Float[Tensor, "tasks n"], mask: Bool[Tensor, "tasks n"]
) -> OwnCovariance:
    """Return the weights and the noise that maximise the marginal likelihood summed over tasks (type II, with a wide log-normal prior).

    The prior (standard deviation `_SPREAD` of each logarithm) keeps all finite where the tasks say nothing.

    Args:
        kernels: 1 on the diagonal; not read where padded.
        targets: standardised; 0 where padded.
        mask: real cases.
    """
    kernels, targets = kernels.double(), targets.double()
    count = kernels.shape[1]
    start = torch.tensor([math.log((1 - START_NOISE) / count)] * count + [math.log(START_NOISE)]).double()
    both = mask[:, :, None] & mask[:, None, :]
    eye = torch.eye(mask.shape[1], dtype=torch.float64)

    def objective(at: Any) -> tuple[float, Any]:
        logarithms = torch.tensor(at, dtype=torch.float64).requires_grad_()
        *weights, noise = logarithms.exp().unbind()
        covariance = torch.einsum("c,tcij->tij", torch.stack(weights), kernels) + OFFSET_VARIANCE + noise * eye
        cholesky = torch.linalg.cholesky(torch.where(both, covariance, eye))
        whitened = torch.linalg.solve_triangular(cholesky, targets[..., None], upper=False)
        loss = 0.5 * whitened.square().sum() + cholesky.diagonal(dim1=-2, dim2=-1).log().sum()
        loss = loss + 0.5 * ((logarithms - start) / _SPREAD).square().sum()
        (slope,) = torch.autograd.grad(loss, logarithms)
        return float(loss.detach()), slope.numpy()

    with torch.enable_grad():
        found = minimize(objective, start.numpy(), jac=True, method="L-BFGS-B", options={"maxiter": 60})
    best = torch.tensor(found.x, dtype=torch.float64).exp()
    return OwnCovariance(best[:-1], best[-1].clamp(min=_LEAST_SHARE))


def some_cases(task: LabelledBatch, most: int, *, even: bool = False) -> LabelledBatch:
    """Return a batch of one task with at most so many of its cases, drawn by chance: the same ones every time.

    With classes, their shares are kept as nearly as the number allows, and both stay; or, where asked for, the classes come as evenly as
    there are cases of each.
    """
    n = task.mask.shape[1]
    if n <= most:
        return task
    order = torch.randperm(n, generator=torch.Generator().manual_seed(n))
    if task.kind != "regression":
        labels = task.targets[0, order]
        rank = torch.zeros(n)
        for label in torch.unique(labels):
            members = (labels == label).nonzero()[:, 0]
            place = torch.arange(len(members)) + 0.5
            rank[members] = place if even else place / len(members)
            rank[members[0]] = 0.0
        order = order[rank.argsort(stable=True)]
    return task.map(lambda value: value[:, order[:most]])


def spread_out(rows: Float[Tensor, "cases columns"], most: int) -> Float[Tensor, "some columns"]:
    """Return at most so many different rows, drawn by chance: the same ones whatever the order of the rows."""
    different = torch.unique(rows, dim=0)
    order = torch.randperm(len(different), generator=torch.Generator().manual_seed(0))
    some: Tensor = different[order[:most]]
    return some


def whiten(
    own: OwnCovariance, kernels: Float[Tensor, "kernels n n"], values: Float[Tensor, "n columns"]
) -> Float[Tensor, "n columns"]:
    """Return L^-1 values, with L the Cholesky factor of one task's own covariance; in double precision."""
    covariance = torch.einsum("c,cij->ij", own.weights, kernels.double()) + OFFSET_VARIANCE
    covariance.diagonal().add_(own.noise)
    cholesky = torch.linalg.cholesky(covariance)
    whitened: Tensor = torch.linalg.solve_triangular(cholesky, values.double(), upper=False)
    return whitened


def landmark_basis(landmarks: Float[Tensor, "landmarks summary"]) -> Float[Tensor, "landmarks rank"]:
    """Return A such that k(x, landmarks) A are features whose inner products are Nystroem's approximation of the RBF kernel.

    A = U diag(e)^-1/2 over the eigenvalues e of k(landmarks, landmarks) that are not rounding.
    """
    values, vectors = torch.linalg.eigh(rbf_kernel(landmarks, landmarks).double())
    kept = values > _ROUNDING * values[-1]
    basis: Tensor = vectors[:, kept] / values[kept].sqrt()
    return basis


def ridge_over_tasks(
    whitened: Iterable[tuple[Float[Tensor, "n columns"], Float[Tensor, " n"]]], columns: int, *, strength: float
) -> Float[Tensor, " columns"]:
    """Return w of the module's second formula.

    Args:
        whitened: per task L^-1 Phi and L^-1 y.
        columns: of Phi.
        strength: inverse prior variance of each weight.
    """
    gram = strength * torch.eye(columns, dtype=torch.float64)
    moment = torch.zeros(columns, dtype=torch.float64)
    for design, targets in whitened:
        gram.addmm_(design.mT, design)
        moment.addmv_(design.mT, targets)
    solved: Tensor = torch.linalg.solve(gram, moment)
    return solved


class Common(NamedTuple):
    """What all tasks have in common: the covariance of what is a task's own, by kind, the mean, and the kind of task that taught the mean."""

    own: dict[TaskKind, OwnCovariance]
    mean: CommonMean
    taught: TaskKind


def standard_targets(task: LabelledBatch) -> Float[Tensor, " n"]:
    """Return the targets of one task in double precision; those of classes (+1 / -1) with mean 0 and variance 1.

    In tasks with few positives a positive then says more than a negative, and what is learned fits a support with as many of
    one class as of the other, whose targets have that variance too.

    Raises:
        TaskError: a task with classes whose cases are of one class only.
    """
    targets: Tensor = signed_targets(task, torch.float64)[0, :, 0]
    if task.kind == "regression":
        return targets
    return (targets - targets.mean()) / targets.std(correction=0)


class _Sample(NamedTuple):
    """What a few cases of one task say of its covariance and of the features of m."""

    kernels: Float[Tensor, "kernels n n"]
    targets: Float[Tensor, " n"]
    summary: Float[Tensor, "n summary"]
    size: Float[Tensor, ""]
    """Mean squared length of the raw vectors."""
    width: int
    """Length of the raw vectors."""


def fit_common(
    tasks: Iterable[LabelledBatch],
    raw: RawEncoder,
    kinds: Sequence[TaskKind],
    *,
    strength: float,
    n_landmarks: int,
    most_cases: int,
) -> Common:
    """Return what the tasks have in common. They are gone through twice; no more than one whole task is held at a time.

    Args:
        tasks: each a batch of one whole task without padding, standardised.
        raw: `kernels` give the covariance, the raw vectors and `summary` the features of m.
        kinds: of the tasks that count; m is learned from those of the first kind that occurs.
        strength: inverse prior variance of m's weights, each of a feature of mean square 1.
        n_landmarks: most cases at which the RBF part of m stands.
        most_cases: a task with more is cut down to so many, its classes as evenly as can be, for learning m.

    Raises:
        TaskError: no task of these kinds.
    """
    samples: dict[TaskKind, list[_Sample]] = {kind: [] for kind in kinds}
    for task in tasks:
        if task.kind in samples:
            samples[task.kind].append(_sample(some_cases(task, MOST_SAMPLED), raw))
    own = {kind: _own_covariance(each) for kind, each in samples.items() if each}
    if not own:
        raise TaskError(f"no task is of kind {' or '.join(kinds)}; choose another learner")
    taught = next(iter(own))
    size = torch.stack([sample.size for sample in samples[taught]]).mean().sqrt().double()
    landmarks = spread_out(torch.cat([sample.summary for sample in samples[taught]]), n_landmarks)
    basis = landmark_basis(landmarks)
    width = samples[taught][0].width

    def described(cases: LabelledBatch) -> Float[Tensor, "n columns"]:
        features = cases.features
        curved = rbf_kernel(raw.summary(features)[0], landmarks).double() @ basis
        columns = [raw(features)[0].double() / size, curved, standard_targets(cases)[:, None]]
        return whiten(own[taught], raw.kernels(features, features)[0], torch.cat(columns, dim=1))

    cut = (described(some_cases(task, most_cases, even=True)) for task in tasks if task.kind == taught)
    solved = ridge_over_tasks(((each[:, :-1], each[:, -1]) for each in cut), width + basis.shape[1], strength=strength)
    mean = CommonMean(solved[:width] / size, landmarks.double(), basis @ solved[width:])
    return Common(own, mean, taught)


def together(parts: Sequence[tuple[Tensor, ...]]) -> list[Tensor]:
    """Return the tensors of all tasks, cases padded, and the mask of the real cases."""
    sizes = [len(each[-1]) for each in parts]
    most = max(sizes)

    def stacked(values: Sequence[Tensor]) -> Tensor:
        return torch.stack([pad(each, (0, most - each.shape[-1]) * min(each.ndim, 2)) for each in values])

    mask = torch.arange(most) < torch.tensor(sizes)[:, None]
    return [*(stacked(values) for values in zip(*parts, strict=True)), mask]


def _sample(batch: LabelledBatch, raw: RawEncoder) -> _Sample:
    vectors = raw(batch.features)[0]
    kernels, summary = raw.kernels(batch.features, batch.features)[0], raw.summary(batch.features)[0]
    return _Sample(kernels, standard_targets(batch).to(vectors), summary, vectors.square().sum(-1).mean(), raw.dim)


def _own_covariance(samples: Sequence[_Sample]) -> OwnCovariance:
    kernels, targets, mask = together([(sample.kernels, sample.targets) for sample in samples])
    return fit_own_covariance(kernels, targets, mask)
