"""The layer view of many datapaths: a row for each region, with dots for its datapaths, a bar for its size, and its
cells."""

from itertools import pairwise
from typing import Any

from aevis_dash.domain import in_order, short_of
from aevis_dash.figures.cells import Encoding, box, cells_drawing, small_text
from aevis_dash.figures.drawing import Drawing
from aevis_dash.figures.layer import empty
from aevis_dash.figures.theme import CHARACTER, Theme, fade
from aevis_dash.geometry.matrix import HEADER, ROW, Matrix, Row

_NAMED = 22.0
"""The width in pixels of a datapath's column that has room for its name."""


def matrix_figure(matrix: Matrix, encoding: Encoding, theme: Theme) -> Drawing:
    """A layer's critical maps in rows, as plotly.js reads them (see `cells_drawing`)."""
    regions = [row.region for row in matrix.rows]
    drawing = cells_drawing(matrix.cells, regions, encoding, theme, matrix.width, matrix.height)
    if not matrix.cells:
        return empty(drawing, theme)
    shapes = [*_stripes(matrix, theme), *_links(matrix, theme), *_sizes(matrix, theme), *drawing["layout"]["shapes"]]
    texts = [*_names(matrix, theme), *_counts(matrix, theme), *_left_out(matrix, theme)]
    layout = drawing["layout"] | {"shapes": shapes, "annotations": texts}
    return {"data": [_dots(matrix, theme), *drawing["data"]], "layout": layout}


def _middle(row: Row) -> float:
    """The y of a row's dots, which is the middle of its first line."""
    return round(row.rect.y + ROW / 2, 2)


def _dots(matrix: Matrix, theme: Theme) -> dict[str, Any]:
    """A dot in every column of every row: in the datapath's colour where the region lies inside it, faint elsewhere."""
    places = [(row, path) for row in matrix.rows for path in matrix.columns]
    off = fade(theme.faint, 0.25)
    return {
        "type": "scatter",
        "name": "datapaths",
        "x": [matrix.columns[path] for _, path in places],
        "y": [_middle(row) for row, _ in places],
        "mode": "markers",
        "marker": {"size": 8, "color": [theme.path(p) if p in row.region.paths else off for row, p in places]},
        "selected": {"marker": {"opacity": 1}},
        "unselected": {"marker": {"opacity": 1}},
        "hoverinfo": "skip",
    }


def _stripes(matrix: Matrix, theme: Theme) -> list[dict[str, Any]]:
    """A background for every other row."""
    return [
        box(row.rect, 0.0, fillcolor=fade(theme.faint, 0.08), line={"width": 0}, layer="below")
        for row in matrix.rows[::2]
    ]


def _links(matrix: Matrix, theme: Theme) -> list[dict[str, Any]]:
    """A line from the first to the last dot of each region."""
    ends = [(_middle(row), [matrix.columns[path] for path in in_order(row.region.paths)]) for row in matrix.rows]
    line = {"color": fade(theme.faint, 0.7), "width": 1}
    return [
        {"type": "line", "x0": xs[0], "x1": xs[-1], "y0": y, "y1": y, "line": line, "layer": "below"}
        for y, xs in ends
        if len(xs) > 1
    ]


def _sizes(matrix: Matrix, theme: Theme) -> list[dict[str, Any]]:
    colours = [theme.paths(row.region.paths) for row in matrix.rows]
    return [
        box(row.bar, 0.0, fillcolor=colour, line={"width": 0}, layer="below")
        for row, colour in zip(matrix.rows, colours, strict=True)
    ]


def _names(matrix: Matrix, theme: Theme) -> list[dict[str, Any]]:
    columns = list(matrix.columns.values())
    apart = min((b - a for a, b in pairwise(columns)), default=_NAMED)
    if apart < _NAMED:
        return []
    named = [small_text(short_of(path), x, HEADER / 2, theme.path(path)) for path, x in matrix.columns.items()]
    return [name | {"xanchor": "center", "font": name["font"] | {"size": 10}} for name in named]


def _counts(matrix: Matrix, theme: Theme) -> list[dict[str, Any]]:
    return [
        small_text(_count(row), row.bar.right + 3, _middle(row), theme.faint if row.smaller else theme.ink)
        for row in matrix.rows
    ]


def _count(row: Row) -> str:
    size = len(row.region.channels)
    return f"{size - row.smaller} +{row.smaller} smaller" if row.smaller else str(size)


def _left_out(matrix: Matrix, theme: Theme) -> list[dict[str, Any]]:
    """A note on how many regions, with how many maps, have no row."""
    if not matrix.left_out:
        return []
    sets, maps = len(matrix.left_out), sum(len(region.channels) for region in matrix.left_out)
    short = f"+{sets} smaller {'sets' if sets > 1 else 'set'}"
    choices = (f"{short} · {maps} {'maps' if maps > 1 else 'map'} (all in the table)", f"{short} · {maps}", f"+{sets}")
    text = next((t for t in choices if len(t) * CHARACTER <= matrix.width), "")
    return [small_text(text, 4, min(matrix.rows[-1].rect.bottom + ROW / 2, matrix.height - ROW / 2), theme.faint)]
