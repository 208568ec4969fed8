"""Where in an image a network sees what speaks for an answer: Grad-CAM.

Selvaraju, Cogswell, Das, Vedantam, Parikh and Batra 2017, Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization,
arXiv:1610.02391, section 3. Where the vector is the mean of the maps and the answer linear in it, this is class activation mapping (Zhou et al. 2016,
arXiv:1512.04150) up to the ReLU and the number of places (section 3.1 there).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn

from metamedica.errors import InputError
from metamedica.functional.feature_maps import FeatureMaps
from metamedica.types import Features


def heat_of(
    maps: Float[Tensor, "*n features high wide"], slopes: Float[Tensor, "*n features high wide"]
) -> Float[Tensor, "*n high wide"]:
    """Return ReLU(sum_k alpha_k A^k), alpha_k being the mean over places of d answer / d A^k (eq. 1 and 2).

    Args:
        maps: A, the last feature maps of an image.
        slopes: of the answer in them.
    """
    found: Tensor = (slopes.mean((-2, -1), keepdim=True) * maps).sum(-3).relu()
    return found


@dataclass(frozen=True)
class Watched:
    """The last maps of one image on their way through an encoder.

    Args:
        laid_out: makes maps of what was left.
        left: what the watched module left, once a time that it ran on an image that asks for a gradient.
    """

    laid_out: Callable[[Tensor], Float[Tensor, "n features high wide"]]
    left: list[Tensor] = field(default_factory=list)

    def heat(self, answer: Float[Tensor, ""]) -> Float[Tensor, "high wide"]:
        """Return the heat map of an answer that was computed while the encoder was watched.

        Args:
            answer: that depends on the image.

        Raises:
            InputError: the encoder saw another number of images than one, or the answer does not follow from what it saw by a gradient.
        """
        if len(self.left) != 1 or len(self.left[0]) != 1:
            raise InputError(
                f"the encoder ran {len(self.left)} times, on {sum(map(len, self.left))} images, where one image was asked about; "
                "its heat map cannot be told"
            )
        if not answer.requires_grad:
            raise InputError("the answer follows from the encoder without a gradient; take another learner")
        (slopes,) = torch.autograd.grad(answer, self.left, allow_unused=True)
        maps = self.left[0]
        slopes = torch.zeros_like(maps) if slopes is None else slopes
        return heat_of(self.laid_out(maps.detach()), self.laid_out(slopes))[0]


@contextmanager
def watched(encoder: nn.Module) -> Iterator[Watched]:
    """Within it, the last maps of images that ask for a gradient become leaves, from which the rest of the answer follows.

    Images that ask for none (labelled ones that a learner reads again) go by. An encoder that others use at the same time is copied first.

    Args:
        encoder: in evaluation mode.

    Yields:
        What was seen.

    Raises:
        InputError: an encoder without feature maps.
    """
    if not isinstance(encoder, FeatureMaps):
        raise InputError(
            f"the encoder {type(encoder).__name__} has no feature maps to look at; use one that has, such as resnet or conv4"
        )
    module, laid_out = encoder.last()
    seen = Watched(laid_out)

    asks = False

    def enters(_: nn.Module, given: tuple[Features]) -> None:
        nonlocal asks
        asks = any(block.requires_grad for block in given[0].values())

    def leaves(_: nn.Module, __: tuple[Tensor, ...], left: Tensor) -> Tensor | None:
        if not asks:
            return None
        leaf = left.detach().requires_grad_()
        seen.left.append(leaf)
        return leaf

    hooks = [encoder.register_forward_pre_hook(enters), module.register_forward_hook(leaves)]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()
