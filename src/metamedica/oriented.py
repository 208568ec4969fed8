"""Products in a compiled graph, turned the way round that a CPU's library is fast at.

A batch of small products with fewer columns than rows takes two to nine times as long as the same numbers transposed (16 products of 64 x 64 by
64 x 10: 94 to 196 microseconds by layout, of 10 x 64 by 64 x 64: 23). Autograd writes half of its products the slow way. (AB)^T = B^T A^T, so
the pass below asks for the other one; no number is computed otherwise but for rounding.
"""

from typing import TYPE_CHECKING

import torch
from torch import fx

if TYPE_CHECKING:
    from torch._inductor.custom_graph_pass import CustomGraphPass

_WIDE = 64
"""Columns from which the library is fast either way."""
_ATEN = torch.ops.aten
_PRODUCTS = {
    _ATEN.mm.default: _ATEN.mm.default,
    _ATEN.bmm.default: _ATEN.bmm.default,
    _ATEN.addmm.default: _ATEN.mm.default,
    _ATEN.baddbmm.default: _ATEN.bmm.default,
}
"""Operators that multiply, and the product in each; the other two add it to their first argument."""


def turn(graph: fx.Graph) -> None:
    """Turn the products of a graph of ATen operators that have fewer columns than rows."""
    for operator, product in _PRODUCTS.items():
        for node in graph.find_nodes(op="call_function", target=operator):
            *added, left, right = node.args
            rows, columns = left.meta["val"].shape[-2], right.meta["val"].shape[-1]
            on_cpu = left.meta["val"].device.type == "cpu"
            if on_cpu and columns < min(rows, _WIDE) and not node.kwargs:
                with graph.inserting_before(node):
                    turned = _called(graph, product, _transposed(graph, right), _transposed(graph, left))
                    found = _transposed(graph, turned)
                    node.replace_all_uses_with(_called(graph, _ATEN.add.Tensor, found, *added) if added else found)
                graph.erase_node(node)


def graph_pass() -> "CustomGraphPass":
    """Return `turn` as torch's inductor takes it."""
    # here: importing it takes a second and changes global settings
    from torch._inductor.custom_graph_pass import CustomGraphPass

    class Oriented(CustomGraphPass):
        def __call__(self, graph: fx.Graph) -> None:
            turn(graph)

        def uuid(self) -> str:
            """Return what a graph kept on disk is known by."""
            return f"metamedica.oriented 2 {_WIDE}"

    return Oriented()


def _transposed(graph: fx.Graph, node: fx.Node) -> fx.Node:
    axes = [0, 2, 1] if node.meta["val"].dim() == 3 else [1, 0]
    return _called(graph, _ATEN.permute.default, node, axes)


def _called(graph: fx.Graph, operator: torch._ops.OpOverload, *given: fx.Node | list[int]) -> fx.Node:
    """Return a new call in the graph that knows the shape of its result."""
    node = graph.call_function(operator, given)
    shapes = [each.meta["val"] if isinstance(each, fx.Node) else each for each in given]
    node.meta["val"] = operator(*shapes)
    return node
