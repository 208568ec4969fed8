"""Trees that scikit-learn has grown, as tensors: nothing is pickled, and any device can walk them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

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


def boosted_tree(nodes: Any) -> GrownTree:
    """Return a tree of scikit-learn's histogram boosting; a threshold moves down to the next float32, on the same side of every float32 case.

    Args:
        nodes: of the tree, scikit-learn's records.
    """
    exact = np.where(nodes["is_leaf"], 0.0, nodes["num_threshold"])
    below = exact.astype(np.float32)
    below = np.where(below > exact, np.nextafter(below, np.float32(-np.inf)), below)
    whole = {name: nodes[name].astype(np.int64) for name in ("feature_idx", "left", "right")}
    leaf = nodes["is_leaf"].astype(bool)
    return GrownTree(
        whole["feature_idx"], below.astype(np.float64), whole["left"], whole["right"], nodes["value"][:, None], leaf
    )


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


MOST_NODES = 40
"""Of a tree for which asking every node of every case is faster than walking."""


def total_of_leaves(trees: TreeArrays, flat: Float[Tensor, "m flat"], depth: int) -> Float[Tensor, " m"]:
    """Return the sum over trees of the value of the leaf that each case falls into; features are compared as float32.

    Small trees ask all their nodes at once: a case is in the leaf that all of its ancestors send it to, which is one matrix product a tree
    (the GEMM strategy of Nakandala et al. 2020, OSDI, A tensor compiler for unified machine learning prediction serving). Large ones are walked.

    Args:
        trees: of one task, with one output.
        flat: the cases.
        depth: of the deepest tree.
    """
    n_trees, nodes = trees.feature.shape
    if nodes > MOST_NODES:
        return walk(trees, flat, depth)[..., 0].sum(0)
    sent, inner = _sent(trees, depth), trees.left != torch.arange(nodes, device=flat.device)
    most = int(inner.sum(1).max())
    if most == 0:
        return trees.value[:, 0, 0].sum().to(flat.dtype).expand(len(flat))
    asked = torch.argsort(inner.int(), dim=1, descending=True, stable=True)[:, :most]
    leaves = torch.argsort(inner.int(), dim=1, stable=True)[:, : most + 1]
    ways = sent.gather(1, asked[..., None].expand(-1, -1, nodes)).gather(2, leaves[:, None].expand(-1, most, -1)).mT
    values = flat.mT.to(torch.float32).index_select(0, trees.feature.gather(1, asked).reshape(-1))
    limits = trees.threshold.gather(1, asked).reshape(-1, 1).to(torch.float32)
    left = (values <= limits).to(torch.float32).reshape(n_trees, most, len(flat))
    there = torch.bmm(ways, left) == (ways > 0).sum(2, keepdim=True).to(torch.float32)
    worth = (trees.value[..., 0] * ~inner).gather(1, leaves).to(flat.dtype)
    return (there.to(flat.dtype) * worth[..., None]).sum((0, 1))


def _sent(trees: TreeArrays, depth: int) -> Float[Tensor, "trees nodes nodes"]:
    """Return, for a node (last axis), 1 where an ancestor sends it left, -1 where right, 0 where it is no ancestor."""
    nodes = trees.feature.shape[1]
    own = torch.arange(nodes, device=trees.left.device)
    inner = (trees.left != own)[..., None]
    left, right = ((child[..., None] == own) & inner for child in (trees.left, trees.right))
    child, step = (left | right).to(torch.float32), left.to(torch.float32) - right.to(torch.float32)
    sent = step
    for _ in range(depth - 1):
        sent = step + sent @ child
    return sent
