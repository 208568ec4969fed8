"""Training survives kill -9, Ctrl-C, damaged checkpoints and a full disk, and ends with the same bytes."""

import contextlib
import errno
import logging
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import tiny_training as tiny
from fork_server import ForkServer, Job
from metamedica import storage
from metamedica.checkpoints import Checkpoint, CheckpointFolder
from metamedica.errors import BundleError
from metamedica.training import TrainingInterrupted

_KILLS = 30
_KILLS_A_RUN = 6
_POSIX = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork to start many trainers in a short time")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    with ForkServer(tmp_path_factory.mktemp("s")) as running:
        yield running


@pytest.fixture(scope="module")
def uninterrupted() -> bytes:
    return tiny.run(None)[0]


def _newest(out: Path, name: str = "checkpoints") -> int:
    found = [int(path.name[5:]) for path in (out / name).glob("step-*")]
    return max(found, default=0)


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@_POSIX
def test_thirty_kills_at_random_moments_change_no_byte_of_the_result(
    server: ForkServer, tmp_path: Path, uninterrupted: bytes
) -> None:
    quiet = os.open(os.devnull, os.O_WRONLY)

    def start(out: Path) -> Job:
        return Job(server.address, out, stdout=quiet, stderr=quiet)

    begun = time.monotonic()
    assert start(tmp_path / "whole").wait(60) == 0
    whole = time.monotonic() - begun
    expected = _contents(tmp_path / "whole")
    assert expected["final.safetensors"] == uninterrupted

    moments = random.Random(20)
    kills, runs, killed_at = 0, 0, []
    while kills < _KILLS:
        out = tmp_path / f"run{runs}"
        runs += 1
        for _ in range(_KILLS_A_RUN):
            job = start(out)
            # a first checkpoint takes a tenth of a run: early and late kills both happen
            if job.wait(moments.uniform(0, whole * 0.7)) is not None:
                break
            try:
                code = job.kill()
            except ProcessLookupError:  # it ended in this very moment
                assert job.wait(10) == 0
                break
            if code == 0:
                break
            assert code == -signal.SIGKILL
            kills += 1
            killed_at.append(_newest(out))
            if kills == _KILLS:
                break
        assert start(out).wait(60) == 0
        after = _contents(out)
        assert after["final.safetensors"] == uninterrupted
        assert after["history.json"] == expected["history.json"]
        assert _newest(out) == tiny.SETTINGS.steps
        assert {path.name[:5] for path in (out / "checkpoints").iterdir()} == {"step-"}
    os.close(quiet)
    assert kills == _KILLS
    assert len(set(killed_at)) >= 4  # kills fell before, between and after checkpoints
    assert sum(0 < step < tiny.SETTINGS.steps for step in killed_at) >= 5


@_POSIX
@pytest.mark.slow
def test_an_outside_judge_passes_every_crash_point(server: ForkServer, tmp_path: Path) -> None:
    """`ckpt-chaos` kills the job at each of its file events, once before it and once with the file cut in half."""
    here = Path(__file__).with_name("fork_server.py")
    command = [shutil.which("ckpt-chaos", path=str(Path(sys.executable).parent)) or "ckpt-chaos", "run"]
    command += ["--max-points", "10000", "--work", str(tmp_path / "work")]
    command += ["--step-regex", r"resumed from step (\d+)", "--result-file", "{out}/final.safetensors"]
    command += ["--fail-on", "HARD_FAIL,SILENT_DIVERGENCE,LOST_WORK,CONTROL_FAIL", "--timeout", "60", "--"]
    # -I -S: the client only passes the order on; the forked child is the one that the judge watches
    command += [sys.executable, "-I", "-S", str(here), server.address, "{out}", "short"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout[-4000:] + ended.stderr[-2000:]
    points = re.search(r"(\d+) file events -> (\d+) crash points", ended.stdout)
    assert points is not None
    assert int(points[2]) > 50
    assert f"\nPASS: {int(points[2]) + 1}\n" in ended.stdout  # and the control
    assert "DID NOT CRASH" not in ended.stdout
    assert "PLAN DRIFT" not in ended.stdout


def _damage(checkpoint: Path, how: str) -> None:
    path = checkpoint / "weights.safetensors"
    data = bytearray(path.read_bytes())
    if how == "a flipped bit":
        data[-3] ^= 4
    else:
        del data[-100:]
    path.write_bytes(bytes(data))


def _stop_after(step: int) -> tiny.Progress:
    def progress(done: int, total: int, message: str) -> None:
        if done == step:
            raise RuntimeError("stopped here")

    return progress


def _stopped(folder: Path, step: int) -> Path:
    """Train until the process dies after a step; return the checkpoint folder."""
    with pytest.raises(RuntimeError, match="stopped here"):
        tiny.run(folder, progress=_stop_after(step))
    return folder


@pytest.mark.parametrize("how", ["a flipped bit", "cut short"])
def test_a_damaged_newest_checkpoint_is_reported_and_the_one_before_is_used(
    tmp_path: Path, uninterrupted: bytes, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    folder = _stopped(tmp_path / "c", 14)
    assert sorted(path.name for path in folder.iterdir()) == ["step-00000009", "step-00000012"]
    _damage(folder / "step-00000012", how)
    seen: list[int] = []
    with caplog.at_level(logging.WARNING):
        weights, _ = tiny.run(folder, resume=True, progress=lambda done, total, message: seen.append(done))
    assert weights == uninterrupted
    assert seen[0] == 10
    assert "step-00000012/weights.safetensors was changed or damaged" in caplog.text
    assert "going on from step-00000009" in caplog.text
    assert len(list(folder.glob("damaged-step-00000012-*"))) == 1


def test_when_every_checkpoint_is_damaged_nothing_is_changed_and_the_error_says_so(tmp_path: Path) -> None:
    folder = _stopped(tmp_path / "c", 14)
    _damage(folder / "step-00000009", "a flipped bit")
    _damage(folder / "step-00000012", "cut short")
    before = _contents(folder)
    with pytest.raises(BundleError, match=r"^every checkpoint in .* is damaged .*; restore one from a copy"):
        tiny.run(folder, resume=True)
    assert _contents(folder) == before


def test_what_a_killed_run_left_half_done_is_swept_up_and_other_files_are_not(tmp_path: Path) -> None:
    folder = _stopped(tmp_path / "c", 4)
    draft = folder / f".step-00000006.{'0' * 32}.tmp"
    draft.mkdir()
    (draft / "weights.safetensors").write_bytes(b"half")
    (folder / "notes.txt").write_text("mine")
    (folder / ".step-00000006.mine").mkdir()
    tiny.run(folder, resume=True)
    assert not draft.exists()
    assert (folder / "notes.txt").read_text() == "mine"
    assert (folder / ".step-00000006.mine").is_dir()


def test_only_the_newest_two_checkpoints_are_kept(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    for step in (5, 10, 100_000_000, 15):
        folder.save(Checkpoint(step, {"weights": {}}, {}))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000015", "step-100000000"]
    newest = folder.newest()
    assert newest is not None
    assert newest.step == 100_000_000


def test_the_first_ctrl_c_finishes_the_step_and_a_resume_gives_the_same_bytes(
    tmp_path: Path, uninterrupted: bytes
) -> None:
    def press(done: int, total: int, message: str) -> None:
        if done == 7:
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(
        TrainingInterrupted, match=r"^training was interrupted after step 7 of 30; go on with resume from .*c$"
    ):
        tiny.run(tmp_path / "c", progress=press)
    assert signal.getsignal(signal.SIGINT) is before
    assert (tmp_path / "c" / "step-00000007").is_dir()
    assert tiny.run(tmp_path / "c", resume=True)[0] == uninterrupted


def test_ctrl_c_without_a_checkpoint_folder_says_that_nothing_is_kept() -> None:
    with pytest.raises(TrainingInterrupted, match="there was no checkpoint folder: nothing is kept"):
        tiny.run(None, progress=lambda done, total, message: signal.raise_signal(signal.SIGINT))


def test_the_second_ctrl_c_stops_at_once(tmp_path: Path) -> None:
    def press_twice(done: int, total: int, message: str) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        tiny.run(tmp_path / "c", progress=press_twice)


def test_ctrl_c_in_the_last_step_changes_nothing(uninterrupted: bytes) -> None:
    def press(done: int, total: int, message: str) -> None:
        if done == total - 1:
            return
        if done == total:
            signal.raise_signal(signal.SIGINT)

    assert tiny.run(None, progress=press)[0] == uninterrupted


def test_a_write_that_fails_anywhere_leaves_the_checkpoint_before_and_nothing_partial(
    tmp_path: Path, uninterrupted: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full at the first, second, third ... file of the second checkpoint."""
    start = _stopped(tmp_path / "start", 4)
    good = _contents(start)
    calls = 0

    def failing(real: Callable[..., None], fail_at: int) -> Callable[..., None]:
        def write(path: Path, *rest: object) -> None:
            nonlocal calls
            calls += 1
            if calls == fail_at:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            real(path, *rest)

        return write

    for fail_at in range(1, 20):
        folder = shutil.copytree(start, tmp_path / f"c{fail_at}")
        calls = 0
        with monkeypatch.context() as patch:
            for name in ("_write_tensors", "_write", "sync"):
                patch.setattr(storage, name, failing(getattr(storage, name), fail_at))
            with pytest.raises((OSError, RuntimeError), match=r"No space left|stopped here"):
                tiny.run(folder, resume=True, progress=_stop_after(7))
        assert good.items() <= _contents(folder).items()
        assert {path.name for path in folder.iterdir()} <= {"step-00000003", "step-00000006"}
        found = CheckpointFolder(folder).newest()
        assert found is not None
        assert found.step == _newest(folder.parent, folder.name) >= 3
        if calls < fail_at:  # the checkpoint was whole before the fault came
            break
        if fail_at % 5 == 0:
            assert tiny.run(folder, resume=True)[0] == uninterrupted
    assert 8 <= fail_at < 19


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 256 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    if mount is None or not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("a small tmpfs can be mounted only by root")
    mounted = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"a small tmpfs cannot be mounted here: {mounted.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_stops_the_run_and_with_space_again_it_goes_on_to_the_same_bytes(
    small_disk: Path, uninterrupted: bytes
) -> None:
    folder, ballast = small_disk / "c", small_disk / "ballast"

    def fill(done: int, total: int, message: str) -> None:
        if done == 7:
            with ballast.open("wb", buffering=0) as file:
                with contextlib.suppress(OSError):
                    while file.write(b"x" * 4096):
                        pass
                file.truncate(file.tell() - 8192)  # room for the first file and no more

    with pytest.raises(OSError, match="No space left on device"):
        tiny.run(folder, progress=fill)
    assert sorted(path.name for path in folder.iterdir()) == ["step-00000003", "step-00000006"]
    found = CheckpointFolder(folder).newest()
    assert found is not None
    assert found.step == 6
    ballast.unlink()
    assert tiny.run(folder, resume=True)[0] == uninterrupted
