"""What images without a mask teach of another stain: masks that need no tidying are taken for true, and linear heads are fitted to them, in turns.

Self-training (Yarowsky 1995; Lee 2013, Pseudo-label), with the shape that all masks of the support have in common as the judge: a mask that is tidied
to it (`shape`) and was nearly so before is likely right, whatever the stain. A linear head of few weights, fitted to half of the images, the surest,
cannot learn their errors by heart, and it sees the stain itself where the support shows another. The rounds end where masks need more tidying than
before, and nothing is learned where they need no less than those of the support's own model. That is a hint and no proof: for masks that are wrong
without it, and to be looked at (decisions/0020 has what it gained and lost).
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from metamedica.applications.segmentation.cases import UNLABELLED, LabelledPicture, Picture
from metamedica.applications.segmentation.heads import PixelModel, fit_logistic_head, fit_ridge_head
from metamedica.applications.segmentation.judging import Calibration
from metamedica.applications.segmentation.measures import dice
from metamedica.applications.segmentation.shape import Shape
from metamedica.applications.segmentation.voting import Vote
from metamedica.types import Progress

ROUNDS = 4
SHARE = 0.5
"""Of the images, the surest, that a round learns from."""
LEAST_IMAGES = 8
"""Fewer images, half of which teach, show too little of a stain."""
MOST_IMAGES = 64
"""Of more so many are drawn, which bounds memory: 12 MB of features each at most."""


def self_trained(
    model: PixelModel,
    pictures: Sequence[Picture],
    n_classes: int,
    *,
    calibration: Calibration,
    shape: Shape,
    seed: int = 0,
    progress: Progress | None = None,
) -> PixelModel | None:
    """Return heads fitted to images without a mask, from what a model says of them; None where their masks need no less tidying than the model's.

    Args:
        model: adapted to a support under another stain.
        pictures: at least `LEAST_IMAGES`; of more than `MOST_IMAGES` so many are drawn.
        n_classes: declared classes.
        calibration: of the model.
        shape: that the masks of the support have in common; where that is nothing, nothing is learned.
        seed: of the images drawn and the sampled pixels.
        progress: told every round.
    """
    drawn = torch.randperm(len(pictures), generator=torch.Generator().manual_seed(seed))[:MOST_IMAGES]
    pictures = [pictures[at] for at in sorted(drawn.tolist())]
    masks = [_mask(model, picture, calibration, shape) for picture in pictures]
    best: PixelModel | None = None
    for turn in range(ROUNDS):
        masks.sort(key=lambda mask: mask.sure, reverse=True)
        pairs = [mask.pair for mask in masks[: int(SHARE * len(masks))]]
        if len(torch.unique(torch.cat([pair.classes[pair.picture.region] for pair in pairs]))) < 2:
            return best
        heads = {"logistic": fit_logistic_head, "ridge": fit_ridge_head}
        taught = Vote({name: fit(pairs, n_classes, seed=seed) for name, fit in heads.items()})
        again = [_mask(taught, picture, Calibration(), shape) for picture in pictures]
        if progress is not None:
            progress(turn + 1, ROUNDS, f"learned from {len(pairs)} images without a mask")
        if sum(mask.sure for mask in again) <= sum(mask.sure for mask in masks):
            return best
        best, masks = taught, again
    return best


class _Mask(NamedTuple):
    """A tidied mask, and how sure it is: its Dice coefficient with itself before; 0 for one of no structure."""

    pair: LabelledPicture
    sure: float


def _mask(model: PixelModel, picture: Picture, calibration: Calibration, shape: Shape) -> _Mask:
    said = model.log_probabilities(picture)
    tidied = calibration.mask(said, shape).masked_fill(~picture.region, UNLABELLED)
    plain, structure = ((calibration.mask(said) > 0) & picture.region).numpy(), (tidied > 0).numpy()
    return _Mask(LabelledPicture(picture, tidied), dice(plain, structure) if structure.any() else 0.0)
