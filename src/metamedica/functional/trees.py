"""Trees that scikit-learn has grown, as tensors: nothing is pickled, and any device can walk them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor


class GrownTree(NamedTuple):
    """One tree as scikit-learn keeps it; `leaf` marks the nodes whose children and feature mean nothing."""

    feature: NDArray[np.int64]
    threshold: NDArray[np.float64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    value: NDArray[np.float64]
    """`[nodes, outputs]`."""
    leaf: NDArray[np.bool_]


class TreeArrays(NamedTuple):
    """Trees padded to the most nodes; a leaf is its own child, so that walking on stays there."""

    feature: Int[Tensor, "*tasks trees nodes"]
    threshold: Float[Tensor, "*tasks trees nodes"]
    left: Int[Tensor, "*tasks trees nodes"]
    right: Int[Tensor, "*tasks trees nodes"]
    value: Float[Tensor, "*tasks trees nodes outputs"]


def tree_arrays(trees: Sequence[GrownTree], nodes: int) -> TreeArrays:
    """Return the trees padded to so many nodes.

    Args:
        trees: at least one.
        nodes: at least as many as the largest tree has.
    """
    found = []
    for tree in trees:
        itself = np.arange(len(tree.leaf))
        columns = (
            np.where(tree.leaf, 0, tree.feature),
            tree.threshold,
            np.where(tree.leaf, itself, tree.left),
            np.where(tree.leaf, itself, tree.right),
            tree.value,
        )
        padding = nodes - len(tree.leaf)
        found.append([np.pad(column, ((0, padding), (0, 0))[: column.ndim]) for column in columns])
    return TreeArrays(*(torch.from_numpy(np.stack(column)) for column in zip(*found, strict=True)))


def walk(trees: TreeArrays, flat: Float[Tensor, "m flat"], depth: int) -> Float[Tensor, "trees m outputs"]:
    """Return the value of the leaf that each case falls into; features are compared as float32, as the trees were grown.

    Args:
        trees: of one task.
        flat: the cases.
        depth: of the deepest tree.
    """
    compared = flat.to(torch.float32).to(torch.float64)
    row = torch.arange(len(flat), device=flat.device)
    node = torch.zeros((trees.feature.shape[0], len(flat)), dtype=torch.int64, device=flat.device)
    for _ in range(depth):
        goes_left = compared[row, trees.feature.gather(1, node)] <= trees.threshold.gather(1, node)
        node = torch.where(goes_left, trees.left.gather(1, node), trees.right.gather(1, node))
    return trees.value.gather(1, node[..., None].expand(-1, -1, trees.value.shape[-1]))
