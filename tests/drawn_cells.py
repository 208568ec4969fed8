"""Drawn images with known masks: dark discs with a darker core on a bright ground."""

import numpy as np
from jaxtyping import Float, Int


def drawn(
    seed: int, *, side: int = 32, radius: float = 8.0, colour: bool = False
) -> tuple[Float[np.ndarray, "..."], Int[np.ndarray, "height width"]]:
    """Return an image of a disc with a core, and its mask: 1 the disc, 2 the core."""
    rng = np.random.default_rng(seed)
    centre = side / 2 + rng.uniform(-3, 3, size=2)
    down, right = np.mgrid[:side, :side]
    away = np.hypot(down - centre[0], right - centre[1])
    mask = np.where(away < radius / 2, 2, np.where(away < radius, 1, 0))
    grey = np.choose(mask, [0.9, 0.55, 0.2]) + 0.15 * rng.standard_normal((side, side))
    if colour:
        return np.stack([grey, grey**2, 0.5 * grey], axis=-1), mask
    return grey, mask
