"""Trees as tensors: a case walks to the leaf that the rules send it to, and padding changes nothing."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.ensemble import HistGradientBoostingRegressor

from metamedica.functional.trees import MOST_NODES, GrownTree, TreeArrays, total_of_leaves, tree_arrays, walk

SPLIT = GrownTree(
    np.array([1, 0, 0, -2, -2]),
    np.array([0.5, -1.0, 0.0, 0.0, 0.0]),
    np.array([1, 3, -1, -1, -1]),
    np.array([2, 4, -1, -1, -1]),
    np.array([[0.0], [0.0], [30.0], [10.0], [20.0]]),
    np.array([False, False, True, True, True]),
)
STUMP = GrownTree(np.array([-2]), np.array([0.0]), np.array([-1]), np.array([-1]), np.array([[7.0]]), np.array([True]))
CASES = torch.tensor([[-1.0, 0.5], [-0.9, 0.5], [-5.0, 0.6]], dtype=torch.float64)


def test_a_case_at_a_threshold_goes_left_and_above_it_right() -> None:
    found = walk(tree_arrays([SPLIT], 5), CASES, 2)
    assert found[0, :, 0].tolist() == [10.0, 20.0, 30.0]


def test_a_small_tree_padded_to_a_large_one_keeps_its_leaf() -> None:
    found = walk(tree_arrays([STUMP, SPLIT], 9), CASES, 2)
    assert found[0, :, 0].tolist() == [7.0, 7.0, 7.0]
    assert found[1, :, 0].tolist() == [10.0, 20.0, 30.0]


def test_walking_further_than_the_depth_stays_in_the_leaf() -> None:
    arrays = tree_arrays([SPLIT], 5)
    assert isinstance(arrays, TreeArrays)
    torch.testing.assert_close(walk(arrays, CASES, 7), walk(arrays, CASES, 2))


@given(st.integers(2, 25), st.integers(1, 12), st.integers(0, 1000))
def test_asking_all_nodes_at_once_gives_the_leaves_that_walking_gives(leaves: int, trees: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    cases, targets = random.normal(size=(60, 4)).round(1), random.normal(size=60)
    grown = HistGradientBoostingRegressor(
        max_iter=trees, max_leaf_nodes=leaves, min_samples_leaf=1, early_stopping=False
    ).fit(cases, targets)
    kept = [
        GrownTree(
            node["feature_idx"].astype(np.int64), node["num_threshold"].astype(np.float64), node["left"].astype(np.int64),
            node["right"].astype(np.int64), node["value"][:, None].astype(np.float64), node["is_leaf"].astype(bool),
        )
        for node in (predictor[0].nodes for predictor in grown._predictors)
    ]  # fmt: skip
    nodes = max(len(tree.leaf) for tree in kept)
    depth = max(int(predictor[0].get_max_depth()) for predictor in grown._predictors)
    arrays, flat = tree_arrays(kept, nodes + 2), torch.from_numpy(cases)
    torch.testing.assert_close(total_of_leaves(arrays, flat, depth), walk(arrays, flat, depth)[..., 0].sum(0))


@pytest.mark.parametrize("nodes", [9, MOST_NODES + 1])
def test_the_total_of_leaves_is_the_sum_over_trees(nodes: int) -> None:
    found = total_of_leaves(tree_arrays([STUMP, SPLIT], nodes), CASES, 2)
    assert found.tolist() == [17.0, 27.0, 37.0]
