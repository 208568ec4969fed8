"""Standard molecule -> groups of atoms, and which of them every counted feature of a fingerprint touches. NumPy and RDKit only."""

from collections.abc import Iterator
from typing import Any

from rdkit import Chem
from rdkit.Chem import rdFingerprintGenerator

from metamedica.modalities.molecules.featurise import (
    FINGERPRINT_RADIUS,
    FINGERPRINT_SIZE,
    MORE_FINGERPRINTS,
)

MOST_GROUPS = 40
"""Atoms up to which each is a part of its own; of a larger molecule, neighbours are put together until there are so many groups."""
BLOCKS = ("counts", *MORE_FINGERPRINTS)
"""Blocks of counts, in the order of their codes, from 1."""
_LARGEST_RING = 8


def generators() -> dict[str, Any]:
    """Return RDKit's generator of each block of counts."""
    morgan = rdFingerprintGenerator.GetMorganGenerator(radius=FINGERPRINT_RADIUS, fpSize=FINGERPRINT_SIZE)
    return {"counts": morgan, **{block: make() for block, make in MORE_FINGERPRINTS.items()}}


def groups_of(molecule: Any, *, most: int = MOST_GROUPS) -> list[list[int]]:
    """Return the atoms of each part, parts by their first atom: single atoms, or in a large molecule at most so many groups.

    There a ring of up to eight atoms is a group (one that shares atoms with an earlier one has the others), every other atom one of its own, and the
    smallest group goes to its smallest neighbour until there are few enough.
    """
    count = molecule.GetNumAtoms()
    if count <= most:
        return [[atom] for atom in range(count)]
    group = list(range(count))
    taken: set[int] = set()
    for ring in sorted(molecule.GetRingInfo().AtomRings(), key=lambda ring: (len(ring), sorted(ring))):
        free = [atom for atom in ring if atom not in taken]
        if free and len(ring) <= _LARGEST_RING:
            taken.update(free)
            for atom in free:
                group[atom] = min(free)
    members: dict[int, set[int]] = {}
    for atom, name in enumerate(group):
        members.setdefault(name, set()).add(atom)
    near: dict[int, set[int]] = {name: set() for name in members}
    for bond in molecule.GetBonds():
        one, other = group[bond.GetBeginAtomIdx()], group[bond.GetEndAtomIdx()]
        if one != other:
            near[one].add(other)
            near[other].add(one)
    while len(members) > most:
        joinable = [name for name in members if near[name]]
        if not joinable:
            break
        small = min(joinable, key=lambda name: (len(members[name]), name))
        into = min(near[small], key=lambda name: (len(members[name]), name))
        members[into] |= members.pop(small)
        for name in near.pop(small):
            near[name].discard(small)
            if name != into:
                near[name].add(into)
                near[into].add(name)
    return sorted(sorted(atoms) for atoms in members.values())


def group_names(molecule: Any, groups: list[list[int]]) -> list[str]:
    """Return what each part is called: its atoms by number, from 1 in the order of the SMILES, and its symbol or SMILES."""
    names = []
    for atoms in groups:
        if len(atoms) == 1:
            names.append(f"atom {atoms[0] + 1}, {molecule.GetAtomWithIdx(atoms[0]).GetSymbol()}")
        else:
            piece = Chem.MolFragmentToSmiles(molecule, atoms, isomericSmiles=False)
            names.append(f"atoms {_spans(atoms)}, {piece}")
    return names


def _spans(atoms: list[int]) -> str:
    """Return numbers from 1 as "3-5, 8"."""
    told: list[str] = []
    first = last = atoms[0]
    for atom in [*atoms[1:], -1]:
        if atom != last + 1:
            told.append(f"{first + 1}" if first == last else f"{first + 1}-{last + 1}")
            first = atom
        last = atom
    return ", ".join(told)


def part_codes(molecule: Any, groups: list[list[int]], makers: dict[str, Any]) -> list[int]:
    """Return as one list of numbers: the number of atoms, the group of each atom, and then of every counted feature the code of its block, its
    column, and the number and the numbers of the groups that it touches."""
    group_of = {atom: at for at, atoms in enumerate(groups) for atom in atoms}
    codes = [molecule.GetNumAtoms(), *(group_of[atom] for atom in range(molecule.GetNumAtoms()))]
    for code, block in enumerate(BLOCKS, start=1):
        for column, atoms in _features(molecule, block, makers[block]):
            touched = sorted({group_of[atom] for atom in atoms})
            codes += [code, column, len(touched), *touched]
    return codes


def _features(molecule: Any, block: str, maker: Any) -> Iterator[tuple[int, set[int]]]:
    """Yield the column and the atoms of every feature that a block counts, as often as it is counted."""
    found = rdFingerprintGenerator.AdditionalOutput()
    found.AllocateBitInfoMap()
    found.AllocateBitPaths()
    maker.GetCountFingerprint(molecule, additionalOutput=found)
    if block in ("torsions", "paths"):
        for column, paths in found.GetBitPaths().items():
            for path in paths:
                yield column, (set(path) if block == "torsions" else _ends(molecule, path))
    elif block == "atom_pairs":
        for column, pairs in found.GetBitInfoMap().items():
            for pair in pairs:
                yield column, set(pair)
    else:
        for column, places in found.GetBitInfoMap().items():
            for atom, radius in places:
                around = Chem.FindAtomEnvironmentOfRadiusN(molecule, radius, atom) if radius else ()
                yield column, {atom, *_ends(molecule, around)}


def _ends(molecule: Any, bonds: Any) -> set[int]:
    ends: set[int] = set()
    for at in bonds:
        bond = molecule.GetBondWithIdx(at)
        ends.update((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()))
    return ends
