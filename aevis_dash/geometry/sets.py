"""The exclusive regions of up to three sets of feature maps (Sec. 5.3)."""

from collections.abc import Mapping
from itertools import combinations

import numpy as np

from aevis_dash.domain import ROLES, Region, Role


def regions(critical: Mapping[Role, np.ndarray]) -> tuple[Region, ...]:
    """The regions that are not empty, from (n_l,) bool critical maps per role: at most seven for three.

    Every critical map is in exactly one region. First the maps of one role alone, then of two, then of
    all; within these in the order source, adversarial, target. Channels ascend.
    """
    roles = [role for role in ROLES if role in critical]
    combined = (group for size in range(1, len(roles) + 1) for group in combinations(roles, size))
    found = (_region(frozenset(group), critical) for group in combined)
    return tuple(region for region in found if region.channels)


def _region(roles: frozenset[Role], critical: Mapping[Role, np.ndarray]) -> Region:
    """The maps critical for all of `roles` and for none of the others."""
    inside = [np.asarray(members, bool) == (role in roles) for role, members in critical.items()]
    return Region(roles, tuple(int(channel) for channel in np.flatnonzero(np.all(inside, axis=0))))
