"""A chest CT with known lungs: two ellipsoids in a body, vessels inside, a trachea that joins them, air and a table outside."""

import numpy as np

from metamedica.modalities.images.volumes import Volume

SHAPE, SPACING = (36, 64, 80), (8.0, 5.0, 5.0)
CENTRES = {"right": (0.0, 5.0, -75.0), "left": (0.0, 5.0, 75.0)}
RADII = {"right": (110.0, 80.0, 52.0), "left": (110.0, 80.0, 46.0)}


def places(shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> np.ndarray:
    """Return mm from the middle along slices, rows and columns."""
    lines = [(np.arange(size) - (size - 1) / 2) * step for size, step in zip(shape, spacing, strict=True)]
    return np.stack(np.meshgrid(*lines, indexing="ij"))


def ball(grid: np.ndarray, centre: tuple[float, ...], radii: tuple[float, ...]) -> np.ndarray:
    away = [(grid[axis] - centre[axis]) / radii[axis] for axis in range(3)]
    return np.sum(np.square(away), axis=0) <= 1


def millilitres(side: str) -> float:
    return 4 / 3 * np.pi * float(np.prod(RADII[side])) / 1000


def chest(
    *,
    seed: int = 0,
    joined: bool = False,
    consolidations: int = 0,
    shape: tuple[int, int, int] = SHAPE,
    spacing: tuple[float, float, float] = SPACING,
) -> tuple[Volume, dict[str, np.ndarray]]:
    """Return a CT and its true lungs.

    Args:
        seed: of noise and of where consolidations lie.
        joined: whether the lungs touch in front.
        consolidations: dense balls at the back wall of each lung, which belong to it.
        shape, spacing: of the grid.
    """
    grid = places(shape, spacing)
    generator = np.random.default_rng(seed)
    values = np.full(shape, -1000.0)
    values[ball(grid, (0, 0, 0), (1e9, 130, 185))] = -90  # fat
    values[ball(grid, (0, 0, 0), (1e9, 120, 172))] = 45
    values[(np.abs(grid[1] - 142) < 5) & (np.abs(grid[2]) < 190)] = 200  # the table
    lungs = {side: ball(grid, CENTRES[side], RADII[side]) for side in CENTRES}
    for lung in lungs.values():
        values[lung] = -850
    if joined:
        bridge = (np.abs(grid[0]) < 40) & (np.abs(grid[1] + 5) < 6) & (np.abs(grid[2]) < 40)
        values[bridge] = -850
    both = lungs["left"] | lungs["right"]
    for _ in range(12):  # vessels: rods that run to the side
        side = generator.choice([-75, 75])
        centre = generator.uniform([-70, -40, side - 25], [70, 50, side + 25])
        rod = (np.hypot(grid[0] - centre[0], grid[1] - centre[1]) < 5) & (np.abs(grid[2] - centre[2]) < 22)
        values[rod & both] = 40
    tube = (np.hypot(grid[1] + 5, grid[2]) < 10) & (grid[0] > 15)
    bronchi = (np.hypot(grid[0] - 20, grid[1] + 5) < 8) & (np.abs(grid[2]) < 50)
    values[(tube | bronchi) & ~both] = -1000
    for side, lung in lungs.items():
        for _ in range(consolidations):
            height, away = generator.uniform(-70, 70), generator.uniform(-20, 20)
            radius = generator.uniform(18, 30)
            dense = ball(grid, (height, CENTRES[side][1] + 62, CENTRES[side][2] + away), (radius,) * 3) & lung
            values[dense] = 0
    values += generator.normal(0, 25, size=shape)
    direction = np.array([[0.0, 0, 1], [0, 1, 0], [1, 0, 0]])
    return Volume(values.astype(np.float32), spacing, (0.0, 0.0, 0.0), direction, "HU", "CT"), lungs
