"""The regions of overlapping sets of feature maps: which maps are critical to exactly which datapaths (Sec. 5.3)."""

from collections.abc import Mapping

import numpy as np

from aevis_dash.domain import Region, in_order


def regions(critical: Mapping[str, np.ndarray]) -> tuple[Region, ...]:
    """The regions that are not empty, at most 2^m - 1 for m datapaths. Every critical map is in exactly one region.

    Args:
        critical: which of a layer's maps are critical to each datapath, bool (n_l,), by the datapath's key.

    Returns:
        First the maps of one datapath alone, then those of two, and last those of all; within these in the order
        source, adversarial, target, target 2, ... Channels ascend.
    """
    paths = in_order(critical)
    if not paths:
        return ()
    member = np.array([np.asarray(critical[path], bool) for path in paths])
    codes = (2 ** np.arange(len(paths))) @ member
    places = {code: np.flatnonzero(codes == code).tolist() for code in set(codes.tolist()) - {0}}
    found = {tuple(i for i in range(len(paths)) if code >> i & 1): tuple(places[code]) for code in places}
    return tuple(
        Region(frozenset(paths[i] for i in group), found[group]) for group in sorted(found, key=lambda g: (len(g), g))
    )
