"""Two models side by side: the rivers of one pair, one below the other, and layer profiles on a common axis.

Where both models have the same layers the axis shows them by their names. Otherwise it is the depth: the share of a
model's layers that lie before.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from aevis_dash.domain import DatapathDistance, LayerGraph, Role, short_of
from aevis_dash.figures.divergences import tick_names
from aevis_dash.figures.theme import TEXT_SIZE, Theme, bare_axis, base_layout, fade, plain, shorten
from aevis_dash.geometry.dag import groups
from aevis_dash.geometry.river import river
from aevis_dash.pair_profile import PairProfile
from aevis_dash.two_models import CURVES, ComparedPair, TwoModels

RIVERS_HEIGHT, PROFILES_HEIGHT = 340, 270
PANELS = (
    ("adv's distance from src", (("apart", "solid"),)),
    ("adv's place from src (0) to tar (1)", (("way", "solid"),)),
    ("hard set and core (dashed) of adv, share of the maps", (("adversarial", "solid"), ("core", "dash"))),
    ("maps that turn it back, and random ones (dashed)", (("turned", "solid"), ("random", "dash"))),
)
"""The profiles: the title of each panel, and its curves with how their lines are drawn."""
_GAP = 0.045
_SMALL = TEXT_SIZE - 1


@dataclass(frozen=True)
class ShownRiver:
    """The river of a pair in one model.

    Attributes:
        model: the name of the model.
        graph: its layers.
        distance: the distances of the triplet at every layer; None where they are not known.
        classes: the names of the classes of src, adv and tar by role.
        leaves: the layer from which on adv is farther from src than other images of src's class; L or -1 for none.
        joins: the layer from which on adv is nearer to tar than to src; L for none.
        note: what is said in the river's place where there is none.
    """

    model: str
    graph: LayerGraph
    distance: DatapathDistance | None
    classes: dict[Role, str]
    leaves: int = -1
    joins: int = -1
    note: str = ""


def colours(theme: Theme) -> tuple[str, str]:
    """The colours of the first and of the second model."""
    return theme.ink, theme.further[0]


def rivers_figure(rivers: Sequence[ShownRiver], alike: bool, theme: Theme) -> go.Figure:
    """The rivers of one pair in two models, one below the other.

    Args:
        rivers: the two rivers, the first model's first.
        alike: whether both models have the same layers.
        theme: the colours.
    """
    figure = go.Figure(layout=base_layout(theme))
    figure.update_layout(
        height=RIVERS_HEIGHT,
        margin={"l": 8, "r": 150, "t": 4, "b": 34},
        hovermode="closest",
        dragmode=False,
        xaxis=_axis(rivers[0].graph, alike, theme, 1.0),
    )
    for row, shown in enumerate(rivers):
        own = "y" if row == 0 else "y2"
        top = 1 - 0.52 * row
        figure.update_layout(
            {"yaxis" if row == 0 else "yaxis2": bare_axis(-1.15, 1.25) | {"domain": [top - 0.48, top]}}
        )
        figure.add_annotation(
            text=f"<b>{plain(shorten(shown.model, 40))}</b>",
            x=0,
            xref="paper",
            xanchor="left",
            y=top,
            yref="paper",
            yanchor="top",
            showarrow=False,
            font={"color": colours(theme)[row]},
        )
        if shown.distance is None:
            figure.add_annotation(
                text=plain(shown.note), x=0.5, xref="paper", y=0, yref=own, showarrow=False, font={"color": theme.faint}
            )
            continue
        _add_river(figure, shown, own, alike, theme)
    return figure


def profiles_figure(found: TwoModels, theme: Theme, shown: ComparedPair | None = None) -> go.Figure:
    """Layer profiles of two models: medians over pairs, and those of one pair.

    Args:
        found: the comparison.
        theme: the colours.
        shown: the pair whose own profiles are drawn too, as thick lines; the medians are then thin. None for the
            medians alone.
    """
    figure = go.Figure(layout=base_layout(theme))
    figure.update_layout(
        height=PROFILES_HEIGHT, margin={"l": 34, "r": 8, "t": 22, "b": 34}, hovermode="closest", dragmode=False
    )
    width = (1 - _GAP * (len(PANELS) - 1)) / len(PANELS)
    for i, (title, curves) in enumerate(PANELS):
        suffix = str(i + 1) if i else ""
        left = i * (width + _GAP)
        axis = _axis(found.graphs[0], found.alike, theme, width)
        small = {"color": theme.faint, "size": _SMALL}
        figure.update_layout(
            {
                f"xaxis{suffix}": axis | {"domain": [left, left + width], "anchor": f"y{suffix}"},
                f"yaxis{suffix}": {
                    "anchor": f"x{suffix}",
                    "fixedrange": True,
                    "rangemode": "tozero",
                    "nticks": 5,
                    "gridcolor": theme.grid,
                    "zeroline": False,
                    "tickfont": small,
                },
            }
        )
        figure.add_annotation(
            text=plain(title),
            x=left,
            xref="paper",
            xanchor="left",
            y=1,
            yref="paper",
            yanchor="bottom",
            showarrow=False,
            font={"size": _SMALL, "color": theme.ink},
        )
        for name, dash in curves:
            for side in (0, 1):
                _add_profile(figure, found, shown, name, side, dash, f"{suffix}", theme)
    return figure


def _add_profile(
    figure: go.Figure,
    found: TwoModels,
    shown: ComparedPair | None,
    name: str,
    side: int,
    dash: str,
    axis: str,
    theme: Theme,
) -> None:
    """The median of a curve of one model and, where a pair is shown, that of the pair."""
    graph, model, colour = found.graphs[side], found.models[side], colours(theme)[side]
    own: PairProfile | None = None if shown is None else (shown.first, shown.second)[side]
    lines = [
        (*found.medians(name, side), f"median of {len(found.pairs)} pairs", 1.5 if shown else 2.5, shown is not None)
    ]
    if own is not None:
        lines.append((*CURVES[name](graph, own), "this pair", 2.5, False))
    for layers, values, what, width, faint in lines:
        names = [graph.layers[int(i)].name for i in layers]
        figure.add_trace(
            go.Scatter(
                name=f"{name} {model} {what}",
                x=_places(graph, layers, found.alike).tolist(),
                y=[None if not np.isfinite(v) else round(float(v), 5) for v in values],
                mode="lines+markers" if len(layers) <= 8 else "lines",
                line={"color": fade(colour, 0.45) if faint else colour, "width": width, "dash": dash},
                marker={"size": 5},
                xaxis=f"x{axis}",
                yaxis=f"y{axis}",
                customdata=names,
                hovertemplate=f"%{{y:.3f}} at %{{customdata}}<br>{plain(model)}, {what}<extra></extra>",
            )
        )


def _add_river(figure: go.Figure, shown: ShownRiver, axis: str, alike: bool, theme: Theme) -> None:
    assert shown.distance is not None
    drawn, graph = river(shown.distance), shown.graph
    places = _places(graph, np.arange(len(graph)), alike)
    if drawn.band_low is not None and drawn.band_high is not None:
        figure.add_trace(
            go.Scatter(
                name="null",
                x=[*places.tolist(), *places[::-1].tolist()],
                y=[*drawn.band_high.tolist(), *drawn.band_low[::-1].tolist()],
                mode="lines",
                line={"width": 0},
                fill="toself",
                fillcolor=fade(theme.faint, 0.28),
                hoverinfo="skip",
                yaxis=axis,
            )
        )
    ends = []
    way = shown.distance.share
    for role, ys in ((Role.SOURCE, drawn.src), (Role.TARGET, drawn.tar), (Role.ADVERSARIAL, drawn.adv)):
        figure.add_trace(
            go.Scatter(
                name=f"{role} {shown.model}",
                x=places.tolist(),
                y=np.round(ys, 4).tolist(),
                mode="lines",
                line={"color": theme.role(role), "width": 3.5 if role is Role.ADVERSARIAL else 6},
                customdata=[[layer.name, f"{part:.0%}"] for layer, part in zip(graph.layers, way, strict=True)],
                hovertemplate="%{customdata[0]}<br>adv is %{customdata[1]} of the way from src to tar<extra></extra>",
                yaxis=axis,
            )
        )
        ends.append((float(ys[-1]), role))
    for height, role in _apart(ends):
        figure.add_annotation(
            text=plain(shorten(f"{short_of(role)} · {shown.classes[role]}", 22)),
            x=1.005,
            xref="paper",
            xanchor="left",
            y=height,
            yref=axis,
            showarrow=False,
            font={"color": theme.role(role)},
        )
    for layer, what, height in ((shown.leaves, "leaves src", 1.2), (shown.joins, "joins tar", -1.1)):
        if 0 <= layer < len(graph):
            figure.add_trace(
                go.Scatter(
                    name=what,
                    x=[float(places[layer])] * 2,
                    y=[-1.1, 1.1],
                    mode="lines",
                    line={"color": theme.faint, "width": 1, "dash": "dot"},
                    hoverinfo="skip",
                    yaxis=axis,
                )
            )
            figure.add_annotation(
                text=what,
                x=float(places[layer]),
                y=height,
                yref=axis,
                xanchor="left",
                showarrow=False,
                font={"size": _SMALL, "color": theme.faint},
            )


def _apart(ends: Sequence[tuple[float, Role]], least: float = 0.42) -> list[tuple[float, Role]]:
    """The heights of the names at the curves' ends, moved so that none covers another."""
    ordered = sorted(ends, key=lambda end: end[0])
    placed: list[tuple[float, Role]] = []
    for height, role in ordered:
        lowest = placed[-1][0] + least if placed else -1.0
        placed.append((max(height, lowest), role))
    over = max(0.0, placed[-1][0] - 1.0)
    return [(height - over, role) for height, role in placed]


def _places(graph: LayerGraph, layers: np.ndarray, alike: bool) -> np.ndarray:
    """Where layers stand on the axis, (l,): at their index, or at their depth."""
    return layers.astype(float) if alike else layers / len(graph)


def _axis(graph: LayerGraph, alike: bool, theme: Theme, width: float) -> dict:
    """The axis of layers, of a part `width` of the figure."""
    small = {"color": theme.faint, "size": _SMALL}
    shared = {"fixedrange": True, "showgrid": False, "zeroline": False, "tickfont": small}
    if not alike:
        return shared | {"range": [-0.02, 1.02], "nticks": 6, "title": {"text": "depth", "font": small, "standoff": 2}}
    stages = [group for group in groups(graph) if group.level == 0]
    named = [((stage.first + stage.last) / 2, stage.name) for stage in stages]
    named = named or list(enumerate(tick_names([layer.name for layer in graph.layers], stages)))
    ticks = [(i, shorten(name, 14)) for i, name in named if name]
    return shared | {
        "range": [-0.5, len(graph) - 0.5],
        "tickvals": [i for i, _ in ticks],
        "ticktext": [plain(name) for _, name in ticks],
        "tickangle": 0 if width == 1.0 else 30,
    }
