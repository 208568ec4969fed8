"""The worker process, started by `crew`: reads jobs on stdin, writes answers on stdout, until stdin ends."""

import json
import math
import os
import signal
import sys
from io import BufferedIOBase
from typing import Any

import numpy as np

from metamedica.modalities.molecules.jobs import Answer, Workbench


def write_answer(stream: BufferedIOBase, answer: Answer) -> None:
    """Write a line of JSON (texts, reasons, array shapes) and the arrays' bytes."""
    shapes = [[name, array.dtype.str, list(array.shape)] for name, array in answer.arrays.items()]
    stream.write(json.dumps({"texts": answer.texts, "reasons": answer.reasons, "arrays": shapes}).encode() + b"\n")
    for array in answer.arrays.values():
        stream.write(np.ascontiguousarray(array).tobytes())
    stream.flush()


def read_answer(stream: BufferedIOBase) -> Answer | None:
    """Return what `write_answer` wrote, or None where the stream ends before it is complete."""
    line = stream.readline()
    if not line.endswith(b"\n"):
        return None
    head: dict[str, Any] = json.loads(line)
    arrays = {}
    for name, kind, shape in head["arrays"]:
        size = int(np.prod(shape)) * np.dtype(kind).itemsize
        data = stream.read(size)
        if len(data) != size:
            return None
        arrays[name] = np.frombuffer(data, kind).reshape(shape)
    return Answer(head["texts"], head["reasons"], arrays)


def serve(max_heavy_atoms: int, megabytes: int, seconds: float) -> None:
    """Answer requests (one line of JSON each: job, texts) until stdin ends.

    Ctrl-C belongs to the parent, which ends its workers. Where the system knows such limits, a request that outlives a
    killed parent ends the process some seconds after its time, and memory beyond `megabytes` is refused (Linux).
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing that a library prints may mix with the answers
    bench = Workbench(max_heavy_atoms)
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (megabytes << 20, megabytes << 20))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    write_answer(answers, Answer([], [], {}))
    for line in requests:
        if sys.platform != "win32":
            signal.alarm(math.ceil(seconds) + 10)
        job, texts = json.loads(line)
        write_answer(answers, bench.run(job, texts))
        if sys.platform != "win32":
            signal.alarm(0)
