"""What the browser works out itself: the address of a view, which the server reads back, and areas of neurons."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aevis_dash.callbacks.view.address import from_search
from aevis_dash.callbacks.view.browser import CHOICES, CLEARED
from aevis_dash.callbacks.view.state import BELONGS, CHOSEN, FIELDS, PLAIN, View, changes, from_data
from aevis_dash.callbacks.view.steps import Step, path_to, plain_area
from aevis_dash.domain import area_of_neurons

pytestmark = pytest.mark.browser

SCRIPT = Path(__file__).parents[2].joinpath("assets", "address.js").read_text(encoding="utf-8")
WRITE = f"{SCRIPT}\nreturn arguments[0].map((view) => window.dash_clientside.address.address(view, arguments[1]));"

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NAMES = st.sampled_from(["layer1.0.relu", "relu", "a b/c ~1:2,3.png", "Straße & co?.png", "+100%"])
MAPS = st.lists(st.integers(0, 3000), max_size=4, unique=True).map(tuple)


@st.composite
def areas(draw):
    """Any neurons of a map of 5 x 70: a rectangle, or some of one, with more places than a number of 32 bits has."""
    chosen = np.zeros((5, 70), bool)
    for place in draw(st.lists(st.integers(0, 349), min_size=1, max_size=5)):
        chosen.flat[place] = True
    area = area_of_neurons(0, chosen)
    assert area is not None
    return plain_area(area)


STEPS = st.builds(
    Step,
    layer=st.sampled_from(["", "layer1.0.relu"]),
    map=st.none() | st.integers(0, 3000),
    area=st.none() | areas(),
    source=st.sampled_from(["", "relu"]),
    maps=MAPS,
    replacement=st.sampled_from(["", "zero"]),
    parent=st.integers(-1, 3),
    note=TEXT,
    on=st.sampled_from(["source", "adversarial", "target"]),
)


def grown(view):
    """The view with a trail as it grows: each step follows an earlier one, and the page is at one of them."""
    steps = tuple(replace(step, parent=min(step.parent, i - 1)) for i, step in enumerate(view.steps))
    return view.but(steps=steps, at=min(view.at, len(steps) - 1))


VIEWS = st.builds(
    View,
    example=st.none() | NAMES,
    target=st.none() | NAMES,
    method=st.none() | st.just("gradient"),
    share=st.none() | st.sampled_from([0.0, 0.005, 0.1]),
    compared=st.lists(NAMES, max_size=3, unique=True).map(tuple),
    folds=st.lists(NAMES, max_size=3, unique=True).map(tuple),
    pinned=st.lists(NAMES, max_size=3, unique=True).map(tuple),
    layer=st.none() | NAMES,
    map=st.none() | st.integers(0, 3000),
    area=st.none() | areas(),
    maps=MAPS,
    steps=st.lists(STEPS, max_size=3).map(tuple),
    at=st.integers(-1, 2),
    plot=st.sampled_from(["river", "dots"]),
    look=st.sampled_from(["maps", "over", "difference"]),
    faces=st.sampled_from(["on", "off"]),
    on=st.sampled_from(["", "source", "target"]),
    margins=st.none() | st.tuples(st.floats(-9, 9), st.floats(9, 99)),
    scores=st.none() | st.tuples(st.floats(-9, 9), st.floats(9, 99)),
).map(grown)


def written(driver, views):
    data = [json.loads(json.dumps(view.to_data())) for view in views]
    return driver.execute_script(WRITE, data, dict(PLAIN))


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(views=st.lists(VIEWS, min_size=10, max_size=20))
def test_every_view_is_read_back_from_its_address(dash_br, views):
    found = written(dash_br.driver, views)
    assert [from_search(search) for search in found] == views
    assert all(search[:1] in ("", "?") and " " not in search and "#" not in search for search in found)


def test_an_address_names_only_what_a_new_page_does_not_show(dash_br):
    views = [View(), View(method="random", share=0.0), View(example="a", map=0), View(maps=(3, 1), area=(0, 1, 4, 5))]
    views += [replace(View(), **{name: "x"}) for name in PLAIN if name != "at"]
    expected = ["", "?method=random&share=0", "?example=a&map=0", "?area=0,1,4,5&maps=3,1"]
    expected += [f"?{name}=x" for name in PLAIN if name != "at"]
    assert written(dash_br.driver, views) == expected


AREA = Path(__file__).parents[2].joinpath("assets", "area.js").read_text(encoding="utf-8")
TOGGLE = f"{AREA}\nreturn arguments[0].map((asked) => window.dash_clientside.area.toggled(...asked));"


def toggled(area, row, column, shape):
    """The slow twin: the neurons as an array."""
    chosen = np.zeros(shape, bool)
    if area is not None:
        top, left, bottom, right, *picked = area
        inside = np.zeros((bottom - top) * (right - left), bool)
        inside[picked or slice(None)] = True
        chosen[top:bottom, left:right] = inside.reshape(bottom - top, right - left)
    chosen[row, column] ^= True
    found = area_of_neurons(0, chosen)
    return None if found is None else list(plain_area(found))


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(asked=st.lists(st.tuples(st.none() | areas(), st.integers(0, 4), st.integers(0, 69)), min_size=10, max_size=30))
def test_a_click_adds_a_neuron_to_the_area_or_takes_it_away(dash_br, asked):
    asked = [*asked, ((2, 3, 3, 4), 2, 3), ((0, 0, 2, 2), 1, 1), ((0, 0, 2, 2, 0, 1, 2), 1, 1)]
    found = dash_br.driver.execute_script(TOGGLE, [[area, row, column, 70] for area, row, column in asked])
    assert found == [toggled(area, row, column, (5, 70)) for area, row, column in asked]


READ = f"""{AREA}
const read = (text) => {{
  try {{ return window.dash_clientside.area.read(text, "relu", 5, 70); }} catch (wrong) {{ return String(wrong); }}
}};
return arguments[0].map(read);"""


def test_a_typed_area_is_read(dash_br):
    expected = {
        "rows 2-4, columns 3-5": [2, 3, 5, 6],
        "row 2 column 3": [2, 3, 3, 4],
        "Columns 3 to 5": [0, 3, 5, 6],
        " rows 4–2; ": [2, 0, 5, 70],
        "columns 0, rows 4-4": [4, 0, 5, 1],
        "columns 9-10": [0, 9, 5, 11],
        "": None,
        "  ": None,
    }
    assert dash_br.driver.execute_script(READ, [*expected, None]) == [*expected.values(), None]


def test_what_is_no_area_is_refused_in_a_sentence(dash_br):
    none = "names no neurons. Write them such as: rows 2-4, columns 3-5."
    outside = "The area lies outside layer 'relu', which has 5 rows and 70 columns, counted from 0."
    wrong = ["the ear", "rows 2-4, columns", "rows 2-4 and 7", "rows 1, rows 2", "rows -1"]
    assert dash_br.driver.execute_script(READ, wrong) == [f"'{text}' {none}" for text in wrong]
    assert dash_br.driver.execute_script(READ, ["x" * 99]) == [f"'{'x' * 40}…' {none}"]
    assert dash_br.driver.execute_script(READ, ["rows 2-5", "columns 70"]) == [outside] * 2


NEURON = Path(__file__).parents[2].joinpath("assets", "neuron.js").read_text(encoding="utf-8")
NUMBER = f"""
const none = () => null;
window.dash_clientside = {{controls: {{add: none, also: none, listening: none}}}};
{NEURON}
return arguments[0].map((asked) => window.dash_clientside.neuron.number(...asked));
"""


def test_a_value_is_told_to_three_digits_and_no_finer_than_it_travelled(dash_br):
    asked = [[0.0012345, 0, 0], [-1234.5, 0, 0], [65535, 0, 0.0001], [3, -2, 0.0001], [13, 0, 0.0001], [40000, 0, 3]]
    told = [0.00123, -1230, 6.55, -2, 0.0013, 120_000]
    assert dash_br.driver.execute_script(NUMBER, asked) == pytest.approx(told, rel=1e-12)


ASSETS = Path(__file__).parents[2] / "assets"
OWN = json.dumps({**FIELDS, "choices": CHOICES | CLEARED})
WITH_CONTROLS = f"""
window.dash_component_api = {{ getLayout: (id) => (id === "own-extraction" ? {{ props: {{ data: {OWN} }} }} : null) }};
{ASSETS.joinpath("controls.js").read_text(encoding="utf-8")}
"""
"""The script that the stations' scripts use, and what the page tells it of the view's fields."""
TRAIL = f"""
{WITH_CONTROLS}
{ASSETS.joinpath("trail.js").read_text(encoding="utf-8")}
return arguments[0].map(([move, view, number]) => window.dash_clientside.trail[move](view, number));
"""
TREE = (
    Step("layer3.0.relu", 1, (0, 0, 2, 2), "layer2.0.relu"),
    Step("layer2.0.relu", 2, None, "layer1.0.relu", parent=0),
    Step("layer2.0.relu", 3, None, "layer1.0.relu", parent=0),
    Step("layer1.0.relu", 4, maps=(4, 5), replacement="zero", parent=1),
    Step("", None, None, "layer2.0.relu"),
)


def plain(view):
    return json.loads(json.dumps(view.to_data()))


def moved(driver, *asked):
    found = driver.execute_script(TRAIL, [[move, plain(view), number] for move, view, number in asked])
    return [from_data(view) for view in found]


def test_moves_in_the_trail_lead_back_to_the_image_that_was_traced(dash_br):
    steps = (replace(TREE[0], on="source"), replace(TREE[1], on="target"), *TREE[2:])
    view = View(layer="layer1.0.relu", map=4, on="source", cause="adversarial", steps=steps, at=1)
    asked = [("step", view, 0), ("step", view, 1), ("step", view, 4), ("node", view, 0), ("node", view, 3)]
    images = [(found.on, found.cause) for found in moved(dash_br.driver, *asked)]
    assert images[:3] == [("source", "adversarial"), ("target", "source"), ("", "adversarial")]
    assert images[3:] == [("", "source"), ("", "target")], "the contributions that are shown are those on its image"


def test_moves_in_the_trail_lead_back_on_and_out(dash_br):
    view = View(layer="layer1.0.relu", map=4, area=(1, 1, 2, 2), maps=(7,), steps=TREE, at=1)
    asked = [("step", view, 0), ("step", view, 4), ("node", view, 0), ("node", view, 3)]
    before, predicted, outcome, flipped = moved(dash_br.driver, *asked)
    first = {"layer": "layer3.0.relu", "map": 1, "area": (0, 0, 2, 2), "on": "adversarial"}
    assert before == view.but(**first, maps=(), at=-1)
    assert predicted == view.but(layer="layer2.0.relu", map=None, area=None, maps=(), at=-1), "it has no layer itself"
    assert outcome == view.but(layer="layer2.0.relu", map=None, area=None, maps=(), at=0)
    assert outcome.traced == TREE[0]
    assert flipped == view.but(area=None, maps=(4, 5), replacement="zero")


def without(view, number):
    """The slow twin: the steps whose path does not hold that one, and where the view is among them."""
    left = [i for i in range(len(view.steps)) if number not in path_to(view.steps, i)]
    place = lambda i: left.index(i) if i >= 0 else -1  # noqa: E731
    at = view.at if view.at in (-1, *left) else view.steps[number].parent
    steps = tuple(replace(view.steps[i], parent=place(view.steps[i].parent)) for i in left)
    return view.but(steps=steps, at=place(at))


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_step_goes_with_all_that_follow_it(dash_br, data):
    asked = []
    for _ in range(20):
        count = data.draw(st.integers(1, 7))
        parents = [data.draw(st.integers(-1, i - 1)) for i in range(count)]
        steps = tuple(Step("a", i, None, "b", parent=parent) for i, parent in enumerate(parents))
        view = View(steps=steps, at=data.draw(st.integers(-1, count - 1)))
        asked.append(("drop", view, data.draw(st.integers(0, count - 1))))
    assert moved(dash_br.driver, *asked) == [without(view, number) for _, view, number in asked]


CONTROLS = f"""
{ASSETS.joinpath("controls.js").read_text(encoding="utf-8")}
return window.dash_clientside.controls.merged(...arguments);
"""
HERE = View(example="panda", target="cat", layer="relu", map=3, area=(0, 0, 2, 2), steps=TREE[:2], at=1)


EDIT = f"""
{WITH_CONTROLS}
return arguments[0].map(([view, fields]) => window.dash_clientside.controls.edit(view, fields));
"""


def test_an_edit_clears_the_same_in_the_browser_as_on_the_server(dash_br):
    full = HERE.but(compared=("a.png",), on="source", maps=(1, 2), how="exact")
    edits = [{name: getattr(View(), name)} for name in View.__dataclass_fields__]
    edits += [{"layer": "y", "map": 7}, {"layer": "y", "area": [0, 0, 1, 1], "on": "target"}, {"steps": [], "at": -1}]
    found = dash_br.driver.execute_script(EDIT, [[plain(full), json.loads(json.dumps(fields))] for fields in edits])
    assert found == [plain(full.edit(**fields)) for fields in edits]


CHOOSE = f"""
const set = [];
const context = {{ triggered: arguments[1] }};
window.dash_clientside = {{ callback_context: context, set_props: (id, props) => set.push([id, props.data]) }};
{WITH_CONTROLS}
window.dash_clientside.controls.choose(arguments[0]);
return set;
"""


@pytest.mark.parametrize(
    ("control", "value", "fields"),
    [
        ("layer-sort.value", "channel", {"sort": "channel"}),
        ("layer-faces.value", False, {"faces": "off"}),
        ("large-look.value", "over", {"look": "over"}),
        ("whole-map.n_clicks", 3, {"area": None, "on": ""}),
        ("layer-sort.value", "fill", None),
        ("layer-faces.value", True, None),
        ("whole-map.n_clicks", None, None),
    ],
)
def test_a_choice_sets_its_field_at_once(dash_br, control, value, fields):
    """Nothing is set where the control has come to say what the view says already."""
    here = HERE.but(on="source")
    found = dash_br.driver.execute_script(CHOOSE, plain(here), [{"prop_id": control, "value": value}])
    assert found == ([] if fields is None else [["view", plain(here.but(**fields))]])


def test_every_choice_is_a_field_whose_values_the_server_checks():
    elsewhere = {"question", "beside"}  # another question needs the server, for its map; a second model has a button
    assert set(CHOICES.values()) | elsewhere == set(CHOSEN)
    assert set(CLEARED.values()) <= set(FIELDS["fresh"])


def merged(driver, before, after, now, since=0, went=0):
    """The view after an answer that was asked at `before` and comes at `now`."""
    change = changes(before, after, since)
    return from_data(driver.execute_script(CONTROLS, json.loads(json.dumps(change)), plain(now), BELONGS, went))


@pytest.mark.parametrize(
    ("after", "now", "expected"),
    [
        ({"sort": "channel"}, {}, {"sort": "channel"}),
        ({"sort": "channel"}, {"map": 5}, {"sort": "channel", "map": 5}),
        ({"sort": "channel"}, {"sort": "contribution"}, {"sort": "contribution"}),
        ({"sort": "channel"}, {"example": "cat", "layer": "x"}, {"sort": "channel", "example": "cat", "layer": "x"}),
        ({"layer": "x", "map": 1}, {"map": 5}, {"map": 5}),
        ({"layer": "x", "map": 1}, {"layer": "y"}, {"layer": "y"}),
        ({"area": None}, {"layer": "y"}, {"layer": "y"}),
        ({"maps": (1, 2)}, {"layer": "y"}, {"layer": "y"}),
        ({"maps": (1, 2)}, {"area": None}, {"maps": (1, 2), "area": None}),
        ({"target": "dog"}, {"example": "cat"}, {"example": "cat"}),
    ],
)
def test_an_answer_changes_what_the_visitor_has_not_changed_since(dash_br, after, now, expected):
    found = merged(dash_br.driver, HERE, HERE.but(**after), HERE.but(**now))
    assert found == HERE.but(**expected)


def test_another_example_is_shown_unless_the_visitor_went_back_since(dash_br):
    there = HERE.at_example("cat")
    elsewhere = HERE.but(example="dog", map=9, sort="channel")
    assert merged(dash_br.driver, HERE, there, elsewhere, since=20, went=10) == there.but(sort="channel")
    assert merged(dash_br.driver, HERE, there, elsewhere, since=20, went=30) == elsewhere


FLIP = Step("relu", 3, maps=(3,), replacement="source", parent=1)
NOTED = (replace(TREE[0], note="the ear?"), TREE[1])


@pytest.mark.parametrize(
    ("now", "steps", "at"),
    [
        ({"steps": NOTED}, (*NOTED, FLIP), 1),
        ({"steps": (*NOTED, TREE[4]), "at": 2}, (*NOTED, TREE[4], FLIP), 2),
        ({"steps": TREE[4:], "at": 0, "layer": "y"}, TREE[4:], 0),
    ],
)
def test_what_a_job_adds_to_the_trail_stands_behind_what_came_meanwhile(dash_br, now, steps, at):
    found = merged(dash_br.driver, HERE, HERE.but(steps=(*HERE.steps, FLIP)), HERE.but(**now))
    assert found == HERE.but(**now).but(steps=steps, at=at)


TRACE = Step("relu", 3, (0, 0, 2, 2), "conv", parent=1, on="source")
PLAIN_ORDER = {"sort": "fill", "cause": "adversarial"}


def test_a_trace_to_the_shown_layer_is_led_to(dash_br):
    led = HERE.but(steps=(*HERE.steps, Step("", None, None, "relu")), at=2, area=None)
    assert merged(dash_br.driver, HERE, led, HERE) == led
    assert merged(dash_br.driver, HERE, led, HERE.but(layer="y")).at == 1


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ({}, {"steps": (*HERE.steps, TRACE), "at": 2}),
        ({"steps": (*NOTED, TREE[4])}, {"steps": (*NOTED, TREE[4], TRACE), "at": 3}),
        (
            {"layer": "y", "map": 1},
            {"steps": (*HERE.steps, TRACE), "at": 1, "layer": "y", "map": 1, "area": HERE.area} | PLAIN_ORDER,
        ),
        (
            {"steps": (), "at": -1},
            {"steps": (), "at": -1, "layer": "relu", "map": 3, "area": HERE.area} | PLAIN_ORDER,
        ),
    ],
)
def test_a_trace_is_led_to_as_a_whole_or_not(dash_br, now, expected):
    shown = {"map": None, "area": None, "sort": "contribution", "cause": "source"}
    led = HERE.but(steps=(*HERE.steps, TRACE), at=2, layer="conv", **shown)
    found = merged(dash_br.driver, HERE, led, HERE.but(**now))
    assert found == led.but(**expected)


LAYER = f"""
const context = {{ triggered: [{{ prop_id: arguments[1], value: 1 }}] }};
window.dash_clientside = {{ no_update: null, callback_context: context }};
{WITH_CONTROLS}
{ASSETS.joinpath("layer.js").read_text(encoding="utf-8")}
{ASSETS.joinpath("trail.js").read_text(encoding="utf-8")}
const {{ aevisLayer, trail }} = window.dash_clientside;
return {{ ...aevisLayer, ...trail }}[arguments[0]](null, null, arguments[2]);
"""


def pressed(driver, what, button, view):
    found = driver.execute_script(LAYER, what, f"{button}.n_clicks", plain(view))
    return None if found is None else from_data(found)


def test_three_layers_can_be_pinned_and_the_first_makes_room(dash_br):
    view = View()
    for name in "abcd":
        view = pressed(dash_br.driver, "pin", "pin-layer", view.but(layer=name))
    assert view.pinned == ("b", "c", "d")
    unpin = '{"index":"c","type":"unpin"}'
    apart = pressed(dash_br.driver, "pin", unpin, view)
    assert apart.pinned == ("b", "d")
    assert pressed(dash_br.driver, "pin", unpin, apart).pinned == ("b", "d"), "pressed twice it does not pin again"
    assert pressed(dash_br.driver, "pin", "pin-layer", view).pinned == ("b", "c")


def test_a_button_of_the_layer_before_shows_no_map(dash_br):
    button = '{"index":"layer1.0.relu:12","type":"table-row"}'
    here = View(layer="layer1.0.relu", map=3)
    assert pressed(dash_br.driver, "chooseMap", button, here) == here.but(map=12)
    assert pressed(dash_br.driver, "chooseMap", button, here.but(layer="layer1.0")) is None
    assert pressed(dash_br.driver, "chooseMap", button, here.but(map=12)) is None


def test_a_step_that_was_drawn_before_another_was_taken_out_is_not_meant(dash_br):
    view = View(layer="relu", steps=TREE, at=0)
    assert pressed(dash_br.driver, "walk", '{"index":"3/5","type":"drop"}', view) == without(view, 3)
    assert pressed(dash_br.driver, "walk", '{"index":"3/4","type":"drop"}', view) == without(view, 3), "one came since"
    assert pressed(dash_br.driver, "walk", '{"index":"3/6","type":"drop"}', view) is None


STATIONS = f"""
let stations = null;
const none = () => null;
const controls = {{add: none, also: none, draw: (functions) => (stations = functions)}};
window.dash_clientside = {{controls, aevisLayer: {{calls: () => [], fit: () => 300}}}};
{ASSETS.joinpath("page.js").read_text(encoding="utf-8")}
const views = arguments[0], page = {{"theme.data": "light", "layer-width.data": 760, "layer-table-switch.n_clicks": 1}};
const drawn = views.map((view) => Object.entries(stations).map(([id, part]) => [id, JSON.stringify(part(view, page))]));
return drawn[0].filter(([id, data], i) => data !== drawn[1][i][1]).map(([id]) => id);
"""


@pytest.mark.parametrize(
    ("change", "anew"),
    [
        ({"steps": NOTED}, ["trail-view"]),
        ({"steps": TREE[:1], "at": 0}, ["layer-view", "table-view", "story-view", "trail-view"]),
        ({"map": 5}, ["neuron-view"]),
    ],
)
def test_what_is_drawn_anew_of_a_change(dash_br, change, anew):
    """A note in the trail draws nothing but the trail."""
    assert dash_br.driver.execute_script(STATIONS, [plain(HERE), plain(HERE.but(**change))]) == anew


def test_connections_are_asked_for_while_they_are_unfolded(dash_br):
    unfolded = STATIONS.replace('"layer-table-switch.n_clicks": 1', '"connections-fold.n_clicks": 1')
    assert unfolded != STATIONS
    another = [plain(HERE), plain(HERE.but(map=5))]
    assert dash_br.driver.execute_script(unfolded, another) == ["connections-view", "neuron-view"]
