"""The table tells what the treemap shows, sorts by any column, and is the same as CSV."""

import csv
import io

import numpy as np
import pytest

from aevis_dash.callbacks.layer.contents import contents
from aevis_dash.callbacks.layer.table import CONTRIBUTION, TURNS, csv_of, in_order_of, order_after, order_of, table_of
from aevis_dash.callbacks.view.datapaths import stored_triplet
from aevis_dash.callbacks.view.state import View
from aevis_dash.domain import Role
from aevis_dash.figures.cells import together
from aevis_dash.layouts.layer import table
from aevis_dash.workbench import open_workbench


@pytest.fixture(scope="module")
def bench(filling_world):
    return open_workbench(filling_world)


@pytest.fixture(scope="module")
def view(bench):
    return View(example=bench.workspace.settings.opens_on, layer="layer3.2.relu")


def test_rows_are_the_maps_of_the_treemap_with_their_values(bench, view):
    found, layer = stored_triplet(bench, view), bench.layers.find(view.layer)
    shown = contents(bench, found, view.but(keep="shared"), layer, None)
    columns, rows = table_of(bench, view.but(keep="shared"))
    assert columns[:6] == ("map", "sets", "src", "adv", "tar", "adv - src")
    sets = {c: together(region.paths) for region in shown.regions for c in region.channels}
    assert {row[0]: row[1] for row in rows} == sets
    assert len(sets) > 5
    values = {role: bench.layers.part(bench.maps.maxima(found.image(role)), layer.index) for role in Role}
    for row in rows:
        assert row[2:5] == [float(values[role][row[0]]) for role in Role]
        assert row[5] == pytest.approx(row[3] - row[2], abs=1e-5)
    effects = bench.layers.part(bench.flips.turning(view.example).shares, layer.index)
    columns, rows = table_of(bench, view.but(keep="shared"))
    at = columns.index(TURNS)
    assert [row[at] for row in rows] == [pytest.approx(100 * float(effects[row[0]])) for row in rows]
    falls = [abs(row[5]) for row in rows]
    assert falls == sorted(falls, reverse=True)


def test_there_are_no_rows_where_there_is_nothing_to_show(bench, view):
    for nothing in (View(), view.but(layer=None), view.but(compared=("nobody.png",))):
        assert table_of(bench, nothing)[1] == []


COLUMNS = ("map", "sets", "adv - src")
ROWS = [[3, "src", 0.5], [1, "adv", -1.0], [2, "src", 2.0]]


def test_a_column_sorts_both_ways_and_keeps_the_order_of_equals():
    first = order_after(None, "sets")
    assert [row[0] for row in in_order_of(COLUMNS, ROWS, first)] == [1, 3, 2]
    assert [row[0] for row in in_order_of(COLUMNS, ROWS, order_after(first, "sets"))] == [3, 2, 1]
    assert [row[0] for row in in_order_of(COLUMNS, ROWS, order_after(first, "adv - src"))] == [2, 3, 1]
    assert in_order_of(COLUMNS, ROWS, None) == ROWS
    gone = {"column": CONTRIBUTION, "up": True}
    assert in_order_of(COLUMNS, ROWS, gone) == ROWS
    assert order_of(COLUMNS, gone) == ("", False)


def test_csv_has_every_row_and_all_digits():
    read = list(csv.reader(io.StringIO(csv_of(COLUMNS, [*ROWS, [4, 'a, "b"', np.pi]]))))
    assert read[0] == list(COLUMNS)
    assert read[1:4] == [[str(value) for value in row] for row in ROWS]
    assert (read[4][1], float(read[4][2])) == ('a, "b"', np.pi)


def test_the_column_that_sorts_says_so_and_each_row_names_its_map():
    rows, foot = table("relu", COLUMNS, ROWS, 500, ("sets", True))
    head, body = rows.children.children
    assert [getattr(column, "aria-sort") for column in head.children.children] == ["none", "ascending", "none"]
    assert [getattr(row, "data-map") for row in body.children] == [str(row[0]) for row in ROWS]
    assert foot.children == "3 of 500 maps"
