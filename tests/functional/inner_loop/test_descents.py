"""Steps of many tasks at once against the same steps of each task alone."""

from itertools import pairwise

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from metamedica.functional.inner_loop.chain import Parameters
from metamedica.functional.inner_loop.descent import descend_if_better
from metamedica.functional.inner_loop.descents import Slopes, descents_if_better

CURVATURE = torch.tensor([[0.5, 4.0], [9.0, 1.0], [2.0, 2.0]], dtype=torch.float64)


def _slopes(curvature: Tensor) -> Slopes:
    """A quadratic a task, its parameters in two tensors of other shapes."""

    def slopes(own: Parameters) -> tuple[Parameters, Tensor]:
        x, y = own["x"], own["y"]
        gradient = {"x": curvature * x, "y": y}
        return gradient, 0.5 * ((curvature * x.square()).sum(1) + y.square().sum((1, 2)))

    return slopes


def _start(seed: int) -> Parameters:
    random = torch.Generator().manual_seed(seed)
    x, y = (torch.randn(3, *shape, generator=random, dtype=torch.float64) for shape in ((2,), (2, 3)))
    return {"x": x, "y": y}


@given(st.integers(0, 1000), st.lists(st.floats(1e-3, 1e2), min_size=3, max_size=3), st.integers(0, 12))
def test_each_task_goes_where_it_goes_alone(seed: int, rates: list[float], steps: int) -> None:
    start = _start(seed)
    counts = torch.tensor([steps, 0, 2 * steps])
    *_, found = descents_if_better(
        _slopes(CURVATURE), start, rate=torch.tensor(rates, dtype=torch.float64), steps=counts
    )
    for task in range(3):

        def loss(own: Parameters, task: int = task) -> Tensor:
            return 0.5 * ((CURVATURE[task] * own["x"].square()).sum() + own["y"].square().sum())

        alone = {name: value[task] for name, value in start.items()}
        want = descend_if_better(loss, alone, rate=rates[task], steps=int(counts[task]))
        for name, value in want.items():
            torch.testing.assert_close(found[name][task], value)


def test_every_step_on_the_way_is_told_and_the_first_is_the_start() -> None:
    start = _start(0)
    path = list(
        descents_if_better(
            _slopes(CURVATURE), start, rate=torch.full((3,), 0.1).double(), steps=torch.tensor([3, 1, 2])
        )
    )
    assert len(path) == 4
    assert torch.equal(path[0]["x"], start["x"])
    moved = [(after["x"] != before["x"]).any(1).tolist() for before, after in pairwise(path)]
    assert moved == [[True, True, True], [True, False, True], [True, False, False]]


def test_a_step_that_ends_in_no_number_is_refused() -> None:
    """One over x: the first try from 1 with rate 1 lands on 0."""

    def slopes(own: Parameters) -> tuple[Parameters, Tensor]:
        return {"x": torch.ones_like(own["x"])}, -1 / own["x"][:, 0] * torch.where(own["x"][:, 0] == 0, torch.nan, -1)

    start = {"x": torch.ones(1, 1, dtype=torch.float64)}
    ends = [
        float(own["x"])
        for own in descents_if_better(slopes, start, rate=torch.ones(1).double(), steps=torch.tensor([2]))
    ]
    assert ends == [1.0, 1.0, 1.0]


def test_no_task_or_no_step_leaves_the_start_and_no_gradient_is_carried() -> None:
    start = {"x": torch.ones(2, 1, requires_grad=True)}
    (only,) = descents_if_better(_slopes(CURVATURE), start, rate=torch.ones(2), steps=torch.zeros(2, dtype=torch.int64))
    assert only["x"].tolist() == [[1.0], [1.0]]
    assert not only["x"].requires_grad
    none = {"x": torch.ones(0, 1)}
    assert len(list(descents_if_better(_slopes(CURVATURE), none, rate=torch.ones(0), steps=torch.ones(0).long()))) == 1
