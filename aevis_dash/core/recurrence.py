"""This module counts in how many examples each map is one of the chosen ones, and says what chance would give.

A map is *gained* in an example where it is critical to adv and not to src, and *lost* where it is critical to src and
not to adv. Chance keeps, for every example e and every layer l, the number t_el of the layer's maps that are gained (or
lost). It draws them anew from the o_el maps of the layer that could be: for the gained those not critical to src, for
the lost those critical to src. A map m that could be is then drawn with probability t_el / o_el. Examples are drawn
apart from one another, so the number c_m of examples in which m is drawn has a Poisson-binomial distribution.

There are E examples and n maps.
"""

from dataclasses import dataclass

import numpy as np

from aevis_dash.domain import LayerGraph

RARE = 0.05
"""The share of draws in which some map may be drawn in more than `most` examples."""


@dataclass(frozen=True)
class Recurrence:
    """In how many of some examples each map is chosen, and in how many it would be by chance.

    Attributes:
        counts: the number of examples in which the map is chosen, int (n,).
        expected: the mean of that number over draws, (n,): the sum over examples of t_el / o_el.
        most: the smallest k for which the probabilities P(c_m > k) of all n maps add up to at most RARE. So in at least
            95 % of draws no map at all is chosen in more than `most` examples.
    """

    counts: np.ndarray
    expected: np.ndarray
    most: int


def recurrence(graph: LayerGraph, could: np.ndarray, chosen: np.ndarray) -> Recurrence:
    """Count in how many examples each map is chosen, beside what chance gives.

    Args:
        graph: the layers of the network.
        could: which maps could be chosen in each example, bool (E, n).
        chosen: which of them are, bool (E, n).

    Raises:
        ValueError: for a chosen map that could not be.
    """
    if (chosen & ~could).any():
        raise ValueError("a map is chosen that could not be")
    chances = [_chances(a, b) for a, b in zip(graph.parts(could), graph.parts(chosen), strict=True)]
    tails = sum((more_than(layer).sum(axis=0) for layer in chances), np.zeros(len(could) + 1))
    expected = np.concatenate([layer.sum(axis=0) for layer in chances])
    most = int(np.flatnonzero(tails <= RARE + _ROUNDING)[0])
    return Recurrence(chosen.sum(axis=0), expected, most)


def more_than(chances: np.ndarray) -> np.ndarray:
    """Give the probabilities P(c > k) of a sum c of independent yes-or-no draws, for several such sums.

    The distribution is built up draw by draw: P_e(c = k) = P_{e-1}(c = k) (1 - p_e) + P_{e-1}(c = k - 1) p_e.

    Args:
        chances: the probabilities p of E draws for each of m sums, (E, m).

    Returns:
        P(c > k) for k = 0, ..., E, (m, E + 1).
    """
    exactly = np.zeros((chances.shape[1], len(chances) + 1))
    exactly[:, 0] = 1
    for done, chance in enumerate(chances, start=1):
        up = exactly[:, :done] * chance[:, None]
        exactly[:, :done] -= up
        exactly[:, 1 : done + 1] += up
    above = np.cumsum(exactly[:, ::-1], axis=1)[:, ::-1]
    return np.concatenate([above[:, 1:], np.zeros((len(above), 1))], axis=1)


_ROUNDING = 1e-9
"""What the sum of the probabilities may be above RARE by rounding."""


def _chances(could: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """The probability that each map of one layer is drawn in each example, (E, n_l)."""
    share = chosen.sum(axis=1) / np.maximum(could.sum(axis=1), 1)
    return np.where(could, share[:, None], 0.0)
