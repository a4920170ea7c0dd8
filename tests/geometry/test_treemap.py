"""Areas are kept, nothing overlaps, and the order of regions is the best there is."""

from itertools import combinations, pairwise, permutations, product

import numpy as np
import pytest
from geometry.rectangles import apart, inside
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from aevis_dash.domain import ROLES, Region, Role, further
from aevis_dash.geometry.cells import LEAST_CELL, LOW, Few, Rect, capacity, inner
from aevis_dash.geometry.enlarging import LEAST_HEIGHT, LEAST_WIDTH
from aevis_dash.geometry.nesting import climb, cost, nesting
from aevis_dash.geometry.sets import regions
from aevis_dash.geometry.tiling import slices, squarify
from aevis_dash.geometry.treemap import MOST_OUTSIDE, OUTSIDE, REGIONS, treemap

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


ALWAYS = st.lists(st.integers(0, 280), max_size=6, unique=True).map(tuple)


@settings(deadline=None, max_examples=60)
@given(COUNTS, ALWAYS, SIDES, SIDES, st.randoms(use_true_random=False))
def test_first_maps_have_cells_and_a_place_stands_for_the_others(counts, always, width, height, random):
    """Every cell lies in its region and apart from the others, the numbers add up, and the order is kept."""
    order = np.array(random.sample(range(281), 281), float)
    drawn = treemap(made(counts), width, height, order, few=Few(always=always))
    rank = {channel: place for place, channel in enumerate(np.argsort(-order).tolist())}
    cells = {cell.channel: cell.rect for cell in drawn.cells}
    assert len(cells) == len(drawn.cells)
    assert list(drawn.smaller) == [0] * len(drawn.regions)
    for (region, rect), rest in zip(drawn.regions, drawn.rests, strict=True):
        mine = [channel for channel in cells if channel in region.channels]
        assert len(mine) + (rest.count if rest else 0) == len(region.channels)
        assert mine == sorted(mine, key=rank.__getitem__), "cells stand in the order"
        own = [*(cells[channel] for channel in mine), *([rest.rect] if rest else [])]
        assert all(inside(each, inner(rect)) and each.width > 0 and each.height > 0 for each in own)
        assert apart(own)
        chosen = set(always) & set(region.channels)
        if len(chosen) < capacity(inner(rect)):
            assert chosen <= set(mine), "what is selected, marked or picked is drawn"
        others = [channel for channel in mine if channel not in chosen]
        left = [channel for channel in region.channels if channel not in cells and channel not in chosen]
        assert max((rank[channel] for channel in others), default=-1) < min((rank[c] for c in left), default=999)


@settings(deadline=None, max_examples=60)
@given(COUNTS, st.floats(40, 900), st.floats(40, 900))
def test_enlarged_regions_tile_their_sets_and_grow_with_their_maps(counts, width, height):
    given_regions = made(counts)
    drawn = treemap(given_regions, width, height, few=Few())
    assert {region for region, _ in drawn.regions} == set(given_regions)
    assert apart([rect for _, rect in drawn.regions])
    home, rects = nesting(given_regions), dict(drawn.regions)
    assert set(home) == set(drawn.sets)
    for path, regions_inside in home.items():
        assert all(inside(rects[region], drawn.sets[path]) for region in regions_inside)
        area = sum(rects[region].area for region in regions_inside)
        assert area == pytest.approx(drawn.sets[path].area, rel=1e-6)
    assert sum(rect.area for rect in drawn.sets.values()) == pytest.approx(width * height if home else 0, rel=1e-6)
    by_size = sorted((len(region.channels), rect.area) for region, rect in drawn.regions)
    assert all(a[1] <= b[1] * (1 + 1e-9) for a, b in pairwise(by_size) if a[0] < b[0])


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 2000) | st.just(0), min_size=7, max_size=7), st.floats(480, 900), st.floats(170, 600))
@example([1, 0, 1, 0, 1, 1, 1], 600.0, 170.0)
@example([1, 0, 1, 0, 1, 1, 1], 480.0, 205.0)
def test_every_region_has_room_for_its_name_and_a_row_of_cells(counts, width, height):
    assume(width >= 5 * LEAST_WIDTH or height >= 5 * LEAST_HEIGHT)
    drawn = treemap(made(counts), width, height, few=Few())
    assert all(rect.width >= LEAST_WIDTH - 0.1 and rect.height >= LEAST_HEIGHT - 0.1 for _, rect in drawn.regions)
    assert all(cell.rect.width >= Few.width - 0.1 and cell.rect.height >= LOW - 0.1 for cell in drawn.cells)


def test_a_region_alone_in_its_set_lacks_little_where_not_all_have_room():
    """One region beside a set of four has a fifth of the area, which is a column of 96 or a row of 34 pixels."""
    drawn = treemap(made([1, 0, 1, 0, 1, 1, 1]), 480, 170, few=Few())
    short = [rect for _, rect in drawn.regions if rect.width < LEAST_WIDTH or rect.height < LEAST_HEIGHT]
    assert [(round(rect.width), round(rect.height)) for rect in short] == [(480, 34)]


def test_small_sets_are_raised_only_as_far_as_needed_and_the_others_share_in_proportion():
    """By hand: in 600 x 240 pixels the sets of 300 and 600 maps are large enough, and the one of 1 map is not."""
    drawn = treemap(made([300, 600, 1, 0, 0, 0, 0]), 600, 240, few=Few())
    area = {len(region.channels): rect.area for region, rect in drawn.regions}
    assert area[600] / area[300] == pytest.approx(2)
    assert 120 * LEAST_HEIGHT <= area[1] <= 3 * 120 * LEAST_HEIGHT
    exact = treemap(made([30, 60, 20, 0, 0, 0, 0]), 600, 240, few=Few())
    sizes = {len(region.channels): rect.area for region, rect in exact.regions}
    assert sizes == pytest.approx({n: 600 * 240 * n / 110 for n in (30, 60, 20)}), "all are large enough as they are"


@settings(deadline=None, max_examples=20)
@given(MANY)
def test_enlarged_regions_of_eight_sets_are_nested_too(sizes):
    given_regions = numbered(sizes)
    drawn = treemap(given_regions, 600, 270, few=Few())
    assert {region for region, _ in drawn.regions} == set(given_regions)
    assert apart([rect for _, rect in drawn.regions])
    home, rects = nesting(given_regions), dict(drawn.regions)
    assert all(inside(rects[r], drawn.sets[path]) for path, inside_set in home.items() for r in inside_set)


@settings(deadline=None, max_examples=25)
@given(COUNTS, st.sampled_from(SUBSETS))
def test_enlarged_regions_that_are_read_first_lie_left_and_above(counts, wanted):
    for region, rect in treemap(made(counts), 600, 240, first=(wanted,), few=Few()).regions:
        if region.paths == wanted:
            assert rect.centre[0] <= 300 + SLACK
            assert rect.centre[1] <= 120 + SLACK


def every_cut(items, size, rect):
    """Slowly: all ways to cut items, in every order, into strips beside one another, as columns and as rows."""
    for order, cuts in product(permutations(items), product((False, True), repeat=len(items) - 1)):
        starts = [0, *(i + 1 for i, cut in enumerate(cuts) if cut), len(items)]
        strips = [[size(item) for item in order[a:b]] for a, b in pairwise(starts)]
        for columns in (False, True):
            bands = slices(rect, [sum(strip) for strip in strips], not columns)
            parts = [slices(band, strip, columns) for band, strip in zip(bands, strips, strict=True)]
            yield list(zip(order, (one for part in parts for one in part), strict=True))


@settings(deadline=None, max_examples=4)
@given(st.lists(st.integers(1, 9), min_size=3, max_size=3), st.floats(500, 800))
def test_no_enlarged_layout_costs_less_than_the_chosen_one(counts, width):
    """Eq. 6 decides among the layouts in which every region is large enough; slowly, for what src and adv share."""
    given_regions, whole = made([counts[0], counts[1], 0, counts[2], 0, 0, 0]), Rect(0, 0, width, 150)
    drawn = treemap(given_regions, width, 150, few=Few())
    area = {region: rect.area for region, rect in drawn.regions}
    home, costs = nesting(given_regions), []
    for outer in every_cut(tuple(home), lambda path: sum(area[region] for region in home[path]), whole):
        sets = dict(outer)
        for chosen in product(*(every_cut(home[path], area.__getitem__, sets[path]) for path in sets)):
            placed = [each for part in chosen for each in part]
            if all(rect.width >= LEAST_WIDTH and rect.height >= LEAST_HEIGHT for _, rect in placed):
                costs.append(cost(sets, placed, whole.area))
    assert cost(drawn.sets, drawn.regions, whole.area) == pytest.approx(min(costs))
