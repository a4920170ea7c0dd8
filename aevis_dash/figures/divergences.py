"""All examples at once: at which layer the adversarials leave their sources, stacked by groups."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from aevis_dash.figures.theme import CHARACTER, TEXT_SIZE, Theme, bare_axis, base_layout, fade, plain, shorten
from aevis_dash.geometry.dag import Group

HEIGHT = 190
"""The height of the bars in pixels, without the names of the layers below them."""
WIDTH = 1240
"""The pixels that the layers share where the window is 1440 pixels wide; for where names fit."""
SMALL = TEXT_SIZE - 1
_NAMED = 26
"""The number of characters of a layer's name that are shown at most."""
GROUPS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
"""The colours of the largest groups (Okabe and Ito's, which the colour-blind can tell apart). All others share a faint
one."""
OTHERS = "others"


def divergence_figure(
    layers: Sequence[str],
    groups: Sequence[str],
    counts: np.ndarray,
    innocent: np.ndarray,
    chosen: tuple[str, str] | None,
    theme: Theme,
    stages: Sequence[Group] = (),
) -> go.Figure:
    """Stacked bars of how many pairs leave their sources at each layer, with the names of layers and stages.

    Where a layer belongs to a stage, its name stands without the stage's, which stands above the bars. The largest
    groups have a colour each, and the rest stands together as "others". A dotted line shows the innocent pairs. The
    customdata of a bar is [layer, group], where the group is "" for the others.

    Args:
        layers: the names of the l layers, "never" among them.
        groups: the names of the g groups.
        counts: how many pairs of each group leave at each layer, (g, l).
        innocent: how many pairs would leave there if the attacked images were innocent ones, (l,).
        chosen: the (layer, group) whose bar is picked out, with "" for all groups; None for none.
        theme: the colours.
        stages: the outermost groups of the network's layers.
    """
    named, drawn = largest(groups, counts)
    highest = max(float(drawn.sum(axis=0).max(initial=0)), float(innocent.max(initial=0)), 1)
    figure = go.Figure(layout=_layout(tick_names(layers, stages), highest, theme))
    _mark_stages(figure, stages, len(layers), theme)
    for i, (group, heights) in enumerate(zip(named, drawn, strict=True)):
        figure.add_trace(_bars(layers, group, heights, colours_of(theme)[i], chosen, i == len(GROUPS)))
    figure.add_trace(_innocent_line(innocent, theme))
    return figure


def colours_of(theme: Theme) -> tuple[str, ...]:
    """The colours of the groups of `largest`, in their order; the last is that of the others."""
    return (*GROUPS, theme.faint)


def largest(groups: Sequence[str], counts: np.ndarray) -> tuple[list[str], np.ndarray]:
    """The groups of most pairs with their counts, and the sum of the others as the last row where there are any."""
    order = np.argsort(-counts.sum(axis=1), kind="stable")
    first, rest = order[: len(GROUPS)], order[len(GROUPS) :]
    names, rows = [str(groups[i]) for i in first], counts[first]
    if not len(rest):
        return names, rows
    return [*names, OTHERS], np.concatenate([rows, counts[rest].sum(axis=0, keepdims=True)])


def _bars(
    layers: Sequence[str],
    group: str,
    heights: np.ndarray,
    colour: str,
    chosen: tuple[str, str] | None,
    rest: bool,
) -> go.Bar:
    asked = "" if rest else group
    lit = [chosen is None or (chosen[0] in ("", layer) and chosen[1] in ("", asked)) for layer in layers]
    return go.Bar(
        name=plain(group),
        x=list(range(len(layers))),
        y=heights.tolist(),
        marker={"color": [fade(colour, 1.0 if on else 0.25) for on in lit], "line": {"width": 0}},
        customdata=[[layer, asked] for layer in layers],
        hovertemplate=f"%{{y}} of {plain(group)}<br>%{{customdata[0]}}<extra></extra>",
    )


def _innocent_line(innocent: np.ndarray, theme: Theme) -> go.Scatter:
    return go.Scatter(
        name="innocent",
        x=list(range(len(innocent))),
        y=innocent.tolist(),
        mode="lines",
        line={"shape": "hvh", "dash": "dot", "width": 1.5, "color": theme.ink},
        hoverinfo="skip",
    )


def tick_names(layers: Sequence[str], stages: Sequence[Group]) -> list[str]:
    """The names below the bars: a layer's name without that of its stage, "" where there is no room for every name."""
    names = [str(layer) for layer in layers]
    for stage in stages:
        prefix = stage.name.split("#")[0] + "."
        for place in range(stage.first, stage.last + 1):
            names[place] = names[place].removeprefix(prefix)
    every = int(np.ceil(len(layers) * (SMALL + 2) / WIDTH))
    last = len(layers) - 1
    return [shorten(name, _NAMED) if place % every == 0 or place == last else "" for place, name in enumerate(names)]


def _mark_stages(figure: go.Figure, stages: Sequence[Group], count: int, theme: Theme) -> None:
    """Name the stages above the bars, and give every second one a faint ground."""
    column = WIDTH / count
    for place, stage in enumerate(stages):
        if place % 2 == 0:
            figure.add_shape(
                type="rect",
                xref="x",
                yref="paper",
                x0=stage.first - 0.5,
                x1=stage.last + 0.5,
                y0=0,
                y1=1,
                layer="below",
                line={"width": 0},
                fillcolor=fade(theme.faint, 0.09),
            )
        figure.add_annotation(
            text=plain(shorten(stage.name, int(stage.size * column / CHARACTER))),
            x=(stage.first + stage.last) / 2,
            y=1,
            yref="paper",
            yanchor="bottom",
            showarrow=False,
            font={"color": theme.faint, "size": TEXT_SIZE},
        )


def _layout(names: Sequence[str], highest: float, theme: Theme) -> dict:
    longest = max(map(len, names), default=0) * CHARACTER * SMALL / TEXT_SIZE
    upright = longest > WIDTH / max(len(names), 1)
    below = 14 + (longest if upright else SMALL)
    small = {"color": theme.faint, "size": SMALL}
    return {
        **base_layout(theme),
        "height": round(HEIGHT + below),
        "margin": {"l": 44, "r": 8, "t": 20, "b": round(below)},
        "barmode": "stack",
        "bargap": 0.15,
        "dragmode": False,
        "hovermode": "closest",
        "xaxis": {
            "range": [-0.5, len(names) - 0.5],
            "fixedrange": True,
            "showgrid": False,
            "zeroline": False,
            "tickvals": [place for place, name in enumerate(names) if name],
            "ticktext": [plain(name) for name in names if name],
            "tickangle": -90 if upright else 0,
            "tickfont": small | {"color": theme.ink},
        },
        "yaxis": {
            **bare_axis(0, highest * 1.05),
            "visible": True,
            "nticks": 5,
            "gridcolor": theme.grid,
            "tickfont": small,
            "title": {"text": "pairs", "font": small, "standoff": 4},
        },
    }
