"""The parts of a molecule are its atoms (of a large one, groups of them) and its whole-molecule properties.

Without an atom, a fingerprint no longer counts the features that touch it, and a graph has neither the atom nor its bonds: what is left is what
stands in the molecule beside it, not another molecule. Descriptors are sums and counts over the whole; they are one part, and where it is
away they are those of the background on average.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from metamedica.modalities.molecules.environments import BLOCKS
from metamedica.modalities.molecules.featurise import MORE_MOST
from metamedica.modalities.molecules.graphs import ATOM_CODES, BOND_CODES
from metamedica.parts import CaseParts
from metamedica.types import Features

WHOLE = "whole-molecule properties"
_BOND = len(BOND_CODES) + 2


class Counted(NamedTuple):
    """The features that one block counts.

    Args:
        columns: the block's columns that count any, ascending.
        place: of each feature, where its column stands in `columns`.
        touched: which groups each feature touches.
    """

    columns: Int64[Tensor, " used"]
    place: Int64[Tensor, " features"]
    touched: Float[Tensor, "features groups"]


class Molecule(NamedTuple):
    """A molecule by its groups of atoms.

    Args:
        names: of the groups.
        group: of each atom.
        counted: by block.
    """

    names: tuple[str, ...]
    group: Int64[Tensor, " atoms"]
    counted: dict[str, Counted]


def read_codes(codes: NDArray[np.int16], names: Sequence[str]) -> Molecule:
    """Return the molecule that `environments.part_codes` told of; what follows the last feature is 0."""
    told = codes.tolist()
    atoms, at = told[0], 1 + told[0]
    columns: list[list[int]] = [[] for _ in BLOCKS]
    touched: list[list[list[int]]] = [[] for _ in BLOCKS]
    while at < len(told) and told[at]:
        block, column, count = told[at] - 1, told[at + 1], told[at + 2]
        columns[block].append(column)
        touched[block].append(told[at + 3 : at + 3 + count])
        at += 3 + count
    counted = {}
    for block, here, groups in zip(BLOCKS, columns, touched, strict=True):
        used, place = torch.unique(torch.tensor(here, dtype=torch.int64), return_inverse=True)
        member = torch.zeros(len(here), len(names))
        rows = torch.repeat_interleave(torch.arange(len(here)), torch.tensor([len(each) for each in groups]).long())
        member[rows, torch.tensor([group for each in groups for group in each], dtype=torch.int64)] = 1.0
        counted[block] = Counted(used, place, member)
    return Molecule(tuple(names), torch.tensor(told[1 : 1 + atoms], dtype=torch.int64), counted)


def molecule_parts(molecule: Molecule, features: Features, background: Features) -> CaseParts:
    """Return the parts of one molecule.

    Args:
        molecule: by its groups.
        features: its blocks, `[1, size]`.
        background: blocks of other molecules, whose mean descriptors stand for its own; without any, the usual ones (0).
    """
    whole = [WHOLE] if "descriptors" in features else []
    names = (*molecule.names, *whole)
    return CaseParts(names, ("",) * len(names), _Left(molecule, features, background), 1, separate=False)


class _Left:
    """What is left of a molecule without some of its parts."""

    def __init__(self, molecule: Molecule, features: Features, background: Features) -> None:
        self._molecule, self._features = molecule, features
        usual = background.get("descriptors")
        if "descriptors" in features:
            own = features["descriptors"]
            self._usual = (
                own.new_zeros(own.shape[1]) if usual is None or not len(usual) else usual.to(own.dtype).mean(0)
            )

    def __call__(self, present: Bool[Tensor, "coalitions parts"]) -> Features:
        there = present[:, : len(self._molecule.names)]
        made: Features = {}
        for name, block in self._features.items():
            if name == "descriptors":
                made[name] = torch.where(present[:, -1:], block, self._usual)
            elif name == "atoms":
                made[name] = self._atoms(there, block)
            elif name == "bonds":
                made[name] = self._bonds(there, block)
            else:
                made[name] = self._counts(name, there, block)
        return made

    def _counts(self, name: str, there: Bool[Tensor, "coalitions groups"], block: Tensor) -> Tensor:
        """Return the counts of the features that touch no group that is away."""
        counted = self._molecule.counted[name]
        whole = counted.touched @ (~there).to(torch.float32).mT == 0
        count = torch.zeros(len(counted.columns), len(there)).index_add_(0, counted.place, whole.to(torch.float32))
        left = torch.zeros(len(there), block.shape[1], dtype=block.dtype)
        left[:, counted.columns] = count.clamp(max=255 if name == "counts" else MORE_MOST).mT.to(block.dtype)
        return left

    def _atoms(self, there: Bool[Tensor, "coalitions groups"], block: Tensor) -> Tensor:
        """Return the codes of the atoms that are there; one that is away is as padding."""
        kept = torch.zeros(len(there), block.shape[1] // len(ATOM_CODES), 1, dtype=torch.bool)
        kept[:, : len(self._molecule.group), 0] = there[:, self._molecule.group]
        codes = block.reshape(1, -1, len(ATOM_CODES))
        return (codes * kept).flatten(1)

    def _bonds(self, there: Bool[Tensor, "coalitions groups"], block: Tensor) -> Tensor:
        """Return the codes of the bonds both of whose atoms are there."""
        codes = block.reshape(-1, _BOND)
        ends = codes[:, :2].long().clamp(max=len(self._molecule.group) - 1)
        kept = there[:, self._molecule.group[ends]].all(-1)
        return (codes * kept[..., None]).flatten(1)


def atom_weights(molecule: Molecule, contributions: Sequence[float]) -> list[float]:
    """Return what each atom contributes: an equal share of its group's; the whole-molecule properties belong to no atom."""
    size = torch.bincount(molecule.group, minlength=len(molecule.names)).tolist()
    return [float(contributions[group]) / size[group] for group in molecule.group.tolist()]
