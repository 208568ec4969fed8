"""The processes that train together: who they are, how they share work, and how they end together.

`torchrun` starts them and says in the environment how they find each other; `joined` does the rest. Small messages go over gloo on the
CPU, gradients over gloo or, on GPUs, nccl. Nothing is pickled: what is sent is tensors and bytes. A process that dies closes its
connections, so that every other one fails in its next message instead of waiting for it.
"""

import itertools
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from types import FrameType
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from metamedica.errors import InputError, TrainingError

PATIENCE = timedelta(hours=2)
"""How long a process waits for the others: the first one may featurise a large table while they wait."""
_SPOKEN = "spoken"
_joins = itertools.count()
T = TypeVar("T")


class RunEnded(TrainingError):
    """Another process of the run has died, or the run was asked to end (CLI exit code 1)."""


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together; by default it is alone.

    Args:
        rank: number of this process, from 0.
        size: how many there are.
        local_rank: number of this process on its machine.
        store: where the processes leave notes for each other (a `torch.distributed.Store`); None where someone else joined them.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    store: Any = None

    @property
    def first(self) -> bool:
        """Whether this process writes files and tells the progress."""
        return self.rank == 0

    def share(self, n: int) -> range:
        """Return which of n things are this process's: neighbours, as many as any other's give or take one, perhaps none."""
        return range(n * self.rank // self.size, n * (self.rank + 1) // self.size)

    def parts(self, n: int, pieces: int) -> list[range]:
        """Return this process's share of n things in at most `pieces` parts of equal size give or take one, none of them empty."""
        own = self.share(n)
        cuts = [own.start + len(own) * piece // pieces for piece in range(pieces + 1)]
        return [range(start, stop) for start, stop in itertools.pairwise(cuts) if start < stop]

    def sum_(self, value: Tensor) -> Tensor:
        """Add the values of all processes up, in place, to the same bits in each.

        Raises:
            RunEnded: a process is gone.
        """
        if self.size > 1:
            with _others_alive():
                dist.all_reduce(value)
        return value

    def any(self, flag: bool) -> bool:
        """Return whether the flag is set in any process; all wait here for each other.

        Raises:
            RunEnded: a process is gone.
        """
        return bool(self.sum_(torch.tensor([int(flag)]))) if self.size > 1 else flag

    def from_first(self, data: bytes) -> bytes:
        """Return the bytes that the first process gave; what others give is not read.

        Raises:
            RunEnded: a process is gone.
        """
        if self.size == 1:
            return data
        length = torch.tensor([len(data)])
        with _others_alive():
            dist.broadcast(length, 0)
            sent = torch.frombuffer(bytearray(data), dtype=torch.uint8) if self.first and data else None
            whole = torch.empty(int(length), dtype=torch.uint8) if sent is None else sent
            dist.broadcast(whole, 0)
        return whole.numpy().tobytes()

    def copy_first_(self, tensors: Sequence[Tensor]) -> None:
        """Overwrite tensors with those of the first process.

        Raises:
            RunEnded: a process is gone.
        """
        if self.size > 1:
            with _others_alive(), torch.no_grad():
                for value in tensors:
                    dist.broadcast(value, 0)

    def first_only(self, work: Callable[[], None]) -> None:
        """Do work in the first process while the others wait; where it fails there, none goes on."""
        if self.first:
            work()
        self.any(False)

    def machine_by_machine(self, work: Callable[[], T]) -> T:
        """Return what the work gives: first in one process a machine, then in the others, which find what that one left on the disk."""
        if self.local_rank == 0:
            done = work()
            self.any(False)
            return done
        self.any(False)
        return work()

    def first_to_speak(self) -> bool:
        """Return whether no other process has told the user yet how the run ended."""
        if self.size == 1 or self.store is None:
            return self.first
        try:
            return bool(self.store.add(_SPOKEN, 1) == 1)
        except RuntimeError:  # who kept the notes is gone: better said twice than not at all
            return True

    def device(self, name: str) -> torch.device:
        """Return where this process computes: `cuda` is one GPU a process.

        Raises:
            InputError: no such device, or fewer GPUs than processes on this machine.
        """
        try:
            wanted = torch.device(name)
        except RuntimeError:
            raise InputError(f"there is no device {name!r}; give cpu, cuda or cuda:0") from None
        if wanted.type == "cpu":
            return wanted
        count = torch.cuda.device_count() if wanted.type == "cuda" and torch.cuda.is_available() else 0
        if wanted.index is not None and self.size > 1:
            raise InputError(f"got device {name} for {self.size} processes; give cuda, and each takes a GPU of its own")
        index = self.local_rank if wanted.index is None else wanted.index
        if index >= count:
            raise InputError(
                f"got device {name}, and PyTorch sees {count} GPU{'' if count == 1 else 's'} here for process {self.local_rank + 1} of "
                "this machine; start no more processes than GPUs, or give cpu"
            )
        return torch.device("cuda", index)


ALONE = Ranks()


@contextmanager
def joined(environment: Mapping[str, str] | None = None) -> Iterator[Ranks]:
    """Join the processes that torchrun started, for as long as the context lasts; outside of torchrun this process is alone.

    Where they are joined already (by an outer `joined`, or by the user's own `init_process_group`), that is used and left as it is. While
    they are joined, SIGTERM raises `RunEnded`, so that files are put in order and the reason is told.

    Args:
        environment: with RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT, as torchrun sets them; by default the process's.

    Raises:
        InputError: the user's own process group takes no CPU tensors.
    """
    given = os.environ if environment is None else environment
    local_rank = int(given.get("LOCAL_RANK", "0"))
    if dist.is_available() and dist.is_initialized():
        config = str(dist.distributed_c10d.get_backend_config())
        if "cpu:" not in config:
            raise InputError(
                f"the process group has the backend {config}, which takes no CPU tensors; initialise it with 'cpu:gloo,cuda:nccl'"
            )
        yield Ranks(dist.get_rank(), dist.get_world_size(), local_rank)
        return
    named = all(name in given for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"))
    if not named or int(given["WORLD_SIZE"]) == 1:
        yield ALONE
        return
    gpus = torch.cuda.is_available() and dist.is_nccl_available()
    address = "tcp://{MASTER_ADDR}:{MASTER_PORT}?rank={RANK}&world_size={WORLD_SIZE}".format(**given)
    store, rank, size = next(iter(rendezvous(address, timeout=PATIENCE)))
    store = PrefixStore(f"metamedica/{next(_joins)}", store)  # a second run of the same processes reads no old notes
    backend = "cpu:gloo,cuda:nccl" if gpus else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)
    whole = False
    try:
        with _ends_in_order():
            yield Ranks(rank, size, local_rank, store)
        whole = True
    finally:
        if whole or not gpus:  # nccl would wait for the dead before it lets go
            dist.destroy_process_group()


@contextmanager
def _others_alive() -> Iterator[None]:
    """Turn the error of a broken connection into a sentence."""
    try:
        yield
    except RuntimeError as error:
        raise RunEnded(
            "another process of this run has ended or cannot be reached, so this one ends too; start the run again, with resume where "
            "checkpoints were kept"
        ) from error


@contextmanager
def _ends_in_order() -> Iterator[None]:
    """Turn SIGTERM into `RunEnded`, where the program has no handler of its own."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough: the way out must not be interrupted
        raise RunEnded(
            "the run was asked to end (SIGTERM), as happens when one of its processes has died; start it again, with resume where "
            "checkpoints were kept"
        )

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
