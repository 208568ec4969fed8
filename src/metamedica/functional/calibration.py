"""Maps from a law to one that is right as often as it says, fitted per task on laws of cases that the method did not know.

Three maps: temperature (Guo et al. 2017, one parameter), beta (Kull, Silva Filho and Flach 2017, three) and isotonic (Zadrozny and Elkan 2002, as
many as there are steps). The first two are held to the law as it is by a normal prior, so that few labels change little.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression
from torch import Tensor
from torch.distributions import Categorical, Normal

from metamedica.functional.task_posterior import task_posterior
from metamedica.types import Law

SPREAD = 0.35
"""Prior standard deviation of the logarithm of a temperature, and of each coefficient of the beta map about its law as it is."""
_GRID = torch.linspace(-1.6, 1.6, 65, dtype=torch.float64)
_LEAST = 1e-6


@dataclass(frozen=True)
class Temperature:
    """Log-probabilities times exp(sharpness), or a standard deviation divided by it."""

    sharpness: Float[Tensor, " tasks"]

    @classmethod
    def fit(
        cls, law: Law, targets: Shaped[Tensor, "tasks n"], known: Bool[Tensor, "tasks n"], *, spread: float = SPREAD
    ) -> "Temperature":
        """Return the posterior mean of each task's sharpness.

        Args:
            law: of cases that the method did not know.
            targets: of the cases.
            known: cases that count; a task without any keeps its law.
            spread: prior standard deviation of the sharpness.
        """
        heights = []
        for step in _GRID:
            each = cls(step.expand(len(targets)))(law).log_prob(targets).masked_fill(~known, 0)
            heights.append(each.double().sum(1) - 0.5 * (step / spread) ** 2)
        share = torch.softmax(torch.stack(heights, dim=-1), dim=-1)
        return cls((share * _GRID).sum(-1))

    def __call__(self, law: Law) -> Law:
        """Return the law of each case, `[tasks, cases]`, at the task's temperature."""
        times = self.sharpness.exp()[:, None]
        if isinstance(law, Categorical):
            return Categorical(logits=law.logits * times[..., None].to(law.logits), validate_args=False)
        return Normal(law.mean, law.stddev / times.to(law.stddev), validate_args=False)


@dataclass(frozen=True)
class Beta:
    """Of each class against the others: log-odds a log p - b log(1 - p) + c; with more than two classes the probabilities are then normalised."""

    change: Float[Tensor, "tasks classes 3"]
    """a - 1, b - 1 and c."""

    @classmethod
    def fit(
        cls,
        law: Categorical,
        targets: Shaped[Tensor, "tasks n"],
        known: Bool[Tensor, "tasks n"],
        *,
        spread: float = SPREAD,
    ) -> "Beta":
        """Return the maximum a posteriori of each task's map. Arguments as those of `Temperature.fit`."""
        found = []
        for chosen in _against(law):
            design = spread * _sides(law, chosen)
            hit = (targets == chosen).double()
            fitted = task_posterior(design, _log_odds(law, chosen), hit, known.double(), kind="binary")
            found.append(spread * fitted.mode)
        return cls(torch.stack(found, dim=1))

    def __call__(self, law: Law) -> Law:
        """Return the law of each case, `[tasks, cases]`."""
        assert isinstance(law, Categorical)
        odds = [
            _log_odds(law, chosen) + (_sides(law, chosen) @ self.change[:, at, :, None])[..., 0]
            for at, chosen in enumerate(_against(law))
        ]
        return _law_of_odds(odds, law)


@dataclass(frozen=True)
class Isotonic:
    """Of each class against the others: the step function that never falls and fits best, with straight lines between the steps.

    Its ends are drawn in by one case, (k + 1) / (n + 2), so that no probability is 0 or 1 after so many cases.
    """

    steps: Sequence[Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]]]
    """Task -> class -> probabilities as they are, and what they become."""

    @classmethod
    def fit(cls, law: Categorical, targets: Shaped[Tensor, "tasks n"], known: Bool[Tensor, "tasks n"]) -> "Isotonic":
        """Return each task's steps. Arguments as those of `Temperature.fit`; a task without a known case keeps its law."""
        probability = law.probs.double().numpy()
        tasks = []
        for task, there in enumerate(known.numpy()):
            steps = []
            for chosen in _against(law):
                asked = probability[task, there, chosen]
                hit = (targets[task].numpy()[there] == chosen).astype(float)
                steps.append(_steps(asked, hit))
            tasks.append(steps)
        return cls(tasks)

    def __call__(self, law: Law) -> Law:
        """Return the law of each case, `[tasks, cases]`."""
        assert isinstance(law, Categorical)
        probability = law.probs.double().numpy()
        odds = []
        for at, chosen in enumerate(_against(law)):
            rows = [np.interp(probability[task, :, chosen], *steps[at]) for task, steps in enumerate(self.steps)]
            odds.append(torch.logit(torch.from_numpy(np.stack(rows)), eps=_LEAST))
        return _law_of_odds(odds, law)


Map: TypeAlias = Temperature | Beta | Isotonic


def _steps(asked: NDArray[np.float64], hit: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if len(asked) == 0:
        return np.array([0.0, 1.0]), np.array([0.0, 1.0])
    rising = IsotonicRegression().fit(asked, hit)
    low, high = 1 / (len(hit) + 2), (len(hit) + 1) / (len(hit) + 2)
    return np.asarray(rising.X_thresholds_), np.clip(rising.y_thresholds_, low, high)


def _against(law: Categorical) -> range:
    """Return the classes that a map is fitted for: of two the second tells all."""
    n_classes = law.logits.shape[-1]
    return range(1, 2) if n_classes == 2 else range(n_classes)


def _log_odds(law: Categorical, chosen: int) -> Float[Tensor, "tasks n"]:
    probability = law.probs[..., chosen].double().clamp(_LEAST, 1 - _LEAST)
    return torch.logit(probability)


def _sides(law: Categorical, chosen: int) -> Float[Tensor, "tasks n 3"]:
    """Return log p, -log(1 - p) and 1."""
    probability = law.probs[..., chosen].double().clamp(_LEAST, 1 - _LEAST)
    return torch.stack([probability.log(), -torch.log1p(-probability), torch.ones_like(probability)], dim=-1)


def _law_of_odds(odds: Sequence[Tensor], law: Categorical) -> Categorical:
    if len(odds) == 1:
        logits = torch.stack([torch.zeros_like(odds[0]), odds[0]], dim=-1)
    else:
        logits = torch.sigmoid(torch.stack(list(odds), dim=-1)).log()
    return Categorical(logits=logits.to(law.logits.dtype), validate_args=False)
