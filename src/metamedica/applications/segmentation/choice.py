"""Which way to segment serves a support best, told by images of the support that are hidden in turn: do no harm.

Prototypes, ridge and logistic heads are fitted without each image (or without each fifth of them); a network, which costs more, once without half of
them. Both are compared on the images that were hidden from both. So the network is judged with half of the labels, and answers only where it wins
nevertheless. A single image is hidden by halves. Where new images are said to come under another stain or from another scanner, hidden images are
recoloured before they are judged: what serves best under the support's own colours need not serve there.
What the winner says of hidden images also sets its temperature, how readily it calls a pixel background, and how wide intervals of measures are.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.distributions import Categorical

from metamedica.applications.segmentation.augmentation import Expected, recoloured
from metamedica.applications.segmentation.cases import UNLABELLED, LabelledPicture
from metamedica.applications.segmentation.heads import (
    PixelModel,
    fit_logistic_head,
    fit_prototypes,
    fit_ridge_head,
)
from metamedica.applications.segmentation.unet import Schedule, fit_network
from metamedica.errors import InputError
from metamedica.functional.calibration import Temperature
from metamedica.types import Progress

Fit: TypeAlias = Callable[[Sequence[LabelledPicture], int], PixelModel]
Fold: TypeAlias = tuple[list[LabelledPicture], list[LabelledPicture]]
METHODS = ("prototype", "ridge", "logistic", "network")
DEEP = ("network", "transferred")
FOLDS = 5
"""At most so many parts of the support are hidden in turn from a head; from a network one of two."""
OFFSETS = tuple(step / 4 for step in range(-10, 11))
"""Log-odds that may be added to the background's score, so that the Dice coefficient of hidden images is greatest."""
_PIXELS = 4000
_MARGIN = 0.005
"""A later, costlier method must be better by this much Dice."""


@dataclass(frozen=True)
class Hidden:
    """A labelled image, and what was said of it by a model that had not seen its labels."""

    pair: LabelledPicture
    said: Float[Tensor, "classes height width"]


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

    def mask(self, said: Float[Tensor, "classes height width"]) -> Int[Tensor, "height width"]:
        """Return the class that each pixel is given to."""
        shifted = said.clone()
        shifted[0] += self.offset
        return shifted.argmax(0)


@dataclass(frozen=True)
class Chosen:
    """The method that serves best, and how each did.

    Args:
        method: its name.
        model: fitted to the whole support.
        calibration: from hidden images; that of a law as it is where nothing could be hidden.
        dice: method -> mean Dice coefficient over structures and hidden images; empty where nothing could be hidden.
        hidden: what the chosen method said of them.
    """

    method: str
    model: PixelModel
    calibration: Calibration
    dice: dict[str, float]
    hidden: tuple[Hidden, ...]


def choose(
    pairs: Sequence[LabelledPicture],
    n_classes: int,
    *,
    methods: Sequence[str] = METHODS,
    schedule: Schedule,
    seed: int = 0,
    trunk: dict[str, Tensor] | None = None,
    expected: Expected = "alike",
    progress: Progress | None = None,
) -> Chosen:
    """Return the method with the best Dice coefficient on hidden images, fitted to the whole support.

    Args:
        pairs: of the support, with labelled pixels of two classes or more.
        n_classes: declared classes.
        methods: to choose among, cheapest first; the first serves where nothing can be hidden (one image, structures on one side only).
        schedule: of a network.
        seed: of all randomness.
        trunk: a network's weights from earlier tasks, which "transferred" starts from.
        expected: what new images are like.
        progress: told every fit.

    Raises:
        InputError: an unknown method, none, or "transferred" without a trunk.
    """
    known = (*METHODS, *(("transferred",) if trunk is not None else ()))
    strange = [name for name in methods if name not in known]
    if strange or not methods:
        raise InputError(f"got methods {', '.join(methods) or 'none'}; choose among {', '.join(known)}")
    fits = {name: fit_of(name, schedule, seed, trunk, expected) for name in methods}
    halves = parts(pairs, 2)
    shallow = halves if len(pairs) == 1 else parts(pairs, FOLDS)
    if expected == "recoloured":
        halves, shallow = _recoloured([halves, shallow], seed)
    told: dict[str, list[Hidden]] = {}
    for at, name in enumerate(methods):
        told[name] = hidden_in_turn(halves[-1:] if name in DEEP else shallow, n_classes, fits[name])
        if progress is not None:
            progress(at + 1, len(methods) + 1, f"judged {name} on hidden images")
    maps = {name: calibrated(hidden, seed=seed) for name, hidden in told.items()}
    judged = [{id(each.pair) for each in hidden} for hidden in told.values()]
    alike = set.intersection(*judged)
    dice = {
        name: mean_dice([each for each in hidden if id(each.pair) in alike], maps[name])
        for name, hidden in told.items()
        if alike
    }
    best = methods[0]
    for name in methods[1:]:
        if name in dice and dice[name] > dice.get(best, -1.0) + _MARGIN:
            best = name
    model = fits[best](pairs, n_classes)
    if progress is not None:
        progress(len(methods) + 1, len(methods) + 1, f"fitted {best}")
    return Chosen(best, model, maps[best], dice, tuple(told[best]))


def fit_of(name: str, schedule: Schedule, seed: int, trunk: dict[str, Tensor] | None, expected: Expected) -> Fit:
    """Return the function that fits a method to pairs and a number of classes."""
    heads = {"prototype": fit_prototypes, "ridge": fit_ridge_head, "logistic": fit_logistic_head}
    if name in heads:
        head = heads[name]
        return lambda pairs, n_classes: head(pairs, n_classes, seed=seed)
    start = trunk if name == "transferred" else None
    return lambda pairs, n_classes: fit_network(
        pairs, n_classes, schedule=schedule, seed=seed, trunk=start, expected=expected
    )


def hidden_in_turn(folds: Sequence[Fold], n_classes: int, fit: Fit) -> list[Hidden]:
    """Return what models say of images that they were not fitted to; empty without a fold.

    Args:
        folds: as `parts` gives them.
        n_classes: declared classes.
        fit: makes a model of pairs.
    """
    found = []
    for rest, hidden in folds:
        model = fit(rest, n_classes)
        found += [Hidden(pair, model.log_probabilities(pair.picture)) for pair in hidden]
    return found


def parts(pairs: Sequence[LabelledPicture], folds: int) -> list[Fold]:
    """Return (rest, hidden) for each part of the support whose rest shows two classes; one image is parted into halves by labels."""
    if len(pairs) == 1:
        return _halves(pairs[0])
    groups = [list(range(len(pairs)))[at :: min(folds, len(pairs))] for at in range(min(folds, len(pairs)))]
    found = []
    for group in groups:
        rest = [pair for at, pair in enumerate(pairs) if at not in group]
        if _classes_of(rest) > 1:
            found.append((rest, [pairs[at] for at in group]))
    return found


def _recoloured(every: Sequence[Sequence[Fold]], seed: int) -> list[list[Fold]]:
    """Return folds whose hidden images are recoloured, an image in the same way wherever it is hidden."""
    generator = torch.Generator().manual_seed(seed)
    changed: dict[int, LabelledPicture] = {}
    for folds in every:
        for _, hidden in folds:
            for pair in hidden:
                if id(pair) not in changed:
                    pixels = recoloured(pair.picture.pixels, generator)
                    changed[id(pair)] = replace(pair, picture=replace(pair.picture, pixels=pixels))
    return [[(rest, [changed[id(pair)] for pair in hidden]) for rest, hidden in folds] for folds in every]


def _halves(pair: LabelledPicture) -> list[Fold]:
    height, width = pair.classes.shape
    for axis, length in ((1, width), (0, height)):
        first = torch.arange(length) < length // 2
        side = (first[None, :] if axis else first[:, None]).expand(height, width)
        two = [replace(pair, classes=pair.classes.masked_fill(where, UNLABELLED)) for where in (side, ~side)]
        if all(_classes_of([each]) > 1 for each in two):
            return [([two[0]], [two[1]]), ([two[1]], [two[0]])]
    return []


def _classes_of(pairs: Sequence[LabelledPicture]) -> int:
    return len({int(value) for pair in pairs for value in torch.unique(pair.classes)} - {UNLABELLED})


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
    tried = [Calibration(float(temperature.sharpness[0]), offset) for offset in OFFSETS]
    scores = [round(mean_dice(hidden, each), 6) for each in tried]
    best = max(scores)
    # of those that are as good as the best, the one that changes least
    offset = min((each.offset for each, score in zip(tried, scores, strict=True) if score == best), key=abs)
    return Calibration(float(temperature.sharpness[0]), offset)


def mean_dice(hidden: Sequence[Hidden], calibration: Calibration) -> float:
    """Return the mean Dice coefficient over images and the structures that either mask shows; 0 where there is none."""
    found = []
    for each in hidden:
        labelled = each.pair.classes != UNLABELLED
        said, true = calibration.mask(each.said)[labelled], each.pair.classes[labelled]
        for structure in range(1, len(each.said)):
            sizes = int((said == structure).sum()) + int((true == structure).sum())
            if sizes:
                found.append(2 * int(((said == structure) & (true == structure)).sum()) / sizes)
    return sum(found) / len(found) if found else 0.0
