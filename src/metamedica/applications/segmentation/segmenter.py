"""Segments a structure from a few images and masks: `Segmenter.fit` on earlier tasks if there are any, `adapt` to a support, `predict` an image."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from metamedica.applications.segmentation.augmentation import Expected
from metamedica.applications.segmentation.boosted import BoostedTrees
from metamedica.applications.segmentation.cases import LabelledPicture, read_pairs, read_picture
from metamedica.applications.segmentation.choice import METHODS, choose
from metamedica.applications.segmentation.earlier import EarlierTask, MetaSchedule, learned_start
from metamedica.applications.segmentation.heads import LinearHead, PixelModel
from metamedica.applications.segmentation.intervals import Bands
from metamedica.applications.segmentation.judging import Calibration
from metamedica.applications.segmentation.shape import Shape
from metamedica.applications.segmentation.unet import NetworkModel, Schedule, UNet
from metamedica.errors import BundleError, CaseError, TaskError
from metamedica.storage import read_bundle, write_bundle
from metamedica.types import Progress

PREDICTOR = "segmentation predictor"
SEGMENTER = "segmenter"


@dataclass(frozen=True)
class SegmentationTask:
    """An earlier task.

    Args:
        images: `[height, width]` or `[height, width, 3]`, all grey or all colour.
        masks: the class of each pixel, 0 the background, -1 not labelled.
        n_classes: with the background.
        regions: pixels that count; everywhere by default.
    """

    images: Sequence[NDArray[np.generic]]
    masks: Sequence[NDArray[np.generic]]
    n_classes: int = 2
    regions: Sequence[NDArray[np.generic]] | None = None


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
        method: of `choice.METHODS`, or "transferred".
        dice: method -> mean Dice coefficient on hidden images of the support; empty where none could be hidden.
        colour: whether its images have three channels.
        n_images: of the support.
        shape: to which masks are tidied.
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
    ) -> None:
        self.model, self.classes, self.calibration, self.bands = model, tuple(classes), calibration, bands
        self.method, self.dice, self.colour, self.n_images = method, dict(dice), colour, n_images
        self.shape = shape

    def predict(self, image: NDArray[np.generic], *, region: NDArray[np.generic] | None = None) -> Segmentation:
        """Return mask, probabilities and uncertainty of an image.

        Args:
            image: `[height, width]`, or `[height, width, 3]` where the support was in colour.
            region: pixels that count; everywhere by default.

        Raises:
            CaseError: an image that cannot be read, or grey where the support was in colour, or the other way round.
        """
        picture = read_picture(image, region=region)
        if picture.colour != self.colour:
            came, wanted = ("colour", "grey") if picture.colour else ("grey", "colour")
            raise CaseError(f"the image is {came}, the support was {wanted}; give images like those of the support")
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

    def report(self) -> dict[str, Any]:
        """Return how it was chosen, a JSON value."""
        return {
            "method": self.method,
            "classes": list(self.classes),
            "images_of_the_support": self.n_images,
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
            )
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise BundleError(
                f"{folder} lacks a part of a {PREDICTOR} ({type(error).__name__}); write it again"
            ) from None

    def _width(self) -> int | None:
        return self.model.network.head.in_channels if isinstance(self.model, NetworkModel) else None


def _model(weights: dict[str, Tensor], n_classes: int, width: int | None) -> PixelModel:
    if "speaks_for" in weights:
        return BoostedTrees.of(weights)
    if width is None:
        return LinearHead(weights["centre"], weights["scale"], weights["weight"], weights["bias"])
    network = UNet(n_classes, width=width)
    network.load_state_dict(weights)
    return NetworkModel(network)


class Segmenter:
    """Adapts to a few labelled images; may first learn from earlier tasks where to start.

    Args:
        schedule: how a network is fitted to a support.
        meta: how a start is learned from earlier tasks.
        seed: of all randomness: the same seed, the same answers.
    """

    def __init__(self, *, schedule: Schedule | None = None, meta: MetaSchedule | None = None, seed: int = 0) -> None:
        self.schedule, self.meta, self.seed = schedule or Schedule(), meta or MetaSchedule(), seed
        self.trunk: dict[str, Tensor] | None = None

    def fit(self, tasks: Sequence[SegmentationTask], *, progress: Progress | None = None) -> "Segmenter":
        """Learn from earlier tasks where a network's weights start; then `adapt` may choose "transferred".

        Raises:
            TaskError: no task, or one that cannot be used.
            CaseError: an image or mask that cannot be read.
        """
        if not tasks:
            raise TaskError("got no earlier task; give at least one, or adapt without fit")
        read = [
            EarlierTask(read_pairs(each.images, each.masks, each.n_classes, regions=each.regions), each.n_classes)
            for each in tasks
        ]
        self.trunk = learned_start(
            read,
            schedule=self.meta,
            width=self.schedule.width,
            side=self.schedule.side,
            seed=self.seed,
            progress=progress,
        )
        return self

    def adapt(
        self,
        images: Sequence[NDArray[np.generic]],
        masks: Sequence[NDArray[np.generic]],
        *,
        classes: Sequence[str] = ("background", "structure"),
        regions: Sequence[NDArray[np.generic]] | None = None,
        methods: Sequence[str] | None = None,
        expected: Expected = "alike",
        progress: Progress | None = None,
    ) -> SegmentationPredictor:
        """Return a predictor for images like those of the support; this object is not changed.

        Args:
            images: `[height, width]` or `[height, width, 3]`, all grey or all colour, sizes may differ.
            masks: the class of each pixel: 0 the background, -1 where nobody has labelled.
            classes: names, the background first.
            regions: pixels that count; everywhere by default.
            methods: to choose among, cheapest first; by default all, with "transferred" after `fit`.
            expected: "recoloured" where new images come under another stain, lamp or sensor than the support.
            progress: told every method.

        Raises:
            CaseError: an image or mask that cannot be read.
            TaskError: a support that cannot be used.
            InputError: an unknown method.
        """
        pairs = read_pairs(images, masks, len(classes), regions=regions)
        return self.adapt_pairs(pairs, classes=classes, methods=methods, expected=expected, progress=progress)

    def adapt_pairs(
        self,
        pairs: Sequence[LabelledPicture],
        *,
        classes: Sequence[str],
        methods: Sequence[str] | None = None,
        expected: Expected = "alike",
        progress: Progress | None = None,
    ) -> SegmentationPredictor:
        """Return a predictor for pairs that are read already. Arguments and errors as those of `adapt`."""
        named = methods if methods is not None else (*METHODS, *(("transferred",) if self.trunk is not None else ()))
        chosen = choose(
            pairs,
            len(classes),
            methods=named,
            schedule=self.schedule,
            seed=self.seed,
            trunk=self.trunk,
            expected=expected,
            progress=progress,
        )
        return SegmentationPredictor(
            chosen.model,
            classes=classes,
            calibration=chosen.calibration,
            bands=Bands.learned(chosen.hidden if len(pairs) > 1 else (), chosen.calibration),
            method=chosen.method,
            dice=chosen.dice,
            colour=pairs[0].picture.colour,
            n_images=len(pairs),
            shape=chosen.shape,
        )

    def save(self, folder: Path) -> None:
        """Write what it learned of earlier tasks as a bundle.

        Raises:
            BundleError: the folder holds something else.
        """
        about = {"schedule": asdict(self.schedule), "meta": asdict(self.meta), "seed": self.seed}
        write_bundle(folder, SEGMENTER, {"trunk": self.trunk} if self.trunk is not None else {}, {"about": about})

    @classmethod
    def load(cls, folder: Path) -> "Segmenter":
        """Return a saved segmenter.

        Raises:
            BundleError: no such bundle, or a broken one.
        """
        tensors, documents = read_bundle(folder, SEGMENTER)
        try:
            about = documents["about"]
            found = cls(schedule=Schedule(**about["schedule"]), meta=MetaSchedule(**about["meta"]), seed=about["seed"])
        except (KeyError, TypeError) as error:
            raise BundleError(
                f"{folder} lacks a part of a {SEGMENTER} ({type(error).__name__}); write it again"
            ) from None
        found.trunk = tensors.get("trunk")
        return found
