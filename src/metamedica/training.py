"""The one meta-training loop: batches by number, selection on meta-valid tasks, checkpoints, resume to the same bits.

Nothing in a step depends on what ran before it but the weights and the optimizer: the batch, the learning rate and the random
numbers are functions of the step's number. So a checkpoint needs no generator state, and a run that was killed and resumed ends
with the bytes of one that was not (same machine, same numbers of threads and processes).

Several processes (`torchrun --nproc-per-node 2 program.py`) share each batch and the meta-valid tasks, and end with the same weights.
"""

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch

from metamedica import fingerprints
from metamedica.checkpoints import Checkpoint, CheckpointFolder
from metamedica.data.episodes import EpisodeSampler
from metamedica.data.whole_tasks import WholeTasks
from metamedica.errors import InputError
from metamedica.functional.targets import standardise_episodes
from metamedica.interruption import TrainingInterrupted, interruptible
from metamedica.ranks import Ranks, joined
from metamedica.run import Run, duration
from metamedica.schedule import TrainingSettings
from metamedica.types import ClosedForm, EpisodeBatch, Learner, Progress
from metamedica.validation import mean_log_likelihood

__all__ = ["TrainingInterrupted", "TrainingResult", "TrainingSettings", "duration", "mean_log_likelihood", "train"]

_LATER_SETTINGS = {"accumulate": 1, "precision": "float32"}
"""What checkpoints stand for that were written before these settings existed."""
_log = logging.getLogger(__name__)

Watch: TypeAlias = Callable[[int, float], None]


@dataclass(frozen=True)
class TrainingResult:
    """What training did; the learner itself holds the weights with the best meta-valid score.

    Args:
        history: one row a look: step, mean training loss since the row before (None for a fit in closed form), meta-valid score (mean
            query log-likelihood per case, in standard units for regression; None without meta-valid episodes). The same bits after any
            resume.
        steps: steps taken.
        best_step: after which the returned weights stood; None where nothing was learned.
        best_score: their meta-valid score; None without meta-valid episodes.
        seconds: wall-clock time, over all resumed parts.
    """

    history: tuple[dict[str, Any], ...] = ()
    steps: int = 0
    best_step: int | None = None
    best_score: float | None = None
    seconds: float = 0.0


def _identity(
    learner: Learner[Any],
    sampler: EpisodeSampler,
    validation: Sequence[EpisodeBatch],
    settings: TrainingSettings,
    ranks: Ranks,
) -> dict[str, Any]:
    """Return what checkpoints of this run belong to.

    Raises:
        InputError: this process was given something else than the first one.
    """
    own = {
        "settings": settings.as_json(),
        "data": fingerprints.of_data(sampler, validation),
        "learner": fingerprints.of_learner(learner),
        "code": {**fingerprints.of_code(), "processes": ranks.size},
    }
    theirs = json.loads(ranks.from_first(json.dumps(own).encode()))
    for what in ("settings", "data", "learner"):
        if own[what] != theirs[what]:
            raise InputError(
                f"process {ranks.rank} was given another {what} than process 0; start all with the same options, files and seed"
            )
    return own


def _found(folder: CheckpointFolder, identity: Mapping[str, Any]) -> Checkpoint | None:
    """Return the newest good checkpoint, where there is one.

    Raises:
        InputError: it was made with other settings, data or learner.
        BundleError: all checkpoints are damaged.
    """
    found = folder.newest()
    if found is None:
        _log.warning("there is no checkpoint in %s to resume from; training starts at step 0", folder.folder)
        return None
    before: Any = found.state.get("settings")
    named = {**_LATER_SETTINGS, **before} if isinstance(before, dict) else {}
    if named != identity["settings"]:
        changed = [f"{k} {named.get(k)}, now {v}" for k, v in identity["settings"].items() if named.get(k) != v]
        raise InputError(
            f"the checkpoints in {folder.folder} were made with other settings ({'; '.join(changed)}); resume with the same "
            "settings or train in another folder"
        )
    for what, other in (("data", "other data"), ("learner", "another learner or other settings of it")):
        if found.state.get(what) != identity[what]:
            raise InputError(
                f"the checkpoints in {folder.folder} were made with {other}; resume with the same or train in another folder"
            )
    if found.state.get("code") != identity["code"]:
        _log.warning(
            "the code, torch or the number of threads or processes has changed since the checkpoint; the result may differ in its last bits"
        )
    return found


def _begin(run: Run, folder: CheckpointFolder | None, identity: Mapping[str, Any], *, resume: bool) -> None:
    """Bring every process to the same start: the checkpoint that the first one finds, or its weights.

    Raises:
        InputError: there are checkpoints and no resume was asked for, or they are of another run.
        BundleError: all checkpoints are damaged, or the one found does not fit.
    """
    found: Checkpoint | None = None
    if folder is not None and run.ranks.first:
        if resume:
            found = _found(folder, identity)
        elif not folder.empty():
            raise InputError(f"{folder.folder} holds checkpoints of an earlier run; resume it or give another folder")
    sent = run.ranks.from_first(b"" if found is None else found.as_bytes()) if run.ranks.size > 1 else b""
    found = Checkpoint.from_bytes(sent) if sent else found
    if found is not None:
        run.restore(found)
    else:
        run.ranks.copy_first_(list(run.learner.state_dict().values()))
    if folder is not None and found is not None and run.ranks.first:
        folder.sweep()


def train(
    learner: Learner[Any],
    sampler: EpisodeSampler,
    validation: Sequence[EpisodeBatch],
    settings: TrainingSettings,
    *,
    checkpoints: Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> TrainingResult:
    """Meta-train a learner in place; it ends with the weights of the best meta-valid score, in evaluation mode.

    Under torchrun, or where the program has joined its processes itself, they share the work: all call this with the same arguments,
    and all return with the same weights; the first one writes checkpoints and tells the progress.

    Where there are meta-valid episodes, `learner.fit_prior` is called with them at the end, once. A learner without parameters is
    left as it is. One that is fitted in closed form (`types.ClosedForm`) sees every whole task once instead of steps, on the CPU, in
    every process alike; it writes no checkpoint.

    Args:
        learner: on the device where it shall learn.
        sampler: meta-training episodes, in raw units.
        validation: meta-valid episodes, in raw units; without any, the weights of the last step are kept.
        settings: how long and how fast.
        checkpoints: folder for checkpoints, read and written by the first process; None writes none.
        resume: go on from the newest good checkpoint there; the same number of processes gives the same bits, another one the same
            weights up to rounding.
        progress: called after each step as `progress(done, total, message)`.
        watch: called after each look as `watch(step, best meta-valid score so far)`; what it raises ends the training.

    Raises:
        TrainingError: loss, gradient or score are not finite, the learner has a batch norm that is not in evaluation mode, or its loss is
            no mean over tasks and would have to be divided.
        RunEnded: another process is gone.
        TrainingInterrupted: Ctrl-C; the step was finished and, where there is a folder, a checkpoint written.
        InputError: resume without a folder, checkpoints of an earlier run without resume, or with other settings or data; a precision
            that the device or the learner cannot have; processes that were given different things.
        BundleError: all checkpoints are damaged.
        OSError: a checkpoint could not be written; the one before it is kept.
    """
    if resume and checkpoints is None:
        raise InputError("resume was asked for without a checkpoint folder; give the folder")
    if not learner.learns_from_tasks():
        return TrainingResult()
    if isinstance(learner, ClosedForm):
        start = time.monotonic()
        tasks = WholeTasks(
            sampler.collection, sampler.names, binary=sampler.plan.binary_share > 0, least_classes=learner.least_classes
        )
        with torch.no_grad():
            learner.to("cpu").eval().fit_tasks(tasks)
            ready = [standardise_episodes(batch) for batch in validation]
            if ready:
                learner.fit_prior(ready)
        score = mean_log_likelihood(learner, ready) if ready else None
        row = {"step": 1, "loss": None, "valid": score}
        if watch is not None and score is not None:
            watch(1, score)
        if progress is not None:
            progress(
                1, 1, f"learned from {len(tasks)} tasks at once" + ("" if score is None else f", valid {score:.3f}")
            )
        return TrainingResult((row,), 1, 1, score, time.monotonic() - start)
    folder = None if checkpoints is None else CheckpointFolder(checkpoints)
    with joined() as ranks:
        run = Run(learner, sampler, validation, settings, ranks=ranks, progress=progress)
        identity: dict[str, Any] = {}
        if folder is not None or ranks.size > 1:
            identity = _identity(learner, sampler, validation, settings, ranks)
        _begin(run, folder, identity, resume=resume)
        _go(run, folder, identity, watch)
        run.finish()
    now = run.standing
    return TrainingResult(tuple(now.history), now.step, now.best_step, now.best_score, now.seconds)


def _go(run: Run, folder: CheckpointFolder | None, identity: Mapping[str, Any], watch: Watch | None) -> None:
    """Take steps until the last, until the score has stopped rising, or until someone presses Ctrl-C."""
    settings = run.settings
    begun_at, earlier, start = run.standing.step, run.standing.seconds, time.monotonic()
    with interruptible() as asked:
        while run.standing.step < settings.steps and not run.standing.stopped:
            run.step()
            done = run.standing.step
            if done % settings.validate_every == 0 or done == settings.steps:
                run.look()
                if watch is not None and run.standing.best_score is not None:
                    watch(done, run.standing.best_score)
            seconds = time.monotonic() - start
            run.standing.seconds = earlier + seconds
            last = done == settings.steps or run.standing.stopped
            run.report(begun_at, seconds)
            # asked once, and of all processes: what is said to be kept must have been written
            stop = run.ranks.any(asked.is_set()) and not last
            if folder is not None and (last or stop or done % settings.checkpoint_every == 0):
                run.ranks.first_only(lambda: folder.save(run.checkpoint(identity)))
            if stop:
                kept = (
                    f"go on with resume from {folder.folder}"
                    if folder
                    else "there was no checkpoint folder: nothing is kept"
                )
                raise TrainingInterrupted(f"training was interrupted after step {done} of {settings.steps}; {kept}")
