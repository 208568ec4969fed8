"""Sets and intervals that hold the target as often as they say, from laws of cases that the method did not know.

The score of a case is 1 - p(target) for classes (Sadinle, Lei and Wasserman 2019) and |target - mean| / standard deviation for numbers (Lei et al.
2018); with the scores of n labelled cases, each by the method adapted to the others, the threshold of coverage c is the ceil(c (n + 1))-th smallest
(the jackknife of Barber et al. 2021). Where the method changes little by one case, sets of all targets whose score is not above it hold the true
one with probability c or a little more. With cases that come from elsewhere the scores are weighted by how much denser such cases lie there
(Tibshirani et al. 2019).
"""

import torch
from jaxtyping import Bool, Float, Shaped
from scipy.stats import norm
from torch import Tensor
from torch.distributions import Categorical

from metamedica.errors import TaskError
from metamedica.types import Law


def check_coverage(coverage: float) -> None:
    """Refuse a coverage that no set can have, or that every set has.

    Raises:
        TaskError: it is not between 0 and 1.
    """
    if not 0 < coverage < 1:
        raise TaskError(f"got coverage {coverage}; give a number between 0 and 1, such as 0.9")


def nonconformity(law: Law, targets: Shaped[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
    """Return how badly each target fits what was said of its case."""
    if isinstance(law, Categorical):
        return 1 - law.probs.double().gather(-1, targets[..., None])[..., 0]
    return (targets.double() - law.mean.double()).abs() / law.stddev.double()


def reach(n_known: Tensor | int) -> Tensor:
    """Return the largest coverage that so many labelled cases can vouch for, n / (n + 1)."""
    count = torch.as_tensor(n_known, dtype=torch.float64)
    return count / (count + 1)


def threshold(
    scores: Float[Tensor, "tasks n"],
    known: Bool[Tensor, "tasks n"],
    coverage: float,
    *,
    weight: Float[Tensor, "tasks n"] | None = None,
    own: Float[Tensor, "tasks m"] | None = None,
) -> Float[Tensor, "tasks m"]:
    """Return the largest score that belongs to the set; infinite where the labelled cases cannot vouch for the coverage.

    Args:
        scores: of the labelled cases; anything where not `known`.
        known: cases that count.
        coverage: between 0 and 1.
        weight: of each labelled case (Tibshirani et al. 2019, equation 8); None: all alike.
        own: weight of each case that is asked about; needed with `weight`, and then each has a threshold of its own; otherwise m is 1.

    Raises:
        TaskError: a coverage that is not between 0 and 1.
    """
    check_coverage(coverage)
    counted, asked = _weights(known, weight, own)
    order = scores.double().masked_fill(~known, float("inf")).argsort(dim=1, stable=True)
    ranked = scores.double().gather(1, order).masked_fill(~known.gather(1, order), float("inf"))
    mass = counted.gather(1, order).cumsum(1)
    wanted = coverage * (counted.sum(1, keepdim=True) + asked)
    place = torch.searchsorted(mass, wanted - 1e-9)
    padded = torch.cat([ranked, ranked.new_full((len(ranked), 1), float("inf"))], dim=1)
    return padded.gather(1, place)


def sets(law: Categorical, largest: Float[Tensor, "tasks #m"]) -> Bool[Tensor, "tasks m classes"]:
    """Return which classes belong to the set of each case; the likeliest always does, so no set is empty.

    Args:
        law: of the cases.
        largest: `threshold` of each.
    """
    probability = law.probs.double()
    inside = 1 - probability <= largest[..., None]
    likeliest = torch.nn.functional.one_hot(probability.argmax(-1), probability.shape[-1]).bool()
    return inside | likeliest


def half_width(
    scores: Float[Tensor, "tasks n"],
    known: Bool[Tensor, "tasks n"],
    coverage: float,
    *,
    weight: Float[Tensor, "tasks n"] | None = None,
    own: Float[Tensor, "tasks m"] | None = None,
) -> Float[Tensor, "tasks m"]:
    """Return how many standard deviations an interval reaches to each side of the mean.

    Up to the coverage that the labelled cases vouch for it is their `threshold`. Beyond, where that is infinite, it is what the normal law says,
    widened as the largest score asks for, so that a wider coverage always holds a narrower one. Arguments as those of `threshold`.
    """
    found = threshold(scores, known, coverage, weight=weight, own=own)
    counted, asked = _weights(known, weight, own)
    worst = torch.cat([scores.double().masked_fill(~known, 0), torch.zeros(len(scores), 1, dtype=torch.float64)], dim=1)
    largest = worst.amax(1, keepdim=True)
    total = counted.sum(1, keepdim=True)
    most = total / (total + asked)
    wider = torch.where(most > 0, largest / _normal_half_width(most.clamp(min=1e-9)), torch.ones_like(most)).clamp(
        min=1
    )
    beyond = wider * _normal_half_width(torch.full_like(most, coverage))
    return torch.where(torch.isfinite(found), found, beyond)


def _weights(
    known: Bool[Tensor, "tasks n"], weight: Tensor | None, own: Tensor | None
) -> tuple[Float[Tensor, "tasks n"], Float[Tensor, "tasks m"]]:
    """Return what each labelled case counts for, 0 where not known, and each case that is asked about."""
    counted = known.double() if weight is None else weight.double() * known
    return counted, torch.ones(len(known), 1, dtype=torch.float64) if own is None else own.double()


def _normal_half_width(coverage: Tensor) -> Tensor:
    return torch.from_numpy(norm.ppf(0.5 + coverage.numpy() / 2))
