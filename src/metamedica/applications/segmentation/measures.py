"""What is measured on masks, in mm: area, volume, diameters, agreement of two masks, and the least distance between two structures.

A mask is a set of pixels or voxels, each a box of the given spacing. Areas and volumes count boxes; diameters go between corners of boxes, so that a
row of n pixels of 1 mm is n mm long; distances of surfaces and margins go between centres of boxes, as EDT-based tools have them.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, distance_transform_edt, label
from scipy.spatial import ConvexHull, QhullError
from scipy.spatial.distance import pdist

from metamedica.errors import InputError


@dataclass(frozen=True)
class Diameters:
    """Diameters of a structure in one plane, mm (Eisenhauer et al. 2009, RECIST 1.1).

    Args:
        longest: the greatest distance between two points of it (maximum Feret).
        short_axis: its greatest extent at right angles to that line.
    """

    longest: float
    short_axis: float


def area_mm2(mask: Bool[np.ndarray, "height width"], *, spacing: tuple[float, float]) -> float:
    """Return the area of a mask in mm2; `spacing` is the height and width of a pixel, mm.

    Raises:
        InputError: another number of axes than spacings, or a spacing that is not positive.
    """
    return float(_checked(mask, spacing).sum() * np.prod(spacing))


def volume_ml(mask: Bool[np.ndarray, "depth height width"], *, spacing: tuple[float, float, float]) -> float:
    """Return the volume of a mask in mL (1,000 mm3); `spacing` is the size of a voxel along each axis, mm. Raises as `area_mm2`."""
    return float(_checked(mask, spacing).sum() * np.prod(spacing) / 1000)


def longest_diameter(mask: Bool[np.ndarray, "..."], *, spacing: tuple[float, ...]) -> float:
    """Return the greatest distance between two corners of a mask's boxes, in 2-D or 3-D, mm; 0 for an empty mask. Raises as `area_mm2`."""
    corners = _corners(_checked(mask, spacing), spacing)
    return float(pdist(corners).max()) if len(corners) > 1 else 0.0


def diameters(mask: Bool[np.ndarray, "height width"], *, spacing: tuple[float, float]) -> Diameters:
    """Return the longest diameter of a mask in its plane, and the short axis at right angles to it, mm. Raises as `area_mm2`."""
    corners = _corners(_checked(mask, spacing), spacing)
    if len(corners) < 2:
        return Diameters(0.0, 0.0)
    gaps = corners[:, None] - corners[None]
    lengths = np.sqrt((gaps**2).sum(-1))
    longest = lengths.max()
    # several pairs may be equally far apart (a square's diagonals): the least short axis among them
    shortest = np.inf
    for first, second in np.argwhere(np.triu(lengths >= longest * (1 - 1e-9), 1)):
        along = gaps[first, second] / longest
        across = corners @ np.array([-along[1], along[0]])
        shortest = min(shortest, float(np.ptp(across)))
    return Diameters(float(longest), shortest)


def widest_slice(
    mask: Bool[np.ndarray, "depth height width"], *, spacing: tuple[float, float, float]
) -> tuple[int, Diameters]:
    """Return the slice along the first axis with the longest in-plane diameter, as RECIST measures a lesion, and its diameters, mm.

    Raises:
        InputError: as `area_mm2`, or an empty mask.
    """
    volume = _checked(mask, spacing)
    if not volume.any():
        raise InputError("got an empty mask; give a mask that holds the structure")
    found = {at: diameters(volume[at], spacing=spacing[1:]) for at in np.flatnonzero(volume.any((1, 2)))}
    widest = max(found, key=lambda at: found[at].longest)
    return int(widest), found[widest]


def largest_part(mask: Bool[np.ndarray, "..."]) -> Bool[np.ndarray, "..."]:
    """Return the largest connected part of a mask (boxes that touch at a corner are connected), so that specks make no lesion longer.

    Of parts of one size it is the one that comes first.
    """
    named, count = label(mask, structure=np.ones((3,) * mask.ndim))
    if count < 2:
        return mask
    found: NDArray[np.bool_] = named == 1 + int(np.bincount(named.ravel())[1:].argmax())
    return found


def dice(first: Bool[np.ndarray, "..."], second: Bool[np.ndarray, "..."]) -> float:
    """Return the Dice coefficient of two masks; 1 where both are empty.

    Raises:
        InputError: masks of different sizes.
    """
    _same_size(first, second)
    sizes = int(first.sum()) + int(second.sum())
    return 1.0 if sizes == 0 else 2 * int((first & second).sum()) / sizes


@dataclass(frozen=True)
class SurfaceDistances:
    """How far two masks' surfaces lie from each other, mm.

    Args:
        mean: average symmetric surface distance.
        hausdorff95: the greater of both directions' 95 % quantiles.
        hausdorff: the greatest distance.
    """

    mean: float
    hausdorff95: float
    hausdorff: float


def surface_distances(
    first: Bool[np.ndarray, "..."], second: Bool[np.ndarray, "..."], *, spacing: tuple[float, ...]
) -> SurfaceDistances:
    """Return the distances between the surfaces of two masks (boxes with a neighbour outside, across a side), exact for any spacing.

    Raises:
        InputError: as `area_mm2`; masks of different sizes, or an empty one.
    """
    _same_size(first, second)
    _both_there(first, second)
    ways = []
    surfaces = [_surface(_checked(mask, spacing)) for mask in (first, second)]
    for one, other in (surfaces, surfaces[::-1]):
        ways.append(distance_transform_edt(~other, sampling=spacing)[one])
    return SurfaceDistances(
        float(np.concatenate(ways).mean()),
        float(max(np.quantile(way, 0.95) for way in ways)),
        float(max(way.max() for way in ways)),
    )


def margin(first: Bool[np.ndarray, "..."], second: Bool[np.ndarray, "..."], *, spacing: tuple[float, ...]) -> float:
    """Return the least distance between two structures (a tumour and a vessel), mm, exact for any spacing; 0 where they share a box.

    By the exact Euclidean distance transform (Maurer, Qi and Raghavan 2003) of the second, asked at the surface of the first.

    Raises:
        InputError: as `area_mm2`; masks of different sizes, or an empty one.
    """
    _same_size(first, second)
    _both_there(first, second)
    near, far = _checked(first, spacing), _checked(second, spacing)
    if (near & far).any():
        return 0.0
    return float(distance_transform_edt(~far, sampling=spacing)[near].min())


def _checked(mask: NDArray[np.generic], spacing: tuple[float, ...]) -> Bool[np.ndarray, "..."]:
    if mask.ndim != len(spacing):
        raise InputError(f"got a mask of {mask.ndim} axes and {len(spacing)} spacings; give the spacing of each axis")
    if not all(np.isfinite(each) and each > 0 for each in spacing):
        raise InputError(f"got spacing {' x '.join(map(str, spacing))}; give positive numbers of mm")
    return mask.astype(bool)


def _same_size(first: NDArray[np.generic], second: NDArray[np.generic]) -> None:
    if first.shape != second.shape:
        raise InputError(
            f"got masks of {' x '.join(map(str, first.shape))} and {' x '.join(map(str, second.shape))}; give masks of one size"
        )


def _both_there(first: NDArray[np.generic], second: NDArray[np.generic]) -> None:
    if not first.any() or not second.any():
        raise InputError("got an empty mask; a distance needs two masks that hold their structure")


def _surface(mask: Bool[np.ndarray, "..."]) -> Bool[np.ndarray, "..."]:
    found: NDArray[np.bool_] = mask & ~binary_erosion(mask)
    return found


def _corners(mask: Bool[np.ndarray, "..."], spacing: tuple[float, ...]) -> Float[np.ndarray, "corners axes"]:
    """Return the corners of a mask's boxes that lie on its convex hull, mm."""
    boxes = np.argwhere(_surface(mask))
    if len(boxes) == 0:
        return np.zeros((0, mask.ndim))
    steps = np.indices((2,) * mask.ndim).reshape(mask.ndim, -1).T
    every = np.unique((boxes[:, None] + steps[None]).reshape(-1, mask.ndim), axis=0)
    corners: Float[np.ndarray, "corners axes"] = every * np.asarray(spacing)
    try:
        hull: Float[np.ndarray, "corners axes"] = corners[ConvexHull(corners).vertices]
    except QhullError:  # boxes of spacings that differ by more than rounding allows; the hull only saves time
        return corners
    return hull
