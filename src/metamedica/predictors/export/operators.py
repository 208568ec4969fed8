"""A trace as an ONNX model: PyTorch's operators, as far as learners and encoders use them, as ONNX has them.

Triangular systems, which ONNX lacks, are products with the inverse of the factor: it depends on the support alone and is computed here, in
double precision. So is the MinMax kernel against a fixed support (`similarity`).
"""

from typing import TYPE_CHECKING

from metamedica.errors import InputError
from metamedica.predictors.export import arithmetic, recall, shapes, similarity
from metamedica.predictors.export.drawing import Drawing
from metamedica.predictors.export.table import TABLE
from metamedica.predictors.export.trace import Trace

if TYPE_CHECKING:
    from onnx import ModelProto

ROOMS = (arithmetic, recall, shapes, similarity)
"""The modules that fill the table."""


def drawn(trace: Trace, notes: dict[str, str]) -> "ModelProto":
    """Return a trace as an ONNX model.

    Args:
        trace: of a function of blocks.
        notes: metadata of the file.

    Raises:
        InputError: an operator that is not in the table.
        MissingExtraError: `onnx` is not installed.
    """
    missing = sorted({step.operator for step in trace.steps} - TABLE.keys())
    if missing:
        raise InputError(
            f"the predictor uses {', '.join(missing)}, which this version does not write to ONNX; predict with Metamedica itself, "
            "or add the operator to a module of predictors/export"
        )
    drawing = Drawing()
    for name, value in trace.inputs.items():
        drawing.input(name, value)
    for step in trace.steps:
        names = TABLE[step.operator](drawing, step)
        for result, name in zip(step.results, names, strict=False):  # later results (a layer norm's mean) are not read
            drawing.names[id(result)] = name
    return drawing.finished(trace.inputs, trace.outputs, notes)
