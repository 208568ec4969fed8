"""Cases known again by the hash of their raw vector, by the table that ONNX's classical operators have."""

import torch

from metamedica.functional.case_effects import HASH_UNITS, hash_steps
from metamedica.predictors.export.drawing import Drawing
from metamedica.predictors.export.table import writes
from metamedica.predictors.export.trace import Step


@writes("recalled")
def _recalled(drawing: Drawing, step: Step) -> str:
    rows, known, values = (step.given[name] for name in ("rows", "known", "values"))
    units = drawing.add("Mul", drawing.of(rows, torch.float64), drawing.of(HASH_UNITS, torch.float64))
    whole = drawing.cast(drawing.add("Round", units), torch.int64)
    # a product of matrices, since some runtimes sum whole numbers in floating point
    hashes = drawing.add("MatMul", whole, drawing.of(hash_steps(rows.shape[-1])))
    looked_up = drawing.look_up(hashes, known, values)
    return looked_up if rows.dtype == torch.float32 else drawing.cast(looked_up, rows.dtype)
