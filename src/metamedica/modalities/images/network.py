"""A frozen network: what pre-training leaves of images, so that learners see vectors and adapt in milliseconds."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from metamedica import registry
from metamedica.errors import BundleError, InputError
from metamedica.storage import read_bundle, write_bundle
from metamedica.types import Encoder

KIND = "network"
CENTRE, SPREAD = 0.5, 0.25
"""Of grey levels in [0, 1]: what a network reads is (level - CENTRE) / SPREAD."""
_AT_ONCE = 64


def entering(squares: UInt8[np.ndarray, "n side side 3"]) -> Float[Tensor, "n 3 side side"]:
    """Return images as networks read them, about +-1."""
    images = torch.from_numpy(np.ascontiguousarray(squares)).permute(0, 3, 1, 2).to(torch.float32)
    return (images / 255 - CENTRE) / SPREAD


@dataclass(frozen=True, eq=False)
class Network:
    """An encoder of images with its weights, and how its vectors spread over the images that it was trained on.

    Args:
        encoder: a file of `encoders/` that reads `image`.
        settings: of the encoder.
        side: of the images in pixels.
        weights: of the encoder.
        centre: `[dim]`, mean vector of the training images.
        spread: `[dim]`, standard deviation of each number.
        record: how it was made (images, licence, settings, seed), a JSON value.
    """

    encoder: str
    settings: Mapping[str, Any]
    side: int
    weights: Mapping[str, Tensor]
    centre: Float[Tensor, " dim"]
    spread: Float[Tensor, " dim"]
    record: Mapping[str, Any]

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return len(self.centre)

    def built(self) -> Encoder:
        """Return the encoder with these weights, in evaluation mode.

        Raises:
            BundleError: the weights are not those of such an encoder.
        """
        try:
            made = registry.encoder_class(self.encoder)((3, self.side, self.side), **self.settings)
            made.load_state_dict({name: value.float() for name, value in self.weights.items()})
        except (TypeError, RuntimeError, InputError) as error:
            raise BundleError(f"the weights are not those of such an encoder {self.encoder!r} ({error})") from None
        return made.eval()

    def embed(self, squares: UInt8[np.ndarray, "n side side 3"]) -> Float[Tensor, "n dim"]:
        """Return one vector an image, each number with mean 0 and variance 1 over the images that the network was trained on."""
        made = self.built()
        with torch.no_grad():
            parts = [
                made({"image": entering(squares[at : at + _AT_ONCE]).flatten(1)})
                for at in range(0, len(squares), _AT_ONCE)
            ]
        return (torch.cat(parts) - self.centre) / self.spread if parts else torch.zeros(0, self.dim)

    def as_value(self) -> dict[str, Any]:
        """Return a nested value of JSON and tensors (weights in half precision) that `of_value` reads."""
        return {
            "encoder": self.encoder,
            "settings": dict(self.settings),
            "side": self.side,
            "weights": {name: value.to(torch.float16) for name, value in self.weights.items()},
            "centre": self.centre,
            "spread": self.spread,
            "record": dict(self.record),
        }

    @classmethod
    def of_value(cls, value: Mapping[str, Any]) -> "Network":
        """Return the network of such a value.

        Raises:
            BundleError: a part is missing.
        """
        try:
            return cls(**value)
        except TypeError as error:
            raise BundleError(f"a network is not whole ({error}); make it again") from None

    def save(self, folder: str | Path) -> None:
        """Write the network to a folder, whole or not at all."""
        value = self.as_value()
        tensors = {
            "weights": value.pop("weights"),
            "spread": {"centre": value.pop("centre"), "spread": value.pop("spread")},
        }
        write_bundle(Path(folder), KIND, tensors, {"network": value})

    @classmethod
    def load(cls, folder: str | Path) -> "Network":
        """Return the network saved in a folder.

        Raises:
            BundleError: the folder is no network, or is damaged.
        """
        tensors, documents = read_bundle(Path(folder), KIND)
        try:
            return cls.of_value({**documents["network"], "weights": tensors["weights"], **tensors["spread"]})
        except (KeyError, TypeError) as error:
            raise BundleError(f"{folder} is not a whole network ({error}); make it again") from None
