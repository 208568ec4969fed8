"""An ONNX graph in the making: nodes, constants and names."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metamedica.errors import MissingExtraError
from metamedica.predictors.export.trace import Size, Value

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 18
"""Of 2022: runtimes for Python, browsers, C++, Java and TensorFlow's converters know it."""
CLASSICAL, CLASSICAL_OPSET = "ai.onnx.ml", 3
"""Operators of classical machine learning; as widely known as those of OPSET."""
CASES = "cases"
"""Name of the axis that has any length."""
_IR_VERSION = 9


def onnx_package() -> Any:
    """Return the package `onnx`.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import onnx
        import onnx.helper
        import onnx.numpy_helper
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "onnx", "export") from error
    return onnx


class Drawing:
    """Nodes and constants of one graph; every method that returns a text returns the name of a tensor."""

    def __init__(self) -> None:
        self.onnx = onnx_package()
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}
        self.names: dict[int, str] = {}
        self._made: dict[tuple[Any, ...], str] = {}
        self._kept: list[Tensor] = []

    def input(self, name: str, value: Value) -> None:
        """Give an input its name."""
        self.names[id(value)] = name

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output."""
        name = f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def array(self, values: NDArray[Any]) -> str:
        """Add a constant; equal ones are one."""
        values = np.asarray(values, order="C")
        key = (str(values.dtype), values.shape, values.tobytes())
        if key not in self._made:
            name = f"constant_{len(self.constants)}"
            self.constants[name] = self.onnx.numpy_helper.from_array(values, name)
            self._made[key] = name
        return self._made[key]

    def look_up(self, keys: str, known: Tensor, values: Tensor) -> str:
        """Return, in single precision, the value of each whole number that is known, and 0 for every other."""
        return self.add(
            "LabelEncoder",
            keys,
            domain=CLASSICAL,
            keys_int64s=known.tolist(),
            values_floats=values.float().tolist(),
            default_float=0.0,
        )

    def numbers(self, *values: int) -> str:
        """Add a constant vector of whole numbers (axes, shapes)."""
        return self.array(np.array(values, dtype=np.int64))

    def of(self, given: Any, dtype: torch.dtype | None = None) -> str:
        """Return what an argument is called: a value of the trace, a constant tensor or a number; as `dtype` where one is given."""
        if isinstance(given, Value):
            name = self.names[id(given)]
            return name if dtype in (None, given.dtype) else self.cast(name, dtype or given.dtype)
        if isinstance(given, Tensor):
            made = given if dtype is None else given.to(dtype)
            return self.array(made.detach().cpu().contiguous().numpy())
        if isinstance(given, Size):
            found = self.add("Squeeze", self.sizes([given]), self.numbers(0))
            return found if dtype in (None, torch.int64) else self.cast(found, dtype or torch.int64)
        return self.array(torch.tensor(given, dtype=dtype).numpy())

    def cast(self, name: str, dtype: torch.dtype) -> str:
        """Return a tensor in another type."""
        return self.add("Cast", name, to=self.type_of(dtype))

    def type_of(self, dtype: torch.dtype) -> int:
        """Return ONNX's number of a type."""
        found: int = self.onnx.helper.np_dtype_to_tensor_dtype(torch.empty(0, dtype=dtype).numpy().dtype)
        return found

    def sizes(self, shape: Sequence[int | Size]) -> str:
        """Return a vector of whole numbers, some of which follow the number of cases."""
        if not any(isinstance(size, Size) for size in shape):
            return self.numbers(*(size for size in shape if isinstance(size, int)))
        parts = [self._size(size) if isinstance(size, Size) else self.numbers(size) for size in shape]
        return parts[0] if len(parts) == 1 else self.add("Concat", *parts, axis=0)

    def _size(self, size: Size) -> str:
        name = self.add("Mul", self.count, self.numbers(size.growth)) if size.growth != 1 else self.count
        return self.add("Add", name, self.numbers(size.fixed)) if size.fixed else name

    count = "number_of_cases"

    def finished(self, inputs: dict[str, Value], outputs: dict[str, Value], notes: dict[str, str]) -> "ModelProto":
        """Return the checked model.

        Args:
            inputs: block name -> value.
            outputs: output name -> value.
            notes: metadata of the file.
        """
        helper = self.onnx.helper
        first = next(iter(inputs))
        counted = helper.make_node("Shape", [first], [self.count], start=0, end=1)
        named = [helper.make_node("Identity", [self.names[id(value)]], [name]) for name, value in outputs.items()]
        graph = helper.make_graph(
            [counted, *self.nodes, *named],
            "metamedica_predictor",
            [self._told(name, value) for name, value in inputs.items()],
            [self._told(name, value) for name, value in outputs.items()],
            initializer=list(self.constants.values()),
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid(*used) for used in self._operator_sets()],
            ir_version=_IR_VERSION,
            producer_name="metamedica",
        )
        helper.set_model_props(model, notes)
        self.onnx.checker.check_model(model, full_check=True)
        return model

    def _operator_sets(self) -> list[tuple[str, int]]:
        classical = any(node.domain == CLASSICAL for node in self.nodes)
        return [("", OPSET), (CLASSICAL, CLASSICAL_OPSET)] if classical else [("", OPSET)]

    def _told(self, name: str, value: Value) -> Any:
        shape = [CASES if isinstance(size, Size) else size for size in value.shape]
        return self.onnx.helper.make_tensor_value_info(name, self.type_of(value.dtype), shape)
