"""Real processes that train, without importing torch each time: a server imports it once and forks a child per job.

`python fork_server.py serve SOCKET` is the server; `python fork_server.py SOCKET OUT LENGTH` runs one job there ("long" or
"short"), with this process's environment, output and exit code, as if it were the trainer itself.
"""

import array
import json
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

_LIMIT_S = 120


def _serve(address: str) -> None:
    import itertools
    import logging
    import uuid

    import torch
    import torch._dynamo  # the first optimizer step would import it, for a second and more
    from ckpt_chaos.targets.common import arm_from_env

    import tiny_training

    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    torch.set_num_threads(1)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        caller, _ = listener.accept()
        with caller:
            data, handles, _, _ = socket.recv_fds(caller, 1 << 20, 2)
            order = json.loads(data)
            if order["out"] is None:
                return
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    for handle, standard in zip(handles, (1, 2), strict=True):
                        os.dup2(handle, standard)
                    os.environ.update(order["environment"])
                    if "CKPT_CHAOS_WATCH" in order["environment"]:
                        # same names in every armed run, so that the judge can number the file events
                        uuid.uuid4 = map(lambda number: uuid.UUID(int=number), itertools.count()).__next__
                        arm_from_env(0, lazy=True)
                    tiny_training.job(Path(order["out"]), order["length"])
                    code = 0
                except BaseException:  # noqa: BLE001 - the child must never return into the server
                    import traceback

                    traceback.print_exc()
                finally:
                    sys.stdout.flush()
                    os._exit(code)
            for handle in handles:
                os.close(handle)
            caller.sendall(f"{child}\n".encode())
            _, status = os.waitpid(child, 0)
            caller.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())


class Job:
    """One child that trains into `out`.

    Attributes:
        pid: of the child.
    """

    def __init__(
        self, address: str, out: Path | None, *, length: str = "long", stdout: int = 1, stderr: int = 2
    ) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(address)
        chaos = {name: value for name, value in os.environ.items() if name.startswith("CKPT_CHAOS")}
        where = None if out is None else str(out.resolve())
        order = json.dumps({"out": where, "length": length, "environment": chaos})
        rights = array.array("i", [stdout, stderr])
        self.socket.sendmsg([order.encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        self.lines = self.socket.makefile()
        self.pid = int(self.lines.readline()) if out is not None else 0

    def wait(self, seconds: float) -> int | None:
        """Return the exit code, or None where the child still runs after that time."""
        if not select.select([self.socket], [], [], seconds)[0]:
            return None
        code = int(self.lines.readline())
        self.close()
        return code

    def kill(self) -> int:
        """Kill the child with SIGKILL; return its exit code."""
        os.kill(self.pid, signal.SIGKILL)
        code = self.wait(_LIMIT_S)
        assert code is not None
        return code

    def close(self) -> None:
        self.lines.close()
        self.socket.close()


class ForkServer:
    """The server, as a context; the address is that of its socket."""

    def __init__(self, folder: Path) -> None:
        self.address = str(folder / "server")
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, __file__, "serve", self.address], stdout=subprocess.PIPE, env=environment, text=True
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        Job(self.address, None).close()
        self.process.wait(_LIMIT_S)
        assert self.process.stdout is not None
        self.process.stdout.close()


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        _serve(sys.argv[2])
    else:
        ended = Job(sys.argv[1], Path(sys.argv[2]), length=sys.argv[3]).wait(_LIMIT_S)
        sys.exit(124 if ended is None else ended)
