"""Feature maps as cells, for the treemap and the matrix alike: two fills, a bar, a face, a number, and marks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from aevis_dash.domain import Region, in_order, short_of
from aevis_dash.figures.drawing import Drawing
from aevis_dash.figures.theme import CLEAR, TEXT_SIZE, Theme, bare_axis, base_layout, fade, plain
from aevis_dash.geometry.cells import LOW, Cell, Rect, Remainder

EDGE = 2
DIGIT, BESIDE = 6.4, 4.0
"""The width in pixels of a digit in a cell, in the widest of the usual fonts, and the room around a number."""
FACE = 28
"""The side in pixels of the smallest cell that shows its learned feature as a face."""
SMALL = 14
"""The side in pixels of a cell below which outlines and frames are thinner and dots finer."""
NOWHERE = "M0,0Z"
"""An SVG path that draws nothing, for no frames."""
BAR = 4.0
"""The height in pixels of the bar of turning effects; in low cells it is a fifth of the cell."""
OVER_FACE = 0.55
"""The opacity of the fills over a face."""


@dataclass(frozen=True)
class Encoding:
    """What the cells of a layer show.

    Attributes:
        difference: the difference of activations of each map, (n_l,), such as acti(adv) - acti(src). The height of the
            solid fill is |difference| over its largest among the cells. It stands on the cell's foot where the
            difference is positive, and hangs from its top, in another tone, where it is negative.
        contribution: the parts of the effect, (n_l,), which are the height of the dotted fill over the layer's largest;
            None for no dots.
        turning: the parts of the margin's change that each map turns back, (n_l,), as a bar at the foot of each cell.
            It goes from the middle to the right where the part is positive, to the left where it is negative, and is
            half as wide as the cell for the largest of the layer; None for no bars.
        selected: the channel in a bold frame; None for none.
        marked: the channels with a star.
        picked: the channels in a dotted frame.
        pair: the words for the difference, such as "adv - src".
        labels: a short name by channel, which stands in the cell where there is room.
        faces: the address of a picture by channel.
        names: what is said of a map in the hover, by channel.
        links: what the hover says of its connections, by channel.
    """

    difference: np.ndarray
    contribution: np.ndarray | None = None
    turning: np.ndarray | None = None
    selected: int | None = None
    marked: Sequence[int] = ()
    picked: Sequence[int] = ()
    pair: str = "difference"
    labels: Mapping[int, str] = field(default_factory=dict)
    faces: Mapping[int, str] = field(default_factory=dict)
    names: Mapping[int, str] = field(default_factory=dict)
    links: Mapping[int, str] = field(default_factory=dict)


def cells_drawing(
    cells: Sequence[Cell],
    regions: Sequence[Region],
    encoding: Encoding,
    theme: Theme,
    width: float,
    height: float,
    rests: Sequence[tuple[Region, Remainder]] = (),
) -> Drawing:
    """The cells as plotly.js reads them, at one pixel of the screen for each pixel of the layout.

    Hover, click and selection meet the one trace "maps", whose customdata is [channel]. Where regions show their first
    maps only, hover and click meet the trace "rest" too, which has no customdata.

    Args:
        cells: the rectangles of the maps.
        regions: the regions of the maps, for the hover.
        encoding: what the cells show.
        theme: the colours.
        width: of the whole, in pixels.
        height: of the whole, in pixels.
        rests: the regions with maps that have no cell, and the places that stand for these.
    """
    faced = faced_cells(cells, encoding)
    data = [_solid(cells, encoding, faced, theme)]
    if encoding.contribution is not None:
        data.append(_contribution_bars(cells, np.nan_to_num(encoding.contribution), theme))
    if encoding.turning is not None:
        data.append(_turning_bars(cells, encoding.turning, theme))
    data.append(_stars(cells, frozenset(encoding.marked), theme))
    data += [_rest(rests, theme)] if rests else []
    data.append(_maps(cells, regions, encoding, theme))
    images = [_face(cell.rect, faced[cell.channel]) for cell in cells if cell.channel in faced]
    frames = [_frames(cells, encoding.picked, theme, "picked", 2, "dot")]
    frames.append(_frames(cells, [encoding.selected], theme, "selected", 3, "solid"))
    return {"data": data, "layout": _layout(theme, width, height) | {"images": images, "shapes": frames}}


def faced_cells(cells: Sequence[Cell], encoding: Encoding) -> dict[int, str]:
    """The faces that are shown, by channel: those of cells of at least FACE x FACE pixels."""
    large = (c.channel for c in cells if min(c.rect.width, c.rect.height) >= FACE)
    return {channel: encoding.faces[channel] for channel in large if channel in encoding.faces}


def box(rect: Rect, inset: float, **style: Any) -> dict[str, Any]:
    """A rectangle with `inset` pixels taken off each side, but at most half its size, as a plotly shape."""
    x0, x1, y0, y1 = _corners(rect, inset)
    return {"type": "rect", "x0": x0, "x1": x1, "y0": y0, "y1": y1, **style}


def small_text(text: str, x: float, y: float, colour: str) -> dict[str, Any]:
    """A small text that begins at x and is centred on y, as a plotly annotation."""
    font = {"color": colour, "size": TEXT_SIZE - 1}
    place = {"x": x, "y": y, "xanchor": "left", "yanchor": "middle"}
    return {"text": plain(text), "font": font, "showarrow": False, "borderpad": 0, **place}


def together(paths: Sequence[str] | frozenset[str]) -> str:
    """The words for the maps that some datapaths share: "src ∩ adv"; "in no datapath" for none."""
    return " ∩ ".join(short_of(path) for path in in_order(paths)) or "in no datapath"


def number_width(channels: int) -> float:
    """The width in pixels of a cell in which the number of any of so many channels fits."""
    return len(str(max(channels - 1, 0))) * DIGIT + BESIDE


def _layout(theme: Theme, width: float, height: float) -> dict[str, Any]:
    layout = base_layout(theme)
    return {
        **layout,
        "height": height + 2 * EDGE,
        "margin": dict.fromkeys("lrtb", EDGE) | {"autoexpand": False},
        "xaxis": bare_axis(0, width),
        "yaxis": bare_axis(height, 0),
        "hovermode": "closest",
        "dragmode": "select",
        "clickmode": "event",
        "barmode": "overlay",
        "bargap": 0,
        "modebar": layout["modebar"] | {"orientation": "h", "uirevision": "the visitor's"},
    }


def _corners(rect: Rect, inset: float) -> tuple[float, float, float, float]:
    across, down = min(inset, rect.width / 4), min(inset, rect.height / 4)
    corners = (rect.x + across, rect.right - across, rect.y + down, rect.bottom - down)
    x0, x1, y0, y1 = (round(value, 2) for value in corners)
    return x0, x1, y0, y1


def _round(values: Sequence[float]) -> list[float]:
    return np.round(np.asarray(values, float), 2).tolist()


def _bars(rects: Sequence[Rect], **style: Any) -> dict[str, Any]:
    """Rectangles as bars, each with its own place, width, base and height. A selection does not fade them."""
    kept = {"marker": {"opacity": 1}}
    return {
        "type": "bar",
        "x": _round([rect.centre[0] for rect in rects]),
        "width": _round([rect.width for rect in rects]),
        "base": _round([rect.y for rect in rects]),
        "y": _round([rect.height for rect in rects]),
        "selected": kept,
        "unselected": kept,
        **style,
    }


def _lower_part(rect: Rect, part: float) -> Rect:
    """The lowest `part` of a cell, from 0 to 1."""
    part = min(max(part, 0.0), 1.0)
    return Rect(rect.x, rect.bottom - rect.height * part, rect.width, rect.height * part)


def _upper_part(rect: Rect, part: float) -> Rect:
    """The uppermost `part` of a cell, from 0 to 1."""
    return Rect(rect.x, rect.y, rect.width, rect.height * min(max(part, 0.0), 1.0))


def _solid(cells: Sequence[Cell], encoding: Encoding, faced: Mapping[int, str], theme: Theme) -> dict[str, Any]:
    values = np.nan_to_num(encoding.difference, posinf=0, neginf=0)
    largest = max((abs(float(values[cell.channel])) for cell in cells), default=0.0) or 1.0
    parts = [(cell, float(values[cell.channel]) / largest) for cell in cells if values[cell.channel]]
    tone = {False: (theme.less, fade(theme.less, OVER_FACE)), True: (theme.more, fade(theme.more, OVER_FACE))}
    colours = [tone[part > 0][cell.channel in faced] for cell, part in parts]
    return _bars(
        [_lower_part(cell.rect, part) if part > 0 else _upper_part(cell.rect, -part) for cell, part in parts],
        name="difference",
        marker={"color": colours, "line": {"width": 0}},
        hoverinfo="skip",
    )


def _contribution_bars(cells: Sequence[Cell], values: np.ndarray, theme: Theme) -> dict[str, Any]:
    largest = max(float(values.max(initial=0.0)), 1e-30)
    drawn = [(cell.rect, float(values[cell.channel]) / largest) for cell in cells if values[cell.channel] > 0]
    pattern = {"shape": ".", "size": 4, "solidity": 0.3, "bgcolor": CLEAR, "fgcolor": fade(theme.ink, 0.65)}
    if _small(cells):
        pattern |= {"size": 3, "solidity": 0.4}
    return _bars(
        [_lower_part(rect, part) for rect, part in drawn],
        name="contribution",
        marker={"color": CLEAR, "pattern": pattern, "line": {"width": 0}},
        hoverinfo="skip",
    )


def _turning_bars(cells: Sequence[Cell], values: np.ndarray, theme: Theme) -> dict[str, Any]:
    """A bar at the foot of every cell whose turning effect makes one of at least half a pixel."""
    largest = max(float(np.abs(values).max(initial=0.0)), 1e-30)
    found = ((cell.rect, float(values[cell.channel]) / largest) for cell in cells)
    drawn = [(rect, part) for rect, part in found if abs(part) * rect.width >= 1]
    return _bars(
        [_from_middle(rect, part) for rect, part in drawn],
        name="turning",
        marker={"color": theme.ink, "line": {"width": 0}},
        hoverinfo="skip",
    )


def _from_middle(rect: Rect, part: float) -> Rect:
    """The bar at the foot of a cell for a part from -1 to 1: from the cell's middle to the left or the right."""
    across, height = part * rect.width / 2, min(BAR, rect.height / 5)
    return Rect(rect.centre[0] + min(across, 0.0), rect.bottom - height, abs(across), height)


def _small(cells: Sequence[Cell]) -> bool:
    """Whether all cells are small."""
    return max((cell.rect.area for cell in cells), default=0.0) < SMALL**2


def _frames(
    cells: Sequence[Cell], channels: Sequence[int | None], theme: Theme, name: str, width: float, dash: str
) -> dict[str, Any]:
    """The frames of some cells as one shape, thinner in small cells.

    There is a shape for no cells too, which assets/layer.js fills as maps are chosen.
    """
    chosen, width = frozenset(channels), 0.7 * width if _small(cells) else width
    framed = [_corners(cell.rect, width / 2) for cell in cells if cell.channel in chosen]
    path = "".join(f"M{x0},{y0}L{x1},{y0}L{x1},{y1}L{x0},{y1}Z" for x0, x1, y0, y1 in framed) or NOWHERE
    line = {"width": width, "dash": dash, "color": theme.ink}
    return {"type": "path", "name": name, "path": path, "line": line, "fillcolor": CLEAR}


def _stars(cells: Sequence[Cell], marked: frozenset[int], theme: Theme) -> dict[str, Any]:
    """A star in the lower right corner of every marked cell, away from its number."""
    rects = [cell.rect for cell in cells if cell.channel in marked]
    sizes = [min(12.0, 0.8 * min(rect.width, rect.height)) for rect in rects]
    pairs = list(zip(rects, sizes, strict=True))
    line = {"color": theme.ink, "width": 1}
    return {
        "type": "scatter",
        "name": "marked",
        "x": _round([rect.right - size * 0.6 for rect, size in pairs]),
        "y": _round([rect.bottom - size * 0.6 for rect, size in pairs]),
        "mode": "markers",
        "marker": {"symbol": "star", "size": sizes, "color": theme.mark, "line": line},
        "selected": {"marker": {"opacity": 1}},
        "unselected": {"marker": {"opacity": 1}},
        "hoverinfo": "skip",
    }


def _maps(cells: Sequence[Cell], regions: Sequence[Region], encoding: Encoding, theme: Theme) -> dict[str, Any]:
    """The outlines of the cells, on top of everything, which take hover, click and selection."""
    names = {channel: _set_of(region) for region in regions for channel in region.channels}
    edges = {"width": 0.5, "color": fade(theme.faint, 0.4)} if _small(cells) else {"width": 1}
    return _bars(
        [cell.rect for cell in cells],
        name="maps",
        marker={"color": CLEAR, "line": {"color": fade(theme.faint, 0.55)} | edges},
        customdata=[[cell.channel] for cell in cells],
        hovertext=[_hover(cell.channel, names.get(cell.channel, ""), encoding) for cell in cells],
        hovertemplate="%{hovertext}<extra></extra>",
        **_texts([_text(cell, encoding.labels) for cell in cells], bool(encoding.faces), theme),
    )


def _set_of(region: Region) -> str:
    """The words for the sets of a region and the number of its maps."""
    count = len(region.channels)
    return f"{together(region.paths)} ({count} {'maps' if count > 1 else 'map'})"


def _rest(rests: Sequence[tuple[Region, Remainder]], theme: Theme) -> dict[str, Any]:
    """The places that stand for the maps without a cell, each with the number of these."""
    texts = [f"+{rest.count}" for _, rest in rests]
    fitting = [(rest.rect.width - BESIDE) / len(text) for text, (_, rest) in zip(texts, rests, strict=True)]
    sizes = [round(min(TEXT_SIZE, (TEXT_SIZE - 2) * each / DIGIT), 1) for each in fitting]
    return _bars(
        [rest.rect for _, rest in rests],
        name="rest",
        marker={"color": fade(theme.faint, 0.12), "line": {"color": fade(theme.faint, 0.55), "width": 1}},
        text=texts,
        textposition="inside",
        insidetextanchor="middle",
        textangle=0,
        constraintext="none",
        insidetextfont={"color": theme.ink, "size": sizes},
        hovertext=[
            f"{rest.count} more of {_set_of(region)}<br>click to show all maps of the layer" for region, rest in rests
        ],
        hovertemplate="%{hovertext}<extra></extra>",
    )


def _texts(texts: Sequence[str], faces: bool, theme: Theme) -> dict[str, Any]:
    """The numbers in the upper left corners, with a halo over faces; none where no cell has room."""
    if not any(texts):
        return {}
    place = {"textposition": "inside", "insidetextanchor": "start", "textangle": 0, "constraintext": "none"}
    halo = {"shadow": ", ".join([f"0px 0px 3px {theme.surface}"] * 4)} if faces else {}
    return {"text": texts, **place, "insidetextfont": {"color": theme.ink, "size": TEXT_SIZE - 2, **halo}}


def _text(cell: Cell, labels: Mapping[int, str]) -> str:
    """The number of the channel where it fits, and the map's name where that fits too; "" where neither does."""
    if cell.rect.height < LOW:
        return ""
    fitting = int((cell.rect.width - BESIDE) / DIGIT + 1e-6)
    whole = f"{cell.channel} {labels[cell.channel]}" if labels.get(cell.channel) else ""
    if whole and len(whole) <= fitting:
        return plain(whole)
    return str(cell.channel) if len(str(cell.channel)) <= fitting else ""


def _hover(channel: int, sets: str, encoding: Encoding) -> str:
    lines = [f"map {channel} · {sets}"]
    if encoding.names.get(channel):
        lines.append(plain(encoding.names[channel]))
    lines.append(f"{encoding.pair} {encoding.difference[channel]:+.3g}")
    if encoding.contribution is not None:
        lines.append(f"contribution {encoding.contribution[channel]:.1%}")
    if encoding.turning is not None:
        lines.append(f"estimated to turn adv back by {encoding.turning[channel]:+.1%}")
    if encoding.links.get(channel):
        lines.append(encoding.links[channel])
    return "<br>".join(lines)


def _face(rect: Rect, address: str) -> dict[str, Any]:
    """A learned feature under the fills of its cell, as the largest square that fits."""
    x, y = rect.centre
    size = {"sizex": round(rect.width - 2, 2), "sizey": round(rect.height - 2, 2), "sizing": "contain"}
    where = {"x": round(x, 2), "y": round(y, 2), "xref": "x", "yref": "y", "xanchor": "center", "yanchor": "middle"}
    return {"source": address, "layer": "below", **where, **size}
