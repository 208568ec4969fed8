"""Several real processes that train together, without importing torch each time: a server imports it once and forks them per job.

`Processes` is the server, as a context; `run` starts the processes of one job as torchrun would (its environment, a store that
outlives them) and returns what they left. `python rank_processes.py` is the server itself: a JSON order a line on stdin.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_ALONE = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _rank(order: dict[str, Any], rank: int, environment: dict[str, str]) -> None:
    """Be one process of a job; never returns."""
    code = 1
    try:
        for name, standard in (("out", 1), ("err", 2)):
            handle = os.open(f"{order['folder']}/{name}{rank}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(handle, standard)
        os.environ.update(environment, RANK=str(rank), LOCAL_RANK=str(rank))
        import rank_jobs

        code = getattr(rank_jobs, order["job"])(Path(order["folder"]), rank, **order["given"]) or 0
    except BaseException:  # noqa: BLE001 - a forked process must never return into the server
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _job(order: dict[str, Any]) -> None:
    """Start the processes of a job, host their store, print their ids and then their exit codes."""
    port, size = _free_port(), order["size"]
    environment = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    environment["TORCHELASTIC_USE_AGENT_STORE"] = "True"
    children = []
    for rank in range(size):
        child = os.fork()
        if child == 0:
            _rank(order, rank, environment)
        children.append(child)
    from torch.distributed import TCPStore

    store = TCPStore("127.0.0.1", port, is_master=True, wait_for_workers=False)
    sys.stdout.write(json.dumps(children) + "\n")
    sys.stdout.flush()
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    sys.stdout.write(json.dumps(codes) + "\n")
    sys.stdout.flush()
    del store


def _serve() -> None:
    import torch
    import torch._dynamo  # the first optimizer step would import it, for a second and more

    import metamedica.meta_learner
    import metamedica.modalities.molecules
    import metamedica.reports.card  # noqa: F401
    import rank_jobs  # noqa: F401

    torch.set_num_threads(1)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                _job(json.loads(line))
            finally:
                os._exit(0)
        os.waitpid(child, 0)


@dataclass(frozen=True)
class Ended:
    """What a job left, by rank: exit codes (minus the signal where one ended it), and what was printed."""

    codes: list[int]
    out: list[str]
    err: list[str]


class Processes:
    """The server, as a context."""

    def __init__(self) -> None:
        self.server = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **_ALONE},
            text=True,
        )
        assert self._line() == "ready"

    def _line(self) -> str:
        assert self.server.stdout is not None
        return self.server.stdout.readline().strip()

    def run(
        self, size: int, job: str, folder: Path, *, meanwhile: Callable[[list[int]], None] | None = None, **given: Any
    ) -> Ended:
        """Run `rank_jobs.<job>(folder, rank, **given)` in `size` processes; `meanwhile` is called with their ids."""
        folder.mkdir(parents=True, exist_ok=True)
        order = {"size": size, "job": job, "folder": str(folder), "given": given}
        assert self.server.stdin is not None
        self.server.stdin.write(json.dumps(order) + "\n")
        self.server.stdin.flush()
        children = json.loads(self._line())
        if meanwhile is not None:
            meanwhile(children)
        codes = json.loads(self._line())
        printed = [[(folder / f"{name}{rank}").read_text() for rank in range(size)] for name in ("out", "err")]
        return Ended(codes, *printed)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        self.server.stdin.close()
        if kind is not None:
            self.server.send_signal(signal.SIGTERM)
        self.server.wait(60)
        self.server.stdout.close()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    _serve()
