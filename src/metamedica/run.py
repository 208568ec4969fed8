"""One run of meta-training: the learner, its optimizer and where it stands; a step, a look at the meta-valid tasks, a checkpoint."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import AdamW

from metamedica.checkpoints import Checkpoint
from metamedica.compiled import CompiledGradient
from metamedica.data.episodes import EpisodeSampler
from metamedica.errors import BundleError, TrainingError
from metamedica.functional.batch_norm import frozen_batch_norms
from metamedica.functional.targets import standardise_episodes
from metamedica.outer_gradient import (
    check_divisible,
    learned_parameters,
    moved,
    outer_gradient,
    random_numbers_of,
    read_by_entries,
)
from metamedica.precision import check_precision
from metamedica.ranks import Ranks
from metamedica.schedule import TrainingSettings
from metamedica.types import EpisodeBatch, Learner, Progress
from metamedica.validation import mean_log_likelihood

_VALIDATION = 2**32  # a number that no step has: validation draws the same random numbers each time


@dataclass
class Standing:
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


def duration(seconds: float) -> str:
    """Return a time span in words: `42 s`, `3 min 05 s`, `1 h 02 min`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class Run:
    """One call of `train`, in one of the processes that share it.

    Raises:
        InputError: a precision that the device or the learner cannot have.
        TrainingError: a batch norm that is not in evaluation mode, or a loss that cannot be divided where it would have to be.
    """

    def __init__(
        self,
        learner: Learner[Any],
        sampler: EpisodeSampler,
        validation: Sequence[EpisodeBatch],
        settings: TrainingSettings,
        *,
        ranks: Ranks,
        progress: Progress | None,
    ) -> None:
        self.learner = learner
        self.settings = settings
        self.ranks = ranks
        self.progress = progress if ranks.first else None
        self.frozen = frozen_batch_norms(learner)
        self.parameters = learned_parameters(learner)
        self.device = next(iter(self.parameters.values())).device
        check_precision(settings.precision, learner, self.device)
        self.sampler = sampler.with_tables(read_by_entries(learner)) if self.device.type == "cpu" else sampler
        self.graph = CompiledGradient(learner) if settings.compiled else None
        if ranks.size * settings.accumulate > 1:
            check_divisible(learner, sampler.roster(0))
        self.validation = [standardise_episodes(moved(batch, self.device)) for batch in validation]
        matrices = [value for value in self.parameters.values() if value.ndim >= 2]
        others = [value for value in self.parameters.values() if value.ndim < 2]
        self.optimizer = AdamW(
            [
                {"params": matrices, "weight_decay": settings.weight_decay},
                {"params": others, "weight_decay": 0.0},
            ],
            lr=settings.learning_rate,
        )
        self.standing = Standing()
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
        roster = self.sampler.roster(number)
        value = outer_gradient(
            self.learner, roster, [self.settings.seed, number], self.settings, self.ranks, self.graph
        )
        self._check_finite("loss", value, roster.names)
        norm = float(clip_grad_norm_(list(self.parameters.values()), self.settings.clip))
        self._check_finite("gradient", norm, roster.names)
        self.optimizer.step()
        self.standing.step += 1
        self.standing.loss_sum += value
        self.standing.loss_count += 1
        self.shown = value if self.shown is None else 0.95 * self.shown + 0.05 * value

    def _check_finite(self, what: str, value: float, tasks: Sequence[str]) -> None:
        if math.isfinite(value):
            return
        some, more = ", ".join(tasks[:3]), ", ..." if len(tasks) > 3 else ""
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
            with random_numbers_of([self.settings.seed, _VALIDATION], self.device):
                score = mean_log_likelihood(self.learner, self.validation, self.ranks)
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
            self.standing = Standing(**checkpoint.state["standing"])
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

    def finish(self) -> None:
        """Give the learner its best weights and let it fit its prior; every process ends with the same."""
        if self.best:
            self.learner.load_state_dict(self.best)
        self.learner.eval()
        if self.validation:
            with random_numbers_of([self.settings.seed, _VALIDATION], self.device):
                self.learner.fit_prior(self.validation)
        self.ranks.copy_first_(list(self.learner.state_dict().values()))
