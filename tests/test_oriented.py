"""The pass over compiled graphs: products with fewer columns than rows are turned, others stay, and numbers are the same."""

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, fx

with warnings.catch_warnings():  # torch's own, of what inductor still imports
    warnings.simplefilter("ignore", DeprecationWarning)
    from metamedica.oriented import Oriented


def _turned(rows: int, inner: int, columns: int) -> tuple[int, Tensor, Tensor]:
    """Return how many transpositions the pass adds to one product, its value after the pass and the plain one."""
    left, right = torch.randn(3, rows, inner), torch.randn(3, inner, columns)
    graph = fx.Graph()
    nodes = [graph.placeholder(name) for name in ("left", "right")]
    for node, value in zip(nodes, (left, right), strict=True):
        node.meta["val"] = value
    product = graph.call_function(torch.ops.aten.bmm.default, tuple(nodes))
    product.meta["val"] = left @ right
    graph.output(product)
    Oriented()(graph)
    module = fx.GraphModule(torch.nn.Module(), graph)
    graph.lint()
    permuted = graph.find_nodes(op="call_function", target=torch.ops.aten.permute.default)
    return len(permuted), module(left, right), left @ right


@pytest.mark.parametrize(("rows", "inner", "columns"), [(64, 64, 10), (8, 2, 3), (32, 5, 1)])
def test_fewer_columns_than_rows_are_turned(rows: int, inner: int, columns: int) -> None:
    turned, found, want = _turned(rows, inner, columns)
    assert turned == 3
    torch.testing.assert_close(found, want)


@pytest.mark.parametrize(("rows", "inner", "columns"), [(10, 64, 64), (8, 8, 8), (256, 4, 64)])
def test_other_products_stay(rows: int, inner: int, columns: int) -> None:
    turned, found, want = _turned(rows, inner, columns)
    assert turned == 0
    assert torch.equal(found, want)


def test_a_graph_on_disk_is_known_by_the_rule() -> None:
    told: Any = Oriented().uuid()
    assert told == Oriented().uuid()
    assert "64" in told
