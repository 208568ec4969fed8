"""Structural formulas as SVG fragments, with or without weights on the atoms."""

import math
import re
from collections.abc import Sequence
from html import escape
from typing import Any

from rdkit.Chem.Draw import rdMolDraw2D
from rdkit.rdBase import BlockLogs

from metamedica.errors import CaseError, InputError
from metamedica.modalities.molecules.standardise import Standardiser, objection

AGAINST = (0.13, 0.40, 0.67)
FOR = (0.90, 0.38, 0.00)
"""Blue for negative and orange for positive weights: told apart by colour-blind readers too."""

_SPARE = re.compile(
    r"<!--.*?-->| class='[^']*'|\n|fill-rule:evenodd;|stroke-linecap:butt;|stroke-linejoin:miter;"
    r"|;?(stroke|fill)-opacity:1(?=[;'])",
    flags=re.DOTALL,
)


def svg(canonical: str, *, width: int = 220, height: int = 160) -> str:
    """Return the structural formula as an SVG fragment without XML prolog; the same text gives the same bytes.

    Raises:
        CaseError: the text is not a usable molecule.
        InputError: a width or height below 1.
    """
    return _drawn(canonical, None, width, height)


def weighted_svg(canonical: str, weights: Sequence[float], *, width: int = 220, height: int = 160) -> str:
    """Return the structural formula with its atoms shaded by weight, orange above 0 and blue below, strongest at the
    largest |weight|.

    Args:
        canonical: a SMILES that `prepare` returned.
        weights: one finite number per heavy atom, in the order of the SMILES.
        width: in CSS pixels.
        height: in CSS pixels.

    Raises:
        CaseError: the text is not a usable molecule.
        InputError: the number of weights differs from the number of atoms, or one is not finite.
    """
    return _drawn(canonical, weights, width, height)


def _drawn(canonical: str, weights: Sequence[float] | None, width: int, height: int) -> str:
    if width < 1 or height < 1:
        raise InputError(f"got a drawing of {width} x {height} pixels; give a width and height of at least 1")
    reason = objection(canonical)
    if reason is not None:
        raise CaseError(f"cannot draw {canonical!a:.60}: {reason}")
    with BlockLogs():
        try:
            molecule = Standardiser().molecule(canonical)
        except CaseError as error:
            raise CaseError(f"cannot draw {canonical!a:.60}: {error}") from None
        picture = _picture(molecule, _shades(molecule, weights), width, height)
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{escape(canonical)}" '
    return opening + f'width="{width}" height="{height}" viewBox="0 0 {width} {height}">{_inside(picture)}</svg>'


def _shades(molecule: Any, weights: Sequence[float] | None) -> dict[int, tuple[float, float, float]]:
    """Return a colour per atom, mixed with white in proportion to its share of the largest |weight|."""
    if weights is None:
        return {}
    if len(weights) != molecule.GetNumAtoms() or not all(math.isfinite(weight) for weight in weights):
        raise InputError(
            f"got {len(weights)} weights for a molecule of {molecule.GetNumAtoms()} atoms; "
            "give one finite number per atom"
        )
    most = max(abs(weight) for weight in weights) or 1.0
    shades = {}
    for place, weight in enumerate(weights):
        red, green, blue = (1 - abs(weight) / most * (1 - part) for part in (FOR if weight > 0 else AGAINST))
        shades[place] = (red, green, blue)
    return shades


def _picture(molecule: Any, shades: dict[int, tuple[float, float, float]], width: int, height: int) -> str:
    drawer: Any = rdMolDraw2D.MolDraw2DSVG(width, height)
    options = drawer.drawOptions()
    options.clearBackground = False
    ready = rdMolDraw2D.PrepareMolForDrawing(molecule)
    drawer.DrawMolecule(ready, highlightAtoms=list(shades), highlightAtomColors=shades, highlightBonds=[])
    drawer.FinishDrawing()
    return str(drawer.GetDrawingText())


def _inside(picture: str) -> str:
    """Return the inside of the outer `<svg>` element without comments, class names, line ends and SVG's defaults."""
    inner = picture[picture.index(">", picture.index("<svg")) + 1 : picture.rindex("</svg>")]
    return _SPARE.sub("", inner)
