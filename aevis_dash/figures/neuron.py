"""The neuron view: how one feature map fires on every compared example (Sec. 5.4)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from aevis_dash.domain import ROLES, AreaOfInterest, Role, short_of
from aevis_dash.figures import scale
from aevis_dash.figures.area import outline
from aevis_dash.figures.drawing import Coding, Drawing, coding, ticks
from aevis_dash.figures.theme import CHARACTER, CLEAR, Theme, base_layout, fade, plain, shorten

TOP = 3
"""The number of neurons that are marked on each map, which are those that fire most."""
TITLE, BAR = 34, 30
"""The pixels above each map for its two lines, and below all maps for the colour bar and the mode bar."""
SIDE = 2
"""The pixels left and right of the maps."""
_GAP = 6
_TALLEST = 1.25
_FADED = 0.75


@dataclass(frozen=True)
class Shown:
    """One compared image.

    Attributes:
        values: its activations of the map, (H, W); NaN at places without a neuron.
        name: the name of its class.
        image: the address of its picture; "" where the map does not lie on it.
        top: the first row of the map that lies on the picture.
    """

    values: np.ndarray
    name: str
    image: str = ""
    top: int = 0


@dataclass(frozen=True)
class Room:
    """The pixels that the figure has. Without a height it takes what its rows need.

    `zoom` is for a figure in which one may zoom; all maps then follow the one that is zoomed.
    """

    width: int
    height: int | None = None
    zoom: bool = False


COLUMN = Room(304)
LARGE = Room(1080, 640, zoom=True)


@dataclass(frozen=True)
class _Panel:
    """One map of the figure. `place` is its number among all images, `path` its key; `title` and `colour` stand above
    it; the image lies below it from the row `top` on."""

    place: int
    path: str
    title: tuple[str, str]
    colour: str
    values: np.ndarray
    image: str
    top: int = 0


@dataclass(frozen=True)
class _Grid:
    """Where the maps stand: in rows of `across` maps, each `cell` pixels high below its title."""

    count: int
    across: int
    cell: float
    width: int

    @property
    def rows(self) -> int:
        return -(-self.count // self.across)

    @property
    def height(self) -> float:
        """The pixels from the top of the first row's maps to the bottom of the last row's."""
        return self.rows * self.cell + (self.rows - 1) * TITLE

    def across_of(self, place: int) -> tuple[float, float]:
        """The left and the right end of a map, in parts of the plot's width."""
        gap = _GAP / self.width
        width = (1 - gap * (self.across - 1)) / self.across
        left = place % self.across * (width + gap)
        return left, left + width

    def down_of(self, place: int) -> tuple[float, float]:
        """The bottom and the top of a map, in parts of the plot's height."""
        top = 1 - place // self.across * (self.cell + TITLE) / self.height
        return max(0.0, top - self.cell / self.height), top

    @property
    def characters(self) -> int:
        """The number of characters that fit above a map."""
        return int((self.width / self.across - _GAP) / CHARACTER)


def columns(count: int) -> int:
    """The number of maps that stand side by side: three, or four where there are more images."""
    return 3 if count <= 3 else 4


def activation_figure(
    shown: Mapping[str, Shown], look: str, area: AreaOfInterest | None, theme: Theme, room: Room = COLUMN
) -> Drawing:
    """The activations of one feature map on each compared image, in rows; row 0 of each map is on top.

    All maps have one scale. It runs from 0 (the surface's end) to the largest activation, and values below 0 have the
    colour of 0. For differences it runs as far on both sides of 0. The TOP strongest neurons of each map are marked. A
    box that is drawn on any map comes back as `selectedData`, which `area.snap_area` reads.

    The `meta` of each map has its short name; the base and the step of its numbers (see `drawing.Coding`); and the role
    on whose image an area is chosen there, "" where the map belongs to no single role's image.

    Args:
        shown: the compared images by their datapaths' keys, adv among them.
        look: "maps"; "over" for maps through which the images below them are seen; "difference" for adv less each
            other.
        area: the area of interest, whose outline is drawn on every map; None for none.
        theme: the colours.
        room: the pixels that the figure has.
    """
    panels = _differences(shown, theme) if look == "difference" else _maps(shown, look, theme)
    grid = _grid(len(shown), panels, room)
    highest = max(_largest(_strength(panel, look)) for panel in panels) or 1.0
    coded = coding([panel.values for panel in panels])
    layout = {**base_layout(theme), **_frame(grid, room, theme), "coloraxis": _colours(look, highest, coded, theme)}
    for number, panel in enumerate(panels):
        layout |= _axes(number, grid, panel, theme, room.zoom)
    if room.zoom:
        layout |= {"uirevision": str(panels[0].values.shape), "selectionrevision": repr(area)}
    layout["annotations"] = [_title(grid, panel) for panel in panels]
    layout["images"] = [_image(number, panel) for number, panel in enumerate(panels) if panel.image]
    layout["images"].append(_colour_bar(look, highest, grid, layout["coloraxis"]["colorscale"], theme))
    layout["shapes"] = outlines(len(panels), area, theme)
    maps = [_heatmap(number, panel, look, coded) for number, panel in enumerate(panels)]
    marks = [_marks(number, panel, highest, look, theme) for number, panel in enumerate(panels)]
    return {"data": [*maps, *marks], "layout": layout}


def _maps(shown: Mapping[str, Shown], look: str, theme: Theme) -> list[_Panel]:
    return [
        _Panel(
            place,
            path,
            (short_of(path), one.name),
            theme.path(path),
            np.asarray(one.values, float),
            one.image if look == "over" else "",
            one.top,
        )
        for place, (path, one) in enumerate(shown.items())
    ]


def _differences(shown: Mapping[str, Shown], theme: Theme) -> list[_Panel]:
    """The maps of adv less each other image. adv's own place stays empty, so that the others stand above their
    images."""
    adversarial = np.asarray(shown[Role.ADVERSARIAL].values, float)
    return [
        _Panel(
            place,
            path,
            (f"adv − {short_of(path)}", one.name),
            theme.path(path),
            adversarial - np.asarray(one.values, float),
            "",
        )
        for place, (path, one) in enumerate(shown.items())
        if path != Role.ADVERSARIAL
    ]


def _grid(count: int, panels: Sequence[_Panel], room: Room) -> _Grid:
    across = columns(count)
    if room.height is not None:
        across = min(across, count)
        rows = -(-count // across)
        return _Grid(count, across, (room.height - BAR - TITLE * rows) / rows, room.width)
    height, width = panels[0].values.shape
    cell = (room.width - _GAP * (across - 1)) / across * min(height / width, _TALLEST)
    return _Grid(count, across, cell, room.width)


def _frame(grid: _Grid, room: Room, theme: Theme) -> dict[str, Any]:
    frame = {
        "margin": {"l": SIDE, "r": SIDE, "t": TITLE, "b": BAR, "autoexpand": False},
        "dragmode": "zoom" if room.zoom else "select",
        "hovermode": "closest",
        "modebar": {"orientation": "h", "bgcolor": CLEAR, "color": theme.faint, "activecolor": theme.ink},
        "newselection": {"line": {"width": 1, "dash": "dot"}},
    }
    return frame if room.zoom else frame | {"height": round(grid.height) + TITLE + BAR}


def _strength(panel: _Panel, look: str) -> np.ndarray:
    return np.abs(panel.values) if look == "difference" else panel.values


def _largest(values: np.ndarray) -> float:
    return max(0.0, float(np.max(values, initial=0.0, where=np.isfinite(values))))


def _colours(look: str, highest: float, coded: Coding, theme: Theme) -> dict[str, Any]:
    colours = {"maps": theme.colorscale, "over": theme.sheer, "difference": theme.diverging}[look]
    least = -highest if look == "difference" else 0.0
    return {"cmin": coded.of(least), "cmax": coded.of(highest), "colorscale": colours, "showscale": False}


def _colour_bar(look: str, highest: float, grid: _Grid, colours: Any, theme: Theme) -> dict[str, Any]:
    """The colour bar below all maps, at the left."""
    title, least = ("difference", -highest) if look == "difference" else ("activation", 0.0)
    shown = scale.scale_picture(title, ticks(least, highest), (least, highest), colours, theme)
    size = {"sizex": scale.WIDTH / (grid.width - 2 * SIDE), "sizey": scale.HEIGHT / grid.height, "sizing": "contain"}
    place = {"xref": "paper", "yref": "paper", "x": 0, "y": 0, "xanchor": "left", "yanchor": "top"}
    return {"name": "colour bar", "source": shown, **size, **place}


def _axis(letter: str, number: int) -> str:
    """Plotly's name of an axis: x, x2, x3."""
    return letter + ("" if number == 0 else str(number + 1))


def _axes(number: int, grid: _Grid, panel: _Panel, theme: Theme, zoom: bool) -> dict[str, Any]:
    height, width = panel.values.shape
    line = {"visible": True, "showticklabels": False, "ticks": "", "showgrid": False, "zeroline": False}
    line |= {"mirror": True, "linecolor": theme.grid, "fixedrange": not zoom, "constrain": "domain"}
    x, y = _axis("x", number), _axis("y", number)
    across = {"domain": grid.across_of(panel.place), "range": [-0.5, width - 0.5], "anchor": y}
    down = {"domain": grid.down_of(panel.place), "range": [height - 0.5, -0.5], "anchor": x, "constraintoward": "top"}
    if zoom and number:
        across, down = across | {"matches": "x"}, down | {"matches": "y"}
    else:
        down["scaleanchor"] = x
    return {"xaxis" + x[1:]: line | across, "yaxis" + y[1:]: line | down}


def _heatmap(number: int, panel: _Panel, look: str, coded: Coding) -> dict[str, Any]:
    """One map. The line below the maps tells its values too (assets/neuron.js); it alone does where these are coded."""
    what = "difference" if look == "difference" else "activation"
    value = "" if coded.step else f"<br>{what} %{{z:.3g}}"
    role = panel.path if look != "difference" and panel.path in ROLES else ""
    return {
        "type": "heatmap",
        "name": panel.path,
        "meta": [panel.title[0], coded.base, coded.step, role],
        "z": coded.encode(panel.values),
        "coloraxis": "coloraxis",
        "hovertemplate": f"{panel.title[0]}, row %{{y}}, column %{{x}}{value}<extra></extra>",
        "xaxis": _axis("x", number),
        "yaxis": _axis("y", number),
    }


def _marks(number: int, panel: _Panel, highest: float, look: str, theme: Theme) -> dict[str, Any]:
    """Open circles on the strongest neurons, dark on light cells and light on dark ones. They catch no click."""
    strength = _strength(panel, look)
    rows, across = strongest(strength)
    colours = [theme.surface if strength[r, c] > highest / 2 else theme.ink for r, c in zip(rows, across, strict=True)]
    plain_look = {"marker": {"opacity": 1}}
    return {
        "type": "scatter",
        "name": f"strongest of {panel.path}",
        "x": across,
        "y": rows,
        "mode": "markers",
        "marker": {"symbol": "circle-open", "size": 8, "color": colours, "line": {"width": 1.5}},
        "selected": plain_look,
        "unselected": plain_look,
        "hoverinfo": "skip",
        "xaxis": _axis("x", number),
        "yaxis": _axis("y", number),
    }


def strongest(values: np.ndarray) -> tuple[list[int], list[int]]:
    """The rows and the columns of the TOP largest of the values (H, W), the largest first; only of those above 0."""
    flat = np.where(np.isfinite(values), values, 0.0).ravel()
    order = np.argsort(-flat, kind="stable")[:TOP]
    rows, across = np.unravel_index(order[flat[order] > 0], values.shape)
    return rows.tolist(), across.tolist()


def _title(grid: _Grid, panel: _Panel) -> dict[str, Any]:
    (left, right), (_, top) = grid.across_of(panel.place), grid.down_of(panel.place)
    short, name = panel.title
    text = f"<b>{short}</b><br>{plain(shorten(name, grid.characters))}"
    style = {"xref": "paper", "yref": "paper", "xanchor": "center", "yanchor": "bottom", "showarrow": False}
    return {"text": text, "x": (left + right) / 2, "y": top, "font": {"color": panel.colour}, **style}


def _image(number: int, panel: _Panel) -> dict[str, Any]:
    """The image under its map, as large as the map without the rows above the image."""
    height, width = panel.values.shape
    size = {"x": -0.5, "y": panel.top - 0.5, "sizex": width, "sizey": height - panel.top}
    size |= {"xanchor": "left", "yanchor": "top"}
    axes = {"xref": _axis("x", number), "yref": _axis("y", number)}
    return {"source": panel.image, "sizing": "stretch", "layer": "below", "opacity": _FADED, **size, **axes}


def outlines(count: int, area: AreaOfInterest | None, theme: Theme) -> list[dict[str, Any]]:
    """The outline of the area on each of `count` maps; none for no area."""
    path = outline(area) if area else ""
    return [shape for number in range(count) if area for shape in _outlines(number, path, theme)]


def _outlines(number: int, border: str, theme: Theme) -> list[dict[str, Any]]:
    """The outline in ink with a halo of the surface, so that it can be seen on any colour, in both themes."""
    path = {"type": "path", "path": border, "xref": _axis("x", number), "yref": _axis("y", number)}
    ink = {"line": {"color": theme.ink, "width": 2}, "fillcolor": fade(theme.ink, 0.06)}
    return [path | {"line": {"color": theme.surface, "width": 4}}, path | ink]
