"""The pass over compiled graphs: products with fewer columns than rows are turned, others stay, and numbers are the same."""

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, fx

from metamedica.oriented import graph_pass, turn

aten = torch.ops.aten


def _turned(operator: Any, rows: int, inner: int, columns: int, *added: tuple[int, ...]) -> tuple[int, Tensor, Tensor]:
    """Return how many transpositions the pass adds to one product, its value after the pass and the plain one."""
    tasks = (3,) if operator in (aten.bmm.default, aten.baddbmm.default) else ()
    values = [torch.randn(*shape) for shape in (*added, (*tasks, rows, inner), (*tasks, inner, columns))]
    graph = fx.Graph()
    nodes = [graph.placeholder(f"given_{at}") for at in range(len(values))]
    for node, value in zip(nodes, values, strict=True):
        node.meta["val"] = value
    product = graph.call_function(operator, tuple(nodes))
    product.meta["val"] = operator(*values)
    graph.output(product)
    turn(graph)
    graph.lint()
    module = fx.GraphModule(torch.nn.Module(), graph)
    permuted = graph.find_nodes(op="call_function", target=aten.permute.default)
    return len(permuted), module(*values), operator(*values)


@pytest.mark.parametrize(("rows", "inner", "columns"), [(64, 64, 10), (8, 2, 3), (32, 5, 1)])
@pytest.mark.parametrize("operator", [aten.mm.default, aten.bmm.default])
def test_fewer_columns_than_rows_are_turned(operator: Any, rows: int, inner: int, columns: int) -> None:
    turned, found, want = _turned(operator, rows, inner, columns)
    assert turned == 3
    torch.testing.assert_close(found, want)


@pytest.mark.parametrize(
    ("operator", "added"),
    [
        (aten.addmm.default, (3,)),
        (aten.addmm.default, (8, 3)),
        (aten.baddbmm.default, (3, 1, 3)),
        (aten.baddbmm.default, (8, 3)),
    ],
)
def test_what_is_added_stays_added(operator: Any, added: tuple[int, ...]) -> None:
    turned, found, want = _turned(operator, 8, 2, 3, added)
    assert turned == 3
    torch.testing.assert_close(found, want)


@pytest.mark.parametrize(("rows", "inner", "columns"), [(10, 64, 64), (8, 8, 8), (256, 4, 64)])
@pytest.mark.parametrize("operator", [aten.mm.default, aten.bmm.default])
def test_other_products_stay(operator: Any, rows: int, inner: int, columns: int) -> None:
    turned, found, want = _turned(operator, rows, inner, columns)
    assert turned == 0
    assert torch.equal(found, want)


def test_a_graph_on_disk_is_known_by_the_rule() -> None:
    with warnings.catch_warnings():  # torch's own, of what inductor still imports
        warnings.simplefilter("ignore", DeprecationWarning)
        passes = [graph_pass(), graph_pass()]
    assert passes[0].uuid() == passes[1].uuid()
    assert "64" in str(passes[0].uuid())
