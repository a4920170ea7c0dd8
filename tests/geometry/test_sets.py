"""Regions partition the union of the critical sets."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from aevis_dash.domain import ROLES, Role
from aevis_dash.geometry.sets import regions

CRITICAL = st.integers(0, 20).flatmap(lambda n: st.fixed_dictionaries({role: arrays(bool, n) for role in ROLES}))


@settings(deadline=None, max_examples=100)
@given(CRITICAL)
def test_each_critical_map_is_in_the_one_region_of_its_roles(critical):
    found = regions(critical)
    channels = [channel for region in found for channel in region.channels]
    assert len(channels) == len(set(channels))
    assert set(channels) == set(np.flatnonzero(np.logical_or.reduce(list(critical.values()))))
    for region in found:
        assert region.channels
        for channel in region.channels:
            assert type(channel) is int
            assert region.roles == {role for role in ROLES if critical[role][channel]}


@settings(deadline=None, max_examples=30)
@given(CRITICAL)
def test_order_depends_on_the_roles_alone(critical):
    turned = dict(reversed(critical.items()))
    assert regions(critical) == regions(turned)


def test_all_seven_regions():
    bits = np.arange(8)
    critical = {role: (bits >> place) % 2 == 1 for place, role in enumerate(ROLES)}
    found = regions(critical)
    assert [region.channels for region in found] == [(1,), (2,), (4,), (3,), (5,), (6,), (7,)]
    assert found[0].roles == {Role.SOURCE}
