"""The one meta-training loop: batches by number, selection on meta-valid tasks, checkpoints, resume to the same bits.

Nothing in a step depends on what ran before it but the weights and the optimizer: the batch, the learning rate and the random
numbers are functions of the step's number. So a checkpoint needs no generator state, and a run that was killed and resumed ends
with the bytes of one that was not (same machine, same number of threads).
"""

import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import AdamW

from metamedica import fingerprints
from metamedica.checkpoints import Checkpoint, CheckpointFolder
from metamedica.data.episodes import EpisodeSampler
from metamedica.errors import BundleError, InputError, TrainingError
from metamedica.functional.batch_norm import frozen_batch_norms
from metamedica.functional.targets import standardise_episodes
from metamedica.schedule import TrainingSettings, duration
from metamedica.types import EpisodeBatch, LabelledBatch, Learner, Progress

__all__ = ["TrainingInterrupted", "TrainingResult", "TrainingSettings", "mean_log_likelihood", "train"]

_VALIDATION = 2**32  # a number that no step has: validation draws the same random numbers each time
_log = logging.getLogger(__name__)

Watch: TypeAlias = Callable[[int, float], None]


class TrainingInterrupted(TrainingError):
    """The user stopped the run (Ctrl-C); it can be resumed where a checkpoint folder was given (CLI exit code 130)."""


@dataclass(frozen=True)
class TrainingResult:
    """What training did; the learner itself holds the weights with the best meta-valid score.

    Args:
        history: one row a look: step, mean training loss since the row before, meta-valid score (mean query log-likelihood per
            case, in standard units for regression; None without meta-valid episodes). The same bits after any resume.
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


@dataclass
class _Standing:
    """Where the run stands, besides the tensors. All JSON."""

    step: int = 0
    best_step: int | None = None
    best_score: float | None = None
    stale: int = 0
    loss_sum: float = 0.0
    loss_count: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    stopped: bool = False
    seconds: float = 0.0


@contextmanager
def _random_numbers_of(seed: int, number: int, device: torch.device) -> Iterator[None]:
    """Seed torch's generators from (seed, number), and put them back afterwards."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(int(np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0] >> np.uint64(1)))
        yield


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """Yield an event that the first Ctrl-C sets; a second one interrupts at once."""
    asked = threading.Event()
    previous = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or previous in (None, signal.SIG_IGN):
        yield asked
        return

    def ask(number: int, frame: FrameType | None) -> None:
        asked.set()
        signal.signal(signal.SIGINT, previous)

    signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, previous)


def _moved(episodes: EpisodeBatch, device: torch.device) -> EpisodeBatch:
    def move(batch: LabelledBatch) -> LabelledBatch:
        return batch.map(partial(Tensor.to, device=device))

    return EpisodeBatch(move(episodes.support), move(episodes.query), episodes.task_index.to(device))


def mean_log_likelihood(learner: Learner[Any], episodes: Sequence[EpisodeBatch]) -> float:
    """Return the mean query log-likelihood per case, mean over the tasks of all batches, in evaluation mode.

    Args:
        learner: left in evaluation mode.
        episodes: standardised.
    """
    learner.eval()
    scores: list[Tensor] = []
    with torch.no_grad():
        for batch in episodes:
            law = learner.predict(learner.adapt(batch.support), batch.query.cases)
            scores.append(batch.query.log_likelihood(law).double())
    return float(torch.cat(scores).mean())


class _Run:
    """One call of `train`."""

    def __init__(
        self,
        learner: Learner[Any],
        sampler: EpisodeSampler,
        validation: Sequence[EpisodeBatch],
        settings: TrainingSettings,
        *,
        progress: Progress | None,
        watch: Watch | None,
    ) -> None:
        self.learner = learner
        self.sampler = sampler
        self.settings = settings
        self.progress = progress
        self.watch = watch
        self.frozen = frozen_batch_norms(learner)
        self.parameters = {name: value for name, value in learner.named_parameters() if value.requires_grad}
        self.device = next(iter(self.parameters.values())).device
        self.validation = [standardise_episodes(_moved(batch, self.device)) for batch in validation]
        matrices = [value for value in self.parameters.values() if value.ndim >= 2]
        others = [value for value in self.parameters.values() if value.ndim < 2]
        self.optimizer = AdamW(
            [
                {"params": matrices, "weight_decay": settings.weight_decay},
                {"params": others, "weight_decay": 0.0},
            ],
            lr=settings.learning_rate,
        )
        self.standing = _Standing()
        self.best: dict[str, Tensor] = {}
        self.shown: float | None = None

    def weights(self) -> dict[str, Tensor]:
        """Return a copy of all weights and buffers."""
        return {name: value.detach().clone() for name, value in self.learner.state_dict().items()}

    def step(self) -> None:
        """Take one step.

        Raises:
            TrainingError: loss or gradient are not finite.
        """
        number = self.standing.step
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.rate(number)
        self.learner.train()
        nn.ModuleList(self.frozen).eval()
        raw = self.sampler.batch(number)
        with _random_numbers_of(self.settings.seed, number, self.device):
            loss = self.learner.meta_loss(standardise_episodes(_moved(raw, self.device)))
            value = float(loss.detach())
            self._check_finite("loss", value, raw)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
        norm = float(clip_grad_norm_(list(self.parameters.values()), self.settings.clip))
        self._check_finite("gradient", norm, raw)
        self.optimizer.step()
        self.standing.step += 1
        self.standing.loss_sum += value
        self.standing.loss_count += 1
        self.shown = value if self.shown is None else 0.95 * self.shown + 0.05 * value

    def _check_finite(self, what: str, value: float, episodes: EpisodeBatch) -> None:
        if math.isfinite(value):
            return
        some = ", ".join(self.sampler.names[int(i)] for i in episodes.task_index[:3])
        more = ", ..." if len(episodes.task_index) > 3 else ""
        raise TrainingError(
            f"the {what} of step {self.standing.step + 1} is {value}, not a finite number (tasks {some}{more}); lower the learning "
            f"rate (now {self.settings.learning_rate:g}) or look for extreme targets and features in these tasks"
        )

    def look(self) -> None:
        """Score the meta-valid episodes, remember the best weights, decide whether to stop.

        Raises:
            TrainingError: the score is not finite.
        """
        now, score = self.standing, None
        if self.validation:
            with _random_numbers_of(self.settings.seed, _VALIDATION, self.device):
                score = mean_log_likelihood(self.learner, self.validation)
            if not math.isfinite(score):
                raise TrainingError(
                    f"the meta-valid score after step {now.step} is {score}, not a finite number; lower the learning rate "
                    f"(now {self.settings.learning_rate:g}) or look for extreme targets in the meta-valid tasks"
                )
        now.history.append({"step": now.step, "loss": now.loss_sum / now.loss_count, "valid": score})
        now.loss_sum, now.loss_count = 0.0, 0
        if score is None:
            now.best_step = now.step
        elif now.best_score is None or score > now.best_score:
            now.best_score, now.best_step, now.stale = score, now.step, 0
            self.best = self.weights()
        else:
            now.stale += 1
            now.stopped = now.stale >= self.settings.patience
        if self.watch is not None and now.best_score is not None:
            self.watch(now.step, now.best_score)

    def checkpoint(self, identity: Mapping[str, Any]) -> Checkpoint:
        """Return where the run stands, ready to be written."""
        optimizer = {
            f"{key}.{name}": value
            for name, parameter in self.parameters.items()
            for key, value in self.optimizer.state.get(parameter, {}).items()
        }
        tensors = {"weights": self.weights(), "optimizer": optimizer}
        if self.best:
            tensors["best"] = self.best
        return Checkpoint(self.standing.step, tensors, {**identity, "standing": asdict(self.standing)})

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go to where the checkpoint stands.

        Raises:
            BundleError: it lacks something.
        """
        try:
            self.learner.load_state_dict(checkpoint.tensors["weights"])
            for name, parameter in self.parameters.items():
                state: dict[str, Tensor] = {}
                for key in ("step", "exp_avg", "exp_avg_sq"):
                    value = checkpoint.tensors["optimizer"].get(f"{key}.{name}")
                    if value is not None:  # a weight that never had a gradient has no state
                        state[key] = value if key == "step" else value.to(self.device)
                if state:
                    self.optimizer.state[parameter] = state
            self.standing = _Standing(**checkpoint.state["standing"])
            rows = self.standing.history
            self.standing.history = [{name: row[name] for name in ("step", "loss", "valid")} for row in rows]
            self.best = {name: value.to(self.device) for name, value in checkpoint.tensors.get("best", {}).items()}
        except (KeyError, TypeError, RuntimeError) as error:
            raise BundleError(
                f"the checkpoint of step {checkpoint.step} does not fit this learner ({error}); start again in another folder"
            ) from error

    def report(self, begun_at: int, seconds: float) -> None:
        """Tell the progress: loss, score and the time that is left at most."""
        if self.progress is None:
            return
        now, total = self.standing, self.settings.steps
        message = f"loss {self.shown:.3f}"
        if now.best_score is not None:
            message += f", valid {now.history[-1]['valid']:.3f} (best {now.best_score:.3f} at step {now.best_step})"
        if not now.stopped and now.step < total:
            message += f", at most {duration(seconds / (now.step - begun_at) * (total - now.step))} left"
        self.progress(now.step, total, message)


def _resume(run: _Run, folder: CheckpointFolder, identity: Mapping[str, Any]) -> None:
    """Restore the newest good checkpoint, where there is one.

    Raises:
        InputError: it was made with other settings, data or learner.
        BundleError: all checkpoints are damaged.
    """
    found = folder.newest()
    if found is None:
        _log.warning("there is no checkpoint in %s to resume from; training starts at step 0", folder.folder)
        return
    before: Any = found.state.get("settings")
    if before != identity["settings"]:
        named = before if isinstance(before, dict) else {}
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
            "the code, torch or the number of threads has changed since the checkpoint; the result may differ in its bits"
        )
    run.restore(found)
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

    Where there are meta-valid episodes, `learner.fit_prior` is called with them at the end, once. A learner without parameters is
    left as it is.

    Args:
        learner: on the device where it shall learn.
        sampler: meta-training episodes, in raw units.
        validation: meta-valid episodes, in raw units; without any, the weights of the last step are kept.
        settings: how long and how fast.
        checkpoints: folder for checkpoints; None writes none.
        resume: go on from the newest good checkpoint there.
        progress: called after each step as `progress(done, total, message)`.
        watch: called after each look as `watch(step, best meta-valid score so far)`; what it raises ends the training.

    Raises:
        TrainingError: loss, gradient or score are not finite, or the learner has a batch norm that is not in evaluation mode.
        TrainingInterrupted: Ctrl-C; the step was finished and, where there is a folder, a checkpoint written.
        InputError: resume without a folder, checkpoints of an earlier run without resume, or with other settings or data.
        BundleError: all checkpoints are damaged.
        OSError: a checkpoint could not be written; the one before it is kept.
    """
    if resume and checkpoints is None:
        raise InputError("resume was asked for without a checkpoint folder; give the folder")
    if not learner.learns_from_tasks():
        return TrainingResult()
    folder = None if checkpoints is None else CheckpointFolder(checkpoints)
    run = _Run(learner, sampler, validation, settings, progress=progress, watch=watch)
    identity: dict[str, Any] = {}
    if folder is not None:
        identity = {
            "settings": settings.as_json(),
            "data": fingerprints.of_data(sampler, validation),
            "learner": fingerprints.of_learner(learner),
            "code": fingerprints.of_code(),
        }
        if resume:
            _resume(run, folder, identity)
        elif not folder.empty():
            raise InputError(f"{checkpoints} holds checkpoints of an earlier run; resume it or give another folder")
    begun_at, earlier, start = run.standing.step, run.standing.seconds, time.monotonic()
    with _interruptible() as asked:
        while run.standing.step < settings.steps and not run.standing.stopped:
            run.step()
            done = run.standing.step
            if done % settings.validate_every == 0 or done == settings.steps:
                run.look()
            seconds = time.monotonic() - start
            run.standing.seconds = earlier + seconds
            last = done == settings.steps or run.standing.stopped
            run.report(begun_at, seconds)
            stop = asked.is_set() and not last  # asked once: what is said to be kept must have been written
            if folder is not None and (last or stop or done % settings.checkpoint_every == 0):
                folder.save(run.checkpoint(identity))
            if stop:
                kept = (
                    f"go on with resume from {checkpoints}"
                    if folder
                    else "there was no checkpoint folder: nothing is kept"
                )
                raise TrainingInterrupted(f"training was interrupted after step {done} of {settings.steps}; {kept}")
    if run.best:
        learner.load_state_dict(run.best)
    learner.eval()
    if run.validation:
        with _random_numbers_of(settings.seed, _VALIDATION, run.device):
            learner.fit_prior(run.validation)
    now = run.standing
    return TrainingResult(tuple(now.history), now.step, now.best_step, now.best_score, now.seconds)
