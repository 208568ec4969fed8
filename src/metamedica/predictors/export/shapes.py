"""Shapes: views, parts, joins, look-ups, types and constants."""

from typing import Any

import torch

from metamedica.errors import InputError
from metamedica.predictors.export.drawing import Drawing
from metamedica.predictors.export.table import only, writes
from metamedica.predictors.export.trace import Size, Step


@writes("aten.view.default", "aten._unsafe_view.default", "aten.reshape.default", "aten.unsqueeze.default",
     "aten.squeeze.dim", "aten.squeeze.dims")  # fmt: skip
def _reshaped(drawing: Drawing, step: Step) -> str:
    return drawing.add("Reshape", drawing.of(step.given["self"]), drawing.sizes(step.results[0].shape))


@writes("aten.expand.default")
def _expanded(drawing: Drawing, step: Step) -> str:
    return drawing.add("Expand", drawing.of(step.given["self"]), drawing.sizes(step.results[0].shape))


@writes("aten.repeat.default")
def _repeated(drawing: Drawing, step: Step) -> str:
    before, times = step.given["self"].shape, step.given["repeats"]
    whole = drawing.add(
        "Reshape", drawing.of(step.given["self"]), drawing.sizes([1] * (len(times) - len(before)) + list(before))
    )
    return drawing.add("Tile", whole, drawing.sizes(times))


def swapped(drawing: Drawing, given: Any, first: int, second: int) -> str:
    order = list(range(len(given.shape)))
    order[first], order[second] = order[second], order[first]
    return drawing.add("Transpose", drawing.of(given), perm=order)


@writes("aten.transpose.int")
def _transposed(drawing: Drawing, step: Step) -> str:
    return swapped(drawing, step.given["self"], step.given["dim0"], step.given["dim1"])


@writes("aten.t.default")
def _turned(drawing: Drawing, step: Step) -> str:
    return swapped(drawing, step.given["self"], 0, 1)


@writes("aten.permute.default")
def _permuted(drawing: Drawing, step: Step) -> str:
    rank = len(step.given["self"].shape)
    return drawing.add("Transpose", drawing.of(step.given["self"]), perm=[axis % rank for axis in step.given["dims"]])


@writes("aten.cat.default")
def _joined(drawing: Drawing, step: Step) -> str:
    parts = [drawing.of(part, step.results[0].dtype) for part in step.given["tensors"]]
    return drawing.add("Concat", *parts, axis=step.given["dim"])


@writes("aten.stack.default")
def _stacked(drawing: Drawing, step: Step) -> str:
    at = drawing.numbers(step.given["dim"])
    parts = [drawing.add("Unsqueeze", drawing.of(part, step.results[0].dtype), at) for part in step.given["tensors"]]
    return drawing.add("Concat", *parts, axis=step.given["dim"])


@writes("aten.select.int")
def _selected(drawing: Drawing, step: Step) -> str:
    return drawing.add(
        "Gather", drawing.of(step.given["self"]), drawing.of(step.given["index"]), axis=step.given["dim"]
    )


@writes("aten.slice.Tensor")
def _sliced(drawing: Drawing, step: Step) -> str:
    end = step.given["end"]
    start, end = step.given["start"] or 0, 2**62 if end is None else end
    ends = [drawing.sizes([each]) for each in (start, end)]
    return drawing.add(
        "Slice",
        drawing.of(step.given["self"]),
        *ends,
        drawing.numbers(step.given["dim"]),
        drawing.numbers(step.given["step"]),
    )


@writes("aten.gather.default")
def _gathered(drawing: Drawing, step: Step) -> str:
    return drawing.add(
        "GatherElements", drawing.of(step.given["self"]), drawing.of(step.given["index"]), axis=step.given["dim"]
    )


@writes("aten.index_select.default")
def _columns(drawing: Drawing, step: Step) -> str:
    return drawing.add(
        "Gather", drawing.of(step.given["self"]), drawing.of(step.given["index"]), axis=step.given["dim"]
    )


@writes("aten.embedding.default")
def _looked_up(drawing: Drawing, step: Step) -> str:
    return drawing.add("Gather", drawing.of(step.given["weight"]), drawing.of(step.given["indices"]), axis=0)


@writes("aten.index.Tensor")
def _indexed(drawing: Drawing, step: Step) -> str:
    """Return x[i, j, ...], with as many whole-number indices as they are, from the first axis on."""
    if any(index is None or index.dtype == torch.bool for index in step.given["indices"]):
        raise InputError("the predictor selects cases by a mask, which is not written to ONNX; predict with Metamedica")
    shape = drawing.sizes(step.results[0].shape)
    last = drawing.numbers(-1)
    wide = [drawing.add("Expand", drawing.of(index), shape) for index in step.given["indices"]]
    places = drawing.add("Concat", *(drawing.add("Unsqueeze", each, last) for each in wide), axis=-1)
    return drawing.add("GatherND", drawing.of(step.given["self"]), places)


@writes("aten.scatter_add.default")
def _scatter_add(drawing: Drawing, step: Step) -> str:
    names = [drawing.of(step.given[name]) for name in ("self", "index", "src")]
    return drawing.add("ScatterElements", *names, axis=step.given["dim"], reduction="add")


@writes("aten.roll.default")
def _rolled(drawing: Drawing, step: Step) -> str:
    (shift,), (axis,), x = step.given["shifts"], step.given["dims"], drawing.of(step.given["self"])
    size = step.results[0].shape[axis]
    if isinstance(shift, Size) or isinstance(size, Size):
        raise InputError("the predictor rolls cases, which is not written to ONNX; predict with Metamedica")
    cut, along = (size - shift) % size, drawing.numbers(axis)
    tail = drawing.add("Slice", x, drawing.numbers(cut), drawing.numbers(size), along)
    return drawing.add(
        "Concat", tail, drawing.add("Slice", x, drawing.numbers(0), drawing.numbers(cut), along), axis=axis
    )


@writes("aten.where.self")
def _chosen(drawing: Drawing, step: Step) -> str:
    pair = (drawing.of(step.given[name], step.results[0].dtype) for name in ("self", "other"))
    return drawing.add("Where", drawing.of(step.given["condition"]), *pair)


@writes("aten.masked_fill.Scalar", "aten.masked_fill.Tensor")
def _filled(drawing: Drawing, step: Step) -> str:
    value = drawing.of(step.given["value"], step.results[0].dtype)
    return drawing.add("Where", drawing.of(step.given["mask"]), value, drawing.of(step.given["self"]))


@writes("aten._to_copy.default")
def _converted(drawing: Drawing, step: Step) -> str:
    return drawing.cast(drawing.of(step.given["self"]), step.results[0].dtype)


@writes("aten.diagonal.default")
def _diagonal(drawing: Drawing, step: Step) -> str:
    rank = len(step.given["self"].shape)
    only(step, offset=0)
    if (step.given["dim1"] % rank, step.given["dim2"] % rank) != (rank - 2, rank - 1):
        raise InputError(
            "the predictor reads a diagonal that is not of the last two axes, which is not written to ONNX"
        )
    eye = drawing.of(torch.eye(step.given["self"].shape[-1], dtype=step.results[0].dtype))
    return drawing.add(
        "ReduceSum", drawing.add("Mul", drawing.of(step.given["self"]), eye), drawing.numbers(-1), keepdims=0
    )


@writes("aten.diag_embed.default")
def _diagonal_matrix(drawing: Drawing, step: Step) -> str:
    only(step, offset=0, dim1=-2, dim2=-1)
    value = step.given["self"]
    eye = drawing.of(torch.eye(value.shape[-1], dtype=value.dtype))
    return drawing.add("Mul", drawing.add("Unsqueeze", drawing.of(value), drawing.numbers(-1)), eye)


_FILLS = {
    "ones": 1,
    "ones_like": 1,
    "new_ones": 1,
    "zeros": 0,
    "zeros_like": 0,
    "new_zeros": 0,
    "full": None,
    "full_like": None,
}


@writes(*(f"aten.{name}.default" for name in _FILLS))
def _constant(drawing: Drawing, step: Step) -> str:
    fill, result = _FILLS[step.operator.split(".")[1]], step.results[0]
    value = drawing.of(step.given["fill_value"] if fill is None else fill, result.dtype)
    return drawing.add("Expand", value, drawing.sizes(result.shape))


@writes("aten.arange.default", "aten.arange.start")
def _counted(drawing: Drawing, step: Step) -> str:
    dtype = step.results[0].dtype
    names = (drawing.of(step.given.get("start", 0), dtype), drawing.of(step.given["end"], dtype), drawing.of(1, dtype))
    return drawing.add("Range", *names)
