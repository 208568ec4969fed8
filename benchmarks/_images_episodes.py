"""The judged tasks of images: which images are support and which are query, drawn once by seed; groups are never on both sides."""

import io
import zipfile
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks._images_sets import COMMON, RARE, arrays
from metamedica.data.mirror import mirrored

QUERIES = 15
"""A class and episode, where the query is drawn."""
BLOCK = 10
"""Neighbouring numbers of iq_oth_nccd that are kept together."""
RBC_DISEASES = {
    "images/rbc_diseases/rbc_diseases_320x240.zip": "e990994de88ac1cf3bbe4080b8c56921c9c5d96f08217221c69a3d71873a70f7"
}
_SOURCE = "https://github.com/Chula-PIC-Lab/Chula-RBC-12-Dataset at commit fa130f4"


@dataclass(frozen=True, eq=False)
class Judged:
    """Episodes of one set at one number of shots.

    Args:
        name: of the task.
        shots: labelled images a class; None: all of the training part.
        pixels: images of the set.
        labels: from 0 on.
        n_classes: of the task.
        supports: rows of each episode's support.
        queries: rows of each episode's query.
        chosen: of each episode, the labels that it is about, ascending; None: all of them in every episode.
    """

    name: str
    shots: int | None
    pixels: list[NDArray[np.uint8]]
    labels: NDArray[np.int64]
    n_classes: int
    supports: list[NDArray[np.int64]]
    queries: list[NDArray[np.int64]]
    chosen: list[NDArray[np.int64]] | None = None

    def labelled(self, episode: int, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the labels of these images in an episode, from 0 on."""
        labels = self.labels[rows]
        return labels if self.chosen is None else np.searchsorted(self.chosen[episode], labels)


def drawn(
    name: str,
    pixels: list[NDArray[np.uint8]],
    labels: NDArray[np.int64],
    groups: NDArray[np.int64],
    *,
    shots: int,
    episodes: int,
    seed: int,
    ways: int | None = None,
) -> Judged:
    """Return episodes: `shots` a class, then up to 15 queries a class out of groups that the support has not.

    At most half of a class's groups go to the support, so that a small class keeps queries. With `ways`, each episode is about so many classes.
    """
    random = np.random.default_rng([seed, shots])
    present = np.arange(int(labels.max()) + 1)
    supports, queries, chosen = [], [], []
    while len(supports) < episodes:
        about = present if ways is None else np.sort(random.permutation(present)[:ways])
        support = np.concatenate([_spread(random, np.flatnonzero(labels == label), groups, shots) for label in about])
        free = np.flatnonzero(~np.isin(groups, groups[support]))
        query = np.concatenate([random.permutation(free[labels[free] == label])[:QUERIES] for label in about])
        if len(np.unique(labels[query])) == len(about):
            supports.append(support)
            queries.append(query)
            chosen.append(about)
    some = ways is not None
    return Judged(name, shots, pixels, labels, ways or len(present), supports, queries, chosen if some else None)


def _spread(
    random: np.random.Generator, here: NDArray[np.int64], groups: NDArray[np.int64], shots: int
) -> NDArray[np.int64]:
    """Return images of one class out of as few of its groups as half of them, in random order."""
    order = random.permutation(np.unique(groups[here]))
    for count in range(max(1, (len(order) + 1) // 2), len(order) + 1):
        pool = here[np.isin(groups[here], order[:count])]
        if len(pool) >= shots:
            return random.permutation(pool)[:shots]
    raise ValueError(f"a class has {len(here)} images, {shots} were wanted")


def covid(*, shots: int | None, episodes: int, seed: int) -> Judged:
    """COVID-CT: support out of the official training and validation part, query all 203 test images."""
    held = arrays("covid_ct")
    labels = held["labels"].astype(np.int64)
    learn, test = np.flatnonzero(held["split"] != "test"), np.flatnonzero(held["split"] == "test")
    random = np.random.default_rng([seed, shots or 0])
    supports = [learn]
    if shots is not None:
        each = [learn[labels[learn] == label] for label in (0, 1)]
        supports = [np.concatenate([random.permutation(rows)[:shots] for rows in each]) for _ in range(episodes)]
    return Judged("COVID-CT", shots, list(held["images"]), labels, 2, supports, [test] * len(supports))


def iq_oth(*, shots: int, episodes: int, seed: int) -> Judged:
    """IQ-OTH: blocks of ten neighbouring numbers are in the support or in the query, exact duplicates left out."""
    held = arrays("iq_oth_nccd")
    here = ~held["exact_duplicate"]
    labels, number = held["labels"][here].astype(np.int64), held["number"][here].astype(np.int64)
    groups = labels * 10_000 + number // BLOCK
    return drawn("IQ-OTH", list(held["images"][here]), labels, groups, shots=shots, episodes=episodes, seed=seed)


def chula(*, shots: int, episodes: int, seed: int, shapes: tuple[int, ...] = RARE, ways: int | None = None) -> Judged:
    """Chula red cells: five shapes that were not learned from; smears are in the support or in the query."""
    held = arrays("chula_rbc12_cells")
    here = np.isin(held["labels"], shapes)
    _, labels = np.unique(held["labels"][here], return_inverse=True)
    _, groups = np.unique(held["smear"][here], return_inverse=True)
    name = {RARE: "Chula rare shapes", COMMON: "Chula common shapes"}.get(
        shapes, f"Chula, {ways} of {len(shapes)} shapes"
    )
    pixels = list(held["images"][here])
    return drawn(name, pixels, labels, groups, shots=shots, episodes=episodes, seed=seed, ways=ways)


def stain2(*, shots: int, episodes: int, seed: int) -> Judged:
    """White cells of the second stain, four kinds (three basophils are too few)."""
    held = arrays("wbc_stain2")
    here = np.isin(held["labels"], (1, 2, 3, 4))
    labels = held["labels"][here].astype(np.int64) - 1
    groups = np.arange(len(labels))
    return drawn(
        "white cells, stain 2", list(held["images"][here]), labels, groups, shots=shots, episodes=episodes, seed=seed
    )


def anaemias(*, shots: int, episodes: int, seed: int) -> Judged:
    """Smears of five anaemias, 121 images; patients are not told, so that figures may be too good."""
    from PIL import Image

    (path,) = mirrored("rbc_diseases", RBC_DISEASES, source=_SOURCE)
    pixels, names = [], []
    with zipfile.ZipFile(path) as packed:
        for name in sorted(packed.namelist()):
            if name.lower().endswith((".jpg", ".jpeg", ".png")):
                pixels.append(np.asarray(Image.open(io.BytesIO(packed.read(name))).convert("RGB")))
                names.append(name.split("/")[-2])
    _, labels = np.unique(names, return_inverse=True)
    return drawn("anaemias", pixels, labels, np.arange(len(labels)), shots=shots, episodes=episodes, seed=seed)


__all__ = ["COMMON", "RARE", "Judged", "anaemias", "chula", "covid", "iq_oth", "stain2"]
