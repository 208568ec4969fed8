"""Numbers: element by element, sums over axes, norms, products of matrices, attention."""

import math

import torch
from torch import Tensor

from metamedica.errors import InputError
from metamedica.predictors.export.drawing import Drawing
from metamedica.predictors.export.shapes import swapped
from metamedica.predictors.export.table import TABLE, only, writes
from metamedica.predictors.export.trace import Step, Value


def _plain(operator: str, onnx: str) -> None:
    """Register an operator of one tensor that ONNX has too."""
    TABLE[operator] = lambda drawing, step: [drawing.add(onnx, drawing.of(step.given["self"]))]


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


@writes("aten.add.Tensor", "aten.add.Scalar", "aten.sub.Tensor", "aten.sub.Scalar")
def _sum_or_difference(drawing: Drawing, step: Step) -> str:
    operator = "Add" if ".add." in step.operator else "Sub"
    return drawing.add(operator, drawing.of(step.given["self"], step.results[0].dtype), _scaled(drawing, step))


@writes("aten.rsub.Scalar")
def _reversed_difference(drawing: Drawing, step: Step) -> str:
    return drawing.add("Sub", _scaled(drawing, step), drawing.of(step.given["self"], step.results[0].dtype))


@writes("aten.mul.Tensor", "aten.mul.Scalar")
def _product(drawing: Drawing, step: Step) -> str:
    return drawing.add("Mul", *_pair(drawing, step, step.results[0].dtype))


@writes("aten.div.Tensor", "aten.div.Scalar")
def _quotient(drawing: Drawing, step: Step) -> str:
    return drawing.add("Div", *_pair(drawing, step, step.results[0].dtype))


@writes("aten.maximum.default", "aten.minimum.default")
def _extreme(drawing: Drawing, step: Step) -> str:
    return drawing.add("Max" if "max" in step.operator else "Min", *_pair(drawing, step, step.results[0].dtype))


_COMPARISONS = {"le": "LessOrEqual", "lt": "Less", "ge": "GreaterOrEqual", "gt": "Greater", "eq": "Equal"}


@writes(*(f"aten.{name}.{kind}" for name in _COMPARISONS for kind in ("Tensor", "Scalar")))
def _comparison(drawing: Drawing, step: Step) -> str:
    left, right = step.given["self"], step.given["other"]
    types = [each.dtype for each in (left, right) if isinstance(each, Value | Tensor)]
    dtype = types[0] if len(types) == 1 else torch.promote_types(*types)
    return drawing.add(_COMPARISONS[step.operator.split(".")[1]], *_pair(drawing, step, dtype))


@writes("aten.pow.Tensor_Scalar")
def _power(drawing: Drawing, step: Step) -> str:
    base = drawing.of(step.given["self"], step.results[0].dtype)
    if step.given["exponent"] == 2:
        return drawing.add("Mul", base, base)
    return drawing.add("Pow", base, drawing.of(float(step.given["exponent"]), step.results[0].dtype))


@writes("aten.rsqrt.default")
def _one_over_root(drawing: Drawing, step: Step) -> str:
    return drawing.add("Reciprocal", drawing.add("Sqrt", drawing.of(step.given["self"])))


@writes("aten.log1p.default")
def _log_of_one_more(drawing: Drawing, step: Step) -> str:
    one = drawing.of(1.0, step.results[0].dtype)
    return drawing.add("Log", drawing.add("Add", drawing.of(step.given["self"]), one))


@writes("aten.gelu.default")
def _gelu(drawing: Drawing, step: Step) -> str:
    only(step, approximate="none")
    dtype, x = step.results[0].dtype, drawing.of(step.given["self"])
    below = drawing.add("Erf", drawing.add("Mul", x, drawing.of(math.sqrt(0.5), dtype)))
    twice = drawing.add("Mul", x, drawing.add("Add", below, drawing.of(1.0, dtype)))
    return drawing.add("Mul", twice, drawing.of(0.5, dtype))


@writes("aten.clamp.default", "aten.clamp_min.default")
def _clamp(drawing: Drawing, step: Step) -> str:
    found, dtype = drawing.of(step.given["self"]), step.results[0].dtype
    if step.given["min"] is not None:
        found = drawing.add("Max", found, drawing.of(step.given["min"], dtype))
    if step.given.get("max") is not None:
        found = drawing.add("Min", found, drawing.of(step.given["max"], dtype))
    return found


@writes("aten._softmax.default", "aten._log_softmax.default")
def _softmax(drawing: Drawing, step: Step) -> str:
    operator = "LogSoftmax" if "log" in step.operator else "Softmax"
    return drawing.add(operator, drawing.of(step.given["self"]), axis=step.given["dim"])


_REDUCTIONS = {
    "aten.sum.dim_IntList": "ReduceSum", "aten.mean.dim": "ReduceMean", "aten.logsumexp.default": "ReduceLogSumExp",
    "aten.linalg_vector_norm.default": "ReduceL2", "aten.amax.default": "ReduceMax", "aten.amin.default": "ReduceMin",
}  # fmt: skip


@writes(*_REDUCTIONS)
def _reduction(drawing: Drawing, step: Step) -> str:
    only(step, ord=2)
    axes = step.given["dim"]
    axes = axes if isinstance(axes, list) else [axes]
    x = drawing.of(step.given["self"], step.results[0].dtype)
    return drawing.add(_REDUCTIONS[step.operator], x, drawing.numbers(*axes), keepdims=int(step.given["keepdim"]))


@writes("aten.var.correction")
def _variance(drawing: Drawing, step: Step) -> str:
    value, dtype = step.given["self"], step.results[0].dtype
    n = math.prod(value.shape[axis] for axis in step.given["dim"])
    x, axes = drawing.of(value), drawing.numbers(*step.given["dim"])
    centred = drawing.add("Sub", x, drawing.add("ReduceMean", x, axes, keepdims=1))
    squares = drawing.add("ReduceSum", drawing.add("Mul", centred, centred), axes, keepdims=int(step.given["keepdim"]))
    return drawing.add("Div", squares, drawing.of(float(n - step.given["correction"]), dtype))


@writes("aten.native_layer_norm.default")
def _layer_norm(drawing: Drawing, step: Step) -> str:
    shape, dtype = step.given["normalized_shape"], step.results[0].dtype
    weight = torch.ones(shape, dtype=dtype) if step.given["weight"] is None else step.given["weight"]
    more = [] if step.given["bias"] is None else [drawing.of(step.given["bias"])]
    x = drawing.of(step.given["input"])
    return drawing.add("LayerNormalization", x, drawing.of(weight), *more, axis=-len(shape), epsilon=step.given["eps"])


@writes("aten.mm.default", "aten.bmm.default")
def _matrix_product(drawing: Drawing, step: Step) -> str:
    return drawing.add("MatMul", drawing.of(step.given["self"]), drawing.of(step.given["mat2"]))


@writes("aten.mv.default")
def _matrix_times_vector(drawing: Drawing, step: Step) -> str:
    return drawing.add("MatMul", drawing.of(step.given["self"]), drawing.of(step.given["vec"]))


@writes("aten.addmm.default", "aten.baddbmm.default")
def _product_and_sum(drawing: Drawing, step: Step) -> str:
    only(step, alpha=1, beta=1)
    names = ("batch1", "batch2") if "baddbmm" in step.operator else ("mat1", "mat2")
    product = drawing.add("MatMul", *(drawing.of(step.given[name]) for name in names))
    return drawing.add("Add", product, drawing.of(step.given["self"]))


@writes("aten._scaled_dot_product_flash_attention_for_cpu.default")
def _attention(drawing: Drawing, step: Step) -> str:
    only(step, dropout_p=0.0, is_causal=False)
    query, dtype = step.given["query"], step.results[0].dtype
    scale = step.given.get("scale") or query.shape[-1] ** -0.5
    turned = swapped(drawing, step.given["key"], -1, -2)
    scores = drawing.add("MatMul", drawing.add("Mul", drawing.of(query), drawing.of(scale, dtype)), turned)
    if step.given.get("attn_mask") is not None:
        scores = drawing.add("Add", scores, drawing.of(step.given["attn_mask"], dtype))
    return drawing.add("MatMul", drawing.add("Softmax", scores, axis=-1), drawing.of(step.given["value"]))


@writes("aten.linalg_solve_triangular.default")
def _solve_triangular(drawing: Drawing, step: Step) -> str:
    only(step, left=True, unitriangular=False)
    factor = step.given["self"]
    if not isinstance(factor, Tensor):
        raise InputError(
            "the predictor solves a triangular system that depends on the cases, which ONNX cannot; predict with Metamedica"
        )
    eye = torch.eye(factor.shape[-1], dtype=torch.float64).expand(factor.shape)
    inverse = torch.linalg.solve_triangular(factor.double(), eye, upper=step.given["upper"]).to(factor.dtype)
    return drawing.add("MatMul", drawing.of(inverse), drawing.of(step.given["B"]))
