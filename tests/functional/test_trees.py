"""Trees as tensors: a case walks to the leaf that the rules send it to, and padding changes nothing."""

import numpy as np
import torch

from metamedica.functional.trees import GrownTree, TreeArrays, tree_arrays, walk

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
