"""Which way to segment serves a support best, told by images of the support that are hidden in turn: do no harm.

Prototypes, ridge and logistic heads and boosted trees are fitted without each image (or without each fifth of them); a network, which costs more,
once without half of them. All are compared on the images that were hidden from all. So the network is judged with half of the labels, and answers
only where it wins nevertheless. A single image is hidden by halves. Where new images are said to come under another stain or from another scanner,
hidden images are recoloured before they are judged (trees then learn from recoloured copies as a network does, and are judged as it is). They show
how sure an answer may be there, but not which method serves: recoloured as a network's training images are, they flatter it. So all answer together
(`voting`).
What the winner says of hidden images also sets its temperature, how readily it calls a pixel background, and how wide intervals of measures are.
Whether masks are tidied to what all masks of the support have in common (`shape`) is told by hidden images as well; under another stain they are,
which changes colours and not shapes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from torch import Tensor

from metamedica.applications.segmentation.augmentation import Expected, recoloured
from metamedica.applications.segmentation.boosted import fit_boosted_trees
from metamedica.applications.segmentation.cases import UNLABELLED, LabelledPicture
from metamedica.applications.segmentation.heads import (
    PixelModel,
    fit_logistic_head,
    fit_prototypes,
    fit_ridge_head,
)
from metamedica.applications.segmentation.judging import Calibration, Hidden, calibrated, honest_dice, unshaped
from metamedica.applications.segmentation.shape import Shape
from metamedica.applications.segmentation.unet import Schedule, fit_network
from metamedica.applications.segmentation.voting import Vote, mean_law
from metamedica.errors import InputError
from metamedica.types import Progress

Fit: TypeAlias = Callable[[Sequence[LabelledPicture], int], PixelModel]
Fold: TypeAlias = tuple[list[LabelledPicture], list[LabelledPicture]]
METHODS = ("prototype", "ridge", "logistic", "boosted", "network")
DEEP = ("network", "transferred")
VOTE = "vote"
"""All methods together."""
FOLDS = 5
"""At most so many parts of the support are hidden in turn from a head; from a network one of two."""
_MARGIN = 0.005
"""A later, costlier method must be better by this much Dice."""


@dataclass(frozen=True)
class Chosen:
    """The method that serves best, or all together, and how each did.

    Args:
        method: its name, or `VOTE`.
        model: fitted to the whole support.
        calibration: from hidden images; that of a law as it is where nothing could be hidden.
        dice: method -> mean Dice coefficient over structures and hidden images; empty where nothing could be hidden.
        hidden: what the chosen method said of them.
        shape: to which masks are tidied.
    """

    method: str
    model: PixelModel
    calibration: Calibration
    dice: dict[str, float]
    hidden: tuple[Hidden, ...]
    shape: Shape


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
    """Return the method with the best Dice coefficient on hidden images, fitted to the whole support; all of them for recoloured images.

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
        costly = name in DEEP or (name == "boosted" and expected == "recoloured")
        told[name] = hidden_in_turn(halves[-1:] if costly else shallow, n_classes, fits[name])
        if progress is not None:
            progress(at + 1, len(methods) + 1, f"judged {name} on hidden images")
    judged = [{id(each.pair) for each in hidden} for hidden in told.values()]
    alike = set.intersection(*judged)
    common = {name: [each for each in hidden if id(each.pair) in alike] for name, hidden in told.items() if alike}
    together = expected == "recoloured" and len(methods) > 1
    if together:
        common[VOTE] = told[VOTE] = _voted([told[name] for name in methods])
    plain = {name: honest_dice(unshaped(hidden)) for name, hidden in common.items()}
    tidied = {name: honest_dice(hidden) for name, hidden in common.items()}
    # another stain changes colours and not shapes, and spoils masks so that tidying may look like harm
    helps = together or (
        sum(tidied.values()) >= sum(plain.values()) and any(each.shape != Shape() for each in told[methods[0]])
    )
    dice = tidied if helps else plain
    best = VOTE if together else methods[0]
    for name in methods[1:]:
        if not together and name in dice and dice[name] > dice[best] + _MARGIN:
            best = name
    hidden = told[best] if helps else unshaped(told[best])
    model: PixelModel
    if together:
        model = Vote({name: fit(pairs, n_classes) for name, fit in fits.items()})
    else:
        model = fits[best](pairs, n_classes)
    if progress is not None:
        progress(len(methods) + 1, len(methods) + 1, f"fitted {best}")
    shape = Shape.learned(pairs) if helps else Shape()
    calibration = calibrated(hidden, seed=seed)
    if len(pairs) == 1 or together:
        # halves of one image, and drawn stains, tell how sure a law may be, not how readily another image's pixels are background
        calibration = replace(calibration, offset=0.0)
    return Chosen(best, model, calibration, dice, tuple(hidden), shape)


def fit_of(name: str, schedule: Schedule, seed: int, trunk: dict[str, Tensor] | None, expected: Expected) -> Fit:
    """Return the function that fits a method to pairs and a number of classes."""
    heads = {"prototype": fit_prototypes, "ridge": fit_ridge_head, "logistic": fit_logistic_head}
    if name in heads:
        head = heads[name]
        return lambda pairs, n_classes: head(pairs, n_classes, seed=seed)
    if name == "boosted":
        return lambda pairs, n_classes: fit_boosted_trees(pairs, n_classes, seed=seed, expected=expected)
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
        model, shape = fit(rest, n_classes), Shape.learned(rest)
        found += [Hidden(pair, model.log_probabilities(pair.picture), shape) for pair in hidden]
    return found


def _voted(told: Sequence[Sequence[Hidden]]) -> list[Hidden]:
    """Return what methods say together of the images that were hidden from all of them."""
    last = told[-1]
    each = [{id(hidden.pair): hidden.said for hidden in by_method} for by_method in told]
    return [
        replace(hidden, said=mean_law([said[id(hidden.pair)] for said in each]))
        for hidden in last
        if all(id(hidden.pair) in said for said in each)
    ]


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
