"""The table of a GPU, its code run on the CPU: meta-gradients agree before a time is taken; without a GPU it says so."""

import pytest
import torch

from benchmark_modules import load_benchmark

ALGORITHMS = ("prototypical", "anil", "maml", "first_order_maml", "reptile")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_cell_is_measured_beside_the_plain_loop(algorithm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = load_benchmark("_engine_gpu", monkeypatch)
    found = gpu.gpu_cell("table", algorithm, torch.device("cpu"), rounds=1, tasks=3, compiling=False)
    assert {"ours", "plain loop"} <= set(found["milliseconds"])
    assert found["errors"]["float64"] < 1e-9
    assert found["errors"]["float32"] < 1e-3
    assert found["ratios"]["ours against the fastest loop"][0] > 0


def test_a_wrong_meta_gradient_ends_it_before_a_time_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = load_benchmark("_engine_gpu", monkeypatch)
    monkeypatch.setattr(
        gpu, "eager_step", lambda learner, batch: lambda: {n: v.detach() for n, v in learner.named_parameters()}
    )
    with pytest.raises(SystemExit, match=r"the meta-gradient is off by .*; nothing is timed"):
        gpu.gpu_cell("table", "maml", torch.device("cpu"), rounds=1, tasks=3, compiling=False)


def test_without_a_gpu_the_table_is_skipped_and_the_page_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gpu = load_benchmark("_engine_gpu", monkeypatch)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.gpu_table(ALGORITHMS) == []
    assert "no NVIDIA GPU here" in "".join(capsys.readouterr())
    assert "skipped" in gpu.gpu_markdown([])[-1]
