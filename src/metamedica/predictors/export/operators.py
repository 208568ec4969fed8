"""PyTorch's operators, as far as learners and encoders use them, as ONNX has them. One function an operator, found by its name.

Triangular systems, which ONNX lacks, are products with the inverse of the factor: it depends on the support alone and is computed here, in
double precision. So is the MinMax kernel against a fixed support, as a sum of clipped differences (see `_shared`).
"""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor

from metamedica.errors import InputError
from metamedica.predictors.export.drawing import Drawing
from metamedica.predictors.export.trace import Size, Step, Trace, Value

if TYPE_CHECKING:
    from onnx import ModelProto

Translation: TypeAlias = Callable[[Drawing, Step], Sequence[str]]
_TABLE: dict[str, Translation] = {}


def drawn(trace: Trace, notes: dict[str, str]) -> "ModelProto":
    """Return a trace as an ONNX model.

    Args:
        trace: of a function of blocks.
        notes: metadata of the file.

    Raises:
        InputError: an operator that is not in the table.
        MissingExtraError: `onnx` is not installed.
    """
    missing = sorted({step.operator for step in trace.steps} - _TABLE.keys())
    if missing:
        raise InputError(
            f"the predictor uses {', '.join(missing)}, which this version does not write to ONNX; predict with Metamedica itself, "
            "or add the operator to predictors/export/operators.py"
        )
    drawing = Drawing()
    for name, value in trace.inputs.items():
        drawing.input(name, value)
    for step in trace.steps:
        names = _TABLE[step.operator](drawing, step)
        for result, name in zip(step.results, names, strict=False):  # later results (a layer norm's mean) are not read
            drawing.names[id(result)] = name
    return drawing.finished(trace.inputs, trace.outputs, notes)


def _is(*operators: str) -> Callable[[Callable[[Drawing, Step], str]], Callable[[Drawing, Step], str]]:
    """Register the translation of operators with one result that is read."""

    def register(translate: Callable[[Drawing, Step], str]) -> Callable[[Drawing, Step], str]:
        for operator in operators:
            _TABLE[operator] = lambda drawing, step: [translate(drawing, step)]
        return translate

    return register


def _plain(operator: str, onnx: str) -> None:
    """Register an operator of one tensor that ONNX has too."""
    _TABLE[operator] = lambda drawing, step: [drawing.add(onnx, drawing.of(step.given["self"]))]


for _torch, _onnx in {
    "exp": "Exp", "log": "Log", "sqrt": "Sqrt", "neg": "Neg", "tanh": "Tanh", "erf": "Erf", "relu": "Relu", "abs": "Abs",
    "sigmoid": "Sigmoid", "reciprocal": "Reciprocal", "sign": "Sign", "softplus": "Softplus", "bitwise_not": "Not",
    "round": "Round",
}.items():  # fmt: skip
    _plain(f"aten.{_torch}.default", _onnx)


def _pair(drawing: Drawing, step: Step, dtype: torch.dtype) -> tuple[str, str]:
    return drawing.of(step.given["self"], dtype), drawing.of(step.given["other"], dtype)


def _scaled(drawing: Drawing, step: Step) -> str:
    """Return `other`, times alpha where it is not 1."""
    dtype, alpha = step.results[0].dtype, step.given.get("alpha", 1)
    other = drawing.of(step.given["other"], dtype)
    return other if alpha == 1 else drawing.add("Mul", other, drawing.of(alpha, dtype))


@_is("aten.add.Tensor", "aten.add.Scalar", "aten.sub.Tensor", "aten.sub.Scalar")
def _sum_or_difference(drawing: Drawing, step: Step) -> str:
    operator = "Add" if ".add." in step.operator else "Sub"
    return drawing.add(operator, drawing.of(step.given["self"], step.results[0].dtype), _scaled(drawing, step))


@_is("aten.rsub.Scalar")
def _reversed_difference(drawing: Drawing, step: Step) -> str:
    return drawing.add("Sub", _scaled(drawing, step), drawing.of(step.given["self"], step.results[0].dtype))


@_is("aten.mul.Tensor", "aten.mul.Scalar")
def _product(drawing: Drawing, step: Step) -> str:
    return drawing.add("Mul", *_pair(drawing, step, step.results[0].dtype))


@_is("aten.div.Tensor", "aten.div.Scalar")
def _quotient(drawing: Drawing, step: Step) -> str:
    return drawing.add("Div", *_pair(drawing, step, step.results[0].dtype))


@_is("aten.maximum.default", "aten.minimum.default")
def _extreme(drawing: Drawing, step: Step) -> str:
    return drawing.add("Max" if "max" in step.operator else "Min", *_pair(drawing, step, step.results[0].dtype))


_COMPARISONS = {"le": "LessOrEqual", "lt": "Less", "ge": "GreaterOrEqual", "gt": "Greater", "eq": "Equal"}


@_is(*(f"aten.{name}.{kind}" for name in _COMPARISONS for kind in ("Tensor", "Scalar")))
def _comparison(drawing: Drawing, step: Step) -> str:
    left, right = step.given["self"], step.given["other"]
    types = [each.dtype for each in (left, right) if isinstance(each, Value | Tensor)]
    dtype = types[0] if len(types) == 1 else torch.promote_types(*types)
    return drawing.add(_COMPARISONS[step.operator.split(".")[1]], *_pair(drawing, step, dtype))


@_is("aten.pow.Tensor_Scalar")
def _power(drawing: Drawing, step: Step) -> str:
    base = drawing.of(step.given["self"], step.results[0].dtype)
    if step.given["exponent"] == 2:
        return drawing.add("Mul", base, base)
    return drawing.add("Pow", base, drawing.of(float(step.given["exponent"]), step.results[0].dtype))


@_is("aten.rsqrt.default")
def _one_over_root(drawing: Drawing, step: Step) -> str:
    return drawing.add("Reciprocal", drawing.add("Sqrt", drawing.of(step.given["self"])))


@_is("aten.log1p.default")
def _log_of_one_more(drawing: Drawing, step: Step) -> str:
    one = drawing.of(1.0, step.results[0].dtype)
    return drawing.add("Log", drawing.add("Add", drawing.of(step.given["self"]), one))


@_is("aten.gelu.default")
def _gelu(drawing: Drawing, step: Step) -> str:
    _only(step, approximate="none")
    dtype, x = step.results[0].dtype, drawing.of(step.given["self"])
    below = drawing.add("Erf", drawing.add("Mul", x, drawing.of(math.sqrt(0.5), dtype)))
    twice = drawing.add("Mul", x, drawing.add("Add", below, drawing.of(1.0, dtype)))
    return drawing.add("Mul", twice, drawing.of(0.5, dtype))


@_is("aten.clamp.default", "aten.clamp_min.default")
def _clamp(drawing: Drawing, step: Step) -> str:
    found, dtype = drawing.of(step.given["self"]), step.results[0].dtype
    if step.given["min"] is not None:
        found = drawing.add("Max", found, drawing.of(step.given["min"], dtype))
    if step.given.get("max") is not None:
        found = drawing.add("Min", found, drawing.of(step.given["max"], dtype))
    return found


@_is("aten._softmax.default", "aten._log_softmax.default")
def _softmax(drawing: Drawing, step: Step) -> str:
    operator = "LogSoftmax" if "log" in step.operator else "Softmax"
    return drawing.add(operator, drawing.of(step.given["self"]), axis=step.given["dim"])


_REDUCTIONS = {
    "aten.sum.dim_IntList": "ReduceSum", "aten.mean.dim": "ReduceMean", "aten.logsumexp.default": "ReduceLogSumExp",
    "aten.linalg_vector_norm.default": "ReduceL2", "aten.amax.default": "ReduceMax", "aten.amin.default": "ReduceMin",
}  # fmt: skip


@_is(*_REDUCTIONS)
def _reduction(drawing: Drawing, step: Step) -> str:
    _only(step, ord=2)
    axes = step.given["dim"]
    axes = axes if isinstance(axes, list) else [axes]
    x = drawing.of(step.given["self"], step.results[0].dtype)
    return drawing.add(_REDUCTIONS[step.operator], x, drawing.numbers(*axes), keepdims=int(step.given["keepdim"]))


@_is("aten.var.correction")
def _variance(drawing: Drawing, step: Step) -> str:
    value, dtype = step.given["self"], step.results[0].dtype
    n = math.prod(value.shape[axis] for axis in step.given["dim"])
    x, axes = drawing.of(value), drawing.numbers(*step.given["dim"])
    centred = drawing.add("Sub", x, drawing.add("ReduceMean", x, axes, keepdims=1))
    squares = drawing.add("ReduceSum", drawing.add("Mul", centred, centred), axes, keepdims=int(step.given["keepdim"]))
    return drawing.add("Div", squares, drawing.of(float(n - step.given["correction"]), dtype))


@_is("aten.native_layer_norm.default")
def _layer_norm(drawing: Drawing, step: Step) -> str:
    shape, dtype = step.given["normalized_shape"], step.results[0].dtype
    weight = torch.ones(shape, dtype=dtype) if step.given["weight"] is None else step.given["weight"]
    more = [] if step.given["bias"] is None else [drawing.of(step.given["bias"])]
    x = drawing.of(step.given["input"])
    return drawing.add("LayerNormalization", x, drawing.of(weight), *more, axis=-len(shape), epsilon=step.given["eps"])


@_is("aten.mm.default", "aten.bmm.default")
def _matrix_product(drawing: Drawing, step: Step) -> str:
    return drawing.add("MatMul", drawing.of(step.given["self"]), drawing.of(step.given["mat2"]))


@_is("aten.mv.default")
def _matrix_times_vector(drawing: Drawing, step: Step) -> str:
    return drawing.add("MatMul", drawing.of(step.given["self"]), drawing.of(step.given["vec"]))


@_is("aten.addmm.default", "aten.baddbmm.default")
def _product_and_sum(drawing: Drawing, step: Step) -> str:
    _only(step, alpha=1, beta=1)
    names = ("batch1", "batch2") if "baddbmm" in step.operator else ("mat1", "mat2")
    product = drawing.add("MatMul", *(drawing.of(step.given[name]) for name in names))
    return drawing.add("Add", product, drawing.of(step.given["self"]))


@_is("aten._scaled_dot_product_flash_attention_for_cpu.default")
def _attention(drawing: Drawing, step: Step) -> str:
    _only(step, dropout_p=0.0, is_causal=False)
    query, dtype = step.given["query"], step.results[0].dtype
    scale = step.given.get("scale") or query.shape[-1] ** -0.5
    turned = _swapped(drawing, step.given["key"], -1, -2)
    scores = drawing.add("MatMul", drawing.add("Mul", drawing.of(query), drawing.of(scale, dtype)), turned)
    if step.given.get("attn_mask") is not None:
        scores = drawing.add("Add", scores, drawing.of(step.given["attn_mask"], dtype))
    return drawing.add("MatMul", drawing.add("Softmax", scores, axis=-1), drawing.of(step.given["value"]))


@_is("aten.linalg_solve_triangular.default")
def _solve_triangular(drawing: Drawing, step: Step) -> str:
    _only(step, left=True, unitriangular=False)
    factor = step.given["self"]
    if not isinstance(factor, Tensor):
        raise InputError("the predictor solves a triangular system that depends on the cases, which ONNX cannot; predict with Metamedica")
    eye = torch.eye(factor.shape[-1], dtype=torch.float64).expand(factor.shape)
    inverse = torch.linalg.solve_triangular(factor.double(), eye, upper=step.given["upper"]).to(factor.dtype)
    return drawing.add("MatMul", drawing.of(inverse), drawing.of(step.given["B"]))


@_is("aten.view.default", "aten._unsafe_view.default", "aten.reshape.default", "aten.unsqueeze.default",
     "aten.squeeze.dim", "aten.squeeze.dims")  # fmt: skip
def _reshaped(drawing: Drawing, step: Step) -> str:
    return drawing.add("Reshape", drawing.of(step.given["self"]), drawing.sizes(step.results[0].shape))


@_is("aten.expand.default")
def _expanded(drawing: Drawing, step: Step) -> str:
    return drawing.add("Expand", drawing.of(step.given["self"]), drawing.sizes(step.results[0].shape))


@_is("aten.repeat.default")
def _repeated(drawing: Drawing, step: Step) -> str:
    before, times = step.given["self"].shape, step.given["repeats"]
    whole = drawing.add("Reshape", drawing.of(step.given["self"]), drawing.sizes([1] * (len(times) - len(before)) + list(before)))
    return drawing.add("Tile", whole, drawing.sizes(times))


def _swapped(drawing: Drawing, given: Any, first: int, second: int) -> str:
    order = list(range(len(given.shape)))
    order[first], order[second] = order[second], order[first]
    return drawing.add("Transpose", drawing.of(given), perm=order)


@_is("aten.transpose.int")
def _transposed(drawing: Drawing, step: Step) -> str:
    return _swapped(drawing, step.given["self"], step.given["dim0"], step.given["dim1"])


@_is("aten.t.default")
def _turned(drawing: Drawing, step: Step) -> str:
    return _swapped(drawing, step.given["self"], 0, 1)


@_is("aten.permute.default")
def _permuted(drawing: Drawing, step: Step) -> str:
    rank = len(step.given["self"].shape)
    return drawing.add("Transpose", drawing.of(step.given["self"]), perm=[axis % rank for axis in step.given["dims"]])


@_is("aten.cat.default")
def _joined(drawing: Drawing, step: Step) -> str:
    parts = [drawing.of(part, step.results[0].dtype) for part in step.given["tensors"]]
    return drawing.add("Concat", *parts, axis=step.given["dim"])


@_is("aten.stack.default")
def _stacked(drawing: Drawing, step: Step) -> str:
    at = drawing.numbers(step.given["dim"])
    parts = [drawing.add("Unsqueeze", drawing.of(part, step.results[0].dtype), at) for part in step.given["tensors"]]
    return drawing.add("Concat", *parts, axis=step.given["dim"])


@_is("aten.select.int")
def _selected(drawing: Drawing, step: Step) -> str:
    return drawing.add("Gather", drawing.of(step.given["self"]), drawing.of(step.given["index"]), axis=step.given["dim"])


@_is("aten.slice.Tensor")
def _sliced(drawing: Drawing, step: Step) -> str:
    end = step.given["end"]
    start, end = step.given["start"] or 0, 2**62 if end is None else end
    ends = [drawing.sizes([each]) for each in (start, end)]
    return drawing.add("Slice", drawing.of(step.given["self"]), *ends, drawing.numbers(step.given["dim"]), drawing.numbers(step.given["step"]))


@_is("aten.gather.default")
def _gathered(drawing: Drawing, step: Step) -> str:
    return drawing.add("GatherElements", drawing.of(step.given["self"]), drawing.of(step.given["index"]), axis=step.given["dim"])


@_is("aten.index_select.default")
def _columns(drawing: Drawing, step: Step) -> str:
    return drawing.add("Gather", drawing.of(step.given["self"]), drawing.of(step.given["index"]), axis=step.given["dim"])


@_is("aten.embedding.default")
def _looked_up(drawing: Drawing, step: Step) -> str:
    return drawing.add("Gather", drawing.of(step.given["weight"]), drawing.of(step.given["indices"]), axis=0)


@_is("aten.index.Tensor")
def _indexed(drawing: Drawing, step: Step) -> str:
    """Return x[i, j, ...], with as many whole-number indices as they are, from the first axis on."""
    if any(index is None or index.dtype == torch.bool for index in step.given["indices"]):
        raise InputError("the predictor selects cases by a mask, which is not written to ONNX; predict with Metamedica")
    shape = drawing.sizes(step.results[0].shape)
    last = drawing.numbers(-1)
    wide = [drawing.add("Expand", drawing.of(index), shape) for index in step.given["indices"]]
    places = drawing.add("Concat", *(drawing.add("Unsqueeze", each, last) for each in wide), axis=-1)
    return drawing.add("GatherND", drawing.of(step.given["self"]), places)


@_is("aten.scatter_add.default")
def _scatter_add(drawing: Drawing, step: Step) -> str:
    names = [drawing.of(step.given[name]) for name in ("self", "index", "src")]
    return drawing.add("ScatterElements", *names, axis=step.given["dim"], reduction="add")


@_is("aten.roll.default")
def _rolled(drawing: Drawing, step: Step) -> str:
    (shift,), (axis,), x = step.given["shifts"], step.given["dims"], drawing.of(step.given["self"])
    size = step.results[0].shape[axis]
    if isinstance(shift, Size) or isinstance(size, Size):
        raise InputError("the predictor rolls cases, which is not written to ONNX; predict with Metamedica")
    cut, along = (size - shift) % size, drawing.numbers(axis)
    tail = drawing.add("Slice", x, drawing.numbers(cut), drawing.numbers(size), along)
    return drawing.add("Concat", tail, drawing.add("Slice", x, drawing.numbers(0), drawing.numbers(cut), along), axis=axis)


@_is("aten.where.self")
def _chosen(drawing: Drawing, step: Step) -> str:
    pair = (drawing.of(step.given[name], step.results[0].dtype) for name in ("self", "other"))
    return drawing.add("Where", drawing.of(step.given["condition"]), *pair)


@_is("aten.masked_fill.Scalar", "aten.masked_fill.Tensor")
def _filled(drawing: Drawing, step: Step) -> str:
    value = drawing.of(step.given["value"], step.results[0].dtype)
    return drawing.add("Where", drawing.of(step.given["mask"]), value, drawing.of(step.given["self"]))


@_is("aten._to_copy.default")
def _converted(drawing: Drawing, step: Step) -> str:
    return drawing.cast(drawing.of(step.given["self"]), step.results[0].dtype)


@_is("aten.diagonal.default")
def _diagonal(drawing: Drawing, step: Step) -> str:
    rank = len(step.given["self"].shape)
    _only(step, offset=0)
    if (step.given["dim1"] % rank, step.given["dim2"] % rank) != (rank - 2, rank - 1):
        raise InputError("the predictor reads a diagonal that is not of the last two axes, which is not written to ONNX")
    eye = drawing.of(torch.eye(step.given["self"].shape[-1], dtype=step.results[0].dtype))
    return drawing.add("ReduceSum", drawing.add("Mul", drawing.of(step.given["self"]), eye), drawing.numbers(-1), keepdims=0)


@_is("aten.diag_embed.default")
def _diagonal_matrix(drawing: Drawing, step: Step) -> str:
    _only(step, offset=0, dim1=-2, dim2=-1)
    value = step.given["self"]
    eye = drawing.of(torch.eye(value.shape[-1], dtype=value.dtype))
    return drawing.add("Mul", drawing.add("Unsqueeze", drawing.of(value), drawing.numbers(-1)), eye)


_FILLS = {"ones": 1, "ones_like": 1, "new_ones": 1, "zeros": 0, "zeros_like": 0, "new_zeros": 0, "full": None, "full_like": None}


@_is(*(f"aten.{name}.default" for name in _FILLS))
def _constant(drawing: Drawing, step: Step) -> str:
    fill, result = _FILLS[step.operator.split(".")[1]], step.results[0]
    value = drawing.of(step.given["fill_value"] if fill is None else fill, result.dtype)
    return drawing.add("Expand", value, drawing.sizes(result.shape))


@_is("aten.arange.default", "aten.arange.start")
def _counted(drawing: Drawing, step: Step) -> str:
    dtype = step.results[0].dtype
    names = (drawing.of(step.given.get("start", 0), dtype), drawing.of(step.given["end"], dtype), drawing.of(1, dtype))
    return drawing.add("Range", *names)


def _total(drawing: Drawing, rows: str, known: Tensor) -> str:
    """Return the sums of both rows for every pair of a case and a known one."""
    own = drawing.add("ReduceSum", rows, drawing.numbers(-1), keepdims=1)
    return drawing.add("Add", own, drawing.of(known.sum(-1)[..., None, :]))


def _ratio(drawing: Drawing, shared: str, total: str, dtype: torch.dtype) -> str:
    """Return shared / (total - shared); 1 where neither row has an entry."""
    one, largest = drawing.of(1.0, dtype), drawing.add("Sub", total, shared)
    empty = drawing.add("Equal", largest, drawing.of(0.0, dtype))
    return drawing.add("Where", empty, one, drawing.add("Div", shared, drawing.add("Where", empty, one, largest)))


def _shared(drawing: Drawing, rows: str, known: Tensor) -> str:
    """Return sum_c min(x_c, k_c) of each case x and known row k, as one matrix product.

    With v_1 < v_2 < ... the values above 0 that known rows have in a column and v_0 = 0, min(x, v_j) is the sum over i <= j of what x has
    between v_(i-1) and v_i: exact for any x of at least 0, and of 2,048 columns sixteen molecules use some 300.
    """
    flat = known.reshape(-1, known.shape[-1])
    columns, lower, widths, reached = [], [], [], []
    for column in flat.amax(0).nonzero()[:, 0].tolist():
        before = 0.0
        for value in flat[:, column].unique().tolist():
            if value > 0:
                columns.append(column)
                lower.append(before)
                widths.append(value - before)
                reached.append(known[..., column] >= value)
                before = value
    part = drawing.add("Gather", rows, drawing.numbers(*columns), axis=-1)
    above = drawing.add("Max", drawing.add("Sub", part, drawing.of(torch.tensor(lower, dtype=known.dtype))), drawing.of(0.0, known.dtype))
    steps = drawing.add("Min", above, drawing.of(torch.tensor(widths, dtype=known.dtype)))
    levels = torch.stack(reached, -2).to(known.dtype) if reached else known.new_zeros(*known.shape[:-2], 0, known.shape[-2])
    return drawing.add("MatMul", steps, drawing.of(levels))


def _sides(step: Step) -> tuple[Value, Tensor]:
    left, right = step.given["left"], step.given["right"]
    if not isinstance(left, Value) or not isinstance(right, Tensor):
        raise InputError("the predictor compares cases with each other, not with labelled ones; that is not written to ONNX")
    return left, right


@_is("minmax_kernel")
def _minmax(drawing: Drawing, step: Step) -> str:
    left, known = _sides(step)
    rows = drawing.of(left)
    return _ratio(drawing, _shared(drawing, rows, known), _total(drawing, rows, known), left.dtype)


def _minmax_and_tanimoto(drawing: Drawing, step: Step) -> list[str]:
    left, known = _sides(step)
    rows, present = drawing.add("Sign", drawing.of(left)), known.sign()
    both = drawing.add("MatMul", rows, drawing.of(present.mT))
    return [_minmax(drawing, step), _ratio(drawing, both, _total(drawing, rows, present), left.dtype)]


_TABLE["minmax_and_tanimoto"] = _minmax_and_tanimoto


def _only(step: Step, **wanted: Any) -> None:
    """Refuse an argument with another value than the one that is written."""
    for name, value in wanted.items():
        if step.given.get(name, value) != value:
            raise InputError(f"the predictor uses {step.operator} with {name}={step.given[name]}, which is not written to ONNX")
