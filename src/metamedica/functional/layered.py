"""What an encoder adds when it is layers on one vector a case."""

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor, nn

from metamedica.functional.sparse import Piece
from metamedica.types import Features


class Layered(ABC):
    """An encoder that is `layers` on one vector a case: then inner loops have exact forms that are many times faster."""

    layers: nn.Sequential

    @abstractmethod
    def inputs(self, features: Features) -> Float[Tensor, "*batch width"]:
        """Return the vector that enters the first layer."""

    def pieces(self, features: Features) -> list[Piece]:
        """Return the same as pieces side by side, those that are mostly zero by their entries; by default one dense piece."""
        return [self.inputs(features)]
