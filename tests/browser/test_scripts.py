"""What the browser works out itself: the address of a view, which the server reads back, and areas of neurons."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aevis_dash.callbacks.steps import Step, plain_area
from aevis_dash.callbacks.view import PLAIN, View, from_search
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
)
VIEWS = st.builds(
    View,
    example=st.none() | NAMES,
    target=st.none() | NAMES,
    method=st.none() | st.just("gradient"),
    share=st.none() | st.sampled_from([0.0, 0.005, 0.1]),
    compared=st.lists(NAMES, max_size=3).map(tuple),
    folds=st.lists(NAMES, max_size=3).map(tuple),
    pinned=st.lists(NAMES, max_size=3).map(tuple),
    layer=st.none() | NAMES,
    map=st.none() | st.integers(0, 3000),
    area=st.none() | areas(),
    maps=MAPS,
    steps=st.lists(STEPS, max_size=3).map(tuple),
    at=st.integers(-1, 2),
    plot=st.sampled_from(["river", "dots"]),
    look=st.sampled_from(["maps", "over", "difference"]),
    faces=st.sampled_from(["on", "off"]),
)


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
