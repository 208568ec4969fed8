"""What is done to a list of texts, here or in a worker process: parse, standardise, featurise. NumPy and RDKit only."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem
from rdkit.Chem.Scaffolds import MurckoScaffold
from rdkit.rdBase import BlockLogs

from metamedica.errors import CaseError
from metamedica.modalities.molecules.environments import generators, group_names, groups_of, part_codes
from metamedica.modalities.molecules.featurise import (
    DESCRIPTORS,
    FINGERPRINT_SIZE,
    MORE_FINGERPRINTS,
    MORE_SIZE,
    Featuriser,
)
from metamedica.modalities.molecules.graphs import graph_rows
from metamedica.modalities.molecules.standardise import Standardiser

Job = Literal["prepare", "counts", "more", "scaffold", "graph", "parts", "block"]


class Answer(NamedTuple):
    """One entry or row per text; a reason is empty where the text could be used, and a row is 0 where it could not."""

    texts: list[str]
    reasons: list[str]
    arrays: dict[str, NDArray[Any]]


def refusal(count: int, reason: str) -> Answer:
    """Return an answer that refuses `count` texts for one reason; it has no arrays."""
    return Answer([""] * count, [reason] * count, {})


class Workbench:
    """The tools of every job, made once.

    Args:
        max_heavy_atoms: largest molecule that is read.
    """

    def __init__(self, max_heavy_atoms: int) -> None:
        self._standardiser = Standardiser(max_heavy_atoms)
        self._featuriser = Featuriser()
        self._makers: dict[str, Any] = {}

    def run(self, job: Job, texts: Sequence[str]) -> Answer:
        """Do one job.

        `prepare`: SMILES -> canonical SMILES, arrays `counts` (uint8 `[n, 2048]`) and `descriptors` (float32).
        `counts`: SMILES -> the counts alone. `more`: SMILES -> an array of each of `MORE_FINGERPRINTS` (uint8 `[n, 1024]`).
        `scaffold`: SMILES -> Bemis-Murcko scaffold. `graph`: SMILES -> arrays `atoms` and `bonds`, padded to the largest.
        `parts`: SMILES -> names of the groups of atoms, one a line, and array `codes` (`environments.part_codes`), padded.
        `block`: MDL mol block -> SMILES.
        """
        arrays: dict[str, NDArray[Any]] = {}
        graphs: list[tuple[list[int], list[int]]] = [([], []) for _ in texts]
        codes: list[list[int]] = [[] for _ in texts]
        standard, counts, descriptors = (
            self._standardiser.molecule,
            self._featuriser.counts,
            self._featuriser.descriptors,
        )
        if job in ("prepare", "counts"):
            count_rows = arrays["counts"] = np.zeros((len(texts), FINGERPRINT_SIZE), np.uint8)
        if job == "prepare":
            descriptor_rows = arrays["descriptors"] = np.zeros((len(texts), len(DESCRIPTORS)), np.float32)
        if job == "more":
            arrays = {block: np.zeros((len(texts), MORE_SIZE), np.uint8) for block in MORE_FINGERPRINTS}

        def prepare(place: int, text: str) -> str:
            molecule = standard(text)
            counts(molecule, count_rows[place])
            descriptors(molecule, descriptor_rows[place])
            return str(Chem.MolToSmiles(molecule))

        def count(place: int, text: str) -> str:
            counts(standard(text), count_rows[place])
            return ""

        def more(place: int, text: str) -> str:
            molecule = standard(text)
            for block, rows in arrays.items():
                self._featuriser.more(block, molecule, rows[place])
            return ""

        def graph(place: int, text: str) -> str:
            graphs[place] = graph_rows(standard(text))
            return ""

        def parts(place: int, text: str) -> str:
            molecule = standard(text)
            groups = groups_of(molecule)
            self._makers = self._makers or generators()
            codes[place] = part_codes(molecule, groups, self._makers)
            return "\n".join(group_names(molecule, groups))

        one: Callable[[int, str], str] = {
            "prepare": prepare,
            "counts": count,
            "more": more,
            "scaffold": lambda place, text: scaffold(standard(text)),
            "graph": graph,
            "parts": parts,
            "block": lambda place, text: _smiles_of_block(text),
        }[job]
        found, reasons = self._each(one, texts)
        if job == "parts":
            arrays = {"codes": _padded(codes)}
        if job == "graph":
            arrays = {
                "atoms": _padded([atoms for atoms, _ in graphs]),
                "bonds": _padded([bonds for _, bonds in graphs]),
            }
        return Answer(found, reasons, arrays)

    @staticmethod
    def _each(one: Callable[[int, str], str], texts: Sequence[str]) -> tuple[list[str], list[str]]:
        found, reasons = [""] * len(texts), [""] * len(texts)
        with BlockLogs():
            for place, text in enumerate(texts):
                try:
                    found[place] = one(place, text)
                except CaseError as error:
                    reasons[place] = str(error)
                except MemoryError:
                    reasons[place] = "reading it needs too much memory"
                except (RuntimeError, ValueError):  # an invariant of RDKit that the text breaks
                    reasons[place] = "RDKit cannot make sense of it"
        return found, reasons


def scaffold(molecule: Any) -> str:
    """Return the SMILES of the rings and what links them, without stereo; the molecule's own SMILES where it has no
    ring.

    Source: Bemis, Murcko 1996, The properties of known drugs 1, J. Med. Chem. 39, 2887.
    """
    core = MurckoScaffold.GetScaffoldForMol(molecule)  # type: ignore[no-untyped-call]
    return Chem.MolToSmiles(core, isomericSmiles=False) if core.GetNumAtoms() else Chem.MolToSmiles(molecule)


def _smiles_of_block(block: str) -> str:
    molecule = Chem.MolFromMolBlock(block)
    if molecule is None or molecule.GetNumAtoms() == 0:
        raise CaseError("the mol block cannot be read")
    return str(Chem.MolToSmiles(molecule))


def _padded(rows: list[list[int]]) -> NDArray[np.int16]:
    out = np.zeros((len(rows), max(map(len, rows), default=0)), np.int16)
    for place, row in enumerate(rows):
        out[place, : len(row)] = row
    return out
