"""What is shown of a map, and the area of interest in words: read as they are written, refused in a sentence."""

import numpy as np
import pytest

from aevis_dash.callbacks.neuron.activations import area_words, firing_of, firings
from aevis_dash.callbacks.neuron.clicks import chosen_area
from aevis_dash.callbacks.view import state as views
from aevis_dash.callbacks.view.datapaths import stored_triplet
from aevis_dash.callbacks.view.state import View
from aevis_dash.domain import AreaOfInterest, Layer, Role, further
from aevis_dash.layouts.activations import LOOKS, Sight, large_style, row_style, sights
from aevis_dash.workbench import open_workbench


@pytest.fixture(scope="module")
def bench(filling_world):
    return open_workbench(filling_world)


@pytest.fixture(scope="module")
def view(bench):
    return View(example=bench.workspace.settings.opens_on, layer="layer2.0.relu", map=3)


def test_every_compared_image_is_shown_with_its_class_and_its_own_activations(bench, view):
    found = stored_triplet(bench, view)
    others = [*found.plan.candidates, found.plan.nulls[0]]
    firing = firing_of(bench, view.but(compared=(found.plan.example.source, *others)))
    drawn = firings(bench, firing)
    assert list(drawn)[:2] == [Role.SOURCE, Role.ADVERSARIAL]
    assert len(drawn) == 2 + len(others)
    last = drawn[further(len(others), other=1)]
    assert last.image.endswith(others[-1])
    assert last.name == bench.class_names[found.nulls[0].label]
    np.testing.assert_array_equal(last.values, bench.maps.activation_maps(others[-1], firing.layer.index)[3])


def test_a_link_that_compares_what_is_not_there_shows_the_triplet(bench, view):
    assert list(firing_of(bench, view.but(compared=("nobody.png",))).members) == list(Role)
    assert firing_of(bench, view.but(map=None)) is None
    assert firing_of(bench, View()) is None


def test_every_map_has_its_layers_rows_and_columns_and_one_neuron_without_positions(bench, view):
    layer = bench.layers.layers[0]
    firing = firing_of(bench, view.but(layer=layer.name, map=3))
    assert {one.values.shape for one in firings(bench, firing).values()} == {(layer.height, layer.width)}
    flat = Layer(0, "fc", (), 3, 1, 1)
    assert flat.on_grid(np.array([1.0, 2.0, 3.0])).tolist() == [[[1.0]], [[2.0]], [[3.0]]]


def test_the_area_says_how_much_it_sees(bench, view):
    assert area_words(bench, firing_of(bench, view)).endswith("the whole map, 16 x 16 neurons")
    few = area_words(bench, firing_of(bench, view.but(area=(1, 2, 3, 4, 0, 3))))
    assert "2 neurons in rows 1 to 2, columns 2 to 3; it sees" in few


def test_the_area_is_drawn_or_the_most_active(bench, view):
    index = bench.layers.find(view.layer).index
    drawn = chosen_area(bench, view, {"selectedData": {"range": {"x": [0.5, 2.5], "y": [3.5, 5.5]}}})
    assert drawn == AreaOfInterest(index, 4, 1, 6, 3)
    most = chosen_area(bench, view, {"value": 5})
    assert most.neurons == 5


def test_looks_are_those_that_a_view_may_have():
    assert tuple(LOOKS) == views.LOOKS


def test_images_stand_below_their_maps_and_keep_their_place():
    assert row_style(3, (64, 96)) == {"--across": 3, "--shape": "96 / 64"}
    assert row_style(2, (1, 1))["--across"] == 3
    assert row_style(8, (1, 1))["--across"] == 4
    assert large_style(8)["height"].startswith("min(70vh, 2 * (20.5vw")


def test_a_box_is_drawn_where_an_area_sees_something():
    with_area, without = sights([Sight("/a", "src, cat", (0.25, 0.5, 0.5, 0.25)), Sight("/b", "adv, dog", None)])
    image, box, pointer = with_area.children
    assert (image.alt, box.className, pointer.className) == ("src, cat", "area-box", "hover-box")
    assert box.style == {"left": "25.0%", "top": "50.0%", "width": "50.0%", "height": "25.0%"}
    assert [part.className for part in without.children[1:]] == ["hover-box"]
