"""Shapley values of a game: what each player adds to what all of them are worth, averaged over the orders in which they may come.

    phi_i = sum over S without i of |S|! (n - |S| - 1)! / n!  (v(S + i) - v(S))            (Shapley 1953)

They are also the weighted least squares fit of v by a sum over the players that are there, exact for nobody and for all, with the weight
(n - 1) / (C(n, |S|) |S| (n - |S|)) of a coalition (Lundberg and Lee 2017, arXiv:1705.07874, theorem 2). With few players every coalition is
asked. With many, the smallest and largest coalitions are asked one and all, as long as the budget lasts, and of those between a sample of
pairs, each with its complement, which takes most of the variance away (Covert and Lee 2021, arXiv:2012.01536, section 4.2). In either case
the values sum to v(all) - v(nobody), and a game that is a sum over its players is found exactly.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from metamedica.errors import InputError

FEW_PLAYERS = 8
"""Up to so many, all coalitions are asked for (at most 256), whatever the budget."""
Game = Callable[[NDArray[np.bool_]], NDArray[np.float64]]
"""`[coalitions, players]`, true where a player is there -> what each coalition is worth, `[coalitions]` or `[coalitions, games]`."""


@dataclass(frozen=True)
class Coalitions:
    """Which coalitions are asked, and how their worths become Shapley values.

    Args:
        present: `[coalitions, players]`; nobody first, all second.
        solve: `[players, coalitions]`: Shapley values are `solve @ worths`.
        complete: whether every coalition is asked, so that the values are exact.
    """

    present: NDArray[np.bool_]
    solve: NDArray[np.float64]
    complete: bool

    def values(self, worths: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the Shapley values `[players]` (`[players, games]`) from the worths of `present`; they sum to those of all minus nobody's."""
        worths = np.asarray(worths, dtype=np.float64)
        found: NDArray[np.float64] = self.solve @ (worths - worths[:1])
        # The constraint holds up to rounding; what rounding left is shared, so that it holds to the last bits.
        found += (worths[1] - worths[0] - found.sum(0)) / max(len(found), 1)
        return found


def fewest_coalitions(players: int) -> int:
    """Return the smallest budget that tells of all players: everyone alone, all but one, nobody and all."""
    return 2**players if players <= FEW_PLAYERS else 2 * players + 2


def shapley_values(game: Game, players: int, *, coalitions: int, seed: int = 0) -> NDArray[np.float64]:
    """Return the Shapley values of a game, `[players]`, or `[players, games]` where it is worth several numbers.

    Args:
        game: asked once, of all coalitions.
        players: their number.
        coalitions: most coalitions that are asked; all are where they are no more, or the players at most eight.
        seed: of the coalitions that are drawn.

    Raises:
        InputError: fewer coalitions than tell of all players.
    """
    asked = coalitions_of(players, coalitions=coalitions, seed=seed)
    return asked.values(np.asarray(game(asked.present), dtype=np.float64))


@lru_cache(maxsize=64)
def coalitions_of(players: int, *, coalitions: int, seed: int = 0) -> Coalitions:
    """Return the coalitions to ask; the arguments are those of `shapley_values`."""
    if players < 0:
        raise InputError(f"got {players} players; give none or more")
    least = fewest_coalitions(players)
    if players > FEW_PLAYERS and coalitions < least:
        raise InputError(f"got {coalitions} coalitions for {players} parts; give at least {least}")
    ends = np.stack([np.zeros(players, bool), np.ones(players, bool)])
    if players < 2:
        return _sealed(Coalitions(ends, np.tile([0.0, 1.0], (players, 1)), complete=True))
    complete = players <= FEW_PLAYERS or 2**players <= coalitions
    present, weight = _every(players) if complete else _some(players, coalitions - 2, np.random.default_rng(seed))
    return _sealed(Coalitions(np.concatenate([ends, present]), _solution(present, weight), complete))


def _sealed(found: Coalitions) -> Coalitions:
    found.present.flags.writeable = False  # it is remembered
    found.solve.flags.writeable = False
    return found


def _size_weight(players: int) -> NDArray[np.float64]:
    """Return, for sizes 1 to players - 1, what all coalitions of a size weigh together: (n - 1) / (s (n - s))."""
    size = np.arange(1, players, dtype=np.float64)
    weight: NDArray[np.float64] = (players - 1) / (size * (players - size))
    return weight


def _every(players: int) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return every coalition but nobody and all, and its weight."""
    numbers = np.arange(1, 2**players - 1)
    present = (numbers[:, None] >> np.arange(players)) & 1 > 0
    size = present.sum(1)
    ways = np.array([math.comb(players, int(each)) for each in range(1, players)], dtype=np.float64)
    return present, (_size_weight(players) / ways)[size - 1]


def _of_size(players: int, size: int) -> NDArray[np.bool_]:
    """Return all coalitions of size 1 or 2, in order."""
    if size == 1:
        return np.eye(players, dtype=bool)
    first, second = np.triu_indices(players, 1)
    present = np.zeros((len(first), players), dtype=bool)
    present[np.arange(len(first)), first] = present[np.arange(len(first)), second] = True
    return present


def _some(players: int, budget: int, rng: np.random.Generator) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return at most `budget` coalitions and their weights: whole sizes from the ends inwards, then pairs drawn by weight."""
    total = _size_weight(players)
    parts, weights = [], []
    whole = 0
    for size in (1, 2):
        ways = math.comb(players, size)
        last = 2 * size == players
        if 2 * size > players or ways * (1 if last else 2) > budget:
            break
        there = _of_size(players, size)
        sides = [there] if last else [there, ~there]
        parts += sides
        weights += [np.full(ways, total[size - 1] / ways)] * len(sides)
        budget -= ways * len(sides)
        whole = size
    inner = np.arange(whole + 1, players - whole)
    left = total[whole : players - 1 - whole]
    pairs = budget // 2
    if len(inner) and pairs:
        sizes = rng.choice(inner, size=pairs, p=left / left.sum())
        rank = rng.random((pairs, players)).argsort(1).argsort(1)
        drawn = rank < sizes[:, None]
        found, count = np.unique(np.concatenate([drawn, ~drawn]), axis=0, return_counts=True)
        parts.append(found)
        weights.append(count * left.sum() / (2 * pairs))
    return np.concatenate(parts), np.concatenate(weights)


def _solution(present: NDArray[np.bool_], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the map from worths (nobody's, all's, then those of `present`, all minus nobody's) to the constrained fit.

    Minimises sum_S w_S (v(S) - sum_{i in S} phi_i)^2 subject to sum_i phi_i = v(all); Lagrange: phi = A^-1 (b - 1 (1^T A^-1 b - v(all)) / 1^T A^-1 1)
    with A = Z^T W Z and b = Z^T W v.
    """
    there = present.astype(np.float64)
    weighted = there * (weight / weight.sum())[:, None]
    free = np.linalg.solve(there.T @ weighted, np.concatenate([weighted.T, np.ones((there.shape[1], 1))], axis=1))
    fit, even = free[:, :-1], free[:, -1]
    share = even / even.sum()
    fit = fit - np.outer(share, fit.sum(0))
    return np.concatenate([np.zeros((len(fit), 1)), share[:, None], fit], axis=1)
