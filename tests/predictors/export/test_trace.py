"""A trace holds what depends on the cases and nothing else; what it cannot follow is refused in a sentence."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from metamedica.errors import InputError
from metamedica.functional.kernels import minmax_kernel
from metamedica.predictors.export.file import run
from metamedica.predictors.export.operators import drawn
from metamedica.predictors.export.trace import Size, trace
from metamedica.types import Features

FEW, MORE = ({"x": torch.rand(n, 3, generator=torch.Generator().manual_seed(n))} for n in (3, 5))


def of(function: Callable[[Tensor], Tensor]) -> Callable[[Features], dict[str, Tensor]]:
    return lambda features: {"y": function(features["x"])}


def test_what_depends_on_constants_only_leaves_no_step() -> None:
    weight = torch.eye(3) + 0.1

    def answer(x: Tensor) -> Tensor:
        factor = torch.linalg.cholesky(weight @ weight.T)
        return x @ torch.linalg.inv(factor).exp()

    found = trace(of(answer), FEW, MORE)
    assert [step.operator for step in found.steps] == ["aten.mm.default"]
    assert found.outputs["y"].shape == (Size(1, 0), 3)


def test_sizes_that_follow_the_cases_are_read_off_as_lines() -> None:
    def answer(x: Tensor) -> Tensor:
        twice = torch.cat([x, x, torch.ones(1, 3)]).reshape(-1)
        return twice * torch.arange(len(twice))

    found = trace(of(answer), FEW, MORE)
    assert found.outputs["y"].shape == (Size(6, 3),)
    model = drawn(found, {}).SerializeToString()
    for n in (1, 4, 9):
        x = torch.rand(n, 3)
        torch.testing.assert_close(torch.from_numpy(run(model, {"x": x})["y"]), answer(x))


def test_a_kernel_of_ours_is_one_operator_and_exact_for_any_numbers() -> None:
    known = torch.tensor([[0.0, 1.5, 3.0], [2.0, 0.5, 0.0], [0.0, 0.0, 0.0]])
    found = trace(of(lambda x: minmax_kernel(4 * x, known)), FEW, MORE)
    assert [step.operator for step in found.steps] == ["aten.mul.Tensor", "minmax_kernel"]
    x = torch.rand(6, 3)
    x[0] = 0
    torch.testing.assert_close(
        torch.from_numpy(run(drawn(found, {}).SerializeToString(), {"x": x})["y"]), minmax_kernel(4 * x, known)
    )


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda x: x if x.sum() > 100 else -x, "reads a value"),
        (lambda x: x * float(x[0, 0]), "reads a value"),
        (lambda x: x * x.numpy().mean().item(), r"got 0\.\d+ and 0\.\d+"),
        (lambda x: x * torch.from_numpy(x.numpy().max(0)), "a constant differs between two runs"),
        (lambda x: (x * 1).add_(1), "writes in place"),
        (lambda x: x if len(x) == 3 else x * 2, "operators in one run are"),
        (lambda x: torch.exp(x) if len(x) == 3 else torch.sin(x), "exp.* in one run is aten.sin"),
        (lambda x: torch.cat([x] * len(x)), "differ|argument|zip"),
        (lambda x: torch.ones(3, 3), "does not depend on the cases"),
    ],
    ids=["branch", "float", "number", "constant", "in place", "more", "other way", "as many parts", "nothing"],
)
def test_what_cannot_be_followed_is_refused(answer: Callable[[Tensor], Tensor], said: str) -> None:
    with pytest.raises(InputError, match=said):
        trace(of(answer), FEW, MORE)


def test_an_operator_that_is_not_in_the_table_is_named() -> None:
    with pytest.raises(InputError, match=r"uses aten\.cumsum\.default, which this version does not write to ONNX"):
        drawn(trace(of(lambda x: x.cumsum(1)), FEW, MORE), {})


def test_a_triangular_system_that_depends_on_the_cases_is_refused() -> None:
    def answer(x: Tensor) -> Tensor:
        return torch.linalg.solve_triangular(x.T @ x, torch.eye(3), upper=False)

    with pytest.raises(InputError, match="which ONNX cannot"):
        drawn(trace(of(answer), FEW, MORE), {})
