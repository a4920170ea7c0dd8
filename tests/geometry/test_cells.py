"""Cells stand in rows, as near square as can be, and wide enough for a number where they can."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aevis_dash.geometry.cells import LOW, Few, Rect, first_cells, grid, places

SIDES = st.floats(40, 900)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 500), SIDES, SIDES)
def test_grid_has_room_for_all_and_no_empty_row(count, width, height):
    across, down = grid(count, Rect(0, 0, width, height))
    assert across * (down - 1) < count <= across * down


def test_grid_is_near_square():
    assert grid(100, Rect(0, 0, 100, 100)) == (10, 10)
    assert grid(40, Rect(0, 0, 100, 10)) == (20, 2)


def test_a_grid_with_a_least_size_takes_the_squarest_that_has_it():
    assert grid(10, Rect(0, 0, 114, 62)) == (5, 2)
    assert grid(10, Rect(0, 0, 114, 62), (28, 20)) == (4, 3), "five across would be narrower than 28"
    assert grid(100, Rect(0, 0, 50, 50), (28, 20)) == (10, 10), "nothing fits, so it is as without"


@settings(deadline=None)
@given(st.integers(1, 60), SIDES, SIDES)
def test_places_have_the_least_size_where_a_grid_of_that_size_holds_them(count, width, height):
    room = Rect(3, 5, width, height)
    found = list(places(count, room, (28, LOW)))
    assert len(found) == count
    if count <= int(width / 28) * int(height / LOW):
        assert all(rect.width >= 28 and rect.height >= LOW for rect in found)


ROOM = Rect(0, 0, 300, 100)


def test_twelve_maps_and_the_number_of_the_others():
    cells, rest = first_cells(list(range(163)), ROOM, Few())
    assert [cell.channel for cell in cells] == list(range(12))
    assert rest.count == 151
    assert rest.rect.right == pytest.approx(ROOM.right), "it takes what is left of its row"
    assert all(cell.rect.right <= rest.rect.x + 1e-6 or cell.rect.bottom <= rest.rect.y + 1e-6 for cell in cells)


def test_where_one_place_more_shows_all_there_is_no_number():
    for count in (1, 12, 13):
        cells, rest = first_cells(list(range(count)), ROOM, Few())
        assert (len(cells), rest) == (count, None)
    cells, rest = first_cells(list(range(14)), ROOM, Few())
    assert (len(cells), rest.count) == (12, 2)


def test_a_small_room_has_fewer_cells_but_what_is_chosen_is_there():
    row = Rect(0, 0, 114, 20)
    cells, rest = first_cells(list(range(50)), row, Few())
    assert ([cell.channel for cell in cells], rest.count) == ([0, 1, 2], 47)
    cells, rest = first_cells(list(range(50)), row, Few(always=(40, 7)))
    assert ([cell.channel for cell in cells], rest.count) == ([0, 7, 40], 47)
    many = tuple(range(20, 28))
    cells, rest = first_cells(list(range(50)), row, Few(always=many))
    assert ([cell.channel for cell in cells], rest.count) == (list(many), 42)
    cells, rest = first_cells([5, 6, 7], Rect(0, 0, 20, 10), Few(always=(7,)))
    assert ([cell.channel for cell in cells], rest.count) == ([7], 2)


def test_a_room_that_holds_no_more_shows_the_most_important_of_what_is_chosen():
    tiny = Rect(0, 0, 10, 10)
    cells, rest = first_cells(list(range(50)), tiny, Few(always=(40, 3, 20, 30)))
    assert ([cell.channel for cell in cells], rest.count) == ([3, 20, 40], 47)
