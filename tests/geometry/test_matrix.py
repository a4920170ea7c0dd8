"""Every region has a row with all its cells, or is said to be left out."""

from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aevis_dash.domain import ROLES, Region, Role, further
from aevis_dash.geometry.cells import LEAST_CELL
from aevis_dash.geometry.matrix import HEADER, ROW, Matrix, laid_out, matrix
from aevis_dash.geometry.treemap import Treemap

SLACK = 1e-6
EIGHT = (*ROLES, *(further(number) for number in range(2, 7)))
SIZES = st.dictionaries(st.frozensets(st.sampled_from(EIGHT), min_size=1), st.integers(1, 300), max_size=60)


def numbered(sizes):
    """Regions of those sizes by their datapaths, numbered through."""
    ends = np.cumsum([0, *sizes.values()]).tolist()
    return tuple(Region(paths, tuple(range(a, b))) for paths, (a, b) in zip(sizes, pairwise(ends), strict=True))


@settings(deadline=None, max_examples=60)
@given(SIZES, st.floats(200, 900), st.floats(120, 600))
def test_rows_hold_their_cells_and_nothing_is_lost(sizes, width, height):
    drawn = matrix(numbered(sizes), width, height)
    assert {row.region for row in drawn.rows} | set(drawn.left_out) == set(numbered(sizes))
    assert len(drawn.rows) + len(drawn.left_out) == len(sizes)
    largest_left_out = max((len(r.channels) for r in drawn.left_out), default=0)
    assert all(len(row.region.channels) >= largest_left_out for row in drawn.rows)
    cells = {cell.channel: cell.rect for cell in drawn.cells}
    assert len(cells) == len(drawn.cells)
    for row in drawn.rows:
        mine = [cells[channel] for channel in row.region.channels if channel in cells]
        assert len(mine) == len(row.region.channels) - row.smaller
        assert all(row.rect.y <= c.y + SLACK and c.bottom <= row.rect.bottom + SLACK for c in mine)
        assert all(2 * c.height >= c.width >= c.height >= LEAST_CELL for c in mine)
        assert all(c.right <= width + SLACK for c in mine)
        assert all(c.x >= max(row.bar.right, *drawn.columns.values()) for c in mine)
    assert all(a.rect.bottom == pytest.approx(b.rect.y) for a, b in pairwise(drawn.rows))
    assert all(row.rect.y >= HEADER and row.rect.height >= ROW for row in drawn.rows)
    assert not drawn.rows or drawn.rows[-1].rect.bottom <= height + SLACK


def test_maps_in_no_datapath_lead_and_are_never_left_out():
    many = {frozenset(group): 90 for size in (1, 2, 3) for group in combinations(EIGHT, size)}
    outside = Region(frozenset(), (5000, 5001))
    drawn = matrix((*numbered(many), outside), 700, 270)
    assert drawn.left_out, "there is no room for all"
    assert (drawn.rows[0].region, drawn.rows[0].smaller) == (outside, 0)
    assert {5000, 5001} <= {cell.channel for cell in drawn.cells}
    assert {c.channel for c in matrix((outside,), 700, 270).cells} == {5000, 5001}


def test_cells_of_a_row_do_not_overlap_and_follow_the_order():
    order = np.random.default_rng(0).random(200)
    drawn = matrix(numbered({frozenset({Role.SOURCE}): 150, frozenset(ROLES): 50}), 500, 300, order)
    first = [cell for cell in drawn.cells if cell.channel < 150]
    assert [cell.channel for cell in first] == sorted(range(150), key=lambda channel: -order[channel])
    places = [(cell.rect.y, cell.rect.x) for cell in first]
    assert places == sorted(set(places))
    for a, b in combinations(first[:40], 2):
        assert abs(a.rect.x - b.rect.x) >= a.rect.width - SLACK or abs(a.rect.y - b.rect.y) >= a.rect.height - SLACK


def test_bars_are_as_long_as_regions_are_large():
    drawn = matrix(numbered({frozenset({Role.SOURCE}): 80, frozenset(ROLES): 20}), 500, 300)
    assert drawn.rows[0].bar.width == pytest.approx(4 * drawn.rows[1].bar.width)


def test_the_cells_are_as_large_as_fits():
    """By hand: 2 datapaths of 26 px and 64 px of bars leave 484 px; 300 cells in 20 lines of 15 would need 640 px."""
    drawn = matrix(numbered({frozenset({Role.SOURCE}): 300, frozenset({Role.SOURCE, Role.TARGET}): 4}), 600, 216)
    side = drawn.cells[0].rect.height
    lines = lambda s: sum(max(-(-n // (484 // s)) * s + 2, ROW) for n in (300, 4))  # noqa: E731
    assert lines(side) <= 200 < lines(side + 0.5)


def test_many_or_thin_regions_become_a_matrix_and_few_a_treemap():
    few = {frozenset({path}): 10 for path in ROLES}
    many = {frozenset(pair): 5 for pair in combinations(EIGHT, 2)}
    assert isinstance(laid_out(numbered(few), 600, 270), Treemap)
    assert isinstance(laid_out(numbered(many), 600, 270), Matrix)
    thin = {frozenset({Role.SOURCE}): 5000, frozenset({Role.TARGET}): 1}
    assert isinstance(laid_out(numbered(thin), 600, 270), Matrix)


def test_a_region_too_large_for_all_the_height_loses_its_last_ranked_maps():
    """By hand: one datapath leaves 600 - 26 - 64 = 510 px, 102 cells of 5 px; 198 px take 39 lines, 3978 cells."""
    order = np.random.default_rng(0).random(5000)
    drawn = matrix(numbered({frozenset({Role.SOURCE}): 5000}), 600, 216, order)
    assert (drawn.rows[0].smaller, len(drawn.cells)) == (5000 - 3978, 3978)
    assert max(cell.rect.bottom for cell in drawn.cells) <= 216
    assert min(order[[cell.channel for cell in drawn.cells]]) == np.sort(order)[5000 - 3978]
