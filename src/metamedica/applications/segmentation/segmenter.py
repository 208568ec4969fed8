"""Segments a structure from a few images and masks: `Segmenter.fit` on earlier tasks if there are any, `adapt` to a support, `predict` an image."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from metamedica.applications.segmentation.augmentation import Expected
from metamedica.applications.segmentation.cases import LabelledPicture, Picture, read_pairs, read_picture
from metamedica.applications.segmentation.choice import METHODS, choose
from metamedica.applications.segmentation.earlier import EarlierTask, MetaSchedule, learned_start
from metamedica.applications.segmentation.intervals import Bands
from metamedica.applications.segmentation.predictor import SegmentationPredictor
from metamedica.applications.segmentation.unet import Schedule
from metamedica.errors import BundleError, InputError, TaskError
from metamedica.storage import read_bundle, write_bundle
from metamedica.types import Progress

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
        unlabelled: Sequence[NDArray[np.generic]] = (),
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
            unlabelled: recoloured images without a mask, at least 8, which teach their stain (`SegmentationPredictor.taught`).
            progress: told every method.

        Raises:
            CaseError: an image or mask that cannot be read.
            TaskError: a support that cannot be used.
            InputError: an unknown method; images without a mask that are fewer than 8, or said to be like the support, which tells more than they.
        """
        pairs = read_pairs(images, masks, len(classes), regions=regions)
        pictures = [read_picture(image, name=f"unlabelled image {at + 1}") for at, image in enumerate(unlabelled)]
        return self.adapt_pairs(
            pairs, classes=classes, methods=methods, expected=expected, unlabelled=pictures, progress=progress
        )

    def adapt_pairs(
        self,
        pairs: Sequence[LabelledPicture],
        *,
        classes: Sequence[str],
        methods: Sequence[str] | None = None,
        expected: Expected = "alike",
        unlabelled: Sequence[Picture] = (),
        progress: Progress | None = None,
    ) -> SegmentationPredictor:
        """Return a predictor for pairs that are read already. Arguments and errors as those of `adapt`."""
        if unlabelled and expected != "recoloured":
            raise InputError(
                f"got {len(unlabelled)} images without a mask, expected to be alike; they teach another stain or scanner: give them with "
                'expected="recoloured", or none'
            )
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
        predictor = SegmentationPredictor(
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
        return predictor.taught_by(unlabelled, seed=self.seed, progress=progress) if unlabelled else predictor

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
