"""Texts through a job: in this process where that is quick and safe, else in killable worker processes.

A SMILES of 200 characters can cost RDKit minutes and gigabytes: twenty six-membered rings joined head to tail into a
large ring have 2^20 equivalent large rings, and all are listed. A molecule needs that many ring closures for it, so
texts with few digits are safe. The others, and every text of a long input, go to worker processes with a time and a
memory limit. When a chunk of texts fails, its parts are tried alone, and only the text that fails by itself is
refused. The answers do not depend on the number of workers.
"""

import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from io import BufferedIOBase
from typing import NamedTuple, cast

from metamedica.errors import InputError, MetamedicaError
from metamedica.modalities.molecules.jobs import Answer, Job, Workbench, refusal
from metamedica.modalities.molecules.standardise import MAX_CHARACTERS, MAX_HEAVY_ATOMS
from metamedica.modalities.molecules.worker import read_answer
from metamedica.types import Progress

CHUNK = 256
HERE_CHUNK = 16
HERE_TEXTS = 2_000
HERE_SECONDS = 2.0
SAFE_DIGITS = 30
START_SECONDS = 60.0
_DIGITS = b"0123456789"

# The worker needs RDKit and NumPy only: packages without their front doors keep PyTorch out (0.3 s, not 2.5 s).
_START = """
import json, sys, types
path, packages, arguments = json.loads(sys.argv[1])
sys.path[:] = path
for name, folders in packages:
    sys.modules[name] = package = types.ModuleType(name)
    package.__path__ = folders
from metamedica.modalities.molecules.worker import serve
serve(*arguments)
"""


@dataclass(frozen=True)
class Limits:
    """What one case may cost.

    Args:
        characters: longest SMILES that is parsed.
        heavy_atoms: largest molecule, without salts.
        seconds: longest time for one case in a worker process.
        megabytes: most memory of a worker process.
    """

    characters: int = MAX_CHARACTERS
    heavy_atoms: int = MAX_HEAVY_ATOMS
    seconds: float = 5.0
    megabytes: int = 1024


class Piece(NamedTuple):
    """The answer for the texts at `places`."""

    places: Sequence[int]
    answer: Answer


def is_safe(text: str) -> bool:
    """Return whether RDKit reads the text in well under a second whatever it says: short, with few ring closures."""
    if len(text) > MAX_CHARACTERS:
        return False
    return len(text) - len(text.encode(errors="replace").translate(None, _DIGITS)) <= SAFE_DIGITS


def count_of_workers(n_jobs: int | None) -> int:
    """Return the number of worker processes: every core that this process may use for None and -1.

    Raises:
        InputError: 0 or another negative number.
    """
    if n_jobs is None or n_jobs == -1:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if n_jobs < 1:
        raise InputError(f"got n_jobs {n_jobs}; give a number of processes from 1, or -1 for every core")
    return n_jobs


def work(
    job: Job,
    texts: Sequence[str],
    *,
    limits: Limits,
    n_jobs: int | None = None,
    progress: Progress | None = None,
    message: str = "",
) -> Iterator[Piece]:
    """Yield the answers to a job piece by piece; the pieces cover every text once.

    Raises:
        InputError: an impossible `n_jobs`.
        MetamedicaError: the worker processes cannot be started.
    """
    workers = count_of_workers(n_jobs)
    done = 0
    left: Sequence[int] = range(len(texts))
    finished: set[int] = set()
    if len(texts) <= HERE_TEXTS and job != "block":
        for piece in _here(job, texts, [place for place in left if is_safe(texts[place])], limits):
            yield piece
            done += len(piece.places)
            if progress is not None:
                progress(done, len(texts), message)
            finished.update(piece.places)
        left = [place for place in left if place not in finished]
    if not left:
        return
    chunks = _chunks(job, texts, left)
    for pieces in _Crew(job, texts, limits).run(chunks, min(workers, len(chunks))):
        for piece in pieces:
            yield piece
            done += len(piece.places)
        if progress is not None:
            progress(done, len(texts), message)


def _here(job: Job, texts: Sequence[str], places: Sequence[int], limits: Limits) -> Iterator[Piece]:
    """Yield the answers for as many places as fit in `HERE_SECONDS`."""
    bench, end = Workbench(limits.heavy_atoms), time.monotonic() + HERE_SECONDS
    for start in range(0, len(places), HERE_CHUNK):
        if time.monotonic() > end:
            return
        some = places[start : start + HERE_CHUNK]
        yield Piece(some, bench.run(job, [texts[place] for place in some]))


def _chunks(job: Job, texts: Sequence[str], places: Sequence[int]) -> Sequence[Sequence[int]]:
    """Return safe texts (and mol blocks) in chunks, and each of the others alone, so that it spoils no chunk."""
    alone = set() if job == "block" else {place for place in places if not is_safe(texts[place])}
    together = [place for place in places if place not in alone]
    return [together[start : start + CHUNK] for start in range(0, len(together), CHUNK)] + [
        [place] for place in sorted(alone)
    ]


class _Crew:
    """Threads, each of which drives one worker process."""

    def __init__(self, job: Job, texts: Sequence[str], limits: Limits) -> None:
        self._job, self._texts, self._limits = job, texts, limits
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()

    def run(self, chunks: Sequence[Sequence[int]], n_workers: int) -> Iterator[list[Piece]]:
        """Yield the pieces of each chunk in order; ends the workers whatever happens."""
        workers = [_Worker(self._limits) for _ in range(n_workers)]
        for worker in workers:
            self._idle.put(worker)
        waiting: deque[Future[list[Piece]]] = deque()
        threads = ThreadPoolExecutor(n_workers)
        try:
            for chunk in chunks:
                waiting.append(threads.submit(self._one, chunk))
                if len(waiting) > 2 * n_workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
            for worker in workers:
                worker.kill()
            threads.shutdown()
            for worker in workers:
                worker.close()

    def _one(self, places: Sequence[int]) -> list[Piece]:
        worker = self._idle.get()
        try:
            return self._ask(worker, places)
        finally:
            self._idle.put(worker)

    def _ask(self, worker: "_Worker", places: Sequence[int]) -> list[Piece]:
        answer = worker.ask(self._job, [self._texts[place] for place in places])
        if isinstance(answer, Answer):
            return [Piece(places, answer)]
        if len(places) == 1:
            return [Piece(places, refusal(1, answer))]
        step = max(1, len(places) // 16)
        parts = [places[start : start + step] for start in range(0, len(places), step)]
        return [piece for part in parts for piece in self._ask(worker, part)]


class _Worker:
    """One worker process, started when first asked and again after it had to be killed."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._process: subprocess.Popen[bytes] | None = None
        self._killed = False
        self._lock = threading.Lock()

    def ask(self, job: Job, texts: list[str]) -> Answer | str:
        """Return the answer, or the reason why there is none: out of time, or the process died."""
        process = self._process or self._start()
        answer, late = _exchange(process, [job, texts], self._limits.seconds)
        if late or answer is None:
            self.close()
        if answer is not None:
            return answer
        if late:
            return f"reading it takes more than {self._limits.seconds:g} s"
        return "reading it needs too much memory or makes RDKit fail"

    def kill(self) -> None:
        """End the process from another thread; it is not started again."""
        with self._lock:
            self._killed = True
            if self._process is not None:
                self._process.kill()

    def close(self) -> None:
        """End the process and give back its pipes."""
        with self._lock:
            process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # what was not yet written to a dead process
                    pipe.close()

    def _start(self) -> "subprocess.Popen[bytes]":
        packages = [(name, list(sys.modules[name].__path__)) for name in _packages()]
        limits = [self._limits.heavy_atoms, self._limits.megabytes, self._limits.seconds]
        start = json.dumps([sys.path, packages, limits])
        with tempfile.TemporaryFile() as complaints:
            with self._lock:
                if self._killed:
                    raise MetamedicaError("reading the molecules was stopped; start it again")
                self._process = process = subprocess.Popen(
                    [sys.executable, "-c", _START, start],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=complaints,
                    env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
                )
            answer, late = _exchange(process, None, START_SECONDS)
            if answer is None or late:
                self.close()
                complaints.seek(0)
                last = complaints.read().decode(errors="replace").strip().splitlines()[-1:]
                raise MetamedicaError(
                    f"a worker process for reading molecules did not start ({''.join(last) or 'no message'}); "
                    f"check that {sys.executable} can import rdkit"
                )
        return process


def _packages() -> list[str]:
    """Return the packages above this file, outermost first."""
    parts = __name__.split(".")[:-1]
    return [".".join(parts[: depth + 1]) for depth in range(len(parts))]


def _exchange(process: "subprocess.Popen[bytes]", request: object, seconds: float) -> tuple[Answer | None, bool]:
    """Return (answer, out of time); the answer is None where the process died. Out of time, the process is killed."""
    assert process.stdin is not None
    assert process.stdout is not None
    late = threading.Event()

    def stop() -> None:
        late.set()
        process.kill()

    answer = None
    timer = threading.Timer(seconds, stop)
    timer.start()
    try:
        if request is not None:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
        answer = read_answer(cast(BufferedIOBase, process.stdout))
    except OSError:
        answer = None  # the process is dead and its pipe is broken
    finally:
        timer.cancel()
        timer.join()
    return answer, late.is_set()
