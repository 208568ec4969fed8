"""A pooled score that a task's cases change beside those of earlier tasks, which it therefore keeps."""

import torch
from jaxtyping import Float
from torch import Tensor

from metamedica.functional.case_effects import content_hash
from metamedica.functional.target_cases import MovedScore, Target
from metamedica.types import RawEncoder
from metamedica.unlabelled import KeepsCases

_FEWEST = 20
"""Cases of an earlier task that are kept at least, however many tasks there are."""


class KeptSource(MovedScore, KeepsCases):
    """A `MovedScore` whose source holds feature rows and targets of earlier cases, as the buffers `rows` and `targets`.

    Args:
        raw: its `flat` features are the inputs.
        signals: prior variances of the score of a usual case that are tried for the pooled model.
        most_kept: cases of all earlier tasks together that are kept, drawn by chance; at least 20 a task.
    """

    def __init__(self, raw: RawEncoder, *, signals: tuple[float, ...], most_kept: int) -> None:
        super().__init__(raw, signals=signals, most_cases=most_kept)

    def _most_of(self, n_tasks: int) -> int:
        return max(_FEWEST, self.most_cases // max(1, n_tasks))

    def n_kept(self) -> int:
        """Return how many rows of earlier tasks' cases it holds."""
        return sum(len(self.taught.of(kind)["targets"]) for kind in self.kinds)


def some_of(target: Target, most: int) -> Target:
    """Return at most so many cases of each task, drawn by chance: the same ones whatever their order and padding.

    Those whose content has the smallest hashes are taken, so that the cost of comparing cases with each other is bounded.
    """
    if target.weight.shape[1] <= most:
        return target
    first = content_hash(target.flat).masked_fill(target.weight == 0, torch.iinfo(torch.int64).max)
    rows = first.argsort(dim=1, stable=True)[:, :most]
    return Target(
        target.flat.gather(1, rows[..., None].expand(-1, -1, target.flat.shape[-1])), target.weight.gather(1, rows)
    )


def trusted(weight: Float[Tensor, "tasks n"], cases: Tensor) -> Float[Tensor, " tasks"]:
    """Return how far the cases of each task may change the score: n / (n + cases), 0 where there is none.

    Args:
        weight: 1 for a case, 0 where padded.
        cases: so many the score as it is is worth, above 0; infinite: they do not count.
    """
    count = weight.sum(1)
    return count / (count + cases)
