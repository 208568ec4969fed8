"""SMILES text -> standard molecule: largest organic fragment, neutral form. A refusal says why in a chemist's words.

Imports RDKit and the errors only: it also runs in worker processes that have no PyTorch.
"""

import math
import re
from typing import Any

from rdkit import Chem
from rdkit.Chem.MolStandardize import rdMolStandardize
from rdkit.rdBase import CaptureErrorLog

from metamedica.errors import CaseError

MAX_CHARACTERS = 1_000
MAX_HEAVY_ATOMS = 500
MAX_RINGS = 2_000
"""Most rings that RDKit may perceive, counting equivalent ones (gamma-cyclodextrin has 264); descriptors take a
quarter of a second at this number and grow with its square."""


def objection(case: object, max_characters: int = MAX_CHARACTERS) -> str | None:
    """Return why a raw case cannot be a SMILES, from its type and its characters alone, or None. Costs no parsing."""
    if not isinstance(case, str):
        if case is None or (isinstance(case, float) and math.isnan(case)) or str(case) == "<NA>":  # pandas.NA
            return "it is empty"
        return f"it is of type {type(case).__name__}, not text"
    if len(case) > max_characters:
        return f"it has {len(case):,} characters, at most {max_characters:,} are read"
    words = case.split()
    if len(words) != 1:
        return "it contains white space; give the SMILES alone, without a name" if words else "it is empty"
    odd = "" if words[0].isascii() and words[0].isprintable() else words[0]
    for character in odd:
        if not "!" <= character <= "~":
            return f"it contains {character!a}, which no SMILES has"
    return None


class Standardiser:
    """RDKit's standardising tools, made once and used for many molecules.

    Args:
        max_heavy_atoms: largest molecule, after salts and solvents are taken off.
    """

    def __init__(self, max_heavy_atoms: int = MAX_HEAVY_ATOMS) -> None:
        self.max_heavy_atoms = max_heavy_atoms
        self._uncharger: Any = rdMolStandardize.Uncharger(canonicalOrder=True)
        self._params = _parameters()
        # A charge without an opposite neighbour: the others (nitro, N-oxide, azide) are as the Uncharger leaves them.
        self._lone_charge: Any = Chem.MolFromSmarts("[!+0;!$([+]~[-]);!$([-]~[+])]")

    def molecule(self, text: str) -> Any:
        """Return the standard molecule of a SMILES text that has no objection.

        The largest fragment is the one with carbon, then with most heavy atoms, then the heaviest. Charges that
        hydrogen can undo are undone (RDKit's Uncharger); a text without '.' and without charges skips both steps.

        Raises:
            CaseError: the text is not a usable molecule; the message is the reason alone.
        """
        molecule: Any = Chem.MolFromSmiles(text, self._params)
        if molecule is None:
            raise CaseError(unreadable(text))
        if "~" in text:
            raise CaseError("it contains '~' (any bond): that is a search pattern, not a molecule")
        if "." in text:
            molecule = largest_fragment(molecule)
        atoms, heavy = molecule.GetNumAtoms(), molecule.GetNumHeavyAtoms()
        if heavy == 0 or heavy != atoms:
            if any(atom.GetAtomicNum() == 0 for atom in molecule.GetAtoms()):
                raise CaseError(
                    "it contains a wildcard atom '*': that is a pattern or an attachment point, not a molecule"
                )
            if heavy == 0:
                raise CaseError("it has no heavy atom")
        if heavy > self.max_heavy_atoms:
            raise CaseError(f"it has {heavy:,} heavy atoms, at most {self.max_heavy_atoms:,} are read")
        rings = molecule.GetRingInfo().NumRings()
        if rings > MAX_RINGS:
            raise CaseError(f"it has {rings:,} rings counting equivalent ones, at most {MAX_RINGS:,} are read")
        if ("+" in text or "-" in text) and molecule.HasSubstructMatch(self._lone_charge):
            molecule = self._neutral(molecule)
        return molecule

    def _neutral(self, molecule: Any) -> Any:
        smiles = Chem.MolToSmiles(self._uncharger.uncharge(molecule))
        neutral: Any = Chem.MolFromSmiles(smiles, self._params)
        return molecule if neutral is None else neutral  # a cyclopentadienyl anion has no neutral form


def largest_fragment(molecule: Any) -> Any:
    """Return the fragment with carbon, then most heavy atoms, then the heaviest, then the first by canonical SMILES."""
    pieces = Chem.GetMolFrags(molecule, asMols=True)
    ranks = [(any(a.GetAtomicNum() == 6 for a in piece.GetAtoms()), piece.GetNumHeavyAtoms()) for piece in pieces]
    best = [piece for piece, rank in zip(pieces, ranks, strict=True) if rank == max(ranks)]
    if len(best) == 1:
        return best[0]
    return min(best, key=lambda piece: (-sum(a.GetMass() for a in piece.GetAtoms()), Chem.MolToSmiles(piece)))


def unreadable(text: str) -> str:
    """Return why RDKit cannot read a SMILES: where its grammar breaks, or which atoms are chemically impossible."""
    with CaptureErrorLog() as log:
        draft: Any = Chem.MolFromSmiles(text, _parameters(sanitize=False))
    if draft is None:
        return _grammar(text, log.messages)
    for problem in Chem.DetectChemistryProblems(draft):
        if problem.GetType() == "AtomValenceException":
            atom = draft.GetAtomWithIdx(problem.GetAtomIdx())
            return f"atom {atom.GetIdx() + 1} ({atom.GetSymbol()}) has more bonds than its element and charge allow"
        if problem.GetType() in ("KekulizeException", "AtomKekulizeException"):
            return (
                "its aromatic (lower-case) atoms cannot be given alternating double bonds; "
                "a hydrogen may be missing, as in [nH], or an atom outside a ring is written in lower case"
            )
    return "RDKit cannot make sense of it"


def _grammar(text: str, messages: str) -> str:
    at = re.search(r"around position (\d+)", messages)
    place = f" (character {at[1]})" if at else ""
    if ">" in text.replace("->", "").replace("<-", ""):
        return "it is a reaction, not a molecule"
    if "open parentheses" in messages:
        return f"a branch '(' is opened and never closed{place}"
    if "close parentheses" in messages:
        return f"a branch ')' is closed and was never opened{place}"
    if "unclosed ring" in messages:
        return "a ring is opened and never closed"
    if at and 0 < int(at[1]) <= len(text):
        return f"it is not SMILES: cannot go on at {text[int(at[1]) - 1]!r}{place}"
    return "it is not SMILES"


def _parameters(*, sanitize: bool = True) -> Any:
    """No names and no CXSMILES extensions after the SMILES: both would be read without a word."""
    parameters: Any = Chem.SmilesParserParams()
    parameters.allowCXSMILES = False
    parameters.parseName = False
    parameters.sanitize = sanitize
    parameters.removeHs = sanitize
    return parameters
