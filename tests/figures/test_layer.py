"""Fills stand in the cells they belong to, at heights in proportion to the numbers."""

import json

import numpy as np
import orjson
import plotly.graph_objects as go
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aevis_dash.domain import ROLES, Region, Role, further
from aevis_dash.figures.cells import BAR, FACE, NOWHERE, Encoding, number_width
from aevis_dash.figures.layer import treemap_figure
from aevis_dash.figures.matrix import matrix_figure
from aevis_dash.figures.theme import CLEAR, DARK, LIGHT
from aevis_dash.geometry.cells import Few
from aevis_dash.geometry.matrix import matrix
from aevis_dash.geometry.sets import regions
from aevis_dash.geometry.treemap import treemap


def draw(critical, difference, contribution=None, theme=LIGHT, size=(600, 300), few=None, **encoded):
    """The layout, and the drawing as plotly understands it, which also refuses what it does not know."""
    layout = treemap(regions(critical), *size, few=few)
    return layout, go.Figure(treemap_figure(layout, Encoding(difference, contribution, **encoded), theme))


def random_sets(n, part, seed=0):
    rng = np.random.default_rng(seed)
    return {role: rng.random(n) < part for role in ROLES}


def trace(figure, name):
    (found,) = [t for t in figure.data if t.name == name]
    return found


def frames(figure, name):
    """The corners (x0, y0, x1, y1) of every rectangle that the frames of that name are drawn around."""
    (shape,) = [s for s in figure.layout.shapes if s.name == name]
    assert shape.fillcolor == CLEAR, "what lies inside is seen, and clicked"
    if shape.path == NOWHERE:
        return []
    points = [[tuple(map(float, p.split(","))) for p in one[1:].split("L")] for one in shape.path.split("Z")[:-1]]
    return [(*corners[0], *corners[2]) for corners in points]


def by_cell(layout, bars):
    """Channel -> (height of the fill over the cell's, colour); every bar must stand on a cell's floor."""
    colours = bars.marker.color
    found = {}
    for i, (x, width, base, height) in enumerate(zip(bars.x, bars.width, bars.base, bars.y, strict=True)):
        (cell,) = [
            c
            for c in layout.cells
            if abs(c.rect.centre[0] - x) < 0.01
            and abs(c.rect.width - width) < 0.01
            and abs(c.rect.bottom - base - height) < 0.01
        ]
        found[cell.channel] = (height / cell.rect.height, colours if isinstance(colours, str) else colours[i])
    return found


def test_maps_in_no_datapath_are_called_so():
    layout = treemap((*regions(random_sets(30, 0.5)), Region(frozenset(), (40, 41))), 600, 300)
    for one, figure in ((layout, treemap_figure), (matrix([r for r, _ in layout.regions], 600, 300), matrix_figure)):
        drawn = go.Figure(figure(one, Encoding(np.ones(50), np.ones(50)), LIGHT))
        hovers = dict(zip([c[0] for c in trace(drawn, "maps").customdata], trace(drawn, "maps").hovertext, strict=True))
        assert all(hovers[channel].startswith(f"map {channel} · in no datapath") for channel in (40, 41))
        assert hovers[0].startswith("map 0 · ")
        assert "in no datapath" not in hovers[0]
    labels = {
        a.text: a.font.color for a in go.Figure(treemap_figure(layout, Encoding(np.ones(50)), LIGHT)).layout.annotations
    }
    assert labels["in no datapath · 2"] == LIGHT.faint


def test_solid_fill_is_the_difference_over_the_largest_shown_and_its_sign_the_tone():
    critical = {Role.SOURCE: np.array([1, 1, 0, 0], bool), Role.TARGET: np.array([0, 0, 1, 0], bool)}
    layout, figure = draw(critical, np.array([2.0, -4.0, 0.0, 100.0]))
    fills = by_cell(layout, trace(figure, "difference"))
    assert fills[0] == (pytest.approx(0.5, abs=1e-3), LIGHT.more)
    assert fills[1] == (pytest.approx(1.0, abs=1e-3), LIGHT.less)
    assert set(fills) == {0, 1}


def test_a_rise_stands_on_the_foot_of_its_cell_and_a_fall_hangs_from_its_top():
    """So that the sign is told in shape too, for who sees no colours."""
    layout, figure = draw({Role.SOURCE: np.ones(4, bool)}, np.array([4.0, 2.0, -1.0, 0.0]))
    bars, cells = trace(figure, "difference"), {cell.channel: cell.rect for cell in layout.cells}
    for channel, x, base, height in zip((0, 1, 2), bars.x, bars.base, bars.y, strict=True):
        cell = cells[channel]
        assert x == pytest.approx(cell.centre[0], abs=0.01)
        end, edge = (base + height, cell.bottom) if channel < 2 else (base, cell.y)
        assert end == pytest.approx(edge, abs=0.02)
    assert bars.y[2] == pytest.approx(cells[2].height / 4, abs=0.02)


def test_dotted_fill_is_the_contribution_and_absent_without():
    critical = {Role.SOURCE: np.ones(4, bool)}
    contribution = np.array([0.0, 0.25, 1.0, 0.5])
    layout, figure = draw(critical, np.zeros(4), contribution)
    dots = trace(figure, "contribution")
    assert dots.marker.pattern.shape == "."
    heights = {channel: height for channel, (height, _) in by_cell(layout, trace(figure, "contribution")).items()}
    assert heights == pytest.approx({1: 0.25, 2: 1.0, 3: 0.5}, abs=1e-3)
    assert "contribution" not in [t.name for t in draw(critical, np.zeros(4))[1].data]


def test_turning_effects_are_bars_at_the_foot_of_the_cells_whose_side_is_the_sign():
    critical = {Role.SOURCE: np.ones(5, bool)}
    turning = np.array([0.2, -0.1, 0.0, 1e-4, 0.05, -9.0])
    layout, figure = draw(critical, np.zeros(6), turning=turning[:5])
    bars, cells = trace(figure, "turning"), {cell.channel: cell.rect for cell in layout.cells}
    found = {}
    for x, width, base, height in zip(bars.x, bars.width, bars.base, bars.y, strict=True):
        (channel,) = [c for c, r in cells.items() if r.x <= x <= r.right and r.y <= base <= r.bottom]
        middle, half = cells[channel].centre[0], cells[channel].width / 2
        assert base + height == pytest.approx(cells[channel].bottom, abs=0.02)
        assert height == pytest.approx(BAR, abs=0.01)
        side = 1 if x > middle else -1
        assert x - side * width / 2 == pytest.approx(middle, abs=0.02), "it begins in the middle"
        found[channel] = side * width / half
    assert found == pytest.approx({0: 1.0, 1: -0.5, 4: 0.25}, abs=1e-3)
    hovers = dict(zip([c[0] for c in trace(figure, "maps").customdata], trace(figure, "maps").hovertext, strict=True))
    assert hovers[1].endswith("estimated to turn adv back by -10.0%")
    assert "turning" not in [t.name for t in draw(critical, np.zeros(5))[1].data]
    low, small = draw(critical, np.zeros(5), turning=turning[:5], size=(60, 30))
    assert max(trace(small, "turning").y) <= max(cell.rect.height for cell in low.cells) / 5 + 0.01


def test_only_the_maps_trace_meets_the_mouse_and_its_customdata_are_plain():
    layout, figure = draw(random_sets(60, 0.3), np.ones(60), np.full(60, 0.5))
    live = [t for t in figure.data if t.hoverinfo != "skip"]
    assert [t.name for t in live] == ["maps"]
    assert figure.data[-1] is live[0]
    assert [list(row) for row in live[0].customdata] == [[cell.channel] for cell in layout.cells]
    assert all(type(row[0]) is int for row in live[0].customdata)
    assert json.loads(figure.to_json())["data"][-1]["customdata"][0] == [layout.cells[0].channel]
    np.testing.assert_allclose(live[0].x, [c.rect.centre[0] for c in layout.cells], atol=0.01)
    np.testing.assert_allclose(live[0].base, [c.rect.y for c in layout.cells], atol=0.01)


def test_labels_name_the_region_and_its_number_of_maps_in_blended_colour():
    critical = {
        Role.SOURCE: np.arange(40) < 20,
        Role.ADVERSARIAL: np.arange(40) >= 12,
        Role.TARGET: np.zeros(40, bool),
    }
    _, figure = draw(critical, np.ones(40))
    colours = {a.text: a.font.color for a in figure.layout.annotations}
    assert set(colours) == {"src only · 12", "adv only · 20", "src ∩ adv · 8"}
    assert colours["src ∩ adv · 8"] == LIGHT.paths([Role.SOURCE, Role.ADVERSARIAL])


def test_a_label_that_does_not_fit_is_shortened_or_dropped():
    critical = {Role.SOURCE: np.arange(100) < 99, Role.ADVERSARIAL: np.arange(100) >= 99}
    _, figure = draw(critical, np.ones(100), size=(200, 60))
    assert [a.text for a in figure.layout.annotations] == ["src only · 99"]


def test_selected_picked_and_marked_maps():
    critical = {Role.SOURCE: np.ones(9, bool)}
    layout, figure = draw(critical, np.ones(9), selected=4, marked=(2, 7), picked=(1, 3))
    rects = {cell.channel: cell.rect for cell in layout.cells}
    corners = lambda c, by: (rects[c].x + by, rects[c].y + by, rects[c].right - by, rects[c].bottom - by)  # noqa: E731
    (frame,) = frames(figure, "selected")
    assert frame == pytest.approx(corners(4, 1.5), abs=0.01)
    first, second = frames(figure, "picked")
    assert (first, second) == (pytest.approx(corners(1, 1), abs=0.01), pytest.approx(corners(3, 1), abs=0.01))
    stars = trace(figure, "marked")
    inside = [
        c.channel
        for x, y in zip(stars.x, stars.y, strict=True)
        for c in layout.cells
        if c.rect.x < x < c.rect.right and c.rect.y < y < c.rect.bottom
    ]
    assert inside == [2, 7]
    nothing = draw(critical, np.ones(9))[1]
    assert (frames(nothing, "selected"), frames(nothing, "picked")) == ([], []), "there to be filled by the page"


def test_faces_stand_in_large_cells_only_and_fills_let_them_through():
    critical = {Role.SOURCE: np.ones(6, bool)}
    faces = {channel: f"/patch/{channel}" for channel in range(5)}
    layout, figure = draw(critical, np.arange(1.0, 7.0), faces=faces)
    images = {image.source: image for image in figure.layout.images}
    assert set(images) == set(faces.values())
    for cell in layout.cells[:5]:
        image = images[faces[cell.channel]]
        assert (image.x, image.y) == pytest.approx(cell.rect.centre, abs=0.01)
        assert image.sizex < cell.rect.width
        assert image.sizey < cell.rect.height
    fills = by_cell(layout, trace(figure, "difference"))
    assert fills[5][1] == LIGHT.more
    assert all(fills[channel][1].startswith("rgba") for channel in faces)
    small, plain = draw({Role.SOURCE: np.ones(200, bool)}, np.ones(200), faces=faces)
    assert min(small.cells[0].rect.width, small.cells[0].rect.height) < FACE
    assert not plain.layout.images


def test_a_label_is_written_where_it_fits_and_all_names_in_the_hover():
    told = {"labels": {0: "ear <b> 0.41"}, "names": {0: "speaks for <b> (0.90); detects ear (0.41)"}}
    wide = trace(draw({Role.SOURCE: np.ones(6, bool)}, np.ones(6), **told)[1], "maps")
    narrow = trace(draw({Role.SOURCE: np.ones(100, bool)}, np.ones(100), **told)[1], "maps")
    assert (wide.text[0], narrow.text[0]) == ("0 ear &lt;b&gt; 0.41", "0")
    assert all("<br>speaks for &lt;b&gt; (0.90); detects ear (0.41)<br>" in f.hovertext[0] for f in (wide, narrow))
    assert all("speaks" not in figure.hovertext[1] for figure in (wide, narrow))


def test_the_hover_names_the_sets_and_both_values():
    critical = {Role.SOURCE: np.ones(2, bool), "target 2": np.array([1, 0], bool)}
    _, figure = draw(critical, np.array([1.5, -2.0]), np.array([0.25, 0.0]), pair="adv - src")
    assert set(trace(figure, "maps").hovertext) == {
        "map 0 · src ∩ tar 2 (1 map)<br>adv - src +1.5<br>contribution 25.0%",
        "map 1 · src (1 map)<br>adv - src -2<br>contribution 0.0%",
    }


def test_the_label_says_how_many_maps_have_no_cell():
    layout, figure = draw({Role.SOURCE: np.ones(4000, bool)}, np.ones(4000), size=(200, 200))
    (text,) = [a.text for a in figure.layout.annotations]
    left = 4000 - len(layout.cells)
    assert left > 0
    assert text == f"src only · {len(layout.cells)} +{left} smaller"


def test_numbers_are_written_in_large_cells_only():
    few = trace(draw({Role.SOURCE: np.ones(6, bool)}, np.ones(6))[1], "maps")
    many = trace(draw({Role.SOURCE: np.ones(900, bool)}, np.ones(900))[1], "maps")
    assert list(few.text) == ["0", "1", "2", "3", "4", "5"]
    assert many.text is None


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 200), st.sampled_from([0, 95, 990, 9990]), st.floats(60, 700), st.floats(30, 400), st.booleans())
def test_no_number_is_wider_than_its_cell(count, first, width, height, few):
    """Measured by its digits, each as wide as in the widest of the usual fonts."""
    critical = np.arange(first + count) >= first
    layout, figure = draw(
        {Role.SOURCE: critical}, np.ones(first + count), size=(width, height), few=Few() if few else None
    )
    cells = {cell.channel: cell.rect for cell in layout.cells}
    maps = trace(figure, "maps")
    for (channel,), text in zip(maps.customdata, maps.text or [""] * len(maps.x), strict=True):
        assert text in ("", str(channel))
        assert len(text) * 6.4 < cells[channel].width
        assert bool(text) == (len(str(channel)) * 6.4 + 4 <= cells[channel].width and cells[channel].height >= 20)


def test_the_number_of_any_of_the_layers_maps_fits_in_a_cell_of_that_width():
    assert number_width(10) == pytest.approx(6.4 + 4)
    assert number_width(1000) == pytest.approx(3 * 6.4 + 4)
    assert number_width(1001) == pytest.approx(4 * 6.4 + 4)


def test_the_place_of_the_other_maps_says_how_many_and_what_a_click_does():
    critical = {Role.SOURCE: np.arange(200) < 163, Role.TARGET: np.arange(200) >= 190}
    layout, figure = draw(critical, np.ones(200), few=Few())
    rest = trace(figure, "rest")
    assert list(rest.text) == ["+151"]
    assert rest.customdata is None
    assert list(rest.hovertext) == ["151 more of src (163 maps)<br>click to show all maps of the layer"]
    (own,) = [each for each in layout.rests if each is not None]
    assert (rest.x[0], rest.base[0], rest.width[0], rest.y[0]) == pytest.approx(
        (own.rect.centre[0], own.rect.y, own.rect.width, own.rect.height), abs=0.01
    )
    assert len("+151") * 6.4 * rest.insidetextfont.size[0] / 10 < own.rect.width
    assert [t.name for t in figure.data][-2:] == ["rest", "maps"]
    assert {a.text for a in figure.layout.annotations} == {"src only · 163", "tar only · 10"}, "the exact numbers"
    assert trace(figure, "maps").hovertext[0].startswith("map 0 · src (163 maps)<br>")
    assert "rest" not in [t.name for t in draw(critical, np.ones(200))[1].data], "there is a cell for every map"


def test_nothing_critical_is_said_in_a_sentence():
    _, figure = draw({role: np.zeros(8, bool) for role in ROLES}, np.zeros(8))
    assert len(figure.data) == 0
    (note,) = figure.layout.annotations
    assert "critical" in note.text
    assert note.text.endswith(".")


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_a_layer_of_one_channel_without_any_difference(value):
    _, figure = draw({Role.SOURCE: np.ones(1, bool)}, np.array([value]), np.array([value]), theme=DARK)
    assert len(trace(figure, "difference").x) == 0
    assert len(trace(figure, "maps").x) == 1


def test_two_thousand_cells_stay_below_400_kilobytes():
    rng = np.random.default_rng(0)
    layout = treemap(regions({Role.SOURCE: np.ones(2048, bool)}), 600, 270)
    encoding = Encoding(rng.normal(0, 1, 2048), rng.random(2048), pair="adv - src")
    assert len(layout.cells) == 2048
    assert len(orjson.dumps(treemap_figure(layout, encoding, LIGHT))) < 400_000


def many_sets(n=300, paths=5):
    keys = [*ROLES, *(further(number) for number in range(2, paths - 1))]
    return dict(zip(keys, np.random.default_rng(1).random((paths, n)) < 0.4, strict=True))


def test_the_matrix_has_a_coloured_dot_for_every_datapath_of_a_row():
    critical = many_sets()
    layout = matrix(regions(critical), 600, 900)
    figure = go.Figure(matrix_figure(layout, Encoding(np.ones(300)), LIGHT))
    dots = trace(figure, "datapaths")
    found = {}
    for x, y, colour in zip(dots.x, dots.y, dots.marker.color, strict=True):
        (row,) = [row for row in layout.rows if row.rect.y < y < row.rect.bottom]
        (path,) = [path for path, place in layout.columns.items() if place == x]
        if colour == LIGHT.path(path):
            found.setdefault(row.region, set()).add(path)
    assert len(dots.x) == len(layout.rows) * 5
    assert found == {row.region: set(row.region.paths) for row in layout.rows}
    texts = [a.text for a in figure.layout.annotations]
    assert {"src", "adv", "tar", "tar 2", "tar 3"} <= set(texts)
    assert [t for t in texts if t.isdigit()] == [str(len(row.region.channels)) for row in layout.rows]


def test_the_matrix_has_the_traces_of_the_treemap_and_tells_what_it_leaves_out():
    critical = many_sets()
    layout = matrix(regions(critical), 600, 200)
    shown = {cell.channel for cell in layout.cells}
    selected, hidden = layout.cells[0].channel, next(c for c in range(300) if c not in shown)
    figure = go.Figure(matrix_figure(layout, Encoding(np.ones(300), np.ones(300), selected=selected), LIGHT))
    maps = trace(figure, "maps")
    assert [list(row) for row in maps.customdata] == [[cell.channel] for cell in layout.cells]
    assert [t.name for t in figure.data if t.hoverinfo != "skip"] == ["maps"]
    assert len(frames(figure, "selected")) == 1
    without = go.Figure(matrix_figure(layout, Encoding(np.ones(300), selected=hidden), LIGHT))
    assert len(frames(without, "selected")) == 0, "it has no cell"
    assert set(by_cell(layout, trace(figure, "contribution"))) == shown
    missing = sum(len(region.channels) for region in layout.left_out)
    assert missing > 1
    assert any(f"+{len(layout.left_out)} smaller sets · {missing} maps" in a.text for a in figure.layout.annotations)
