"""The speed bench on images times only what computes the same."""

from types import ModuleType

import pytest
import torch

from benchmark_modules import load_benchmark


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return load_benchmark("_images_speed", monkeypatch)


@pytest.mark.parametrize("head", ["prototypical", "ridge_head"])
def test_the_plain_loop_computes_our_gradient(bench: ModuleType, head: str) -> None:
    for make in bench.backbones(16).values():
        bench.check_gradients(head, make, make()[0].image[0], 16)


def test_nothing_is_timed_where_the_plain_network_is_another(bench: ModuleType) -> None:
    make = next(iter(bench.backbones(16).values()))

    def other() -> object:
        ours, plain = make()
        with torch.no_grad():
            next(iter(plain.parameters())).mul_(1.01)
        return ours, plain

    with pytest.raises(SystemExit, match=r"the gradients differ by .*nothing is timed"):
        bench.check_gradients("prototypical", other, 1, 16)


def test_a_ratio_is_plain_over_ours_and_tells_both_clocks(bench: ModuleType) -> None:
    times = {"ours": torch.tensor([[1.0, 2.0]] * 3).numpy(), "plain": torch.tensor([[4.0, 6.0]] * 3).numpy()}
    found = bench._ratio("a step", 3.0, times)
    assert (found["value"], found["wall"], found["met"]) == (4.0, 3.0, True)
    assert found["ours_ms"] == [1000.0, 2000.0]
