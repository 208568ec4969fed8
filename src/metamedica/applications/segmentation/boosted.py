"""Gradient-boosted trees that tell the class of a pixel from its dense features, grown by scikit-learn and kept as tensors.

Friedman 2001, Greedy function approximation: a gradient boosting machine; grown on histograms (Ke et al. 2017, LightGBM). A linear head cannot say
"dark, but only where a line runs", which is most of what tells a vessel; trees can, from one image on.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from sklearn.ensemble import HistGradientBoostingClassifier
from torch import Tensor

from metamedica.applications.segmentation.augmentation import Expected, painted_copies
from metamedica.applications.segmentation.cases import UNLABELLED, LabelledPicture, Picture
from metamedica.applications.segmentation.heads import NEVER, PixelModel
from metamedica.functional.trees import TreeArrays, boosted_tree, total_of_leaves, tree_arrays

STAGES = 60
RATE = 0.15
LEAVES = 20
"""Of a tree: 39 nodes, which `functional.trees` asks all at once."""
BOOSTED_PIXELS = 60_000
"""Labelled pixels that trees learn from, drawn at random."""
LEAST_COPIES = 4
"""Copies of an image where new ones come under another stain, the first as it is."""
_LEAST_IN_LEAF = 40
_AT_ONCE = 2048


class BoostedTrees(PixelModel):
    """Scores that are sums of leaves over trees, and the softmax of them.

    Args:
        trees: of all classes.
        speaks_for: the class whose score each tree adds to.
        start: score of each class before any tree; `heads.NEVER` for a class that the support does not show.
        depth: of the deepest tree.
    """

    def __init__(
        self,
        trees: TreeArrays,
        speaks_for: Int[Tensor, " trees"],
        start: Float[Tensor, " classes"],
        depth: Int[Tensor, ""],
    ) -> None:
        self.trees, self.speaks_for, self.start, self.depth = trees, speaks_for, start, depth
        self._of_class = {
            int(each): TreeArrays(*(part[speaks_for == each] for part in trees)) for each in torch.unique(speaks_for)
        }

    def log_probabilities(self, picture: Picture) -> Float[Tensor, "classes height width"]:
        """Return the logarithm of each class's probability at every pixel of an image."""
        dense = picture.dense
        flat = dense.flatten(1).T
        found = []
        for begin in range(0, len(flat), _AT_ONCE):
            rows = flat[begin : begin + _AT_ONCE]
            scores = self.start.expand(len(rows), -1).clone()
            for each, trees in self._of_class.items():
                scores[:, each] += total_of_leaves(trees, rows.float(), int(self.depth))
            found.append(torch.log_softmax(scores, dim=1))
        return torch.cat(found).T.reshape(-1, *dense.shape[1:])

    def tensors(self) -> dict[str, Tensor]:
        """Return all that it has learned."""
        own = {"speaks_for": self.speaks_for, "start": self.start, "depth": self.depth}
        return own | {name: part.contiguous() for name, part in self.trees._asdict().items()}

    @classmethod
    def of(cls, tensors: dict[str, Tensor]) -> "BoostedTrees":
        """Return what `tensors` gave."""
        return cls(
            TreeArrays(*(tensors[name] for name in TreeArrays._fields)),
            tensors["speaks_for"],
            tensors["start"],
            tensors["depth"],
        )


def fit_boosted_trees(
    pairs: Sequence[LabelledPicture], n_classes: int, *, seed: int = 0, expected: Expected = "alike"
) -> BoostedTrees:
    """Return trees grown on labelled pixels of image and mask pairs, the same for the same seed.

    Args:
        pairs: of the support, with labelled pixels of two classes or more.
        n_classes: declared classes.
        seed: of the pixels and of copies.
        expected: what new images are like; "recoloured" shows each image in other colours as well.
    """
    generator = torch.Generator().manual_seed(seed)
    copies = 1 if expected == "alike" else LEAST_COPIES
    labels = torch.cat([pair.classes.flatten() for pair in pairs for _ in range(copies)])
    labelled = (labels != UNLABELLED).nonzero()[:, 0]
    some = torch.randperm(len(labelled), generator=generator)[:BOOSTED_PIXELS]
    # a structure of few pixels may be missed by chance
    firsts = [(labels == each).nonzero()[:_LEAST_IN_LEAF, 0] for each in range(n_classes)]
    at = torch.unique(torch.cat([labelled[some], *firsts]))
    rows, begin = [], 0
    for pair in painted_copies(pairs, copies, expected=expected, generator=generator):
        end = begin + pair.classes.numel()
        rows.append(pair.picture.dense.flatten(1)[:, at[(at >= begin) & (at < end)] - begin].T)
        begin = end
    model = HistGradientBoostingClassifier(
        max_iter=STAGES,
        learning_rate=RATE,
        max_leaf_nodes=LEAVES,
        min_samples_leaf=min(_LEAST_IN_LEAF, max(2, len(at) // 100)),
        l2_regularization=1.0,
        early_stopping=False,
        random_state=seed,
    ).fit(torch.cat(rows).float().numpy(), labels[at].numpy())
    return _as_tensors(model, n_classes)


def _as_tensors(model: Any, n_classes: int) -> BoostedTrees:
    """Return scikit-learn's trees as tensors; of two classes its one score is the second's, over 0 for the first."""
    shown = torch.from_numpy(model.classes_.astype(np.int64))
    spoken = shown[1:] if len(shown) == 2 else shown
    nodes = [tree.nodes for stage in model._predictors for tree in stage]
    start = torch.full((n_classes,), NEVER)
    start[shown] = 0.0
    start[spoken] = torch.from_numpy(np.ravel(model._baseline_prediction).astype(np.float32))
    arrays = tree_arrays([boosted_tree(each) for each in nodes], max(map(len, nodes)))
    return BoostedTrees(
        arrays._replace(threshold=arrays.threshold.float(), value=arrays.value.float()),
        spoken.repeat(len(model._predictors)),
        start,
        torch.tensor(max(int(each["depth"].max()) for each in nodes)),
    )
