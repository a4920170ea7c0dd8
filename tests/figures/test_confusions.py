"""Every example stands in one cell; cells say what a click on them means, and their numbers can be read."""

import numpy as np
import pytest

from aevis_dash.figures.confusions import confusion_figure, ink_on, shade
from aevis_dash.figures.theme import DARK, LIGHT

COUNTS = np.array([[3, 0, 1], [0, 20, 2]])
NAMES = (["crane", "<b>crane"], ["heron", "crane", "others"])
LABELS = ([134, 517], [131, 134, None])


def drawn(theme=LIGHT):
    figure = confusion_figure(*NAMES, COUNTS, LABELS, theme)
    return {trace.name: trace for trace in figure.data} | {"layout": figure.layout}


def test_a_cell_has_its_number_and_its_classes():
    found = drawn()
    cells = found["confusions"]
    assert [[value or 0 for value in row] for row in cells.z] == COUNTS.tolist()
    assert cells.z[0][1] is None, "an empty cell meets no click"
    assert cells.customdata[1][1] == [517, 134]
    assert cells.customdata[0][2] == [None, None], "several classes are not one that could be listed"
    numbers = {(x, y): text for x, y, text in zip(*(found["numbers"][k] for k in ("x", "y", "text")), strict=True)}
    assert numbers == {(0, 0): "3", (2, 0): "1", (1, 1): "20", (2, 1): "2"}
    assert found["numbers"].hoverinfo == "skip", "a click meets the cell and not its number"


def test_rows_go_down_and_names_are_no_markup():
    layout = drawn()["layout"]
    assert layout.yaxis.range[0] > layout.yaxis.range[1]
    assert list(layout.yaxis.ticktext) == ["crane", "&lt;b&gt;crane"]
    assert list(layout.yaxis.tickvals) == [0, 1], "two classes of one name are two rows"
    assert drawn()["confusions"].text[1][0] == "&lt;b&gt;crane → heron"


def contrast(first, second):
    """The contrast of two colours #rrggbb as WCAG 2 defines it."""

    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_numbers_can_be_read_on_every_cell(theme):
    for count in range(1, 41):
        colour = shade(count, 40, theme)
        assert contrast(colour, ink_on(colour)) >= 4.5
    assert shade(40, 40, theme) == theme.scale[-1]
    assert shade(1, 1, theme) == theme.scale[-1]


def test_the_colours_are_those_that_plotly_gives_the_cells():
    """A colour scale from zmin to zmax, in equal steps of the theme's colours."""
    cells = drawn()["confusions"]
    place = (3 - cells.zmin) / (cells.zmax - cells.zmin) * (len(LIGHT.scale) - 1)
    low, high = LIGHT.scale[int(place)], LIGHT.scale[int(place) + 1]
    mixed = [
        int(low[i : i + 2], 16) + (int(high[i : i + 2], 16) - int(low[i : i + 2], 16)) * (place % 1) for i in (1, 3, 5)
    ]
    assert [int(shade(3, 20, LIGHT)[i : i + 2], 16) for i in (1, 3, 5)] == pytest.approx(mixed, abs=0.5)
