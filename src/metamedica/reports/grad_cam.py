"""Grad-CAM of a predictor of images: where its network sees what speaks for an answer, beside what `Predictor.explain` says of the whole answer.

Selvaraju et al. 2017, arXiv:1610.02391, section 3. The last layer is here a learner on the network's vector: the gradient of its log-odds in it
goes back through the network to its last maps. A learner on several kernels looks at more than the network, of which such a map says nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from torch.distributions import Categorical

from metamedica.errors import CaseError, InputError, TaskError
from metamedica.modalities.images import Images
from metamedica.modalities.images.heat import heated, network_heat
from metamedica.predictors.answers import class_index, log_odds
from metamedica.predictors.predictor import Predictor
from metamedica.reports.html import Figure
from metamedica.types import Features

_BLOCKS: dict[Literal["network", "encoder"], str] = {"network": "network", "encoder": "image"}
"""What of a case each network leaves, or reads."""
_OTHERS = 16
"""Labelled images whose view is put in the place of an image's own."""


@dataclass(frozen=True)
class GradCam:
    """Where in an image the network sees what speaks for a class.

    Args:
        case: the image as `prepare` returned it.
        label: the class whose log-odds are explained.
        through: "network" for a frozen network, "encoder" for one that was trained with the learner.
        heat: over the places of the last feature maps, 0 or above: ReLU of the maps weighed by the mean slope of the log-odds.
        output: log-odds of the class for the image.
        unseen: mean log-odds where the network sees labelled images in its place and all else stays: what is left without what it saw.
    """

    case: str
    label: str
    through: Literal["network", "encoder"]
    heat: Float[np.ndarray, "high wide"]
    output: float
    unseen: float

    @property
    def share(self) -> float:
        """What the network's view of this image adds to the log-odds, against that of the labelled images on average."""
        return self.output - self.unseen

    @property
    def caption(self) -> str:
        """What the drawn map shows, and what it does not."""
        high, wide = self.heat.shape
        who = "the network" if self.through == "network" else "the learned encoder"
        where = (
            f"where {who} sees what speaks for {self.label}, on {high} x {wide} places"
            if self.heat.max() > 0
            else f"at none of its {high} x {wide} places does {who} see what speaks for {self.label}"
        )
        return (
            f"Grad-CAM: {where}; it tells of {who}'s share alone, which moves the log-odds from {self.unseen:.2f} to {self.output:.2f}, "
            "and not of the other features"
        )

    def drawn(self, *, size: int) -> str:
        """Return the image under its map as SVG, `size` CSS pixels a side."""
        return heated(self.case, self.heat, size=size)

    def figure(self, *, size: int) -> Figure:
        """Return the drawn map with its caption."""
        return Figure(self.caption, self.drawn(size=size))

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON value; the map row by row, from the top left."""
        return {
            "label": self.label,
            "through": self.through,
            "heat": self.heat.round(6).tolist(),
            "output": self.output,
            "without_what_it_saw": self.unseen,
            "caption": self.caption,
        }


def through(predictor: Predictor) -> Literal["network", "encoder"]:
    """Return which network the predictor sees images through: one that was trained with the learner, else a frozen one.

    Raises:
        InputError: a predictor of something else than images, or one that sees through no network.
    """
    modality = predictor.model.modality
    if not isinstance(modality, Images):
        raise InputError(f"got a predictor of {modality.name}, and Grad-CAM looks at images; use explain")
    if "image" in predictor.model.spec.extra_blocks(modality):
        return "encoder"
    if modality.network is None:
        raise InputError(
            "this predictor sees images by classical features alone, so that there is no network for Grad-CAM to look through; use explain, or "
            "fit with --network or --encoder resnet"
        )
    return "network"


def refusal(predictor: Predictor) -> str:
    """Return in a sentence why there is no Grad-CAM of a predictor; empty where there is one."""
    try:
        predictor.slopes(_BLOCKS[through(predictor)])
    except (InputError, TaskError) as error:
        return str(error)
    return ""


def grad_cam(predictor: Predictor, cases: Sequence[Any], *, label: object | None = None) -> list[GradCam]:
    """Return where in each image the predictor's network sees what speaks for a class, in input order.

    Args:
        predictor: of images, with classes.
        cases: raw images, or prepared ones.
        label: the class; None: as `Predictor.explain`, class 1 of two, of more classes each image's most probable one.

    Raises:
        CaseError: an image cannot be read.
        InputError: a predictor of something else, or one that sees through no network or answers by it without a gradient; or no image came.
        TaskError: a regression, or a label that the task does not have.
    """
    seen = through(predictor)
    block = _BLOCKS[seen]
    slopes = predictor.slopes(block)
    modality = predictor.model.modality
    assert isinstance(modality, Images)
    assert predictor.classes is not None
    if not len(cases):
        raise InputError("no image came; give at least one to explain")
    prepared = predictor.model.prepare(list(cases))
    if prepared.problems:
        problem = prepared.problems[0]
        raise CaseError(f"case {problem.position + 1} cannot be read: {problem.reason}; mend it or leave it out")
    law = predictor.law(prepared.features)
    assert isinstance(law, Categorical)
    index = class_index(predictor.classes, label)
    chosen = [int(each) if index is None else index for each in law.logits.argmax(-1)]
    found = []
    for row, (text, at) in enumerate(zip(prepared.canonical, chosen, strict=True)):
        features = {name: values[row : row + 1] for name, values in prepared.features.items()}
        if modality.network is not None and seen == "network":
            (heat,) = network_heat(modality.network, modality.squares([text]), slopes.in_block(features, at))
        else:
            heat = slopes.heat(features, at).numpy()
        output = float(log_odds(Categorical(logits=law.logits[row]), at))
        found.append(
            GradCam(
                text, predictor.classes[at], seen, heat, output, _unseen(predictor, features, block=block, index=at)
            )
        )
    return [found[row] for row in prepared.row]


def _unseen(predictor: Predictor, features: Features, *, block: str, index: int) -> float:
    """Return the mean log-odds of a case where the block is that of each of some labelled cases."""
    known = predictor.support.batch.features[block][0]
    others = known[np.linspace(0, len(known) - 1, min(_OTHERS, len(known))).round().astype(int)]
    case = {name: values.expand(len(others), -1) for name, values in features.items()}
    law = predictor.law({**case, block: others})
    assert isinstance(law, Categorical)
    return float(log_odds(law, index).mean())
