"""A trail as one picture to pass on: the three images, each hop's map, and what it takes to flip the label back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from aevis_dash.domain import ROLES, AreaOfInterest, Role, Verdict
from aevis_dash.figures.area import outline
from aevis_dash.figures.theme import Theme, bare_axis, base_layout, caption, fade, plain

WIDTH, ROW, HEAD, FOOT = 1000, 128, 150, 290
_CROP, _GAP = 48, 4
_CROPS = (0.34, 0.61)
_MAPS = ((0.64, 0.75), (0.76, 0.87), (0.88, 0.99))
"""The columns of the picture in parts of its width: the words, the patches, and the three images with activation
maps."""
_Place = tuple[tuple[float, float], tuple[float, float]]
"""The left and right, and the bottom and top end of a place, in parts of the picture."""


@dataclass(frozen=True)
class Stop:
    """One hop of a trail in the picture.

    It has the words on the hop, the patches that fire its map most, uint8 (h, w, 3), the map's activations (H, W) on
    each image, and the area whose cause is looked for next.
    """

    words: Sequence[str]
    crops: Sequence[np.ndarray]
    activations: Mapping[Role, np.ndarray]
    area: AreaOfInterest | None


@dataclass(frozen=True)
class Depth:
    """The smallest set found at a layer that flips the label back: its size, and of how many maps; 0 where none was
    found.

    `others` is the size of another set of the same layer that does it too, -1 where none was found. `integrated` is how
    many maps it takes in the order of integrated attribution patching, -1 where all of them do not.
    """

    layer: str
    size: int
    width: int
    others: int
    integrated: int
    verdict: Verdict


def trail_figure(
    words: Sequence[str],
    images: Mapping[Role, np.ndarray],
    names: Mapping[str, str],
    stops: Sequence[Stop],
    depths: Sequence[Depth],
    theme: Theme,
) -> go.Figure:
    """The picture of a trail: the images on top, a row for each hop, and a bar for each depth below.

    Args:
        words: the lines at the head of the picture.
        images: the images by role, uint8 (H, W, 3); none to leave them out.
        names: the names of the predicted classes by role.
        stops: the hops.
        depths: what it takes to flip the label back at each depth.
        theme: the colours.
    """
    height = HEAD + ROW * len(stops) + FOOT
    figure = go.Figure(layout=base_layout(theme) | {"width": WIDTH, "height": height, "paper_bgcolor": theme.surface})
    figure.update_layout(margin={"l": 10, "r": 10, "t": 10, "b": 10})
    _add_words(figure, words, 1.0, theme)
    for role, columns in zip(ROLES, _MAPS, strict=True):
        if role in images:
            _add_picture(figure, images[role], (columns, (1 - 0.85 * HEAD / height, 1 - 0.17 * HEAD / height)))
        _add_title(figure, columns, 1.0, caption(role, names, 14), theme.role(role))
    for i, stop in enumerate(stops):
        _add_stop(figure, stop, (height - HEAD - ROW * i) / height, ROW / height, theme)
    _add_depths(figure, depths, (0.25 * FOOT / height, 0.8 * FOOT / height), theme)
    return figure


def _add_stop(figure: go.Figure, stop: Stop, top: float, size: float, theme: Theme) -> None:
    rows = (top - 0.92 * size, top)
    _add_words(figure, stop.words, top, theme)
    if stop.crops:
        _add_picture(figure, _montage(stop.crops), (_CROPS, rows))
    highest = max((float(np.nanmax(stop.activations[r], initial=0.0)) for r in ROLES), default=0.0) or 1.0
    for role, columns in zip(ROLES, _MAPS, strict=True):
        x, y = _add_axes(figure, (columns, rows), stop.activations[role].shape)
        values = np.asarray(stop.activations[role], np.float32)
        scale = {"zmin": 0.0, "zmax": highest, "colorscale": theme.colorscale, "showscale": False}
        where = f"{role.short}, row %{{y}}, column %{{x}}<br>activation %{{z:.3g}}<extra></extra>"
        figure.add_trace(go.Heatmap(name=role.value, z=values, xaxis=x, yaxis=y, hovertemplate=where, **scale))
        if stop.area is not None:
            figure.add_shape(type="path", path=outline(stop.area), xref=x, yref=y, **_stroke(theme))


def _stroke(theme: Theme) -> dict[str, Any]:
    return {"line": {"color": theme.adversarial, "width": 2}, "fillcolor": fade(theme.adversarial, 0.08)}


def _add_depths(figure: go.Figure, depths: Sequence[Depth], rows: tuple[float, float], theme: Theme) -> None:
    count = str(len(figure.layout.to_plotly_json()) + 900)
    x, y = "x" + count, "y" + count
    figure.layout["xaxis" + count] = {
        "domain": [0.06, 0.99],
        "anchor": y,
        "type": "category",
        "tickvals": [d.layer for d in depths],
        "ticktext": [f"{plain(d.layer)}<br>{_size_text(d)}<br>{d.verdict}" for d in depths],
    }
    figure.layout["yaxis" + count] = {
        "domain": rows,
        "anchor": x,
        "rangemode": "tozero",
        "ticksuffix": " %",
        "nticks": 4,
        "gridcolor": theme.grid,
        "zerolinecolor": theme.grid,
    }
    for name, sizes, colour in (
        ("smallest set found", [d.size for d in depths], theme.adversarial),
        ("a set of the other maps", [max(d.others, 0) for d in depths], theme.faint),
        ("by integrated attribution patching", [max(d.integrated, 0) for d in depths], theme.ink),
    ):
        shares = [100 * size / d.width for size, d in zip(sizes, depths, strict=True)]
        figure.add_bar(name=name, x=[d.layer for d in depths], y=shares, xaxis=x, yaxis=y, marker={"color": colour})
    said = (
        "maps of a layer that, put from src's run into adv's, give the label back: the smallest set found "
        f"(<span style='color:{theme.adversarial}'>■</span>), one of the layer's other maps "
        f"(<span style='color:{theme.faint}'>■</span>),<br>and the first ones by integrated attribution patching, "
        f"a control without a datapath (<span style='color:{theme.ink}'>■</span>)"
    )
    _add_words(figure, [said], rows[1] + 0.25 * (rows[1] - rows[0]), theme)


def _size_text(depth: Depth) -> str:
    return f"{depth.size} of {depth.width}" if depth.size else "none"


def _add_picture(
    figure: go.Figure, picture: np.ndarray, place: tuple[tuple[float, float], tuple[float, float]]
) -> None:
    x, y = _add_axes(figure, place, picture.shape[:2])
    figure.add_trace(go.Image(z=picture, xaxis=x, yaxis=y, hoverinfo="skip"))


def _add_axes(figure: go.Figure, place: _Place, shape: tuple[int, ...]) -> tuple[str, str]:
    """Add a pair of axes for a picture of square cells, with row 0 on top, and give the axes' names."""
    number = sum(key.startswith("xaxis") for key in figure.layout.to_plotly_json()) + 1
    suffix = "" if number == 1 else str(number)
    x, y = "x" + suffix, "y" + suffix
    height, width = shape
    figure.layout["xaxis" + suffix] = bare_axis(-0.5, width - 0.5) | {
        "domain": place[0],
        "anchor": y,
        "constrain": "domain",
    }
    figure.layout["yaxis" + suffix] = bare_axis(height - 0.5, -0.5) | {
        "domain": place[1],
        "anchor": x,
        "scaleanchor": x,
        "constrain": "domain",
        "constraintoward": "top",
    }
    return x, y


def _add_words(figure: go.Figure, words: Sequence[str], top: float, theme: Theme) -> None:
    figure.add_annotation(
        text="<br>".join(words),
        x=0.0,
        y=top,
        xref="paper",
        yref="paper",
        xanchor="left",
        yanchor="top",
        align="left",
        showarrow=False,
        font={"color": theme.ink},
    )


def _add_title(figure: go.Figure, columns: tuple[float, float], top: float, text: str, colour: str) -> None:
    style = {"xref": "paper", "yref": "paper", "xanchor": "center", "yanchor": "top", "showarrow": False}
    figure.add_annotation(text=text, x=sum(columns) / 2, y=top, font={"color": colour}, **style)


def _montage(crops: Sequence[np.ndarray]) -> np.ndarray:
    """The patches side by side, each scaled to a square by its nearest pixels."""
    shown = [_square_crop(crop) for crop in crops[:5]]
    gap = np.full((_CROP, _GAP, 3), 255, np.uint8)
    parts = [part for crop in shown for part in (crop, gap)]
    return np.concatenate(parts[:-1], axis=1)


def _square_crop(crop: np.ndarray) -> np.ndarray:
    rows, columns = ((np.arange(_CROP) * size // _CROP) for size in crop.shape[:2])
    return crop[rows][:, columns]
