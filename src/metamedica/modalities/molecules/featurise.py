"""Standard molecule -> count fingerprint and descriptors. Deterministic, not learned. NumPy and RDKit only."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem
from rdkit.Chem import rdFingerprintGenerator, rdMolDescriptors

FINGERPRINT_SIZE = 2048
FINGERPRINT_RADIUS = 2
CLIP = 5.0

DESCRIPTORS: dict[str, tuple[float, float]] = {
    "amw": (450, 184),
    "lipinskiHBA": (7.15, 4.57),
    "lipinskiHBD": (2.33, 3.08),
    "NumHeavyAtoms": (32, 13),
    "NumHeteroatoms": (8.41, 4.77),
    "NumAmideBonds": (1.03, 1.79),
    "FractionCSP3": (0.323, 0.172),
    "NumRings": (4.09, 1.35),
    "NumAromaticRings": (2.95, 1.15),
    "NumAliphaticRings": (1.13, 1.11),
    "NumSaturatedRings": (0.816, 0.954),
    "NumAromaticHeterocycles": (1.33, 1.09),
    "NumAliphaticHeterocycles": (0.785, 0.832),
    "NumSpiroAtoms": (0.0512, 0.263),
    "NumBridgeheadAtoms": (0.127, 0.606),
    "NumAtomStereoCenters": (1.09, 2.07),
    "labuteASA": (188, 75.3),
    "tpsa": (93.7, 73),
    "chi0v": (18.5, 7.45),
    "chi1v": (11.1, 4.55),
    "hallKierAlpha": (-3.2, 1.46),
    "kappa1": (22, 10.6),
}
"""RDKit property -> (centre, scale): mean and standard deviation over the 85,271 molecules of chembl691 (ChEMBL, CC
BY-SA 3.0) after clipping each column to its 0.5 and 99.5 percentiles. RDKit's names; amw in g/mol, labuteASA and tpsa
in square angstrom. Left out for their cost: BertzCT, Crippen logP and MR, rotatable bonds, NumHBA, chi2 and above,
kappa2 and above."""

MORE_SIZE = 1024
MORE_MOST = 7
"""Counts above it become it: on meta-train targets of chembl691 that changes nothing, and a similarity takes a step a level."""
MORE_FINGERPRINTS: dict[str, Callable[[], Any]] = {
    "functional": lambda: rdFingerprintGenerator.GetMorganGenerator(
        radius=2, fpSize=MORE_SIZE, atomInvariantsGenerator=rdFingerprintGenerator.GetMorganFeatureAtomInvGen()
    ),
    "torsions": lambda: rdFingerprintGenerator.GetTopologicalTorsionGenerator(fpSize=MORE_SIZE),
    "atom_pairs": lambda: rdFingerprintGenerator.GetAtomPairGenerator(fpSize=MORE_SIZE),
    "paths": lambda: rdFingerprintGenerator.GetRDKitFPGenerator(maxPath=5, fpSize=MORE_SIZE),
}
"""Block -> RDKit's generator. Functional classes of atoms as Rogers and Hahn 2010 (FCFP4); topological torsions, Nilakantan et al. 1987,
J. Chem. Inf. Comput. Sci. 27, 82; atom pairs, Carhart et al. 1985, J. Chem. Inf. Comput. Sci. 25, 64; RDKit's paths of up to 5 bonds."""

RECIPE = {
    "counts": f"counts of the Morgan fingerprint of radius {FINGERPRINT_RADIUS} folded to {FINGERPRINT_SIZE}, without chirality, at most 255 "
    "(RDKit: GetMorganGenerator(radius, fpSize).GetCountFingerprint), of the largest organic fragment in neutral form",
    "descriptors": "RDKit's rdMolDescriptors.Properties, in this order, each minus its centre, over its scale, clipped to "
    + f"+-{CLIP:g}: "
    + ", ".join(f"{name} ({centre:g}, {scale:g})" for name, (centre, scale) in DESCRIPTORS.items()),
    **{
        block: f"counts of {what} folded to {MORE_SIZE}, at most {MORE_MOST} (RDKit: {how}.GetCountFingerprint)"
        for block, what, how in (
            (
                "functional",
                "the Morgan fingerprint of radius 2 over functional classes of atoms",
                "GetMorganGenerator(radius=2, fpSize=1024, atomInvariantsGenerator=GetMorganFeatureAtomInvGen())",
            ),
            ("torsions", "topological torsions", "GetTopologicalTorsionGenerator(fpSize=1024)"),
            ("atom_pairs", "atom pairs", "GetAtomPairGenerator(fpSize=1024)"),
            ("paths", "paths of up to 5 bonds", "GetRDKitFPGenerator(maxPath=5, fpSize=1024)"),
        )
    },
}
"""Block -> how it is made, of the same molecule."""

_NO_OVERFLOW = 255 // (FINGERPRINT_RADIUS + 1)
"""Atoms up to which no count can pass 255: an atom has one environment per radius, and all might share a column."""

_CENTRE = np.array([centre for centre, _ in DESCRIPTORS.values()])
_SCALE = np.array([scale for _, scale in DESCRIPTORS.values()])


class Featuriser:
    """RDKit's generators, made once and used for many molecules."""

    def __init__(self) -> None:
        self._morgan: Any = rdFingerprintGenerator.GetMorganGenerator(
            radius=FINGERPRINT_RADIUS, fpSize=FINGERPRINT_SIZE
        )
        self._more: dict[str, Any] = {}
        self._properties: Any = rdMolDescriptors.Properties(list(DESCRIPTORS))

    def counts(self, molecule: Chem.Mol, out: NDArray[np.uint8]) -> None:
        """Write the count Morgan fingerprint (radius 2, folded to 2048, no chirality) to `out` `[2048]`; counts above
        255 become 255.

        Source: Rogers, Hahn 2010, Extended-connectivity fingerprints, J. Chem. Inf. Model. 50, 742.
        """
        counts = self._morgan.GetCountFingerprintAsNumPy(molecule)
        if molecule.GetNumAtoms() > _NO_OVERFLOW:
            np.minimum(counts, 255, out=counts)
        out[:] = counts

    def more(self, block: str, molecule: Chem.Mol, out: NDArray[np.uint8]) -> None:
        """Write the counts of one of `MORE_FINGERPRINTS` to `out` `[1024]`; those above 7 become 7."""
        if block not in self._more:
            self._more[block] = MORE_FINGERPRINTS[block]()
        np.minimum(self._more[block].GetCountFingerprintAsNumPy(molecule), MORE_MOST, out=out, casting="unsafe")

    def descriptors(self, molecule: Chem.Mol, out: NDArray[np.float32]) -> None:
        """Write the descriptors, centred, scaled and clipped to +-5, to `out` `[len(DESCRIPTORS)]`."""
        # Rounded, so that the order of atoms in the text does not show in the last bits of a sum.
        raw = np.round(list(self._properties.ComputeProperties(molecule)), 6)
        np.clip((raw - _CENTRE) / _SCALE, -CLIP, CLIP, out=out, casting="unsafe")
