"""A multilayer perceptron over named blocks of features."""

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, TypeVar, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from metamedica.blocks import laid_out as dense
from metamedica.blocks import rows_of_table
from metamedica.errors import InputError
from metamedica.functional.layered import Layered
from metamedica.functional.sparse import FEWEST_COLUMNS, Entries, Piece, affine, entries_of, laid_out
from metamedica.types import Between, Encoder, Features, OneOf, Ranges

ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = {"gelu": nn.GELU, "relu": nn.ReLU, "tanh": nn.Tanh}
ENTERS: Mapping[str, Callable[[Tensor], Tensor]] = {"counts": torch.log1p}
"""How blocks of these names enter: `counts` (of substructures, reads, words) as `log(1 + count)`; all others as they are."""

AnyPiece = TypeVar("AnyPiece", bound=Piece)


def checked(features: Features, blocks: Mapping[str, int]) -> Features:
    """Return the named blocks in floating point, in the order of `blocks`.

    Args:
        features: blocks `[*batch, size]`; others than the named ones are ignored.
        blocks: name -> size.

    Raises:
        InputError: a block is missing or has another size.
    """
    found = {}
    for name, size in blocks.items():
        if name not in features:
            raise InputError(
                f"the encoder needs a block {name!r} and got {', '.join(features) or 'none'}; "
                "featurise the cases with the same modality"
            )
        block = features[name]
        if block.shape[-1] != size:
            raise InputError(
                f"block {name!r} has {block.shape[-1]} columns and the encoder wants {size}; "
                "featurise the cases with the same settings"
            )
        as_it_is = rows_of_table(block) is not None or block.is_floating_point()
        found[name] = block if as_it_is else block.to(torch.get_default_dtype())
    return found


def _entering(name: str, block: AnyPiece) -> AnyPiece:
    if name not in ENTERS:
        return block
    return cast(AnyPiece, block.map(ENTERS[name]) if isinstance(block, Entries) else ENTERS[name](block))


class MLP(Encoder, Layered):
    """Blocks side by side -> [linear, layer norm, activation, dropout] for each hidden width -> linear (-> activation).

    Layer norm and not batch norm: a case's vector depends on that case alone, so a task's other cases cannot leak into
    it.

    Args:
        blocks: name -> number of columns, in the order of joining; a block named `counts` enters as `log(1 + count)`.
        hidden: width of each hidden layer; empty for a linear map.
        dim: length of the vector.
        dropout: share of hidden units left out in training mode, in [0, 1).
        activation: one of `ACTIVATIONS`.
        norm: "layer" or "none".
        ends: "linear", or "activation" where the vector is the last hidden layer of a plain network.

    Raises:
        InputError: no block, or a width below 1, or a dropout outside [0, 1), or another word than those.
    """

    by_entries: ClassVar[frozenset[str]] = frozenset({"counts", "bits"})
    ranges: ClassVar[Ranges] = {
        "hidden": OneOf(([256], [512], [1024], [2048], [512, 512], [1024, 512])),
        "dropout": Between(0.0, 0.5),
        "activation": OneOf(tuple(ACTIVATIONS)),
    }

    def __init__(
        self,
        blocks: dict[str, int],
        *,
        hidden: Sequence[int] = (1024,),
        dim: int = 256,
        dropout: float = 0.1,
        activation: str = "gelu",
        norm: str = "layer",
        ends: str = "linear",
    ) -> None:
        super().__init__()
        if not blocks or min(blocks.values()) < 1:
            raise InputError(f"got blocks {blocks}; give at least one block with at least one column")
        if min((dim, *hidden)) < 1:
            raise InputError(f"got hidden {tuple(hidden)} and dim {dim}; give widths of at least 1")
        if not 0 <= dropout < 1:
            raise InputError(f"got dropout {dropout}; give a share from 0 up to, not including, 1")
        for said, known in ((activation, ACTIVATIONS), (norm, ("layer", "none")), (ends, ("linear", "activation"))):
            if said not in known:
                raise InputError(f"got {said!r} where one of {', '.join(known)} was wanted")
        self.blocks = dict(blocks)
        self.dim = dim
        layers: list[nn.Module] = []
        width = sum(blocks.values())
        for wide in hidden:
            unit = nn.LayerNorm(wide) if norm == "layer" else nn.Identity()
            layers += [nn.Linear(width, wide), unit, ACTIVATIONS[activation](), nn.Dropout(dropout)]
            width = wide
        layers.append(nn.Linear(width, dim))
        if ends == "activation":
            layers.append(ACTIVATIONS[activation]())
        self.layers = nn.Sequential(*layers)
        if max(blocks.values()) >= FEWEST_COLUMNS:
            # The same matrix, laid out in memory by column, as products with sparse rows read it.
            first = cast(nn.Linear, self.layers[0])
            first.weight.data = first.weight.data.T.contiguous().T

    def inputs(self, features: Features) -> Float[Tensor, "*batch flat"]:
        """Return the blocks side by side, counts as `log(1 + count)`.

        Raises:
            InputError: a block is missing or has another size.
        """
        found = checked(features, self.blocks)
        return laid_out([_entering(name, dense(block)) for name, block in found.items()])

    def pieces(self, features: Features) -> list[Piece]:
        """Return the blocks as they enter the first layer, wide ones that are mostly zero by their entries.

        Raises:
            InputError: a block is missing or has another size.
        """
        found = checked(features, self.blocks)
        sparse = {name: entries_of(block) for name, block in found.items()}
        if not any(sparse.values()):
            return [self.inputs(features)]
        return [_entering(name, sparse[name] or dense(block)) for name, block in found.items()]

    def forward(self, features: Features) -> Float[Tensor, "*batch dim"]:
        """Return one vector per case.

        Args:
            features: blocks `[*batch, size]`, any leading axes.

        Raises:
            InputError: a block is missing or has another size.
        """
        first, *others = self.layers
        assert isinstance(first, nn.Linear)
        x = affine(self.pieces(features), first.weight.T, first.bias)
        for layer in others:
            x = layer(x)
        return x
