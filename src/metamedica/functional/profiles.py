"""What each earlier task measured of a case: the covariance that a new task's targets have because the earlier tasks' had it.

Let r_t(x) be the target of case x in earlier task t around the common mean and the task's own level, 0 where t has not measured x, of T
tasks. The targets of a new task in two cases then share the covariance

    v P(x, x'),    P(x, x') = 1/T sum_t r_t(x) r_t(x'),

the second moment over the earlier tasks: a covariance between cases that is learned from tasks, without a formula (Yu, Tresp and
Schwaighofer 2005, Learning Gaussian processes from multiple tasks, doi:10.1145/1102351.1102479), and the same as a linear model
sum_t w_t r_t(x) with weights w_t ~ N(0, v / T). Two cases that no task measured together have none. P explains part of what the kernels
explain of a new case, so where a case is known its own part, of covariance K, is sqrt(a) times as large, with a at most 1:

    cov(y(x), y(x')) = d(x) d(x') K(x, x') + v P(x, x'),    d = sqrt(a) for a known case and 1 for a new one.

A new task that is described (`descriptions`) takes more after some earlier tasks than after others: w_t sums to 1 over them. Its weights are then
drawn around these, which gives it an expectation and another second moment,

    w_t ~ N(l near_t, v s_t),    E y(x) = ... + l sum_t near_t r_t(x),    P(x, x') = sum_t s_t r_t(x) r_t(x'),    s_t = (near_t + 1/T) / 2,

so that an unlike task keeps half of what it counts without a description. a, v and l, and how fast likeness falls off, maximise the marginal
likelihood of the earlier tasks, each without its own part of P. A case is known again by its hash (`case_effects.content_hash`).
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from scipy.optimize import minimize
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function

from metamedica.functional.case_effects import Around, recalled
from metamedica.functional.descriptions import Descriptions, near
from metamedica.functional.fitted import Fitted

_BOUNDS = ((math.log(1e-3), 0.0), (math.log(1e-3), math.log(1e2)), (0.0, 2.0))
"""Of the logarithms of a and v, and of l."""


class Shares(NamedTuple):
    """What is left of the kernels' part in known cases, a, the weight of P, v, that of near tasks in the expectation, l, and the width of
    `descriptions.near`, 0 where descriptions tell nothing."""

    left: float
    profile: float
    after: float = 0.0
    width: float = 0.0

    def buffers(self) -> dict[str, Tensor]:
        """Return those of `Profiles`."""
        return {"shares": torch.tensor([self.left, self.profile]), "nearness": torch.tensor([self.after, self.width])}


class Told(NamedTuple):
    """What descriptions say of earlier tasks at one width."""

    width: float
    profiles: Float[Tensor, "tasks n n"]
    """P with s_t for 1/T."""
    expected: Float[Tensor, "tasks n"]
    """sum_t near_t r_t."""


class Weights(NamedTuple):
    """Of earlier tasks, for each new task that may be described."""

    spread: Float[Tensor, "new tasks"]
    """s_t."""
    after: Float[Tensor, "new tasks"]
    """l near_t."""


def spread(nearness: Float[Tensor, "*new tasks"], even: Float[Tensor, "*new tasks"]) -> Float[Tensor, "*new tasks"]:
    """Return s_t, half of it even."""
    return (nearness + even) / 2


class Stored(NamedTuple):
    """Single values of known cases, those of one case in a row."""

    known: Int64[Tensor, " cases"]
    """Hashes in ascending order."""
    starts: Int64[Tensor, " places"]
    """The values of the case at place i are those from starts[i] to starts[i + 1]."""
    tasks: Tensor
    """Earlier task of each value."""
    residuals: Float[Tensor, " values"]


class Profiles(Fitted):
    """Buffers: those of `Stored`; `squares`, P(x, x) of each known case; `count`, T; `shares`, a and v; `nearness`, l and the width. Nothing
    is known before `keep`. `descriptions` are those of the earlier tasks."""

    def __init__(self) -> None:
        whole = torch.zeros(0, dtype=torch.int64)
        super().__init__(
            {
                "known": whole,
                "starts": torch.zeros(1, dtype=torch.int64),
                "tasks": whole.to(torch.int32),
                "residuals": torch.zeros(0),
                "squares": torch.zeros(0),
                "count": torch.zeros((), dtype=torch.int64),
                "shares": torch.tensor([1.0, 0.0]),
                "nearness": torch.zeros(2),
            }
        )
        self.descriptions = Descriptions()

    def __len__(self) -> int:
        """Return how many cases are known."""
        return len(self["known"])

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        for name, buffer in Profiles().named_buffers():  # what was written before there were profiles, or descriptions
            state_dict.setdefault(prefix + name, buffer)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    @property
    def _stored(self) -> Stored:
        return Stored(*(self[name] for name in Stored._fields))

    def amplitude(self, hashes: Int64[Tensor, "tasks n"]) -> Float[Tensor, "tasks n"]:
        """Return d of each case."""
        less = self["shares"][0].sqrt() - 1
        return 1 + recalled(hashes, self["known"], less.expand(len(self)))

    def weights(self, about: Float[Tensor, "new size"] | None) -> Weights | None:
        """Return the weights of the earlier tasks for tasks of these descriptions, 0 where there is none; None where none tells anything."""
        if about is None or not self.descriptions:
            return None
        told = about.abs().sum(1, keepdim=True) > 0
        leaning, width = self["nearness"]
        nearness = near(self.descriptions.likeness(about), width)
        even = torch.full_like(nearness, 1 / nearness.shape[1])
        return Weights(torch.where(told, spread(nearness, even), even), leaning * nearness * told)

    def expected(self, hashes: Int64[Tensor, "tasks n"], weights: Weights) -> Float[Tensor, "tasks n"]:
        """Return what near tasks lead to expect of each case around the common mean; 0 of one that is not known."""
        return profile_products(hashes, self._stored, weights.after[..., None])[..., 0]

    def covariance(
        self, left: Int64[Tensor, "tasks n"], right: Int64[Tensor, "tasks m"], weights: Weights | None = None
    ) -> Float[Tensor, "tasks n m"]:
        """Return v P between cases of these hashes."""
        columns = profile_rows(right, self._stored, int(self["count"])).mT
        share = 1 / self["count"] if weights is None else weights.spread[..., None]
        return profile_products(left, self._stored, columns * (self["shares"][1] * share))

    def variance(self, hashes: Int64[Tensor, "tasks n"], weights: Weights | None = None) -> Float[Tensor, "tasks n"]:
        """Return v P of each case with itself."""
        if weights is None:
            return recalled(hashes, self["known"], self["shares"][1] * self["squares"])
        squares = self._stored._replace(residuals=self["residuals"].square())
        return profile_products(hashes, squares, self["shares"][1] * weights.spread[..., None])[..., 0]


def _places(hashes: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Return which hashes are known, and where the known ones stand."""
    at = torch.searchsorted(known, hashes).clamp(max=len(known) - 1)
    there = known[at] == hashes
    return there, at[there]


def profile_rows(hashes: Int64[Tensor, "*batch"], stored: Stored, count: int) -> Float[Tensor, "*batch count"]:
    """Return r_t of each case in all earlier tasks, of which there are `count`; 0 for a case that is not known."""
    known, starts, tasks, residuals = stored
    there, places = _places(hashes, known)
    begin, many = starts[places], starts[places + 1] - starts[places]
    row = torch.repeat_interleave(torch.arange(len(places), device=hashes.device), many)
    step = torch.arange(len(row), device=hashes.device) - torch.repeat_interleave(many.cumsum(0) - many, many)
    at = torch.repeat_interleave(begin, many) + step
    dense = residuals.new_zeros(len(places), count)
    dense[row, tasks[at].long()] = residuals[at]
    found = residuals.new_zeros(*hashes.shape, count)
    found[there] = dense
    return found


def profile_products(
    hashes: Int64[Tensor, "tasks n"], stored: Stored, columns: Float[Tensor, "tasks count m"]
) -> Float[Tensor, "tasks n m"]:
    """Return `profile_rows(hashes, stored, count) @ columns`, one operator to whoever traces."""
    if has_torch_function((hashes,)):
        found: Tensor = handle_torch_function(profile_products, (hashes,), hashes, stored, columns)
        return found
    products: Tensor = torch.matmul(profile_rows(hashes, stored, columns.shape[-2]), columns)
    return products


def gathered(seen: Sequence[Around], *, most: int) -> dict[str, Tensor]:
    """Return the buffers of `Profiles` but those of `Shares`, from every earlier task's residuals.

    Args:
        seen: of each task, in the order that numbers them.
        most: values that are kept, those with the largest absolute residual.
    """
    hashes, values = torch.cat([task.hashes for task in seen]), torch.cat([task.residuals for task in seen])
    number = torch.repeat_interleave(torch.arange(len(seen)), torch.tensor([len(task.hashes) for task in seen]))
    if len(values) > most:
        kept = values.abs().argsort(descending=True, stable=True)[:most].sort().values
        hashes, values, number = hashes[kept], values[kept], number[kept]
    order = hashes.argsort(stable=True)
    known, many = torch.unique_consecutive(hashes[order], return_counts=True)
    values, row = values[order], torch.repeat_interleave(torch.arange(len(known)), many)
    squares = values.new_zeros(len(known)).index_add(0, row, values.square()) / len(seen)
    return {
        "known": known,
        "starts": torch.cat([many.new_zeros(1), many.cumsum(0)]),
        "tasks": number[order].to(torch.int32),
        "residuals": values,
        "squares": squares,
        "count": torch.tensor(len(seen)),
    }


def fit_shares(
    own: Float[Tensor, "tasks n n"],
    noise: Float[Tensor, "tasks n n"],
    profiles: Float[Tensor, "tasks n n"],
    known: Bool[Tensor, "tasks n"],
    targets: Float[Tensor, "tasks n"],
    mask: Bool[Tensor, "tasks n"],
    told: Sequence[Told] = (),
) -> Shares | None:
    """Return the shares that maximise the marginal likelihood summed over tasks, or None where the profiles do not raise it.

    Args:
        own: K of each task's cases; neither this nor what follows is read where padded.
        noise: what is added to the covariance of either part.
        profiles: P without the task's own residuals.
        known: cases that another task has measured.
        targets: around the common mean; 0 where padded.
        mask: real cases.
        told: what descriptions say at each width that is tried; none where no task is described.
    """
    both, eye = mask[:, :, None] & mask[:, None, :], torch.eye(mask.shape[1], dtype=torch.float64)
    seen = known.double()

    nothing = Told(0.0, profiles, torch.zeros_like(targets))

    def minus_log_likelihood(each: Told, left: Tensor, profile: Tensor, after: Tensor) -> Tensor:
        amplitude = 1 + (left.sqrt() - 1) * seen
        covariance = own * amplitude[:, :, None] * amplitude[:, None, :] + profile * each.profiles + noise
        cholesky = torch.linalg.cholesky(torch.where(both, covariance, eye))
        rest = (targets - after * each.expected)[..., None]
        whitened = torch.linalg.solve_triangular(cholesky, rest, upper=False)
        loss: Tensor = 0.5 * whitened.square().sum() + cholesky.diagonal(dim1=-2, dim2=-1).log().sum()
        return loss

    def objective(at: Any, each: Told) -> tuple[float, Any]:
        place = torch.tensor(at, dtype=torch.float64).requires_grad_()
        left, profile = place[:2].exp().unbind()
        loss = minus_log_likelihood(each, left, profile, place[2])
        (slope,) = torch.autograd.grad(loss, place)
        return float(loss.detach()), slope.numpy()

    def best(each: Told) -> tuple[float, Shares]:
        start = [math.log(0.5), math.log(0.1), 0.5 if each.width else 0.0]
        found = minimize(objective, start, args=(each,), jac=True, method="L-BFGS-B", bounds=_BOUNDS)
        left, profile = map(math.exp, found.x[:2])
        return float(found.fun), Shares(left, profile, float(found.x[2]) if each.width else 0.0, each.width)

    with torch.enable_grad():
        loss, shares = min((best(each) for each in [nothing, *told]), key=lambda found: found[0])
    one, none = torch.ones((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    return shares if loss < float(minus_log_likelihood(nothing, one, none, none)) else None
