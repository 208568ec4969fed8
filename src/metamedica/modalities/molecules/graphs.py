"""Standard molecule -> rows of integer codes for atoms and bonds, the padded-graph form of message passing.

A block row is the molecule's atoms (or bonds) one after another, so that blocks stay `[cases, size]` like every other
block. Code 0 in the first column of an atom, or in the kind column of a bond, is padding.
"""

from rdkit import Chem

ELEMENTS = (6, 7, 8, 16, 9, 17, 35, 53, 15, 5, 14, 34, 1)
_ELEMENT = {number: code for code, number in enumerate(ELEMENTS, start=1)}
_HYBRIDISATION = {
    Chem.HybridizationType.SP: 1,
    Chem.HybridizationType.SP2: 2,
    Chem.HybridizationType.SP3: 3,
    Chem.HybridizationType.SP3D: 4,
    Chem.HybridizationType.SP3D2: 5,
}
_BOND = {Chem.BondType.SINGLE: 1, Chem.BondType.DOUBLE: 2, Chem.BondType.TRIPLE: 3, Chem.BondType.AROMATIC: 4}
_CHIRALITY = {"R": 1, "S": 2}
_STEREO = {
    Chem.BondStereo.STEREOE: 1,
    Chem.BondStereo.STEREOTRANS: 1,
    Chem.BondStereo.STEREOZ: 2,
    Chem.BondStereo.STEREOCIS: 2,
}

ATOM_CODES = (len(ELEMENTS) + 2, 7, 5, 5, 2, 6, 2, 3)
"""Number of codes per atom column: element (0 padding, last other), neighbours (0-6), charge (-2..2), hydrogens (0-4),
aromatic, hybridisation, in a ring, R/S."""
BOND_CODES = (6, 2, 2, 3)
"""Number of codes per bond column after the two atom positions: kind (0 padding, single, double, triple, aromatic,
other), conjugated, in a ring, E/Z."""


def graph_rows(molecule: Chem.Mol) -> tuple[list[int], list[int]]:
    """Return (atoms, bonds) as flat lists: 8 codes an atom; the positions of both atoms and 4 codes a bond."""
    atoms: list[int] = []
    for atom in molecule.GetAtoms():
        label = atom.GetProp("_CIPCode") if atom.HasProp("_CIPCode") else ""
        atoms += (
            _ELEMENT.get(atom.GetAtomicNum(), len(ELEMENTS) + 1),
            min(atom.GetDegree(), 6),
            min(max(atom.GetFormalCharge(), -2), 2) + 2,
            min(atom.GetTotalNumHs(), 4),
            int(atom.GetIsAromatic()),
            _HYBRIDISATION.get(atom.GetHybridization(), 0),
            int(atom.IsInRing()),
            _CHIRALITY.get(label, 0),
        )
    bonds: list[int] = []
    for bond in molecule.GetBonds():
        bonds += (
            bond.GetBeginAtomIdx(),
            bond.GetEndAtomIdx(),
            _BOND.get(bond.GetBondType(), 5),
            int(bond.GetIsConjugated()),
            int(bond.IsInRing()),
            _STEREO.get(bond.GetStereo(), 0),
        )
    return atoms, bonds or [0] * 6
