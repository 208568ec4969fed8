"""The modality `molecules`: a case is a SMILES text."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from numpy.typing import NDArray
from torch import Tensor

from metamedica import registry
from metamedica.errors import CaseError, InputError
from metamedica.measured import Measured, Measures
from metamedica.modalities.molecules import crew, drawing, reading
from metamedica.modalities.molecules.encoding import FingerprintEncoder, ManyFingerprintsEncoder
from metamedica.modalities.molecules.featurise import (
    DESCRIPTORS,
    FINGERPRINT_SIZE,
    MORE_FINGERPRINTS,
    MORE_SIZE,
    RECIPE,
)
from metamedica.modalities.molecules.graphs import ATOM_CODES, BOND_CODES
from metamedica.modalities.molecules.jobs import Job
from metamedica.modalities.molecules.parts import Molecule, atom_weights, molecule_parts, read_codes
from metamedica.modalities.molecules.standardise import objection
from metamedica.parts import CaseParts, NamesParts
from metamedica.types import CaseProblem, Encoder, Features, Modality, PreparedCases, Progress, RawEncoder

SHOWN = 60
GRAPH = ("atoms", "bonds")
"""The blocks of `graphs`."""


class Fingerprints(NamedTuple):
    """Count fingerprints of raw cases.

    Args:
        counts: `[cases, 2048]`, a row per raw case in input order; 0 for a case with a problem.
        problems: the raw cases that cannot be used, in input order.
    """

    counts: UInt8[Tensor, "cases size"]
    problems: list[CaseProblem]


class Molecules(Modality, Measures, NamesParts):
    """Molecules as SMILES: largest organic fragment, neutral form; count fingerprints, descriptors, graphs.

    Args:
        limits: what one case may cost before it is refused.
    """

    name: ClassVar[str] = "molecules"
    version: ClassVar[str] = "1"
    from_scratch: ClassVar[tuple[str, ...]] = ("multi_kernel_gp",)
    default_learner: str = "common_mean_gp"
    recipe: ClassVar[Mapping[str, str]] = RECIPE
    same_parts: ClassVar[bool] = False
    rich_blocks: ClassVar[tuple[str, ...]] = tuple(MORE_FINGERPRINTS)

    def __init__(self, limits: crew.Limits | None = None) -> None:
        self.limits = limits or crew.Limits()

    def prepare(
        self, cases: Sequence[object], *, n_jobs: int | None = None, progress: Progress | None = None
    ) -> PreparedCases:
        """Read, check, standardise and featurise SMILES. The result does not depend on `n_jobs`.

        Args:
            cases: SMILES; anything that is none becomes a problem with a reason.
            n_jobs: worker processes for long inputs; every core for None and -1.
            progress: called with distinct texts done and in total.

        Returns:
            Blocks `counts` (uint8 `[distinct, 2048]`, count Morgan fingerprints of radius 2) and `descriptors` (float32
            `[distinct, 22]`, scaled by fixed constants to about +-1 and clipped to +-5).

        Raises:
            InputError: an impossible `n_jobs`.
        """
        texts, place_of, problems = _distinct(cases, self.limits.characters)
        found, reasons = [""] * len(texts), [""] * len(texts)
        counts = np.empty((len(texts), FINGERPRINT_SIZE), np.uint8)
        descriptors = np.empty((len(texts), len(DESCRIPTORS)), np.float32)
        for places, answer in self._work("prepare", texts, n_jobs, progress):
            for place, text, reason in zip(places, answer.texts, answer.reasons, strict=True):
                found[place], reasons[place] = text, reason
            if answer.arrays:
                counts[places], descriptors[places] = answer.arrays["counts"], answer.arrays["descriptors"]
        row_of: dict[str, int] = {}
        first: list[int] = []
        for place, text in enumerate(found):
            if not reasons[place] and text not in row_of:
                row_of[text] = len(first)
                first.append(place)
        rows = [-1 if place < 0 or reasons[place] else row_of[found[place]] for place in place_of]
        problems = sorted(problems + _refused(cases, place_of, reasons), key=lambda problem: problem.position)
        if len(first) < len(texts):
            counts, descriptors = counts[first], descriptors[first]
        features = {"counts": torch.from_numpy(counts), "descriptors": torch.from_numpy(descriptors)}
        return PreparedCases(rows, list(row_of), features, problems)

    def fingerprints(
        self, cases: Sequence[object], *, n_jobs: int | None = None, progress: Progress | None = None
    ) -> Fingerprints:
        """Return count fingerprints only, a row per raw case: the fast path for libraries.

        The rows equal those of `prepare`; canonical SMILES and descriptors, a third of the work, are left out.

        Args:
            cases: SMILES.
            n_jobs: worker processes for long inputs; every core for None and -1.
            progress: called with distinct texts done and in total.

        Raises:
            InputError: an impossible `n_jobs`.
        """
        texts, place_of, problems = _distinct(cases, self.limits.characters)
        reasons = [""] * len(texts)
        counts = np.zeros((len(texts), FINGERPRINT_SIZE), np.uint8)
        for places, answer in self._work("counts", texts, n_jobs, progress):
            for place, reason in zip(places, answer.reasons, strict=True):
                reasons[place] = reason
            if answer.arrays:
                counts[places] = answer.arrays["counts"]
        if len(texts) < len(place_of):  # repeated texts, or cases with a problem
            wanted = np.array(place_of, np.int64)
            every = np.zeros((len(place_of), FINGERPRINT_SIZE), np.uint8)
            every[wanted >= 0] = counts[wanted[wanted >= 0]]
            counts = every
        problems = sorted(problems + _refused(cases, place_of, reasons), key=lambda problem: problem.position)
        return Fingerprints(torch.from_numpy(counts), problems)

    def graphs(
        self, canonical: Sequence[str], *, n_jobs: int | None = None, progress: Progress | None = None
    ) -> Features:
        """Return the padded graphs of standard molecules, for `encoders/message_passing`.

        Returns:
            Blocks `atoms` (int16 `[cases, 8 * most atoms]`) and `bonds` (int16 `[cases, 6 * most bonds]`): codes of
            `molecules/graphs.py`, one atom (bond) after another, padded with 0 to the largest molecule given.

        Raises:
            CaseError: a text is not a usable molecule.
        """
        pieces = list(self._usable("graph", canonical, n_jobs, progress))
        blocks = {}
        for name, least in (("atoms", len(ATOM_CODES)), ("bonds", len(BOND_CODES) + 2)):
            width = max((answer.arrays[name].shape[1] for _, answer in pieces), default=least)
            block: NDArray[np.int16] = np.zeros((len(canonical), width), np.int16)
            for places, answer in pieces:
                part = answer.arrays[name]
                block[places, : part.shape[1]] = part
            blocks[name] = torch.from_numpy(block)
        return blocks

    def encoder(self, name: str, **settings: Any) -> Encoder:
        """Return a new learned encoder, given what its constructor names: `blocks`, or `atoms` and `bonds`; and its
        settings.

        Raises:
            InputError: an unknown encoder or setting.
        """
        offered = {
            "blocks": {"counts": FINGERPRINT_SIZE, "descriptors": len(DESCRIPTORS)},
            "atoms": ATOM_CODES,
            "bonds": BOND_CODES,
        }
        fitting = ["mlp", "message_passing"]
        return registry.build_encoder(name, offered, settings=settings, cases="molecules", fitting=fitting)

    def extra_blocks(self, encoder: str) -> tuple[str, ...]:
        """Return `atoms` and `bonds` for an encoder of graphs, else nothing."""
        wanted = inspect.signature(registry.encoder_class(encoder)).parameters
        return tuple(name for name in GRAPH if name in wanted)

    def blocks(
        self,
        names: Sequence[str],
        canonical: Sequence[str],
        *,
        n_jobs: int | None = None,
        progress: Progress | None = None,
    ) -> Features:
        """Return those blocks of `graphs` and of `more_fingerprints`.

        Raises:
            InputError: molecules have no such block.
            CaseError: a text is not a usable molecule.
        """
        every = (*GRAPH, *MORE_FINGERPRINTS)
        unknown = [name for name in names if name not in every]
        if unknown:
            raise InputError(
                f"molecules have no block {', '.join(unknown)} beside those of prepare; they have {', '.join(every)}"
            )
        made: Features = {}
        for some, make in ((GRAPH, self.graphs), (MORE_FINGERPRINTS, self.more_fingerprints)):
            if any(name in some for name in names):
                made |= make(canonical, n_jobs=n_jobs, progress=progress)
        return {name: made[name] for name in names}

    def more_fingerprints(
        self, canonical: Sequence[str], *, n_jobs: int | None = None, progress: Progress | None = None
    ) -> Features:
        """Return the count fingerprints that `rich_encoder` compares standard molecules by, beside those of `prepare`.

        Returns:
            Blocks `functional`, `torsions`, `atom_pairs` and `paths` (uint8 `[cases, 1024]`), as `featurise.MORE_FINGERPRINTS` has them.

        Raises:
            CaseError: a text is not a usable molecule.
        """
        rows = {block: np.zeros((len(canonical), MORE_SIZE), np.uint8) for block in MORE_FINGERPRINTS}
        for places, answer in self._usable("more", canonical, n_jobs, progress):
            for block, part in answer.arrays.items():
                rows[block][places] = part
        return {block: torch.from_numpy(part) for block, part in rows.items()}

    def rich_encoder(self) -> RawEncoder:
        """Return the encoder that compares molecules by five fingerprints and their descriptors."""
        return ManyFingerprintsEncoder(FINGERPRINT_SIZE)

    def measured(self, features: Features) -> Measured:
        """Return the descriptors, which every molecule has."""
        values, names = features["descriptors"].to(torch.float32), list(DESCRIPTORS)
        return Measured(values, torch.ones_like(values, dtype=torch.bool), names, names)

    def raw_encoder(self) -> RawEncoder:
        """Return the encoder that passes count fingerprints on and compares them by the MinMax kernel."""
        return FingerprintEncoder(FINGERPRINT_SIZE)

    def groups(self, canonical: Sequence[str]) -> list[str]:
        """Return the Bemis-Murcko scaffold of each molecule as SMILES; a molecule without a ring is its own group.

        Raises:
            CaseError: a text is not a usable molecule.
        """
        out = [""] * len(canonical)
        for places, answer in self._usable("scaffold", canonical, None, None):
            for place, text in zip(places, answer.texts, strict=True):
                out[place] = text
        return out

    def draw(self, canonical: str, *, width: int = 220, height: int = 160) -> str:
        """Return the structural formula as an SVG fragment; the same text gives the same bytes.

        Args:
            canonical: a SMILES that `prepare` returned.
            width: in CSS pixels.
            height: in CSS pixels.

        Raises:
            CaseError: the text is not a usable molecule.
        """
        if not crew.is_safe(canonical):
            list(self._usable("counts", [canonical], 1, None))
        return drawing.svg(canonical, width=width, height=height)

    def parts(self, canonical: Sequence[str], features: Features, background: Features) -> list[CaseParts]:
        """Return the atoms of each molecule (above 40, groups of them) and its whole-molecule properties; see `molecules/parts.py`.

        Raises:
            CaseError: a text is not a usable molecule.
        """
        each = self._molecules(canonical)
        rows = ({name: block[at : at + 1] for name, block in features.items()} for at in range(len(each)))
        return [molecule_parts(molecule, row, background) for molecule, row in zip(each, rows, strict=True)]

    def _molecules(self, canonical: Sequence[str]) -> list[Molecule]:
        found: dict[int, Molecule] = {}
        for places, answer in self._usable("parts", canonical, None, None):
            for at, place in enumerate(places):
                found[place] = read_codes(answer.arrays["codes"][at], answer.texts[at].split("\n"))
        return [found[place] for place in range(len(canonical))]

    def draw_parts(self, canonical: str, contributions: Sequence[float], *, width: int = 320, height: int = 240) -> str:
        """Return the structural formula as an SVG fragment, each atom shaded by what it (or its share of its group) contributes.

        Raises:
            CaseError: the text is not a usable molecule.
            InputError: as many contributions as atoms or groups were wanted, with one more for the whole-molecule properties or without.
        """
        (molecule,) = self._molecules([canonical])
        if len(contributions) - len(molecule.names) not in (0, 1):
            raise InputError(
                f"got {len(contributions)} contributions for a molecule of {len(molecule.names)} parts; give one a part"
            )
        return drawing.weighted_svg(canonical, atom_weights(molecule, contributions), width=width, height=height)

    def read_file(self, path: str) -> tuple[list[str], list[str]] | None:
        """Return (SMILES, names) of a `.smi`, `.sdf`, `.mol` file, plain or `.gz`; None for other suffixes.

        A record that cannot be read stands as an empty text, so that `prepare` reports its position.

        Raises:
            FileFormatError: the file is missing, empty or not text.
        """
        return reading.read(path, self.limits)

    def _work(
        self, job: Job, texts: Sequence[str], n_jobs: int | None, progress: Progress | None
    ) -> Iterator[crew.Piece]:
        return crew.work(job, texts, limits=self.limits, n_jobs=n_jobs, progress=progress, message="reading molecules")

    def _usable(
        self, job: Job, texts: Sequence[str], n_jobs: int | None, progress: Progress | None
    ) -> Iterator[crew.Piece]:
        """Yield the answers for texts that should already be standard molecules."""
        for place, text in enumerate(texts):
            reason = objection(text, self.limits.characters)
            if reason is not None:
                raise _not_usable(place, text, reason)
        for piece in self._work(job, texts, n_jobs, progress):
            for place, reason in zip(piece.places, piece.answer.reasons, strict=True):
                if reason:
                    raise _not_usable(place, texts[place], reason)
            yield piece


def _not_usable(place: int, text: object, reason: str) -> CaseError:
    return CaseError(f"case {place + 1} ({_shown(text)}) is no usable molecule: {reason}; prepare the cases first")


def _distinct(cases: Sequence[object], max_characters: int) -> tuple[list[str], list[int], list[CaseProblem]]:
    """Return the distinct texts worth parsing, each case's place among them (-1: a problem), and the problems."""
    place_in: dict[str, int] = {}
    place_of: list[int] = []
    problems: list[CaseProblem] = []
    for position, case in enumerate(cases):
        reason = objection(case, max_characters)
        if reason is None:
            place_of.append(place_in.setdefault(str(case).strip(), len(place_in)))
        else:
            place_of.append(-1)
            problems.append(CaseProblem(position, _shown(case), reason))
    return list(place_in), place_of, problems


def _refused(cases: Sequence[object], place_of: Sequence[int], reasons: Sequence[str]) -> list[CaseProblem]:
    return [
        CaseProblem(position, _shown(cases[position]), reasons[place])
        for position, place in enumerate(place_of)
        if place >= 0 and reasons[place]
    ]


def _shown(case: object) -> str:
    text = case if isinstance(case, str) else repr(case)
    text = text[: SHOWN + 1] if text.isprintable() else ascii(text[: SHOWN + 1])[1:-1]
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
