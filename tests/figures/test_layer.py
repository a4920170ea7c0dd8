"""Fills stand in the cells they belong to, at heights in proportion to the numbers."""

import json

import numpy as np
import pytest

from aevis_dash.domain import ROLES, Role
from aevis_dash.figures.layer import treemap_figure
from aevis_dash.figures.theme import DARK, LIGHT
from aevis_dash.geometry.sets import regions
from aevis_dash.geometry.treemap import treemap


def draw(critical, difference, contribution=None, selected=None, marked=(), theme=LIGHT, size=(600, 300)):
    layout = treemap(regions(critical), *size)
    names = {role: role.short for role in ROLES}
    return layout, treemap_figure(layout, difference, contribution, selected, marked, theme, names)


def random_sets(n, part, seed=0):
    rng = np.random.default_rng(seed)
    return {role: rng.random(n) < part for role in ROLES}


def trace(figure, name):
    (found,) = [t for t in figure.data if t.name == name]
    return found


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


def test_solid_fill_is_the_difference_over_the_largest_shown_and_its_sign_the_tone():
    critical = {Role.SOURCE: np.array([1, 1, 0, 0], bool), Role.TARGET: np.array([0, 0, 1, 0], bool)}
    layout, figure = draw(critical, np.array([2.0, -4.0, 0.0, 100.0]))
    fills = by_cell(layout, trace(figure, "difference"))
    assert fills[0] == (pytest.approx(0.5, abs=1e-3), LIGHT.more)
    assert fills[1] == (pytest.approx(1.0, abs=1e-3), LIGHT.less)
    assert set(fills) == {0, 1}


def test_dotted_fill_is_the_contribution_and_absent_without():
    critical = {Role.SOURCE: np.ones(4, bool)}
    contribution = np.array([0.0, 0.25, 1.0, 0.5])
    layout, figure = draw(critical, np.zeros(4), contribution)
    dots = trace(figure, "contribution")
    assert dots.marker.pattern.shape == "."
    heights = {channel: height for channel, (height, _) in by_cell(layout, dots).items()}
    assert heights == pytest.approx({1: 0.25, 2: 1.0, 3: 0.5}, abs=1e-3)
    assert "contribution" not in [t.name for t in draw(critical, np.zeros(4))[1].data]


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


def test_selected_and_marked_maps():
    critical = {Role.SOURCE: np.ones(9, bool)}
    layout, figure = draw(critical, np.ones(9), selected=4, marked=(2, 7))
    frame = figure.layout.shapes[-1]
    cell = layout.cells[4].rect
    assert (frame.x0, frame.x1, frame.y0, frame.y1) == pytest.approx(
        (cell.x, cell.right, cell.y, cell.bottom), abs=0.01
    )
    stars = trace(figure, "marked")
    inside = [
        c.channel
        for x, y in zip(stars.x, stars.y, strict=True)
        for c in layout.cells
        if c.rect.x < x < c.rect.right and c.rect.y < y < c.rect.bottom
    ]
    assert inside == [2, 7]
    assert len(draw(critical, np.ones(9))[1].layout.shapes) == len(figure.layout.shapes) - 1


def test_numbers_are_written_in_large_cells_only():
    few = trace(draw({Role.SOURCE: np.ones(6, bool)}, np.ones(6))[1], "maps")
    many = trace(draw({Role.SOURCE: np.ones(900, bool)}, np.ones(900))[1], "maps")
    assert list(few.text) == ["0", "1", "2", "3", "4", "5"]
    assert not any(many.text)


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


def test_a_thousand_cells_stay_below_200_kilobytes():
    rng = np.random.default_rng(0)
    _, figure = draw({Role.SOURCE: np.ones(1000, bool)}, rng.normal(0, 1, 1000), rng.random(1000))
    assert len(figure.to_json()) < 200_000
