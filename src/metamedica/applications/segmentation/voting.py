"""Several ways to segment that answer together: the mean of their probabilities (Clemen 1989, Combining forecasts: the plain mean is hard to beat).

Where new images come under another stain no labelled image can tell which way serves: hidden images are recoloured as a network's training images
are, so that they flatter it, and the stain that comes is one that nobody has drawn. Ways that err for different reasons then answer better together.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from metamedica.applications.segmentation.cases import Picture
from metamedica.applications.segmentation.heads import PixelModel

_BETWEEN = "/"


class Vote(PixelModel):
    """The mean of the probabilities of several models.

    Args:
        models: name -> model, one or more; all of the same classes. They answer in the order of their names.
    """

    def __init__(self, models: Mapping[str, PixelModel]) -> None:
        self.models = dict(sorted(models.items()))

    def log_probabilities(self, picture: Picture) -> Float[Tensor, "classes height width"]:
        """Return the logarithm of each class's probability at every pixel of an image."""
        return mean_law([model.log_probabilities(picture) for model in self.models.values()])

    def tensors(self) -> dict[str, Tensor]:
        """Return all that they have learned, each under its name."""
        return {
            f"{name}{_BETWEEN}{part}": tensor
            for name, model in self.models.items()
            for part, tensor in model.tensors().items()
        }


def mean_law(said: list[Float[Tensor, "classes height width"]]) -> Float[Tensor, "classes height width"]:
    """Return the logarithm of the mean of probabilities that are given as logarithms."""
    return torch.logsumexp(torch.stack(said), dim=0) - torch.tensor(float(len(said))).log()


def by_voter(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Return what `Vote.tensors` gave, model by model; empty for the tensors of a single model."""
    found: dict[str, dict[str, Tensor]] = {}
    for name in sorted(tensors):
        voter, between, part = name.partition(_BETWEEN)
        if between:
            found.setdefault(voter, {})[part] = tensors[name]
    return found
