"""A trail's picture: read from fig.data."""

import numpy as np
import pytest

from aevis_dash.domain import ROLES, AreaOfInterest, Verdict
from aevis_dash.figures.theme import LIGHT
from aevis_dash.figures.trail import Depth, Stop, trail_figure

IMAGES = {role: np.full((8, 8, 3), 10 * i, np.uint8) for i, role in enumerate(ROLES)}
STOP = Stop(
    ["<b>layer4 · map 3</b>", "31% of the prediction"],
    [np.full((4, 6, 3), k, np.uint8) for k in range(7)],
    {role: np.full((5, 5), 1.0 + i) for i, role in enumerate(ROLES)},
    AreaOfInterest(4, 1, 1, 3, 3),
)
DEPTHS = [Depth("relu", 3, 16, 4, 8, Verdict.OTHERS), Depth("layer4.2", 0, 64, -1, -1, Verdict.NO_SET)]


@pytest.fixture
def figure():
    return trail_figure(["a panda"], IMAGES, dict.fromkeys(ROLES, "panda"), [STOP, STOP], DEPTHS, LIGHT)


def test_every_stop_shows_its_patches_and_one_scale_of_activations(figure):
    heatmaps = [t for t in figure.data if t.type == "heatmap"]
    assert [t.name for t in heatmaps] == [role.value for role in ROLES] * 2
    assert {(t.zmin, t.zmax) for t in heatmaps} == {(0.0, 3.0)}
    pictures = [np.array(t.z).shape for t in figure.data if t.type == "image"]
    assert pictures == [(8, 8, 3)] * 3 + [(48, 256, 3)] * 2, "three images, five patches of each map with gaps"
    assert len(figure.layout.shapes) == 6


def test_every_drawing_has_axes_of_its_own(figure):
    axes = [(t.xaxis, t.yaxis) for t in figure.data if t.type != "bar"]
    assert len(set(axes)) == len(axes) == 11


def test_the_depths_are_shares_of_their_layers_with_the_verdict_below(figure):
    found, others, integrated = (t for t in figure.data if t.type == "bar")
    assert list(integrated.y) == [50, 0]
    assert list(found.y) == [100 * 3 / 16, 0]
    assert list(others.y) == [25, 0]
    axis = next(a for a in figure.select_xaxes() if a.ticktext)
    assert axis.ticktext == ("relu<br>3 of 16<br>other maps do it too", "layer4.2<br>none<br>no set turns it")


def test_a_map_that_fires_nowhere_and_has_no_patch_is_drawn():
    silent = Stop(["x"], [], {role: np.zeros((1, 1)) for role in ROLES}, None)
    figure = trail_figure(["a"], {}, {}, [silent], DEPTHS, LIGHT)
    assert not [t for t in figure.data if t.type == "image"]
    assert {t.zmax for t in figure.data if t.type == "heatmap"} == {1.0}
    figure.to_json()
