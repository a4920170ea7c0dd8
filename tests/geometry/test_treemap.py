"""Areas are kept, nothing overlaps, and the order of regions is the best there is."""

from itertools import combinations, pairwise, permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aevis_dash.domain import ROLES, Region, Role, further
from aevis_dash.geometry.sets import regions
from aevis_dash.geometry.treemap import (
    LEAST_CELL,
    MOST_OUTSIDE,
    OUTSIDE,
    REGIONS,
    Rect,
    capacity,
    climb,
    cost,
    grid,
    inner,
    nesting,
    squarify,
    treemap,
)

SLACK = 1e-6
SUBSETS = [frozenset(group) for size in (1, 2, 3) for group in combinations(ROLES, size)]


def made(counts):
    """Regions with that many channels each, numbered through."""
    starts = np.cumsum([0, *counts])
    return tuple(
        Region(roles, tuple(range(a, b)))
        for roles, (a, b) in zip(SUBSETS, pairwise(starts.tolist()), strict=True)
        if b > a
    )


COUNTS = st.lists(st.integers(0, 40) | st.just(0), min_size=7, max_size=7)
SIDES = st.floats(40, 900)


def inside(a, b):
    return a.x >= b.x - SLACK and a.y >= b.y - SLACK and a.right <= b.right + SLACK and a.bottom <= b.bottom + SLACK


def overlap(a, b):
    across = min(a.right, b.right) - max(a.x, b.x)
    down = min(a.bottom, b.bottom) - max(a.y, b.y)
    return max(across, 0) * max(down, 0)


def apart(rects):
    return all(overlap(a, b) < 1e-3 for a, b in combinations(rects, 2))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(0.5, 50), min_size=1, max_size=9), SIDES, SIDES, st.booleans())
def test_squarify_tiles_in_proportion(sizes, width, height, tall):
    whole = Rect(3.0, 5.0, width, height)
    rects = squarify(sizes, whole, tall)
    np.testing.assert_allclose([r.area for r in rects], np.array(sizes) * whole.area / sum(sizes), rtol=1e-6)
    assert all(inside(r, whole) for r in rects)
    assert apart(rects)


def test_squarify_keeps_the_order_given_and_starts_as_told():
    column = squarify([1, 1, 6], Rect(0, 0, 100, 100), True)
    assert [round(r.x) for r in column] == [0, 0, 25]
    row = squarify([1, 1, 6], Rect(0, 0, 100, 100), False)
    assert [round(r.y) for r in row] == [0, 0, 25]


@settings(deadline=None, max_examples=40)
@given(COUNTS, SIDES, SIDES)
def test_areas_are_proportional_and_everything_is_nested(counts, width, height):
    given_regions = made(counts)
    drawn = treemap(given_regions, width, height)
    assert {region for region, _ in drawn.regions} == set(given_regions)
    per_map = width * height / max(sum(counts), 1)
    home = nesting(given_regions)
    assert set(home) == set(drawn.sets)
    for region, rect in drawn.regions:
        assert rect.area == pytest.approx(per_map * len(region.channels))
        owner = next(role for role, regions in home.items() if region in regions)
        assert owner in region.paths
        assert inside(rect, drawn.sets[owner])
    assert apart([rect for _, rect in drawn.regions])
    assert apart(list(drawn.sets.values()))


@settings(deadline=None, max_examples=25)
@given(COUNTS, st.integers(1, 5), SIDES, SIDES)
def test_maps_in_no_set_stand_beside_all_sets_in_a_box_of_their_own(counts, few, width, height):
    outside = Region(frozenset(), tuple(range(1000, 1000 + few)))
    drawn = treemap((*made(counts), outside), width, height)
    (box,) = [rect for region, rect in drawn.regions if region == outside]
    assert inside(box, Rect(0, 0, width, height))
    assert apart([box, *drawn.sets.values()])
    assert box.width == pytest.approx(min(OUTSIDE, MOST_OUTSIDE * width) if sum(counts) else width)
    assert set(drawn.sets) == set(nesting(made(counts)))
    mine = [cell.rect for cell in drawn.cells if cell.channel >= 1000]
    assert len(mine) == min(few, capacity(inner(box)))
    assert all(inside(rect, box) for rect in mine)
    assert len(drawn.cells) + sum(drawn.smaller) == sum(counts) + few


@settings(deadline=None, max_examples=25)
@given(COUNTS, SIDES, SIDES)
def test_cells_are_equal_apart_and_inside_their_region(counts, width, height):
    drawn = treemap(made(counts), width, height)
    cells = {cell.channel: cell.rect for cell in drawn.cells}
    assert len(cells) == len(drawn.cells) == sum(counts) - sum(drawn.smaller)
    for (region, rect), smaller in zip(drawn.regions, drawn.smaller, strict=True):
        assert smaller == max(0, len(region.channels) - capacity(inner(rect)))
        mine = [cells[channel] for channel in region.channels if channel in cells]
        assert len(mine) == len(region.channels) - smaller
        assert all(inside(cell, inner(rect)) and inside(inner(rect), rect) for cell in mine)
        assert all(cell.area == pytest.approx(mine[0].area) for cell in mine)
        assert mine[0].area > 0
        assert apart(mine)


def every_layout(given_regions, whole):
    """Slowly: all orders of sets and of the regions in each, and all directions of the first strips."""
    home = nesting(given_regions)
    for roles in permutations(home):
        orders = product(*(permutations(home[role]) for role in roles))
        for order, talls in product(orders, product((False, True), repeat=len(roles) + 1)):
            areas = [sum(len(r.channels) for r in inside_set) for inside_set in order]
            sets = dict(zip(roles, squarify(areas, whole, talls[-1]), strict=True))
            yield (
                sets,
                [
                    placed
                    for role, inside_set, tall in zip(roles, order, talls, strict=False)
                    for placed in zip(
                        inside_set,
                        squarify([len(r.channels) for r in inside_set], sets[role], tall),
                        strict=True,
                    )
                ],
            )


@settings(deadline=None, max_examples=4)
@given(st.lists(st.integers(1, 9), min_size=7, max_size=7), st.floats(100, 300))
def test_no_order_costs_less_than_the_chosen_one(counts, width):
    whole = Rect(0, 0, width, 150)
    drawn = treemap(made(counts), width, 150)
    best = min(cost(*layout, whole.area) for layout in every_layout(made(counts), whole))
    assert cost(drawn.sets, drawn.regions, whole.area) == pytest.approx(best)


EIGHT = (*ROLES, *(further(number) for number in range(2, 7)))
MANY = st.dictionaries(
    st.frozensets(st.sampled_from(EIGHT), min_size=1), st.integers(1, 30), min_size=1, max_size=REGIONS
)


def numbered(sizes):
    """Regions of those sizes by their datapaths, numbered through."""
    ends = np.cumsum([0, *sizes.values()]).tolist()
    return tuple(Region(paths, tuple(range(a, b))) for paths, (a, b) in zip(sizes, pairwise(ends), strict=True))


@settings(deadline=None, max_examples=25)
@given(MANY)
def test_eight_sets_are_nested_in_proportion_too(sizes):
    given_regions = numbered(sizes)
    drawn = treemap(given_regions, 600, 270)
    per_map = 600 * 270 / sum(sizes.values())
    assert {region for region, _ in drawn.regions} == set(given_regions)
    assert all(rect.area == pytest.approx(per_map * len(region.channels)) for region, rect in drawn.regions)
    assert apart([rect for _, rect in drawn.regions])
    home = nesting(given_regions)
    assert all(any(inside(rect, drawn.sets[p]) for p in region.paths if p in home) for region, rect in drawn.regions)
    assert apart(list(drawn.sets.values()))


@pytest.mark.parametrize("seed", range(2))
def test_four_sets_are_among_the_best_hundredth_of_all_orders(seed):
    """Four sets that share pairs: the search by swaps against every order, slowly."""
    rng = np.random.default_rng(seed)
    names = EIGHT[:4]
    pairs = [frozenset(pair) for pair in combinations(names, 2)][1:4]
    sizes = {group: int(rng.integers(3, 30)) for group in [*(frozenset({n}) for n in names), *pairs]}
    drawn = treemap(numbered(sizes), 600, 270)
    whole = Rect(0, 0, 600, 270)
    every = np.array([cost(*layout, whole.area) for layout in every_layout(numbered(sizes), whole)])
    found = cost(drawn.sets, drawn.regions, whole.area)
    assert found >= every.min() - SLACK
    assert np.mean(every < found - SLACK) <= 0.01


def test_swaps_go_on_until_none_helps_and_stop_in_time():
    tried = []

    def price(order):
        tried.append(order)
        return sum(abs(value - place) for place, value in enumerate(order))

    assert climb((4, 3, 2, 1, 0), price) == (0, 1, 2, 3, 4)
    tried.clear()
    climb(tuple(range(30))[::-1], price)
    assert len(tried) <= 80


def test_the_last_ranked_have_no_cell_where_cells_would_be_too_small():
    region = Region(frozenset({Role.SOURCE}), tuple(range(900)))
    order = np.random.default_rng(0).random(900)
    drawn = treemap([region], 100, 80, order)
    assert all(min(cell.rect.width, cell.rect.height) >= LEAST_CELL - SLACK for cell in drawn.cells)
    shown = {cell.channel for cell in drawn.cells}
    assert drawn.smaller == (900 - len(shown),)
    assert min(order[list(shown)]) > max(order[list(set(range(900)) - shown)])


def test_a_treemap_is_illegible_with_too_many_or_too_thin_regions():
    one = {frozenset({path}): 10 for path in EIGHT}
    pairs = {frozenset(pair): 10 for pair in combinations(EIGHT[:4], 2)}
    assert treemap(numbered(one), 600, 270).legible
    assert not treemap(numbered(one | pairs), 600, 270).legible
    thin = {frozenset({Role.SOURCE}): 5000, frozenset({Role.TARGET}): 1}
    assert not treemap(numbered(thin), 600, 270).legible


@settings(deadline=None, max_examples=40)
@given(COUNTS, st.sampled_from(SUBSETS), SIDES, SIDES)
def test_what_is_read_first_lies_left_and_above_and_the_layout_costs_the_same(counts, wanted, width, height):
    given_regions = made(counts)
    plain, turned = (treemap(given_regions, width, height, first=first) for first in ((), (wanted,)))
    assert cost(turned.sets, turned.regions, width * height) == pytest.approx(
        cost(plain.sets, plain.regions, width * height)
    )
    assert apart([rect for _, rect in turned.regions])
    for region, rect in turned.regions:
        before = dict(plain.regions)[region]
        assert (rect.width, rect.height) == pytest.approx((before.width, before.height))
        if region.paths == wanted:
            assert rect.centre[0] <= width / 2 + SLACK
            assert rect.centre[1] <= height / 2 + SLACK
    if wanted not in {region.paths for region, _ in plain.regions}:
        assert turned == plain


def test_the_centre_of_several_regions_that_are_read_first_weighs_their_maps():
    layout = treemap(made([30, 0, 30, 2, 0, 0, 0]), 600, 200, first=[SUBSETS[0], SUBSETS[3]])
    rects = {region.paths: (len(region.channels), rect) for region, rect in layout.regions}
    centre = sum(size * rect.centre[0] for size, rect in (rects[SUBSETS[0]], rects[SUBSETS[3]])) / 32
    assert centre <= 300


def test_cost_is_equation_6_and_an_aspect_penalty():
    sets = {Role.SOURCE: Rect(0, 0, 10, 10), Role.TARGET: Rect(10, 0, 10, 10)}
    shared = Region(frozenset(sets), (0,))
    assert cost(sets, [(shared, Rect(4, 0, 2, 2))], 200.0) == pytest.approx((5**2 + 4**2) / 200)
    alone = Region(frozenset({Role.SOURCE}), (1,))
    assert cost(sets, [(alone, Rect(0, 0, 2, 2))], 200.0) == 0
    assert cost(sets, [(alone, Rect(0, 0, 4, 1))], 200.0) > 0


def test_shared_region_goes_to_the_larger_set_and_in_a_tie_to_the_adversarial():
    both = frozenset({Role.SOURCE, Role.ADVERSARIAL})
    shared, source = Region(both, (0,)), Region(frozenset({Role.SOURCE}), (1, 2))
    adversarial = Region(frozenset({Role.ADVERSARIAL}), (3, 4))
    assert shared in nesting([source, shared, adversarial])[Role.ADVERSARIAL]
    assert shared in nesting([source, shared])[Role.SOURCE]


def test_a_set_inside_another_has_no_rectangle():
    both = frozenset({Role.SOURCE, Role.ADVERSARIAL})
    drawn = treemap([Region(both, (0, 1)), Region(frozenset({Role.SOURCE}), (2,))], 100, 50)
    assert set(drawn.sets) == {Role.SOURCE}


def test_cells_go_from_the_largest_key_to_the_smallest_and_nan_last():
    order = np.array([0.1, 3.0, np.nan, 2.0])
    drawn = treemap([Region(frozenset({Role.SOURCE}), (0, 1, 2, 3))], 100, 100, order)
    assert [cell.channel for cell in drawn.cells] == [1, 3, 0, 2]
    places = [(cell.rect.y, cell.rect.x) for cell in drawn.cells]
    assert places == sorted(places)


def test_nothing_critical_is_an_empty_treemap():
    drawn = treemap(regions({role: np.zeros(5, bool) for role in ROLES}), 100, 50)
    assert (drawn.sets, drawn.regions, drawn.cells) == ({}, (), ())
    assert (drawn.width, drawn.height) == (100, 50)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 500), SIDES, SIDES)
def test_grid_has_room_for_all_and_no_empty_row(count, width, height):
    across, down = grid(count, Rect(0, 0, width, height))
    assert across * (down - 1) < count <= across * down


def test_grid_is_near_square():
    assert grid(100, Rect(0, 0, 100, 100)) == (10, 10)
    assert grid(40, Rect(0, 0, 100, 10)) == (20, 2)
