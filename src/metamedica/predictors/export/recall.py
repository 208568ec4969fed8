"""Cases known again by the hash of their raw vector, by the table that ONNX's classical operators have."""

import torch

from metamedica.functional.case_effects import HASH_UNITS, hash_steps
from metamedica.functional.profiles import Stored, profile_rows
from metamedica.predictors.export.drawing import Drawing
from metamedica.predictors.export.table import writes
from metamedica.predictors.export.trace import Step

_AT_ONCE = 4096
"""Known cases whose profiles are in memory together."""


@writes("content_hash")
def _content_hash(drawing: Drawing, step: Step) -> str:
    rows = step.given["rows"]
    units = drawing.add("Mul", drawing.of(rows, torch.float64), drawing.of(HASH_UNITS, torch.float64))
    whole = drawing.cast(drawing.add("Round", units), torch.int64)
    # a product of matrices, since some runtimes sum whole numbers in floating point
    return drawing.add("MatMul", whole, drawing.of(hash_steps(rows.shape[-1])))


@writes("recalled")
def _recalled(drawing: Drawing, step: Step) -> str:
    hashes, known, values = (step.given[name] for name in ("hashes", "known", "values"))
    looked_up = drawing.look_up(drawing.of(hashes), known, values)
    return looked_up if values.dtype == torch.float32 else drawing.cast(looked_up, values.dtype)


@writes("profile_products")
def _profile_products(drawing: Drawing, step: Step) -> str:
    """Write the products of all known cases that are not 0 as one table, and look up each case's row; row 0 is of an unknown case."""
    hashes, stored, columns = step.given["hashes"], Stored._make(step.given["stored"]), step.given["columns"]
    parts = torch.split(stored.known, _AT_ONCE)
    products = torch.cat([profile_rows(part, stored, columns.shape[-2]) @ columns[0] for part in parts])
    told = products.abs().sum(1) > 0
    told[0] = True  # a table of none cannot be written
    table = torch.cat([products.new_zeros(1, products.shape[1]), products[told]])
    number = torch.arange(1, len(table), dtype=torch.float32)
    place = drawing.cast(drawing.look_up(drawing.of(hashes), stored.known[told], number), torch.int64)
    return drawing.add("Gather", drawing.of(table), place, axis=0)
