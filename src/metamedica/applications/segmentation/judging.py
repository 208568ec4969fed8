"""What is said of labelled images that were hidden: how good it is, its temperature, and how readily a pixel is called background."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.distributions import Categorical

from metamedica.applications.segmentation.cases import UNLABELLED, LabelledPicture
from metamedica.applications.segmentation.shape import Shape
from metamedica.functional.calibration import Temperature

OFFSETS = tuple(sorted((step / 4 for step in range(-10, 11)), key=abs))
"""Log-odds that may be added to the background's score, so that hidden images have the greatest Dice coefficient; least change first."""
_PIXELS = 4000


@dataclass(frozen=True)
class Hidden:
    """A labelled image, and what was said of it by a model that had not seen its labels.

    Args:
        pair: the image and its labels.
        said: log-probabilities.
        shape: what the masks that the model had seen have in common.
    """

    pair: LabelledPicture
    said: Float[Tensor, "classes height width"]
    shape: Shape = field(default_factory=Shape)


@dataclass(frozen=True)
class Calibration:
    """How log-probabilities become answers.

    Args:
        sharpness: they are multiplied by exp(sharpness).
        offset: added to the background's score before a pixel is given to the likeliest class.
    """

    sharpness: float = 0.0
    offset: float = 0.0

    def probabilities(self, said: Float[Tensor, "classes height width"]) -> Float[Tensor, "classes height width"]:
        """Return calibrated probabilities."""
        return torch.softmax(said * torch.tensor(self.sharpness).exp(), dim=0)

    def mask(
        self, said: Float[Tensor, "classes height width"], shape: Shape | None = None, *, scale: float = 1.0
    ) -> Int[Tensor, "height width"]:
        """Return the class that each pixel is given to.

        Args:
            said: log-probabilities.
            shape: to which the mask is tidied.
            scale: pixels of this image for a working pixel.
        """
        shifted = said.clone()
        shifted[0] += self.offset
        classes = shifted.argmax(0)
        return classes if shape is None else shape.tidied(classes, said.exp(), scale=scale)


def unshaped(hidden: Sequence[Hidden]) -> list[Hidden]:
    """Return hidden images whose masks are left as they are said."""
    return [replace(each, shape=Shape()) for each in hidden]


def calibrated(hidden: Sequence[Hidden], *, seed: int = 0) -> Calibration:
    """Return the temperature with the best likelihood and the offset with the best Dice coefficient on hidden images.

    Args:
        hidden: what was said of them; without any, nothing is changed.
        seed: of the pixels that the temperature is fitted to.
    """
    if not hidden:
        return Calibration()
    said = torch.cat([each.said[:, each.pair.classes != UNLABELLED] for each in hidden], dim=1).T
    classes = torch.cat([each.pair.classes[each.pair.classes != UNLABELLED] for each in hidden])
    some = torch.randperm(len(classes), generator=torch.Generator().manual_seed(seed))[:_PIXELS]
    law = Categorical(logits=said[some][None], validate_args=False)
    temperature = Temperature.fit(law, classes[some][None], torch.ones(1, len(some), dtype=torch.bool))
    return Calibration(float(temperature.sharpness[0]), OFFSETS[_best(dice_of_offsets(hidden))])


def honest_dice(hidden: Sequence[Hidden]) -> float:
    """Return the mean Dice coefficient over hidden images, each with the offset that serves the others best.

    So the offset, too, is chosen without the image that it is judged on. 0 where no image shows a structure or is said to.
    """
    table = dice_of_offsets(hidden)
    found = []
    for at in range(table.shape[1]):
        others = torch.arange(table.shape[1]) != at
        found.append(table[_best(table[:, others]), at])
    told = torch.stack(found).nanmean() if found else torch.tensor(0.0)
    return 0.0 if torch.isnan(told) else float(told)


def dice_of_offsets(hidden: Sequence[Hidden]) -> Float[Tensor, "offsets images"]:
    """Return the mean Dice coefficient over structures of each hidden image at each of `OFFSETS`; NaN where neither mask shows one."""
    table = torch.full((len(OFFSETS), len(hidden)), torch.nan, dtype=torch.float64)
    for at, each in enumerate(hidden):
        labelled = each.pair.classes != UNLABELLED
        true = each.pair.classes[labelled]
        for row, offset in enumerate(OFFSETS):
            said = Calibration(offset=offset).mask(each.said, each.shape)[labelled]
            found = []
            for structure in range(1, len(each.said)):
                sizes = int((said == structure).sum()) + int((true == structure).sum())
                if sizes:
                    found.append(2 * int(((said == structure) & (true == structure)).sum()) / sizes)
            if found:
                table[row, at] = sum(found) / len(found)
    return table


def _best(table: Tensor) -> int:
    """Return the offset with the greatest mean; of those that are as good, the first, which changes least."""
    means = table.nanmean(1).nan_to_num(0.0)  # without an image, 0 for all
    return int((means >= means.max() - 1e-6).nonzero()[0, 0])
