"""Processes that train together: the same gradients, weights and scores as one, and one end for all of them."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

import tiny_learning
import tiny_training as tiny
from metamedica.checkpoints import CheckpointFolder
from metamedica.errors import InputError
from metamedica.ranks import ALONE, Ranks, joined
from rank_processes import Processes

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork to start many processes in a short time")
FEW: list[tuple[str, str]] = [
    ("prototypical", "binary"),
    ("maml", "regression"),
    ("deep_kernel", "regression"),
    ("ridge_head", "regression"),
]
"""Learners of every sort; all of them are divided in `test_outer_gradient`."""


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    with Processes() as running:
        yield running


def _tensors(folder: Path, rank: int = 0) -> dict[str, Tensor]:
    return load_file(folder / f"{rank}.safetensors")


def _near(found: dict[str, Tensor], wanted: dict[str, Tensor], tolerance: float) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        tiny_learning.check_equal(found[name], value, tolerance)


# How work is shared.


@given(st.integers(0, 100), st.integers(1, 9), st.integers(1, 9))
def test_the_shares_and_their_parts_are_the_whole_in_order_and_of_one_size(n: int, size: int, pieces: int) -> None:
    shares = [Ranks(rank, size).share(n) for rank in range(size)]
    assert [row for share in shares for row in share] == list(range(n))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    for rank, share in enumerate(shares):
        parts = Ranks(rank, size).parts(n, pieces)
        assert [row for part in parts for row in part] == list(share)
        assert len(parts) == min(pieces, len(share))
        assert not parts or max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_process_alone_needs_no_other() -> None:
    assert ALONE.first
    assert ALONE.first_to_speak()
    assert ALONE.any(True)
    assert not ALONE.any(False)
    assert ALONE.from_first(b"x") == b"x"
    assert ALONE.machine_by_machine(lambda: 3) == 3
    with joined({}) as ranks:
        assert ranks is ALONE
    with joined({"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}) as ranks:
        assert ranks is ALONE


def test_a_process_group_of_the_user_is_used_and_left_as_it_is() -> None:
    dist.init_process_group("gloo", rank=0, world_size=1, store=dist.HashStore())
    try:
        with joined() as ranks:
            assert (ranks.rank, ranks.size) == (0, 1)
        assert dist.is_initialized()
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize(
    ("name", "ranks", "said"),
    [
        ("gpu", ALONE, "there is no device 'gpu'; give cpu, cuda or cuda:0"),
        ("cuda:99", ALONE, "got device cuda:99, and PyTorch sees"),
        ("cuda:0", Ranks(1, 2), "got device cuda:0 for 2 processes; give cuda"),
        ("cuda", Ranks(99, 100, 99), "start no more processes than GPUs, or give cpu"),
    ],
)
def test_a_device_that_is_not_there_is_refused(name: str, ranks: Ranks, said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        ranks.device(name)


def test_processes_add_up_agree_copy_and_wait_for_each_other(processes: Processes, tmp_path: Path) -> None:
    ended = processes.run(3, "messages", tmp_path)
    assert (ended.codes, ended.err) == ([0, 0, 0], ["", "", ""])
    for turn in range(2):
        assert sorted((tmp_path / f"spoke{turn}-{rank}").read_text() for rank in range(3)) == ["False", "False", "True"]


# The same numbers.


@pytest.mark.parametrize(
    ("tasks", "accumulate", "dropout", "double", "tolerance"),
    [
        (7, 1, 0.0, False, 1e-6),  # 7 tasks are not divided evenly
        (7, 2, 0.3, False, 1e-6),
        (3, 1, 0.3, False, 1e-6),  # fewer tasks than processes
        (7, 2, 0.3, True, 1e-10),
    ],
)
def test_outer_gradients_of_1_2_and_4_processes_are_equal(
    processes: Processes, tmp_path: Path, tasks: int, accumulate: int, dropout: float, double: bool, tolerance: float
) -> None:
    given = {"names": FEW, "tasks": tasks, "accumulate": accumulate, "dropout": dropout, "double": double}
    assert processes.run(1, "gradients", tmp_path / "1", **{**given, "accumulate": 1}).codes == [0]
    wanted = _tensors(tmp_path / "1")
    assert len(wanted) == 2 * len(FEW)
    for size in (2, 4):
        ended = processes.run(size, "gradients", tmp_path / str(size), **given)
        assert ended.codes == [0] * size, ended.err
        _near(_tensors(tmp_path / str(size)), wanted, tolerance)
        for rank in range(1, size):  # to the same bits
            _near(_tensors(tmp_path / str(size), rank), _tensors(tmp_path / str(size)), 0.0)


def test_whole_trainings_of_1_2_and_4_processes_end_with_the_same_weights(processes: Processes, tmp_path: Path) -> None:
    wanted = _weights_of_one()
    for size, accumulate in ((2, 1), (4, 2)):
        folder = tmp_path / str(size)
        ended = processes.run(size, "training", folder, changes={"accumulate": accumulate})
        assert ended.codes == [0] * size, ended.err
        _near(_tensors(folder), wanted, 1e-5)  # AdamW divides a gradient by its own size, rounding included
        assert len({(folder / f"{rank}.safetensors").read_bytes() for rank in range(size)}) == 1
        assert len({(folder / f"history{rank}").read_text() for rank in range(size)}) == 1
        assert ended.out == ["".join(f"{step}\n" for step in range(1, 7)), *[""] * (size - 1)]  # the first one tells


def _weights_of_one() -> dict[str, Tensor]:
    model = tiny.learner()
    tiny.run(None, settings=tiny.SHORT, model=model)
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_every_process_gets_the_score_that_one_would_get(processes: Processes, tmp_path: Path) -> None:
    for size in (1, 2, 4):
        assert processes.run(size, "scores", tmp_path / str(size)).codes == [0] * size
    found = {each.read_text() for each in tmp_path.rglob("score*")}
    scores = [float.fromhex(text) for text in found]
    assert max(scores) - min(scores) < 1e-7
    assert len({(tmp_path / "4" / f"score{rank}").read_text() for rank in range(4)}) == 1


def test_early_stopping_is_agreed_by_all_processes(processes: Processes, tmp_path: Path) -> None:
    changes = {"steps": 400, "learning_rate": 0.5, "patience": 2}
    ended = processes.run(2, "training", tmp_path, changes=changes)
    assert ended.codes == [0, 0], ended.err
    histories = [(tmp_path / f"history{rank}").read_text() for rank in range(2)]
    assert histories[0] == histories[1]
    assert histories[0].count("step") < 200


# Killed and resumed.


@pytest.mark.parametrize("who", [0, 1])
def test_a_process_that_is_killed_ends_all_with_one_sentence_and_a_resume_gives_the_same_bytes(
    processes: Processes, tmp_path: Path, who: int
) -> None:
    changes = {"steps": 30, "checkpoint_every": 3}
    whole = processes.run(2, "training", tmp_path / "whole", changes=changes)
    assert whole.codes == [0, 0], whole.err

    def kill(children: list[int]) -> None:
        while _newest(tmp_path / "c") < 6:
            time.sleep(0.01)
        os.kill(children[who], signal.SIGKILL)

    ended = processes.run(
        2,
        "training",
        tmp_path / "killed",
        changes=changes,
        checkpoints=str(tmp_path / "c"),
        slowly=True,
        meanwhile=kill,
    )
    assert ended.codes[who] == -signal.SIGKILL
    assert ended.codes[1 - who] == 1
    assert "another process of this run has ended or cannot be reached" in ended.err[1 - who]
    assert not list((tmp_path / "c").glob(".*"))
    assert 0 < _newest(tmp_path / "c") < 30
    again = processes.run(
        2, "training", tmp_path / "again", changes=changes, checkpoints=str(tmp_path / "c"), resume=True
    )
    assert again.codes == [0, 0], again.err
    for rank in range(2):
        for name in (f"{rank}.safetensors", f"history{rank}"):
            assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def _newest(folder: Path) -> int:
    return max((int(path.name[5:]) for path in folder.glob("step-*")), default=0)


def test_a_resume_with_another_number_of_processes_ends_with_the_same_weights_and_says_so(
    processes: Processes, tmp_path: Path
) -> None:
    checkpoints = str(tmp_path / "c")
    with pytest.raises(RuntimeError, match="stopped"):
        tiny.run(tmp_path / "c", settings=tiny.SHORT, progress=_stop_after(5))
    assert CheckpointFolder(tmp_path / "c").newest().step == 4  # type: ignore[union-attr]
    ended = processes.run(2, "training", tmp_path / "two", changes={}, checkpoints=checkpoints, resume=True)
    assert ended.codes == [0, 0], ended.err
    assert "number of threads or processes has changed since the checkpoint" in ended.err[0]
    assert ended.out == ["5\n6\n", ""]
    _near(_tensors(tmp_path / "two"), _weights_of_one(), 1e-5)


def _stop_after(step: int) -> Callable[[int, int, str], None]:
    def progress(done: int, total: int, message: str) -> None:
        if done == step:
            raise RuntimeError("stopped")

    return progress


def test_ctrl_c_in_one_process_stops_all_after_the_same_step_with_a_checkpoint(
    processes: Processes, tmp_path: Path
) -> None:
    def press(children: list[int]) -> None:
        while not (tmp_path / "out0").exists() or not (tmp_path / "out0").read_text():
            time.sleep(0.01)
        os.kill(children[1], signal.SIGINT)

    changes = {"steps": 500, "checkpoint_every": 400}
    ended = processes.run(
        2, "training", tmp_path, changes=changes, checkpoints=str(tmp_path / "c"), slowly=True, meanwhile=press
    )
    assert ended.codes == [1, 1]
    said = [
        re.search(r"TrainingInterrupted: training was interrupted after step (\d+) of 500", err) for err in ended.err
    ]
    assert said[0] is not None
    assert said[1] is not None
    assert said[0][1] == said[1][1]
    assert _newest(tmp_path / "c") == int(said[0][1]) < 400


# One end for all.


@pytest.mark.parametrize("who", [0, 2])
def test_a_process_that_fails_tells_its_reason_and_the_others_end_in_silence(
    processes: Processes, tmp_path: Path, who: int
) -> None:
    ended = processes.run(3, "one_fails", tmp_path, who=who)
    assert ended.codes == [3, 3, 3]
    assert "".join(ended.err) == "ValueError: my own reason\n" == ended.err[who]


def test_processes_that_were_given_other_data_are_refused(processes: Processes, tmp_path: Path) -> None:
    ended = processes.run(2, "refused", tmp_path)
    assert ended.codes == [1, 1]
    assert "process 1 was given another data than process 0" in ended.err[1]


def _fit(folder: Path, out: str, *more: str) -> list[str]:
    table = folder / "assays.csv"
    if not table.exists():
        chains = ["C" * n for n in range(1, 25)]
        rows = [
            f"{'N' * (n % 2)}{chain},A{task},{n * (task + 1) / 10}"
            for task in range(6)
            for n, chain in enumerate(chains)
        ]
        table.write_text("smiles,assay,pki\n" + "\n".join(rows) + "\n")
    plain = ["--task", "assay", "--learner", "prototypical", "--encoder-set", "hidden=[8]", "--steps", "4"]
    return ["fit", str(table), "--out", str(folder / out), *plain, *more]


def test_the_command_trains_on_two_processes_and_speaks_once(processes: Processes, tmp_path: Path) -> None:
    ended = processes.run(2, "command", tmp_path, arguments=_fit(tmp_path, "model", "--accumulate", "2"))
    assert ended.codes == [0, 0], ended.err
    assert "\nWrote" in ended.out[0]
    assert ended.out[1] == "".join(ended.err) == ""
    assert (tmp_path / "model" / "CARD.md").is_file()


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (["--set", "magic=1"], 2, "has no setting 'magic'"),
        (["--precision", "tf32"], 2, "only NVIDIA GPUs from Ampere on have TF32"),
        (["--resume"], 2, "--resume came without --checkpoints"),
    ],
)
def test_the_command_tells_an_error_once(
    processes: Processes, tmp_path: Path, more: list[str], code: int, said: str
) -> None:
    ended = processes.run(2, "command", tmp_path, arguments=_fit(tmp_path, "model", *more))
    assert ended.codes.count(code) >= 1
    assert set(ended.codes) <= {code, 1}  # a process may learn of the end before it sees the reason itself
    assert said in "".join(ended.err)
    assert "".join(ended.err).count("error:") == 1
    assert "".join(ended.out) == ""
    assert not (tmp_path / "model").exists()


@pytest.mark.slow
def test_torchrun_starts_the_command_and_a_killed_process_ends_the_run_with_one_sentence(tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    order = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "metamedica"]
    order += [*_fit(tmp_path, "model", "--checkpoints", str(tmp_path / "c")), "--steps", "100000"]
    with subprocess.Popen(order, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as agent:
        until = time.monotonic() + 200
        while not _newest(tmp_path / "c") and agent.poll() is None and time.monotonic() < until:
            time.sleep(0.1)
        children = Path(f"/proc/{agent.pid}/task/{agent.pid}/children")
        if not children.exists():
            agent.kill()
            pytest.skip("the processes of an agent cannot be listed here")
        ranks = [int(pid) for pid in children.read_text().split()]
        with contextlib.suppress(ProcessLookupError):
            os.kill(ranks[-1], signal.SIGKILL)
        out, err = agent.communicate(timeout=100)
    assert agent.returncode == 1
    assert out == ""
    ours = [line for line in err.splitlines() if line.startswith("error:")]
    assert len(ours) == 1, err
    assert "start the run again, with resume" in ours[0] or "start it again, with resume" in ours[0]
    assert not (tmp_path / "model").exists()
    assert not list((tmp_path / "c").glob(".*"))
