"""Directed message passing over molecular graphs.

Yang, Swanson, Jin, Coley, Eiden, Gao, Guzman-Perez, Hopper, Kelley, Mathea, Palmer, Settels, Jaakkola, Jensen, Barzilay
2019, Analyzing Learned Molecular Representations for Property Prediction, J. Chem. Inf. Model. 59, 3370, arXiv
1904.01561 (D-MPNN; equations as in its section "Directed MPNN").

Deviates: atoms and bonds enter as sums of learned embeddings of integer codes (a linear map of one-hot features); the
sum over atoms is divided by 32, about the size of a drug, and followed by a linear map to `dim`; no dropout inside.
"""

from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from metamedica.errors import InputError
from metamedica.types import Encoder, Features

USUAL_ATOMS = 32.0


class MessagePassing(Encoder):
    """Messages along directed bonds, then atoms, then their sum.

    Blocks: `atoms` `[*batch, columns * most atoms]`, one atom after another, first column 0 where there is none;
    `bonds` `[*batch, (2 + columns) * most bonds]`, the positions of both atoms, then the codes, the first of which is
    0 where there is no bond. `Molecules.graphs` makes them. Padding changes nothing but the time.

    Args:
        atoms: number of codes of each atom column.
        bonds: number of codes of each bond column.
        width: length of the hidden vectors.
        depth: number of rounds, at least 1; an atom sees others up to `depth` bonds away.
        dim: length of the molecule's vector.

    Raises:
        InputError: no column, or a width, depth or dim below 1.
    """

    codes: ClassVar[frozenset[str]] = frozenset({"atoms", "bonds"})

    def __init__(
        self, atoms: tuple[int, ...], bonds: tuple[int, ...], *, width: int = 256, depth: int = 3, dim: int = 256
    ) -> None:
        super().__init__()
        if not atoms or not bonds:
            raise InputError(f"got atom columns {atoms} and bond columns {bonds}; give at least one of each")
        if min(width, depth, dim) < 1:
            raise InputError(f"got width {width}, depth {depth} and dim {dim}; give at least 1 for each")
        self.dim, self.width, self.depth = dim, width, depth
        self._atoms, self._bonds = _Codes(atoms, width), _Codes(bonds, width)
        self._source = nn.Linear(width, width, bias=False)
        self._message = nn.Linear(width, width, bias=False)
        self._atom = nn.Linear(2 * width, width)
        self._out = nn.Linear(width, dim)

    def forward(self, features: Features) -> Float[Tensor, "*batch dim"]:
        """Return one vector per molecule.

        Raises:
            InputError: a block is missing, or its size is not a whole number of atoms (bonds).
        """
        codes = _rows(features, "atoms", self._atoms.columns)
        atoms = self._atoms(codes)
        is_atom = codes[..., :1] > 0
        bonds = _rows(features, "bonds", 2 + self._bonds.columns)
        begin, end, codes = bonds[..., 0], bonds[..., 1], bonds[..., 2:]
        source, target = torch.cat([begin, end], -1), torch.cat([end, begin], -1)
        is_bond = (codes[..., :1] > 0).repeat(*[1] * (codes.dim() - 2), 2, 1)
        along = self._bonds(codes)
        first = torch.relu(_at(self._source(atoms), source) + torch.cat([along, along], -2)) * is_bond
        hidden = first
        for _ in range(self.depth - 1):
            others = _at(_into(hidden, target, atoms), source) - hidden.roll(begin.shape[-1], -2)
            hidden = torch.relu(first + self._message(others)) * is_bond
        seen = torch.cat([atoms, _into(hidden, target, atoms)], -1)
        last = torch.relu(self._atom(seen)) * is_atom
        return self._out(last.sum(-2) / USUAL_ATOMS)  # type: ignore[no-any-return]


class _Codes(nn.Module):
    """Columns of integer codes -> the sum of one learned vector per column."""

    def __init__(self, sizes: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.columns = len(sizes)
        self.table = nn.Embedding(sum(sizes), width)
        nn.init.normal_(self.table.weight, std=len(sizes) ** -0.5)
        self.offsets: Tensor
        offsets = torch.tensor([sum(sizes[:place]) for place in range(len(sizes))])
        self.register_buffer("offsets", offsets, persistent=False)

    def forward(self, codes: Int[Tensor, "*rows columns"]) -> Float[Tensor, "*rows width"]:
        return self.table(codes + self.offsets).sum(-2)  # type: ignore[no-any-return]


def _rows(features: Features, name: str, columns: int) -> Int[Tensor, "*batch rows columns"]:
    if name not in features:
        raise InputError(
            f"message passing reads the block {name!r} of Molecules.graphs and got {', '.join(features) or 'none'}; "
            "make the features with MetaLearner or the modality's blocks, or choose the encoder mlp"
        )
    block = features[name]
    if block.shape[-1] % columns:
        raise InputError(
            f"block {name!r} has {block.shape[-1]} columns and needs {columns} for each of its rows; make graphs again"
        )
    return block.long().reshape(*block.shape[:-1], -1, columns)


def _at(values: Float[Tensor, "*batch atoms width"], places: Int[Tensor, "*batch bonds"]) -> Tensor:
    """Return the vector of the atom at each place, `[*batch, bonds, width]`."""
    return values.gather(-2, places[..., None].expand(*places.shape, values.shape[-1]))


def _into(hidden: Float[Tensor, "*batch bonds width"], places: Int[Tensor, "*batch bonds"], like: Tensor) -> Tensor:
    """Return the sum of the vectors of the bonds that end in each atom, `[*batch, atoms, width]`."""
    return torch.zeros_like(like).scatter_add(-2, places[..., None].expand_as(hidden), hidden)
