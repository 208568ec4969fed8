"""Heads that tell the class of a pixel from its dense features: prototypes, ridge regression and logistic regression, all in closed form or nearly.

A head sees a sample of the support's labelled pixels, as many of each class where there are so many, and then weighs the classes as often as they
are (Elkan 2001: log-odds move by the logarithm of the change in prevalence).
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from metamedica.applications.segmentation.cases import UNLABELLED, LabelledPicture, Picture
from metamedica.functional.logistic import fit_logistic
from metamedica.functional.ridge import fit_ridge

PIXELS = 600
"""Labelled pixels that a head learns from: its closed forms take a matrix of this size."""
NEVER = -30.0
"""Score of a class that the support does not show."""
_LEAST = 1e-3


class PixelModel(ABC):
    """Tells the class of every pixel of an image; adapted, and not changed by what it is asked."""

    @abstractmethod
    def log_probabilities(self, picture: Picture) -> Float[Tensor, "classes height width"]:
        """Return the logarithm of each class's probability at every pixel of an image."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """Return all that it has learned."""


class LinearHead(PixelModel):
    """Scores that are linear in features, and the softmax of them.

    Args:
        centre: of each feature.
        scale: of each feature.
        weight: of standardised features.
        bias: of each class; `NEVER` for a class that the support does not show.
    """

    def __init__(
        self,
        centre: Float[Tensor, " features"],
        scale: Float[Tensor, " features"],
        weight: Float[Tensor, "features classes"],
        bias: Float[Tensor, " classes"],
    ) -> None:
        self.centre, self.scale, self.weight, self.bias = centre, scale, weight, bias

    def log_probabilities(self, picture: Picture) -> Float[Tensor, "classes height width"]:
        """Return the logarithm of each class's probability at every pixel of an image."""
        shifted = (picture.dense.float() - self.centre[:, None, None]) / self.scale[:, None, None]
        scores = torch.einsum("fhw,fc->chw", shifted, self.weight) + self.bias[:, None, None]
        return torch.log_softmax(scores, dim=0)

    def tensors(self) -> dict[str, Tensor]:
        """Return all that it has learned."""
        return {"centre": self.centre, "scale": self.scale, "weight": self.weight, "bias": self.bias}


class _Sample:
    """Standardised features of sampled pixels, their classes, and how much more often each class is than sampled."""

    def __init__(self, pairs: Sequence[LabelledPicture], n_classes: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        labels = torch.cat([pair.classes.flatten() for pair in pairs])
        there = [(labels == each).nonzero()[:, 0] for each in range(n_classes)]
        self.shown = torch.tensor([len(each) > 0 for each in there])
        share = PIXELS // max(1, int(self.shown.sum()))
        chosen = [each[torch.randperm(len(each), generator=generator)[:share]].sort().values for each in there]
        at = torch.cat(chosen).sort().values
        start, rows = 0, []
        for pair in pairs:
            found = pair.picture.dense.flatten(1)
            end = start + pair.classes.numel()
            rows.append(found[:, at[(at >= start) & (at < end)] - start].T)
            start = end
        features = torch.cat(rows).float()
        self.classes: Int[Tensor, " n"] = labels[at]
        self.centre = features.mean(0)
        self.scale = features.std(0).clamp(min=_LEAST)
        self.inputs = ((features - self.centre) / self.scale)[None]
        self.mask = torch.ones(1, len(features), dtype=torch.bool)
        self.members = torch.nn.functional.one_hot(self.classes, n_classes).float()
        counts = torch.tensor([float(len(each)) for each in there])
        sampled = self.members.sum(0)
        total = float((labels != UNLABELLED).sum())
        often = (counts / total).log() - (sampled / sampled.sum()).log()
        self.prior = torch.where(self.shown, often, torch.full_like(often, NEVER))


def fit_prototypes(pairs: Sequence[LabelledPicture], n_classes: int, *, seed: int = 0) -> LinearHead:
    """Return the head of minus half the squared distance from each class's mean feature, all classes with one covariance.

    Snell et al. 2017 (arXiv:1703.05175) with a Mahalanobis distance, shrunk towards features without correlation (Ledoit and Wolf's idea, with a
    fixed tenth); scores are linear, as the squared length of a pixel's own features is common to all classes.

    Args:
        pairs: of the support, with labelled pixels of two classes or more.
        n_classes: declared classes.
        seed: of the sampled pixels.
    """
    sample = _Sample(pairs, n_classes, seed)
    inputs = sample.inputs[0]
    counts = sample.members.sum(0).clamp(min=1)
    means = sample.members.T @ inputs / counts[:, None]
    inner = inputs - means[sample.classes]
    covariance = inner.T @ inner / len(inner)
    covariance = 0.9 * covariance + 0.1 * torch.diag(covariance.diagonal()) + _LEAST * torch.eye(len(covariance))
    weight = torch.cholesky_solve(means.T, torch.linalg.cholesky(covariance))
    bias = sample.prior - 0.5 * (means.T * weight).sum(0)
    return LinearHead(sample.centre, sample.scale, weight, bias)


def fit_ridge_head(pairs: Sequence[LabelledPicture], n_classes: int, *, seed: int = 0) -> LinearHead:
    """Return the head of ridge regression on the classes' marks (1 or 0), penalties by leave-one-pixel-out.

    The marks' means are turned into scores by the noise that leave-one-out finds: (mean - 1/2) / variance is the log-odds of two normal laws around
    0 and 1. Arguments as those of `fit_prototypes`.
    """
    sample = _Sample(pairs, n_classes, seed)
    fit = fit_ridge(
        sample.inputs.expand(n_classes, -1, -1), sample.members.T.contiguous(), sample.mask.expand(n_classes, -1)
    )
    residual = torch.einsum("nd,cd->nc", sample.inputs[0], fit.weight) - torch.einsum(
        "cd,cd->c", fit.centre, fit.weight
    )
    noise = (residual + fit.offset - sample.members).square().mean(0).clamp(min=_LEAST).mean()
    bias = (fit.offset - torch.einsum("cd,cd->c", fit.centre, fit.weight)) / (2 * noise) + sample.prior
    return LinearHead(sample.centre, sample.scale, fit.weight.T / (2 * noise), bias)


def fit_logistic_head(pairs: Sequence[LabelledPicture], n_classes: int, *, seed: int = 0) -> LinearHead:
    """Return the head of softmax regression, penalty by approximate leave-one-pixel-out. Arguments as those of `fit_prototypes`."""
    sample = _Sample(pairs, n_classes, seed)
    shown = sample.shown.nonzero()[:, 0]
    fit = fit_logistic(sample.inputs, sample.members[None, :, shown], sample.mask)
    weight = torch.zeros(len(sample.centre), n_classes)
    bias = sample.prior.clone()
    weight[:, shown] = fit.weight[0]
    bias[shown] += fit.bias[0] - fit.centre[0] @ fit.weight[0]
    return LinearHead(sample.centre, sample.scale, weight, bias)
