"""Molecules: SMILES -> standard form -> count fingerprints, descriptors or graphs. Needs `metamedica[molecules]`."""

from metamedica.errors import MissingExtraError

try:
    import rdkit as _rdkit  # noqa: F401
except ImportError:
    raise MissingExtraError("rdkit", "molecules") from None

from metamedica.modalities.molecules.modality import Molecules

__all__ = ["Molecules"]
