"""All examples at once: at which layer the adversarials leave their sources, stacked by groups."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from aevis_dash.figures.theme import TEXT_SIZE, Theme, bare_axis, base_layout, fade, plain

HEIGHT = 150
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
) -> go.Figure:
    """Stacked bars of how many pairs leave their sources at each layer.

    The largest groups have a colour each, and the rest stands together as "others". A dotted line shows the innocent
    pairs. The customdata of a bar is [layer, group], where the group is "" for the others.

    Args:
        layers: the names of the l layers, "never" among them.
        groups: the names of the g groups.
        counts: how many pairs of each group leave at each layer, (g, l).
        innocent: how many pairs would leave there if the attacked images were innocent ones, (l,).
        chosen: the (layer, group) whose bar is picked out, with "" for all groups; None for none.
        theme: the colours.
    """
    named, drawn = largest(groups, counts)
    highest = max(float(drawn.sum(axis=0).max(initial=0)), float(innocent.max(initial=0)), 1)
    figure = go.Figure(layout=_layout(layers, highest, theme))
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


def _layout(layers: Sequence[str], highest: float, theme: Theme) -> dict:
    ends = {"color": theme.faint, "size": TEXT_SIZE - 2}
    return {
        **base_layout(theme),
        "height": HEIGHT,
        "margin": {"l": 24, "r": 18, "t": 6, "b": 20},
        "barmode": "stack",
        "bargap": 0.15,
        "dragmode": False,
        "hovermode": "closest",
        "xaxis": {
            "range": [-0.5, len(layers) - 0.5],
            "fixedrange": True,
            "showgrid": False,
            "zeroline": False,
            "tickvals": [0, len(layers) - 1],
            "ticktext": ["first", layers[-1]],
            "tickfont": ends,
        },
        "yaxis": {
            **bare_axis(0, highest * 1.05),
            "visible": True,
            "nticks": 3,
            "gridcolor": theme.grid,
            "tickfont": ends,
        },
    }
