"""Small molecules for tests of what learns from molecules, and assays on them with an answer that fingerprints can learn."""

from itertools import product

import numpy as np

CORES = ("c1ccc({})cc1{}", "c1ccnc({})c1{}", "C1CCN({})C(C1){}", "c1ccc2[nH]c({})cc2c1{}", "O=C(N{})c1ccccc1{}")
HEADS = ("C", "CC", "CCO", "C(F)(F)F", "CCN", "CC(=O)O", "CCCC", "CC#N")
TAILS = ("", "C", "Cl", "OC", "CC(C)C", "F", "CCS", "C(=O)N", "CCCCO", "Br")


def molecules() -> list[str]:
    """Return 400 molecules, all different."""
    return [core.format(head, tail) for core, head, tail in product(CORES, HEADS, TAILS)]


def scores(smiles: list[str], *, seed: int, noise: float = 0.5) -> np.ndarray:
    """Return a made-up measurement of each molecule: a draw of what each core, head and tail adds, and noise."""
    random = np.random.default_rng(seed)
    adds = [dict(zip(parts, random.normal(size=len(parts)), strict=True)) for parts in (CORES, HEADS, TAILS)]
    places = dict(zip(molecules(), product(CORES, HEADS, TAILS), strict=True))
    return np.array(
        [sum(add[part] for add, part in zip(adds, places[each], strict=True)) for each in smiles]
    ) + noise * random.normal(size=len(smiles))
