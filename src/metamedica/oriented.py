"""Products in a compiled graph, turned the way round that a CPU's library is fast at.

A batch of small products with fewer columns than rows takes two to nine times as long as the same numbers transposed (16 products of 64 x 64 by
64 x 10: 94 to 196 microseconds by layout, of 10 x 64 by 64 x 64: 23). Autograd writes half of its products the slow way. (AB)^T = B^T A^T, so
the pass below asks for the other one; no number is computed otherwise but for rounding.
"""

import torch
from torch import fx
from torch._inductor.custom_graph_pass import CustomGraphPass

_WIDE = 64
"""Columns from which the library is fast either way."""


class Oriented(CustomGraphPass):
    """A pass of torch's inductor over a graph of ATen operators."""

    def __call__(self, graph: fx.Graph) -> None:
        """Turn the products of a graph that have fewer columns than rows."""
        for node in graph.find_nodes(op="call_function", target=torch.ops.aten.bmm.default):
            left, right = node.args
            rows, columns = left.meta["val"].shape[-2], right.meta["val"].shape[-1]
            if left.meta["val"].device.type == "cpu" and columns < min(rows, _WIDE):
                with graph.inserting_before(node):
                    turned = _called(
                        graph, torch.ops.aten.bmm.default, _transposed(graph, right), _transposed(graph, left)
                    )
                    node.replace_all_uses_with(_transposed(graph, turned))
                graph.erase_node(node)

    def uuid(self) -> str:
        """Return what a graph kept on disk is known by."""
        return f"metamedica.oriented 1 {_WIDE}"


def _transposed(graph: fx.Graph, node: fx.Node) -> fx.Node:
    return _called(graph, torch.ops.aten.permute.default, node, [0, 2, 1])


def _called(graph: fx.Graph, operator: torch._ops.OpOverload, *given: fx.Node | list[int]) -> fx.Node:
    """Return a new call in the graph that knows the shape of its result."""
    node = graph.call_function(operator, given)
    shapes = [each.meta["val"] if isinstance(each, fx.Node) else each for each in given]
    node.meta["val"] = operator(*shapes)
    return node
