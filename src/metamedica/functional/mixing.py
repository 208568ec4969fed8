"""Images mixed with others of the same task, and their targets with them: MixUp and CutMix inside episodes.

Tasks are the leading axis, and nothing of one task enters another. What comes out has soft targets, a share for each class, which a
cross-entropy takes as it takes classes (`soft_cross_entropy`).
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from metamedica.errors import InputError


class Mixed(NamedTuple):
    """Cases that are part one case and part another of their task.

    Args:
        images: as they came, mixed.
        targets: share of each class; the shares of a real case sum to one, padded cases have none.
        own: share of each case that is its own.
    """

    images: Float[Tensor, "tasks n channels height width"]
    targets: Float[Tensor, "tasks n classes"]
    own: Float[Tensor, "tasks n"]


def mixed_up(
    images: Float[Tensor, "tasks n channels height width"],
    targets: Int[Tensor, "tasks n"],
    mask: Bool[Tensor, "tasks n"],
    generator: torch.Generator,
    *,
    n_classes: int,
    alpha: float = 0.2,
) -> Mixed:
    """Return own * x_i + (1 - own) * x_j, own ~ Beta(alpha, alpha), j another case of the task (Zhang et al. 2018, arXiv:1710.09412, eq. 1).

    Args:
        images: padded where `mask` is false.
        targets: class of each case.
        mask: true for real cases.
        generator: of the random numbers.
        n_classes: of every task.
        alpha: 0 leaves the cases alone.

    Raises:
        InputError: a negative alpha, or a class outside of `n_classes`.
    """
    other, own = _drawn(mask, targets, generator, n_classes=n_classes, alpha=alpha)
    share = own.to(images)
    theirs = images.gather(1, _like(other, images).expand_as(images))
    found = images if alpha == 0 else theirs.lerp(images, _like(share, images))
    return Mixed(found, _targets(targets, other, mask, share, n_classes), share)


def cut_and_mixed(
    images: Float[Tensor, "tasks n channels height width"],
    targets: Int[Tensor, "tasks n"],
    mask: Bool[Tensor, "tasks n"],
    generator: torch.Generator,
    *,
    n_classes: int,
    alpha: float = 1.0,
) -> Mixed:
    """Return each case with a box of another case of its task, targets by the area that is left (Yun et al. 2019, arXiv:1905.04899, section 3.1).

    The sides of the box are sqrt(1 - own) of the image's, own ~ Beta(alpha, alpha), its centre anywhere, cut at the border; `own` is then the
    share of pixels that are left, as in the authors' code.

    Args:
        images: padded where `mask` is false.
        targets: class of each case.
        mask: true for real cases.
        generator: of the random numbers.
        n_classes: of every task.
        alpha: 0 leaves the cases alone.

    Raises:
        InputError: a negative alpha, or a class outside of `n_classes`.
    """
    other, own = _drawn(mask, targets, generator, n_classes=n_classes, alpha=alpha)
    inside = []
    for side in images.shape[3:]:
        half = (side * (1 - own).clamp(min=0).sqrt() / 2).floor()
        centre = (torch.rand(own.shape, generator=generator, dtype=torch.float64) * side).floor()
        place = torch.arange(side)
        inside.append((place >= (centre - half)[..., None]) & (place < (centre + half)[..., None]))
    box = inside[0][..., :, None] & inside[1][..., None, :]
    share = (1 - box.double().mean((2, 3))).to(images)
    theirs = images.gather(1, _like(other, images).expand_as(images))
    found = torch.where(box[:, :, None].to(images.device), theirs, images)
    return Mixed(found, _targets(targets, other, mask, share, n_classes), share)


def soft_cross_entropy(
    logits: Float[Tensor, "tasks n classes"], targets: Float[Tensor, "tasks n classes"]
) -> Float[Tensor, " tasks"]:
    """Return - sum over classes of share * log softmax, mean over the real cases of each task (Zhang et al. 2018, section 2)."""
    real = targets.sum(-1)
    each = -(targets * logits.log_softmax(-1)).sum(-1)
    return each.sum(1) / real.sum(1).clamp(min=1)


def _like(value: Tensor, images: Tensor) -> Tensor:
    return value[..., None, None, None].to(images.device)


def _drawn(
    mask: Tensor, targets: Tensor, generator: torch.Generator, *, n_classes: int, alpha: float
) -> tuple[Tensor, Tensor]:
    """Return which case of its task each is mixed with (a rotation of a random order: another one wherever there are two), and its own share."""
    if alpha < 0:
        raise InputError(f"got alpha {alpha}; give 0 or more")
    real = targets[mask]
    if real.numel() and not 0 <= int(real.min()) <= int(real.max()) < n_classes:
        raise InputError(
            f"got classes from {int(real.min())} to {int(real.max())} of {n_classes}; give classes below n_classes"
        )
    keys = torch.rand(mask.shape, generator=generator, dtype=torch.float64).masked_fill(~mask.cpu(), 2.0)
    order = keys.argsort(1)
    counts = mask.cpu().sum(1, keepdim=True)
    place = torch.arange(mask.shape[1]).expand_as(order)
    following = order.gather(1, torch.where(place + 1 < counts, place + 1, torch.where(place < counts, 0, place)))
    other = torch.empty_like(order).scatter_(1, order, following)
    if alpha == 0:
        return other.to(mask.device), torch.ones(mask.shape, dtype=torch.float64)
    seed = int(torch.randint(2**62, (), generator=generator))  # torch has no Beta that takes a generator
    own = np.random.default_rng(seed).beta(alpha, alpha, tuple(mask.shape))
    return other.to(mask.device), torch.from_numpy(own)


def _targets(targets: Tensor, other: Tensor, mask: Tensor, share: Tensor, n_classes: int) -> Tensor:
    def one_hot(classes: Tensor) -> Tensor:
        return torch.nn.functional.one_hot(classes.clamp(0, n_classes - 1), n_classes).to(share)

    weight = share[..., None]
    both = weight * one_hot(targets) + (1 - weight) * one_hot(targets.gather(1, other))
    return both * mask[..., None]
