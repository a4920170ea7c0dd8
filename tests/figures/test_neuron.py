"""One scale for all examples, over their images or beside them; differences around nothing; the strongest marked."""

import base64
import json
from urllib.parse import unquote
from xml.etree import ElementTree

import numpy as np
import plotly.graph_objects as go
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aevis_dash.domain import DATAPATHS, ROLES, AreaOfInterest, Role, further
from aevis_dash.figures.drawing import ticks
from aevis_dash.figures.neuron import COLUMN, LARGE, TITLE, Shown, activation_figure, strongest
from aevis_dash.figures.scale import scale_picture
from aevis_dash.figures.theme import CHARACTER, DARK, LIGHT

PATHS = [*ROLES, *(further(i) for i in range(2, DATAPATHS - 1))]

SVG = "{http://www.w3.org/2000/svg}"


def shown(shape=(5, 7), sizes=(1.0, 8.0, 3.0), names=()):
    full = {path: Shown(np.full(shape, size), path, f"/image/{path}") for path, size in zip(PATHS, sizes, strict=False)}
    return full | {path: Shown(full[path].values, names[path], full[path].image) for path in names}


def draw(look="maps", area=None, theme=LIGHT, room=COLUMN, **what):
    return figure_of(shown(**what), look, area, theme, room)


def figure_of(*what):
    """The drawing as plotly understands it, which also refuses what it does not know."""
    return go.Figure(activation_figure(*what))


def maps_of(figure):
    return [trace for trace in figure.data if trace.type == "heatmap"]


def noise(count):
    """Maps as large as those of the first layers of the usual networks."""
    random = np.random.default_rng(0)
    return {path: Shown(random.normal(size=(112, 112)), "x", "/image/x") for path in PATHS[:count]}


def grid(trace, dtype="<f4"):
    """The numbers of a heatmap, which travel as bytes."""
    return np.frombuffer(base64.b64decode(trace.z["bdata"]), dtype).reshape(*map(int, trace.z["shape"].split(",")))


def marks_of(figure):
    return [trace for trace in figure.data if trace.type == "scatter"]


def named_on(figure):
    """The texts of the colour bar: its title, and the numbers at its ticks."""
    (bar,) = [image for image in figure.layout.images if image.name == "colour bar"]
    return [text.text for text in ElementTree.fromstring(unquote(bar.source.partition(",")[2])).iter(f"{SVG}text")]


def pictures_of(figure):
    return [image for image in figure.layout.images if image.name != "colour bar"]


def axis(figure, name):
    return figure.layout[f"{name[0]}axis{name[1:]}"]


@pytest.mark.parametrize("look", ["maps", "over"])
def test_all_maps_share_one_scale_from_zero_and_one_labelled_colour_bar(look):
    figure = draw(look)
    assert [t.name for t in maps_of(figure)] == ["source", "adversarial", "target"]
    assert {t.coloraxis for t in maps_of(figure)} == {"coloraxis"}
    scale = figure.layout.coloraxis
    assert (scale.cmin, scale.cmax, scale.showscale) == (0, 8, False)
    assert named_on(figure) == ["activation", *(f"{tick:g}" for tick in ticks(0, 8))]
    assert [float(grid(t)[0, 0]) for t in maps_of(figure)] == [1, 8, 3]


@pytest.mark.parametrize("sizes", [(0, 0, 0), (-1, -2, -3), (np.nan, np.nan, np.nan)])
@pytest.mark.parametrize("look", ["maps", "difference"])
def test_without_activation_the_scale_still_has_a_length(sizes, look):
    assert draw(look, sizes=sizes).layout.coloraxis.cmax == 1


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_differences_are_adv_less_each_other_around_the_surface(theme):
    figure = draw("difference", theme=theme)
    assert [(t.name, float(grid(t)[0, 0])) for t in maps_of(figure)] == [("source", 7), ("target", 5)]
    scale = figure.layout.coloraxis
    assert (scale.cmin, scale.cmax) == (-7, 7)
    middle = scale.colorscale[len(scale.colorscale) // 2]
    assert middle == (0.5, theme.surface)
    places = [axis(figure, t.xaxis).domain for t in maps_of(figure)]
    beside = [axis(draw(), t.xaxis).domain for t in maps_of(draw())]
    assert places == [beside[0], beside[2]], "above their own images: adv's place stays empty"
    assert "adv − src" in figure.layout.annotations[0].text


def test_over_the_image_it_lies_below_and_is_as_large_as_the_map():
    figure = draw("over", shape=(4, 6))
    assert [i.source for i in pictures_of(figure)] == ["/image/source", "/image/adversarial", "/image/target"]
    assert [(i.xref, i.yref) for i in pictures_of(figure)] == [(t.xaxis, t.yaxis) for t in maps_of(figure)]
    image = figure.layout.images[0]
    assert (image.x, image.y, image.sizex, image.sizey, image.layer) == (-0.5, -0.5, 6, 4, "below")
    assert (image.xanchor, image.yanchor, image.sizing) == ("left", "top", "stretch")
    opacities = [float(colour.rstrip(")").split(",")[3]) for _, colour in figure.layout.coloraxis.colorscale]
    assert opacities[0] == 0
    assert opacities == sorted(opacities)
    assert pictures_of(draw("maps")) == pictures_of(draw("difference")) == []


def test_cells_are_square_row_0_on_top_and_boxes_can_be_drawn():
    figure = draw(shape=(4, 6))
    for x, y in (("x", "y"), ("x2", "y2"), ("x3", "y3")):
        assert tuple(axis(figure, y).range) == (3.5, -0.5)
        assert tuple(axis(figure, x).range) == (-0.5, 5.5)
        assert axis(figure, y).scaleanchor == x
        assert axis(figure, x).fixedrange
    assert [(t.xaxis, t.yaxis) for t in maps_of(figure)] == [("x", "y"), ("x2", "y2"), ("x3", "y3")]
    assert figure.layout.dragmode == "select"


def test_in_the_large_figure_all_maps_follow_the_one_that_is_zoomed():
    figure = draw(room=LARGE)
    assert figure.layout.dragmode == "zoom"
    assert [axis(figure, t.xaxis).matches for t in maps_of(figure)] == [None, "x", "x"]
    assert [axis(figure, t.yaxis).matches for t in maps_of(figure)] == [None, "y", "y"]
    assert not axis(figure, "x2").fixedrange
    assert figure.layout.uirevision != draw(room=LARGE, shape=(9, 9)).layout.uirevision, "no zoom of another layer"
    area = AreaOfInterest(0, 0, 0, 1, 1)
    again = draw(room=LARGE, area=area)
    assert again.layout.uirevision == figure.layout.uirevision
    assert again.layout.selectionrevision != figure.layout.selectionrevision


@pytest.mark.parametrize("count", range(2, DATAPATHS + 1))
@pytest.mark.parametrize("room", [COLUMN, LARGE])
def test_maps_and_their_titles_do_not_overlap(count, room):
    """Each map and the two lines above it have their own place; long names are cut to the width there is."""
    names = dict.fromkeys(PATHS[:count], "a giant panda of the mountains")
    figure = draw(room=room, sizes=range(count), names=names)
    height = (figure.layout.height or room.height) - figure.layout.margin.t - figure.layout.margin.b
    boxes = []
    for trace in maps_of(figure):
        (left, right), (bottom, top) = axis(figure, trace.xaxis).domain, axis(figure, trace.yaxis).domain
        assert 0 <= left < right <= 1.0001
        assert 0 <= bottom < top <= 1
        boxes.append((left * room.width, right * room.width, bottom * height, top * height + TITLE - 0.5))
    assert len(boxes) == count
    for i, a in enumerate(boxes):
        for b in boxes[i + 1 :]:
            assert a[1] < b[0] or b[1] < a[0] or a[3] < b[2] or b[3] < a[2]
    for (left, right, _, _), note in zip(boxes, figure.layout.annotations, strict=True):
        longest = max(len(line) for line in note.text.replace("<b>", "").replace("</b>", "").split("<br>"))
        assert longest * CHARACTER <= right - left + 6


def test_the_figure_grows_by_rows_only():
    three, eight = draw(), draw(sizes=range(8))
    assert three.layout.height == draw(sizes=range(2)).layout.height
    assert eight.layout.height > three.layout.height
    assert eight.layout.height == draw(sizes=range(5)).layout.height
    assert draw(shape=(56, 56)).layout.height == draw(shape=(7, 7)).layout.height


def test_the_strongest_neurons_of_each_map_are_marked_and_catch_no_click():
    values = np.zeros((4, 5))
    values[1, 2], values[3, 0], values[0, 4], values[2, 2] = 5, 9, 7, 1
    figure = figure_of({Role.ADVERSARIAL: Shown(values, ""), Role.SOURCE: Shown(-values, "")}, "maps", None, LIGHT)
    adversarial, source = marks_of(figure)
    assert (list(adversarial.y), list(adversarial.x)) == ([3, 0, 1], [0, 4, 2])
    assert (adversarial.xaxis, source.xaxis) == ("x", "x2")
    assert len(source.x) == 0, "what does not fire is not marked"
    assert {t.hoverinfo for t in marks_of(figure)} == {"skip"}
    assert list(adversarial.marker.color) == [LIGHT.surface, LIGHT.surface, LIGHT.surface]


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_marks_are_dark_on_light_cells_and_light_on_dark_ones(theme):
    figure = draw(theme=theme, sizes=(1.0, 8.0, 4.5))
    assert [set(t.marker.color) for t in marks_of(figure)] == [{theme.ink}, {theme.surface}, {theme.surface}]


def test_strongest_leaves_out_what_is_no_number():
    assert strongest(np.array([[np.nan, 2.0], [np.inf, -1.0]])) == ([0], [1])


def test_of_differences_the_largest_are_marked_whatever_their_sign():
    values = np.array([[0.0, 3.0], [-8.0, 1.0]])
    shown = {Role.SOURCE: Shown(-values, ""), Role.ADVERSARIAL: Shown(np.zeros((2, 2)), "")}
    (marks,) = marks_of(figure_of(shown, "difference", None, LIGHT))
    assert (list(marks.y), list(marks.x)) == ([1, 0, 1], [0, 1, 1])


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_area_is_drawn_on_all_maps_in_ink_with_a_halo(theme):
    figure = draw(area=AreaOfInterest(0, top=1, left=2, bottom=4, right=5), theme=theme)
    assert [(s.xref, s.yref) for s in figure.layout.shapes[::2]] == [("x", "y"), ("x2", "y2"), ("x3", "y3")]
    assert {s.path for s in figure.layout.shapes} == {"M1.5,0.5L4.5,0.5L4.5,3.5L1.5,3.5Z"}
    halo, line = figure.layout.shapes[:2]
    assert (halo.line.color, line.line.color) == (theme.surface, theme.ink)
    assert halo.line.width > line.line.width


def test_neurons_that_do_not_touch_have_borders_of_their_own():
    figure = draw(area=AreaOfInterest(0, top=1, left=2, bottom=4, right=5, picked=(0, 5)))
    paths = {s.path for s in figure.layout.shapes}
    assert paths == {"M1.5,0.5L2.5,0.5L2.5,1.5L1.5,1.5ZM3.5,1.5L4.5,1.5L4.5,2.5L3.5,2.5Z"}


def test_titles_name_path_and_class_in_the_paths_colours(names):
    titles = {
        a.text: a.font.color
        for a in draw(names=names | {further(2): "a sea cucumber"}, sizes=range(4)).layout.annotations
    }
    assert titles == {
        "<b>src</b><br>ambulance": LIGHT.source,
        "<b>adv</b><br>sign &lt;b&gt;": LIGHT.adversarial,
        "<b>tar</b><br>street sign": LIGHT.target,
        "<b>tar 2</b><br>a sea cucu…": LIGHT.further[0],
    }


def test_a_single_neuron_and_a_missing_role():
    figure = figure_of({Role.SOURCE: Shown(np.ones((1, 1)), "cat")}, "maps", None, LIGHT)
    assert len(maps_of(figure)) == 1
    assert named_on(figure)[0] == "activation"
    figure.to_json()


@pytest.mark.parametrize("look", ["maps", "over", "difference"])
@pytest.mark.parametrize("count", [3, DATAPATHS])
def test_the_largest_maps_travel_in_less_than_400_kb(look, count):
    dense = noise(count)
    text = json.dumps(activation_figure(dense, look, None, LIGHT, LARGE))
    assert len(text) < 400_000
    kind = "f4" if count == 3 else "u2"
    assert {t["z"]["dtype"] for t in json.loads(text)["data"] if t["type"] == "heatmap"} == {kind}


def test_many_numbers_travel_in_steps_and_are_drawn_as_they_are():
    """What is drawn lies where the value lies on the scale, to half a step, and so do the ticks of the colour bar."""
    dense = noise(DATAPATHS)
    figure = figure_of(dense, "difference", None, LIGHT)
    adversarial = dense[Role.ADVERSARIAL].values
    scale, traces = figure.layout.coloraxis, maps_of(figure)
    largest = max(np.abs(adversarial - one.values).max() for one in dense.values())
    for trace in traces:
        _, base, step, _ = trace.meta
        seen = base + step * grid(trace, "<u2").astype(float)
        assert np.abs(seen - (adversarial - dense[trace.name].values)).max() <= step / 2 * 1.0001
        np.testing.assert_allclose([base + step * scale.cmin, base + step * scale.cmax], [-largest, largest])
    assert named_on(figure) == ["difference", *(f"{tick:.6g}" for tick in ticks(-largest, largest))]
    assert "%{z" not in traces[0].hovertemplate, "a number of steps is no activation"


def test_many_numbers_of_which_one_is_none_travel_as_floats():
    dense = noise(DATAPATHS)
    dense[Role.SOURCE].values[3, 4] = np.inf
    traces = maps_of(figure_of(dense, "maps", None, LIGHT))
    assert np.isinf(grid(traces[0])[3, 4])


@given(st.floats(1e-30, 1e30), st.booleans())
def test_ticks_are_few_round_even_and_inside(most, both):
    least = -most if both else 0.0
    found = np.array(ticks(least, most))
    assert 0 in found
    assert 3 <= len(found) <= 7
    assert (found >= least * (1 + 1e-9)).all()
    assert (found <= most * (1 + 1e-9)).all()
    (step,) = {f"{gap:.3e}" for gap in np.diff(found)}
    assert step[:5] in ("1.000", "2.000", "5.000")


def test_a_number_stands_under_its_colour():
    """Halfway between the ends is halfway along the bar, and the ends have the colours of the scale's ends."""
    picture = scale_picture("<b>", [-2.0, 0.0, 1.0, 2.0], (-2.0, 2.0), LIGHT.diverging, LIGHT)
    root = ElementTree.fromstring(unquote(picture.partition(",")[2]))
    title, *named = root.iter(f"{SVG}text")
    assert title.text == "<b>"
    (bar,) = root.iter(f"{SVG}rect")
    left, width = float(bar.get("x")), float(bar.get("width"))
    assert [(float(tick.get("x")) - left) / width for tick in named] == pytest.approx([0, 0.5, 0.75, 1])
    stops = [(float(stop.get("offset")), stop.get("stop-color")) for stop in root.iter(f"{SVG}stop")]
    assert stops == [tuple(stop) for stop in LIGHT.diverging]
