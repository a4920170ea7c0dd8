"""Random sets of maps, of one layer or of all, which stand beside a set that was found: what chance gives."""

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np

_FEW = 4
"""All possible random sets are listed and drawn from the list where there are at most this times as many as asked
for."""


def random_sets(differ: np.ndarray, order: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Draw the random sets that stand beside a set of maps.

    Args:
        differ: which maps differ between the two runs, bool (n_l,); only these are drawn.
        order: the channels of the set, (k,).
        count: how many random sets are wanted.
        seed: the seed of the drawing.

    Returns:
        Sets of k maps, bool (c, n_l), each once and none the set itself. There are `count` of them, or all sets that
        there are where these are fewer.
    """
    if not len(order):
        return np.zeros((0, len(differ)), bool)
    random, among, size = np.random.default_rng(seed), np.flatnonzero(differ), len(order)
    if size == 1:
        others = random.permutation(np.setdiff1d(among, order))[:count]
        return others[:, None] == np.arange(len(differ))
    own = tuple(sorted(order.tolist()))
    if math.comb(len(among), size) <= _FEW * count:
        every = [each for each in combinations(among.tolist(), size) if each != own]
        return _as_sets([every[i] for i in random.permutation(len(every))[:count]], len(differ))
    drawn: dict[tuple[int, ...], None] = {}
    while len(drawn) < count:
        each = tuple(sorted(random.permutation(among)[:size].tolist()))
        drawn |= {each: None} if each != own else {}
    return _as_sets(list(drawn), len(differ))


def set_of_sizes(random: np.random.Generator, first: np.ndarray, layer_of: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Draw as many maps of each layer as are asked for.

    Args:
        random: the generator of the drawing.
        first: the maps that are drawn before all others, such as those that fire, bool (n,).
        layer_of: the index of the layer of each map, rising, (n,).
        size: how many maps of each layer are drawn, (L,).

    Returns:
        The set, bool (n,).
    """
    order = np.lexsort((random.random(len(first)), ~first, layer_of))
    place = np.empty(len(order), int)
    place[order] = np.arange(len(order)) - np.searchsorted(layer_of, layer_of)
    return place < size[layer_of]


def _as_sets(channels: Sequence[tuple[int, ...]], n_maps: int) -> np.ndarray:
    sets = np.zeros((len(channels), n_maps), bool)
    for row, chosen in zip(sets, channels, strict=True):
        row[list(chosen)] = True
    return sets
