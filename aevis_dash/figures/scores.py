"""The histogram of adversarial scores over its range slider (Sec. 5.1)."""

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any

import numpy as np
import plotly.graph_objects as go

from aevis_dash.domain import Role
from aevis_dash.figures.theme import TEXT_SIZE, Theme, bare_axis, base_layout, fade

HEIGHT = 120
BINS = 24
SIDE = 8
_ALIKE = 1e-4
"""The span of scores below which a slider is too fine, as its steps have at most six decimals."""


def score_figure(
    scores_source: np.ndarray,
    scores_adversarial: np.ndarray,
    chosen: tuple[float, float],
    theme: Theme,
) -> go.Figure:
    """The histograms of the scores of source and adversarial images, in shared bins, with the chosen range shaded.

    Scores that are not finite are left out and counted nowhere. The axis spans the finite scores (see `bounds`), with 8
    px beside it, so that a slider of the same span can stand right below.

    Args:
        scores_source: the scores of the source images, (N,).
        scores_adversarial: the scores of the adversarial images, (M,).
        chosen: the lower and the upper end of the chosen range.
        theme: the colours.
    """
    kept = {
        Role.SOURCE: scores_source[np.isfinite(scores_source)],
        Role.ADVERSARIAL: scores_adversarial[np.isfinite(scores_adversarial)],
    }
    low, high, _ = bounds(scores_source, scores_adversarial)
    edges = np.linspace(low, high, BINS + 1)
    counts = {role: np.histogram(scores, edges)[0] for role, scores in kept.items()}
    figure = go.Figure(layout=_layout(low, high, max(int(c.max()) for c in counts.values()), theme))
    for role, heights in counts.items():
        figure.add_trace(_bars(role, edges, heights, theme))
    figure.add_shape(_shade(chosen, theme))
    return figure.update_layout(annotations=_labels(kept, theme))


def bounds(*scores: np.ndarray) -> tuple[float, float, float]:
    """The ends of a slider over all finite scores, and its step, a power of ten that is a 100th to a 1000th of the
    span.

    The ends are the nearest multiples of the step that leave no score out, because a handle can only be drawn to such
    values. They are 0.5 on both sides of scores that are all but equal, and (0, 1) without any score.
    """
    finite = np.concatenate([part[np.isfinite(part)] for part in scores])
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    if high - low < _ALIKE:
        low, high = low - 0.5, high + 0.5
    step = Decimal(1).scaleb(math.floor(math.log10((high - low) / 100)))
    ends = Decimal(low).quantize(step, ROUND_FLOOR), Decimal(high).quantize(step, ROUND_CEILING)
    return float(ends[0]), float(ends[1]), float(step)


def _layout(low: float, high: float, highest: int, theme: Theme) -> dict[str, Any]:
    return {
        **base_layout(theme),
        "height": HEIGHT,
        "margin": {"l": SIDE, "r": SIDE, "t": 18, "b": 18},
        "barmode": "overlay",
        "bargap": 0,
        "dragmode": "select",
        "selectdirection": "h",
        "hovermode": "closest",
        "xaxis": {
            "range": [low, high],
            "fixedrange": True,
            "showgrid": False,
            "zeroline": False,
            "nticks": 5,
            "tickfont": {"color": theme.faint, "size": TEXT_SIZE - 2},
        },
        "yaxis": bare_axis(0, max(highest, 1) * 1.05),
    }


def _bars(role: Role, edges: np.ndarray, heights: np.ndarray, theme: Theme) -> go.Bar:
    return go.Bar(
        name=role.value,
        x=(edges[1:] + edges[:-1]) / 2,
        y=heights,
        width=np.diff(edges),
        marker={"color": fade(theme.role(role), 0.6), "line": {"width": 0}},
        hovertemplate=f"%{{y}} {role.value} images with a score near %{{x:.3g}}<extra></extra>",
        selected={"marker": {"opacity": 1}},
        unselected={"marker": {"opacity": 1}},
    )


def _shade(chosen: tuple[float, float], theme: Theme) -> dict[str, Any]:
    box = {"type": "rect", "x0": chosen[0], "x1": chosen[1], "y0": 0, "y1": 1, "yref": "paper"}
    line = {"color": theme.faint, "width": 1}
    return {**box, "fillcolor": fade(theme.ink, 0.1), "line": line, "layer": "below"}


def _labels(kept: dict[Role, np.ndarray], theme: Theme) -> list[dict[str, Any]]:
    """A label above the plot for each histogram; the one with the lower scores is at the left."""
    filled = sorted((role for role in kept if kept[role].size), key=lambda role: np.median(kept[role]))
    if not filled:
        return [_text("No image has a score yet.", 0.5, "center", theme.faint)]
    sides = ((0.0, "left"), (1.0, "right"))
    return [
        _text(f"{kept[role].size} {role.value}", x, anchor, theme.role(role))
        for role, (x, anchor) in zip(filled, sides, strict=False)
    ]


def _text(text: str, x: float, anchor: str, color: str) -> dict[str, Any]:
    place = {"x": x, "y": 1.0, "xref": "paper", "yref": "paper", "xanchor": anchor, "yanchor": "bottom"}
    font = {"color": color, "size": TEXT_SIZE - 1}
    return {"text": text, "font": font, "showarrow": False, "borderpad": 0, **place}
