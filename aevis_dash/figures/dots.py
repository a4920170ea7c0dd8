"""The dot plot of the system of 2018 in place of the river: how similar adv's datapath is to each other one.

In the system of 2018 similarity runs across and the layers run down. Here the layers keep the river's columns, so that
nothing moves when one changes between the two. Similarity runs up, from 0 at the river's -1 to 1 at its 1.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from aevis_dash.domain import Role, short_of
from aevis_dash.figures.theme import TEXT_SIZE, Theme, plain, shorten
from aevis_dash.geometry.curves import spread
from aevis_dash.geometry.river import fill

SYMBOLS = ("circle", "diamond", "square", "triangle-up", "x", "star", "cross")
"""The symbols of the pairs, one for each, so that pairs are not told apart by colour alone."""
LARGEST, SMALLEST = 8.0, 4.0
WIDTH = 560
"""The pixels that all columns are assumed to take when the size of a dot is decided."""
LABEL_GAP = 0.2
NAME_LENGTH = 15


def similarity(name: str, distance: np.ndarray) -> np.ndarray:
    """The similarity of two datapaths at each layer, in [0, 1] and 1 for the same, from their distance; NaN stays NaN.

    For "activations" it is the cosine, with 0 for negative ones. For "gates" it is 1 - d, as d is the root mean square
    difference of gates in [0, 1]. For "gates-raw", which has no upper end, it is 1 / (1 + d).

    Args:
        name: the name of the distance.
        distance: the distances at each layer, (L,).

    Returns:
        The similarities, (L,).
    """
    distance = np.asarray(distance, float)
    return 1 / (1 + distance) if name == "gates-raw" else np.clip(1 - distance, 0, 1)


def dots(
    x: np.ndarray, boxes: Sequence[tuple[int, int]], similar: Mapping[str, np.ndarray], theme: Theme
) -> list[go.Scatter]:
    """The traces: guides at 0, 0.5 and 1 over each box, and for each pair a dot in each column, joined within a box.

    No dot stands where the similarity is NaN. Nothing here reacts to the mouse, as the trace "layers" on top does.

    Args:
        x: the places of the columns, (C,).
        boxes: the first and the last column of each group of layers, which cover all columns in order.
        similar: the similarity to adv at each column, (C,) in [0, 1], by the other datapath's key.
        theme: the colours.
    """
    pairs = enumerate(similar.items())
    return [_guides(x, boxes, theme), _scale(x, theme), *(_pair(x, boxes, key, v, i, theme) for i, (key, v) in pairs)]


def dot_labels(similar: Mapping[str, np.ndarray], names: Mapping[str, str], theme: Theme) -> list[dict[str, Any]]:
    """The name of each pair and the other datapath's class, right of the window at the height of the last dot.

    They are plotly annotations, and are moved apart where they meet. `names` are the classes by the datapaths' keys.
    """
    ends = np.array([_height(fill(values, 0.5))[-1] for values in similar.values()])
    places = spread(ends, LABEL_GAP, -1.0, 1.0).tolist()
    at = {"x": 1.0, "xref": "x domain", "xanchor": "left", "align": "left", "xshift": 4, "showarrow": False}
    return [
        {**at, "y": y, "text": _words(key, names), "font": {"color": theme.path(key)}}
        for y, key in zip(places, similar, strict=True)
    ]


def _words(key: str, names: Mapping[str, str]) -> str:
    pair = f"{Role.ADVERSARIAL.short}–{short_of(key)}"
    return f"{pair} · {plain(shorten(names[key], NAME_LENGTH))}" if names.get(key) else pair


def _pair(
    x: np.ndarray, boxes: Sequence[tuple[int, int]], key: str, values: np.ndarray, place: int, theme: Theme
) -> go.Scatter:
    step = float(np.diff(x).min(initial=1.0)) / max(float(np.ptp(x)), 1e-9) * WIDTH if len(x) else LARGEST
    colour = theme.path(key)
    return go.Scatter(
        name=f"{Role.ADVERSARIAL}–{key}",
        x=_break_between_boxes(x, boxes),
        y=_break_between_boxes(_height(values), boxes),
        mode="lines+markers",
        line={"color": colour, "width": 1, "simplify": False},
        marker={
            "color": colour,
            "size": float(np.clip(0.8 * step, SMALLEST, LARGEST)),
            "symbol": SYMBOLS[place % len(SYMBOLS)],
            "line": {"color": theme.surface, "width": 0.5},
        },
        connectgaps=False,
        hoverinfo="skip",
    )


def _height(values: np.ndarray) -> np.ndarray:
    return 2 * np.asarray(values, float) - 1


def _break_between_boxes(values: np.ndarray, boxes: Sequence[tuple[int, int]]) -> np.ndarray:
    """The values as they are sent to plotly, with a NaN after each box so that no line leaves it."""
    parts = [np.append(values[first : last + 1], np.nan) for first, last in boxes]
    return np.concatenate([np.zeros(0), *parts]).astype(np.float32)


def _guides(x: np.ndarray, boxes: Sequence[tuple[int, int]], theme: Theme) -> go.Scatter:
    reach = float(np.diff(x).min(initial=np.inf)) / 2 if len(x) > 1 else 0.5
    spans = [(float(x[first]) - reach, float(x[last]) + reach) for first, last in boxes]
    return go.Scatter(
        name="guides",
        x=[v for left, right in spans for _ in (0.0, 0.5, 1.0) for v in (left, right, None)],
        y=[v for _ in spans for s in (0.0, 0.5, 1.0) for v in (2 * s - 1, 2 * s - 1, None)],
        mode="lines",
        line={"color": theme.grid, "width": 1, "simplify": False},
        hoverinfo="skip",
    )


def _scale(x: np.ndarray, theme: Theme) -> go.Scatter:
    left = float(x[0]) if len(x) else 0.0
    return go.Scatter(
        name="scale",
        x=[left, left, left],
        y=[1.0, 0.0, -1.0],
        mode="text",
        text=["similarity 1", "0.5", "0"],
        textposition="top right",
        textfont={"color": theme.faint, "size": TEXT_SIZE - 2},
        hoverinfo="skip",
        cliponaxis=False,
    )
