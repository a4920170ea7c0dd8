"""Regions partition the union of the critical sets."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from aevis_dash.domain import ROLES, Role, further
from aevis_dash.geometry.sets import regions

PATHS = (*ROLES, *(further(number) for number in range(2, 7)))
CRITICAL = st.tuples(st.integers(0, 20), st.permutations(PATHS), st.integers(1, 8)).flatmap(
    lambda drawn: st.fixed_dictionaries({path: arrays(bool, drawn[0]) for path in drawn[1][: drawn[2]]})
)


@settings(deadline=None, max_examples=100)
@given(CRITICAL)
def test_each_critical_map_is_in_the_one_region_of_its_datapaths(critical):
    found = regions(critical)
    channels = [channel for region in found for channel in region.channels]
    assert len(channels) == len(set(channels))
    assert set(channels) == set(np.flatnonzero(np.logical_or.reduce(list(critical.values()))))
    for region in found:
        assert region.channels
        for channel in region.channels:
            assert type(channel) is int
            assert region.paths == {path for path in critical if critical[path][channel]}


@settings(deadline=None, max_examples=30)
@given(CRITICAL)
def test_order_depends_on_the_datapaths_alone(critical):
    turned = dict(reversed(critical.items()))
    assert regions(critical) == regions(turned)


def test_all_seven_regions():
    bits = np.arange(8)
    critical = {role: (bits >> place) % 2 == 1 for place, role in enumerate(ROLES)}
    found = regions(critical)
    assert [region.channels for region in found] == [(1,), (2,), (4,), (3,), (5,), (6,), (7,)]
    assert found[0].paths == {Role.SOURCE}


def test_further_targets_come_after_the_triplet_by_number():
    critical = {path: np.array([path == other for other in PATHS]) for path in reversed(PATHS)}
    assert [region.paths for region in regions(critical)] == [{path} for path in PATHS]


def test_no_datapath_is_no_region():
    assert regions({}) == ()
