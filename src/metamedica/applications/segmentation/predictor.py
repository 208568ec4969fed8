"""What answers for an image once it is adapted: mask, probabilities, uncertainty; saved and loaded; taught another stain without masks."""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from metamedica.applications.segmentation.boosted import BoostedTrees
from metamedica.applications.segmentation.cases import Picture, read_picture
from metamedica.applications.segmentation.heads import LinearHead, PixelModel
from metamedica.applications.segmentation.intervals import Bands
from metamedica.applications.segmentation.judging import Calibration
from metamedica.applications.segmentation.self_training import LEAST_IMAGES, MOST_IMAGES, self_trained
from metamedica.applications.segmentation.shape import Shape
from metamedica.applications.segmentation.unet import NetworkModel, UNet
from metamedica.applications.segmentation.voting import Vote, by_voter
from metamedica.errors import BundleError, CaseError, InputError
from metamedica.storage import read_bundle, write_bundle
from metamedica.types import Progress

PREDICTOR = "segmentation predictor"
SELF_TRAINED = "self-trained"


@dataclass(frozen=True)
class Segmentation:
    """What is said of an image, at its own size.

    Args:
        mask: class of each pixel; 0 outside of the region.
        probabilities: of each class at each pixel, calibrated; background outside of the region.
        uncertainty: entropy of the probabilities over its greatest, from 0 to 1.
        said: log-probabilities before calibration with the offset of the background, at the working size, which intervals rest on.
        inside: pixels of the region, at the working size.
    """

    mask: Int[np.ndarray, "height width"]
    probabilities: Float[np.ndarray, "classes height width"]
    uncertainty: Float[np.ndarray, "height width"]
    said: Float[Tensor, "classes rows columns"]
    inside: Tensor


class SegmentationPredictor:
    """Adapted to a support; frozen, and keeps no image of it (weights of a few images may still tell of them: keep it as you keep those).

    Args:
        model: what says the class of each pixel.
        classes: names, the background first.
        calibration: from hidden images.
        bands: how far masks of hidden images were off, for intervals of measures.
        method: of `choice.METHODS`, or "transferred", or "vote" where all answer together; "self-trained" where images without a mask taught it.
        dice: method -> mean Dice coefficient on hidden images of the support; empty where none could be hidden.
        colour: whether its images have three channels.
        n_images: of the support.
        shape: to which masks are tidied.
        n_unlabelled: images without a mask that it learned from.
    """

    def __init__(
        self,
        model: PixelModel,
        *,
        classes: Sequence[str],
        calibration: Calibration,
        bands: Bands,
        method: str,
        dice: Mapping[str, float],
        colour: bool,
        n_images: int,
        shape: Shape,
        n_unlabelled: int = 0,
    ) -> None:
        self.model, self.classes, self.calibration, self.bands = model, tuple(classes), calibration, bands
        self.method, self.dice, self.colour, self.n_images = method, dict(dice), colour, n_images
        self.shape, self.n_unlabelled = shape, n_unlabelled

    def predict(self, image: NDArray[np.generic], *, region: NDArray[np.generic] | None = None) -> Segmentation:
        """Return mask, probabilities and uncertainty of an image.

        Args:
            image: `[height, width]`, or `[height, width, 3]` where the support was in colour.
            region: pixels that count; everywhere by default.

        Raises:
            CaseError: an image that cannot be read, or grey where the support was in colour, or the other way round.
        """
        picture = read_picture(image, region=region)
        _check_colour(picture, self.colour, "the image")
        said = self.model.log_probabilities(picture)
        shown = functional.interpolate(said[None], size=picture.size, mode="bilinear", align_corners=False)[0]
        counted = np.ones(picture.size, dtype=bool) if region is None else np.asarray(region) != 0
        scale = (picture.size[0] * picture.size[1] / picture.region.numel()) ** 0.5
        within = shown.masked_fill(torch.from_numpy(~counted), -torch.inf)
        within[0] = torch.where(torch.from_numpy(counted), shown[0], torch.zeros(()))
        mask = np.where(counted, self.calibration.mask(within, self.shape, scale=scale).numpy(), 0)
        chance = self.calibration.probabilities(shown).numpy()
        outside = np.zeros((len(chance), 1, 1), dtype=chance.dtype)
        outside[0] = 1
        chance = np.where(counted, chance, outside)
        entropy = -(chance * np.log(chance.clip(1e-12))).sum(0) / np.log(len(chance))
        shifted = said.clone()
        shifted[0] += self.calibration.offset
        return Segmentation(mask.astype(np.int64), chance, entropy.clip(0, 1), shifted, picture.region)

    def taught(
        self, images: Sequence[NDArray[np.generic]], *, seed: int = 0, progress: Progress | None = None
    ) -> "SegmentationPredictor":
        """Return a predictor that has learned another stain or scanner from images of it without a mask; this one where they teach nothing.

        Intervals and how sure it is stay as hidden images of the support told.

        Args:
            images: at least 8, as `predict` takes them; of more than 64 so many are drawn.
            seed: of those and of pixels.
            progress: told every round.

        Raises:
            CaseError: an image that cannot be read, or grey where the support was in colour, or the other way round.
            InputError: fewer than 8.
        """
        pictures = [read_picture(image, name=f"unlabelled image {at + 1}") for at, image in enumerate(images)]
        return self.taught_by(pictures, seed=seed, progress=progress)

    def taught_by(
        self, pictures: Sequence[Picture], *, seed: int = 0, progress: Progress | None = None
    ) -> "SegmentationPredictor":
        """As `taught`, of images that are read already."""
        if len(pictures) < LEAST_IMAGES:
            raise InputError(
                f"got {len(pictures)} images without a mask; give at least {LEAST_IMAGES} of the new stain or scanner, or none"
            )
        for at, picture in enumerate(pictures):
            _check_colour(picture, self.colour, f"unlabelled image {at + 1}")
        model = self_trained(
            self.model,
            pictures,
            len(self.classes),
            calibration=self.calibration,
            shape=self.shape,
            seed=seed,
            progress=progress,
        )
        if model is None:
            return self
        found = copy(self)
        found.model, found.method = model, SELF_TRAINED
        found.calibration = replace(self.calibration, offset=0.0)
        found.n_unlabelled = min(len(pictures), MOST_IMAGES)
        return found

    def report(self) -> dict[str, Any]:
        """Return how it was chosen, a JSON value."""
        return {
            "method": self.method,
            "classes": list(self.classes),
            "images_of_the_support": self.n_images,
            "images_without_a_mask": self.n_unlabelled,
            "dice_on_hidden_images": dict(self.dice),
            "calibration": asdict(self.calibration),
            "shape": asdict(self.shape),
        }

    def save(self, folder: Path) -> None:
        """Write a bundle: safetensors and JSON with checksums.

        Raises:
            BundleError: the folder holds something else.
        """
        about = self.report() | {"colour": self.colour, "width": self._width(), "bands": self.bands.as_dict()}
        write_bundle(folder, PREDICTOR, {"weights": self.model.tensors()}, {"about": about})

    @classmethod
    def load(cls, folder: Path) -> "SegmentationPredictor":
        """Return a saved predictor.

        Raises:
            BundleError: no such bundle, or a broken one.
        """
        tensors, documents = read_bundle(folder, PREDICTOR)
        try:
            about, weights = documents["about"], tensors["weights"]
            model = _model(weights, len(about["classes"]), about["width"])
            return cls(
                model,
                classes=about["classes"],
                calibration=Calibration(**about["calibration"]),
                bands=Bands.of(about["bands"]),
                method=about["method"],
                dice=about["dice_on_hidden_images"],
                colour=about["colour"],
                n_images=about["images_of_the_support"],
                shape=Shape(**about["shape"]),
                n_unlabelled=about["images_without_a_mask"],
            )
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise BundleError(
                f"{folder} lacks a part of a {PREDICTOR} ({type(error).__name__}); write it again"
            ) from None

    def _width(self) -> int | None:
        models = self.model.models.values() if isinstance(self.model, Vote) else [self.model]
        widths = (each.network.head.in_channels for each in models if isinstance(each, NetworkModel))
        return next(widths, None)


def _check_colour(picture: Picture, colour: bool, name: str) -> None:
    """Refuse an image that is not, as the support was, in colour or grey.

    Raises:
        CaseError: it is not.
    """
    if picture.colour != colour:
        came, wanted = ("colour", "grey") if picture.colour else ("grey", "colour")
        raise CaseError(f"{name} is {came}, the support was {wanted}; give images like those of the support")


def _model(weights: dict[str, Tensor], n_classes: int, width: int | None) -> PixelModel:
    voters = by_voter(weights)
    if voters:
        return Vote({name: _model(own, n_classes, width) for name, own in voters.items()})
    if "speaks_for" in weights:
        return BoostedTrees.of(weights)
    if "bias" in weights:
        return LinearHead(weights["centre"], weights["scale"], weights["weight"], weights["bias"])
    assert width is not None
    network = UNet(n_classes, width=width)
    network.load_state_dict(weights)
    return NetworkModel(network)
