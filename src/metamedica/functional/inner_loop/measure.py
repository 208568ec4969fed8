"""How many tasks at once are fastest, by trying: on a CPU convolutions want one task after another, on a GPU all at once."""

import time
from collections.abc import Sequence

import torch

from metamedica.functional.inner_loop.learner import InnerLoopLearner
from metamedica.types import EpisodeBatch

SOME = 4


_HOPELESS = 1.5
"""A try that takes this many times the least so far is the last: more tasks at once take longer still."""


def fastest_chunk(learner: InnerLoopLearner, episodes: EpisodeBatch, *, chunks: Sequence[int] | None = None) -> int:
    """Return the number of tasks at once with which a meta-step takes the least CPU time.

    Give it to the learner's constructor as `chunk` where `in_turn.tasks_at_once` chooses worse for your network, so that every run takes the
    same: another number gives the same result up to rounding only. A chain of layers does not read it. On a GPU wall-clock time is measured.

    Args:
        learner: left as it is, gradients included.
        episodes: of the usual size, standardised, on the learner's device.
        chunks: what is tried in turn, each twice, until one is far slower than the best before it; one, `SOME` and all by default.
    """
    before, seconds = learner.chunk, {}
    parameters = [value for value in learner.parameters() if value.requires_grad]
    on_gpu = parameters[0].is_cuda
    clock = time.perf_counter if on_gpu else time.process_time
    try:
        for chunk in chunks or (1, SOME, len(episodes.task_index)):
            learner.chunk = chunk
            tries = []
            for _ in range(2):
                begun = clock()
                torch.autograd.grad(learner.meta_loss(episodes), parameters, allow_unused=True)
                if on_gpu:
                    torch.cuda.synchronize()
                tries.append(clock() - begun)
            seconds[chunk] = min(tries)
            if seconds[chunk] > _HOPELESS * min(seconds.values()):
                break
    finally:
        learner.chunk = before
    return min(seconds, key=lambda chunk: seconds[chunk])
