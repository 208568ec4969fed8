"""A small U-Net with group norm, fitted to a few images by gradient steps on augmented crops, from random weights or from earlier tasks' ones.

Ronneberger, Fischer and Brox 2015, U-Net, arXiv:1505.04597; Wu and He 2018, Group Normalization, arXiv:1803.08494 (no statistics of a batch, so an
image's answer depends on that image alone). The loss is cross-entropy plus one minus the soft Dice coefficient of each class (Milletari et al.
2016, arXiv:1606.04797), over labelled pixels.

Deviates: the network sees ridges, lines and local contrast beside the standardised colours (`features.network_channels`), so that it need not
learn them from one image; sums up-sampled bilinearly; three levels below the first.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from metamedica.applications.segmentation.augmentation import Crops, Expected
from metamedica.applications.segmentation.cases import UNLABELLED, LabelledPicture, Picture
from metamedica.applications.segmentation.features import NETWORK_CHANNELS, network_channels
from metamedica.applications.segmentation.heads import PixelModel
from metamedica.types import Progress

LEVELS = 4
"""Sides are halved three times."""
_GROUPS = 4


class _Pair(nn.Module):
    """Two 3 x 3 convolutions, each with group norm and SiLU."""

    def __init__(self, entering: int, leaving: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(entering, leaving, 3, padding=1),
            nn.GroupNorm(_GROUPS, leaving),
            nn.SiLU(),
            nn.Conv2d(leaving, leaving, 3, padding=1),
            nn.GroupNorm(_GROUPS, leaving),
            nn.SiLU(),
        )

    def forward(self, values: Tensor) -> Tensor:
        found: Tensor = self.layers(values)
        return found


class UNet(nn.Module):
    """`NETWORK_CHANNELS` features -> scores of each class, at any size of 16 pixels a side or more.

    Args:
        n_classes: with the background.
        width: channels at full size, a multiple of 4; twice as many a level down.
    """

    def __init__(self, n_classes: int, *, width: int = 12) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(LEVELS)]
        self.stem = nn.Conv2d(NETWORK_CHANNELS, width, 1)
        self.down = nn.ModuleList(_Pair(a, b) for a, b in zip([width, *widths], widths, strict=False))
        self.up = nn.ModuleList(_Pair(a + b, b) for a, b in zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.head = nn.Conv2d(width, n_classes, 1)

    def forward(self, features: Float[Tensor, "n features height width"]) -> Float[Tensor, "n classes height width"]:
        """Return the scores of each class at every pixel."""
        values = self.stem(features)
        passed = []
        for level, layer in enumerate(self.down):
            values = layer(functional.avg_pool2d(values, 2, ceil_mode=True) if level else values)
            passed.append(values)
        for layer, beside in zip(self.up, passed[-2::-1], strict=True):
            wide = functional.interpolate(values, size=beside.shape[-2:], mode="bilinear", align_corners=False)
            values = layer(torch.cat([wide, beside], dim=1))
        found: Tensor = self.head(values)
        return found


def pixel_loss(
    scores: Float[Tensor, "n classes height width"], classes: Int[Tensor, "n height width"]
) -> Float[Tensor, ""]:
    """Return cross-entropy plus one minus the mean soft Dice of the classes that are there, over labelled pixels.

    Crops without a labelled pixel count nothing; where none has one the loss is 0.
    """
    labelled = (classes != UNLABELLED)[:, None]
    marks = functional.one_hot(classes.clamp(min=0), scores.shape[1]).movedim(-1, 1) * labelled
    chance = torch.softmax(scores, dim=1) * labelled
    counts = marks.sum((0, 2, 3))
    overlap = (2 * (chance * marks).sum((0, 2, 3)) + 1) / (chance.sum((0, 2, 3)) + counts + 1)
    shown = counts > 0
    dice = (overlap * shown).sum() / shown.sum().clamp(min=1)
    each = -(torch.log_softmax(scores, dim=1) * marks).sum() / labelled.sum().clamp(min=1)
    return each + (1 - dice) * shown.any()


@dataclass(frozen=True)
class Schedule:
    """How a network is fitted.

    Args:
        steps: gradient steps.
        rate: highest learning rate, reached after a sixth of the steps; it falls to nothing by the end (Smith and Topin 2018, one cycle).
        crops: a step.
        side: of a crop, in pixels.
        width: of the network.
    """

    steps: int = 200
    rate: float = 4e-3
    crops: int = 6
    side: int = 96
    width: int = 12


class NetworkModel(PixelModel):
    """A fitted network; asked, it answers by the mean over four mirror images.

    Args:
        network: in evaluation, with a score for each class.
    """

    def __init__(self, network: UNet) -> None:
        self.network = network.eval().requires_grad_(False)

    def log_probabilities(self, picture: Picture) -> Float[Tensor, "classes height width"]:
        """Return the logarithm of each class's probability at every pixel of an image."""
        found = network_channels(picture.pixels[None], picture.region[None])
        total = torch.zeros(())
        with torch.no_grad():
            for axes in ((), (-1,), (-2,), (-2, -1)):
                total = total + torch.softmax(self.network(found.flip(axes)), dim=1).flip(axes)
        return (total[0] / 4).clamp(min=1e-7).log()

    def tensors(self) -> dict[str, Tensor]:
        """Return all that it has learned."""
        return {name: value.detach().clone() for name, value in self.network.state_dict().items()}


def new_network(n_classes: int, *, width: int, seed: int) -> UNet:
    """Return a network with random weights, the same for the same seed; the state of torch's generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return UNet(n_classes, width=width)


def started(trunk: dict[str, Tensor], n_classes: int, *, width: int, seed: int) -> UNet:
    """Return a network with the weights that earlier tasks taught, and a head that says nothing yet (all scores 0).

    Where many heads would serve alike, a start at 0 does not take the side of one numbering of the classes (Ye and Chao 2022, arXiv:2106.09486).
    """
    network = new_network(n_classes, width=width, seed=seed)
    network.load_state_dict(
        trunk | {name: torch.zeros_like(value) for name, value in network.head.state_dict(prefix="head.").items()}
    )
    return network


def fit_network(
    pairs: Sequence[LabelledPicture],
    n_classes: int,
    *,
    schedule: Schedule,
    seed: int = 0,
    trunk: dict[str, Tensor] | None = None,
    expected: Expected = "alike",
    progress: Progress | None = None,
) -> NetworkModel:
    """Return a network fitted to image and mask pairs, the same for the same seed.

    Args:
        pairs: of the support.
        n_classes: declared classes.
        schedule: how.
        seed: of weights and crops.
        trunk: weights that earlier tasks taught, without head; None starts from random ones.
        expected: what new images are like.
        progress: told every step.
    """
    if trunk is None:
        network = new_network(n_classes, width=schedule.width, seed=seed)
    else:
        network = started(trunk, n_classes, width=schedule.width, seed=seed)
    network.train()
    crops = Crops(pairs, side=schedule.side, seed=seed, expected=expected)
    optimiser = torch.optim.AdamW(network.parameters(), lr=schedule.rate, weight_decay=1e-2)
    with torch.enable_grad():
        for step in range(schedule.steps):
            for group in optimiser.param_groups:
                group["lr"] = schedule.rate * one_cycle(step, schedule.steps)
            features, classes = crops.batch(schedule.crops)
            optimiser.zero_grad()
            loss = pixel_loss(network(features), classes)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            if progress is not None:
                progress(step + 1, schedule.steps, "fitting the network")
    return NetworkModel(network)


def one_cycle(step: int, steps: int) -> float:
    """Return the share of the highest rate at a step: up along a cosine in the first sixth, down along another to the end."""
    peak = max(1.0, steps / 6)
    if step < peak:
        return 0.04 + 0.96 * (1 - math.cos(math.pi * step / peak)) / 2
    return 0.001 + 0.999 * (1 + math.cos(math.pi * (step - peak) / max(1.0, steps - peak))) / 2
