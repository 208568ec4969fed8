"""Do explanations tell what an answer rests on? The deletion test.

The parts of a case are taken away one after another, the one that contributes most first, and the answer is asked anew each time. Where the
contributions are right, it falls sooner than when parts are taken in an order by chance (Petsiuk, Das and Saenko 2018, arXiv:1806.07421).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metamedica.errors import InputError
from metamedica.predictors.explanation import Explanation

ORDERS = 16
_BOOTSTRAP = 2000


@dataclass(frozen=True)
class Deletion:
    """What the deletion test found.

    A drop is how far the answer falls below that for the whole case, mean over the steps of taking all parts away: log-odds, or the target's unit.

    Args:
        by_contribution: drop of each case, the largest contribution taken first.
        by_chance: mean drop of each case over orders by chance.
        gain: mean over cases of the first minus the second; above 0 is better than chance.
        low: lower end of its 95 % interval, cases drawn anew.
        high: upper end.
        share_better: share of the cases whose drop is larger than by chance.
    """

    by_contribution: NDArray[np.float64]
    by_chance: NDArray[np.float64]
    gain: float
    low: float
    high: float
    share_better: float

    @property
    def better(self) -> bool:
        """Whether contributions order the parts better than chance beyond doubt: the interval is above 0."""
        return self.low > 0

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON value without a case's own figures."""
        return {
            "cases": len(self.by_contribution),
            "drop": float(self.by_contribution.mean()),
            "drop_by_chance": float(self.by_chance.mean()),
            "gain": self.gain,
            "interval": [self.low, self.high],
            "share_better": self.share_better,
            "better": self.better,
        }


def deletion_test(explanations: Sequence[Explanation], *, orders: int = ORDERS, seed: int = 0) -> Deletion:
    """Return how much sooner answers fall when parts are taken away by their contribution than by chance.

    Args:
        explanations: as a predictor gave them, of cases with at least two parts; others are left out.
        orders: by chance, a case.
        seed: of these orders and of the interval.

    Raises:
        InputError: no case with at least two parts.
    """
    rng = np.random.default_rng(seed)
    ours, chance = [], []
    for each in explanations:
        count = len(each.parts)
        if count < 2:
            continue
        ordered = np.argsort(-each.contributions, kind="stable")
        every = np.stack([ordered, *(rng.permutation(count) for _ in range(orders))])
        rank = every.argsort(axis=1)
        # After step k of an order the parts of rank k and more are there.
        present = rank[:, None, :] >= np.arange(1, count + 1)[None, :, None]
        left = each.answer_with(present.reshape(-1, count)).reshape(1 + orders, count)
        drop = each.output - left.mean(1)
        ours.append(drop[0])
        chance.append(drop[1:].mean())
    if not ours:
        raise InputError("no explained case has two parts or more; give cases whose order of parts can be tested")
    by_contribution, by_chance = np.array(ours), np.array(chance)
    gap = by_contribution - by_chance
    drawn = gap[rng.integers(0, len(gap), (_BOOTSTRAP, len(gap)))].mean(1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Deletion(by_contribution, by_chance, float(gap.mean()), float(low), float(high), float((gap > 0).mean()))
