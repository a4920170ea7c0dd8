"""All examples at once: how many adversarials of each class are taken for each other class."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from aevis_dash.figures.theme import CHARACTER, CLEAR, TEXT_SIZE, Theme, base_layout, channels, plain, shorten

ROW, COLUMN, FRAME = 18, 24, 28
"""The height of a row and the width of a column in pixels, and the least of what stands around them."""
LEAST = 150
"""The least height of the rows together, and the least width of the columns, in pixels."""
FAINTEST = 0.25
"""What is added to every count, as a part of the largest one, before it is coloured: a single example is seen too."""
OTHERS = "others"
_NAMED = 18
"""The number of characters of a class's name that are shown at most."""


def confusion_figure(
    sources: Sequence[str], taken_for: Sequence[str], counts: np.ndarray, labels: Sequence[Sequence], theme: Theme
) -> go.Figure:
    """A matrix with the number of examples in each cell that has any.

    The customdata of a cell is [class of the source, class it is taken for], as they are given in `labels`; [None,
    None] where one of them stands for several classes.

    Args:
        sources: the names of the r classes of sources, for the rows.
        taken_for: the names of the c classes that the examples are taken for, for the columns.
        counts: the number of examples in each cell, (r, c).
        labels: the classes of the rows and those of the columns as numbers; None for several classes together.
        theme: the colours.
    """
    cells = [[[a, b] if None not in (a, b) else [None, None] for b in labels[1]] for a in labels[0]]
    names = [[[plain(a), plain(b)] for b in taken_for] for a in sources]
    largest = max(int(counts.max(initial=0)), 1)
    figure = go.Figure(layout=_layout(sources, taken_for, theme))
    figure.add_trace(
        go.Heatmap(
            name="confusions",
            z=[[int(value) if value else None for value in row] for row in counts],
            x=list(range(len(taken_for))),
            y=list(range(len(sources))),
            text=[[f"{a} → {b}" for a, b in row] for row in names],
            customdata=cells,
            hovertemplate="%{text}: %{z}<extra></extra>",
            hoverongaps=False,
            colorscale=theme.colorscale,
            zmin=-FAINTEST * largest,
            zmax=largest,
            showscale=False,
            xgap=1,
            ygap=1,
        )
    )
    figure.add_trace(_numbers(counts, theme))
    return figure


def shade(count: int, largest: int, theme: Theme) -> str:
    """The colour of a cell of so many examples, where the fullest cell has `largest`, as #rrggbb."""
    place = (count / largest + FAINTEST) / (1 + FAINTEST) * (len(theme.scale) - 1)
    low = min(int(place), len(theme.scale) - 2)
    both = zip(channels(theme.scale[low]), channels(theme.scale[low + 1]), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * (place - low)):02x}" for a, b in both)


def ink_on(colour: str) -> str:
    """Black or white, whichever can be read better on a colour #rrggbb."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in channels(colour))]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if (luminance + 0.05) / 0.05 >= 1.05 / (luminance + 0.05) else "#ffffff"


def _numbers(counts: np.ndarray, theme: Theme) -> go.Scatter:
    """The counts as texts on the cells; plotly's own texts on a heatmap are hard to read on colours in between."""
    rows, columns = np.nonzero(counts)
    values, largest = counts[rows, columns], max(int(counts.max(initial=0)), 1)
    return go.Scatter(
        name="numbers",
        mode="text",
        x=columns.tolist(),
        y=rows.tolist(),
        text=[str(value) for value in values],
        textfont={"size": TEXT_SIZE - 1, "color": [ink_on(shade(int(value), largest, theme)) for value in values]},
        hoverinfo="skip",
    )


def _layout(sources: Sequence[str], taken_for: Sequence[str], theme: Theme) -> dict:
    rows, columns = ([plain(shorten(name, _NAMED)) for name in names] for names in (sources, taken_for))
    left, top = (max(map(len, names), default=0) * CHARACTER * (TEXT_SIZE - 1) / TEXT_SIZE for names in (rows, columns))
    body, across = max(ROW * len(rows), LEAST), max(COLUMN * len(columns), LEAST)
    small = {"size": TEXT_SIZE - 1, "color": theme.ink}
    axis = {"fixedrange": True, "showgrid": False, "zeroline": False, "showline": False, "tickfont": small}
    axis |= {"ticks": "outside", "ticklen": 4, "tickcolor": CLEAR}
    quiet = {"size": TEXT_SIZE - 1, "color": theme.faint}
    return {
        **base_layout(theme),
        "height": round(body + top + FRAME + 8),
        "width": round(across + left + FRAME + 8),
        "margin": {"l": round(left) + FRAME, "r": 8, "t": round(top) + FRAME, "b": 8},
        "dragmode": False,
        "hovermode": "closest",
        "xaxis": {
            **axis,
            "range": [-0.5, len(columns) - 0.5],
            "side": "top",
            "tickangle": -90,
            "tickvals": list(range(len(columns))),
            "ticktext": columns,
            "title": {"text": "taken for", "font": quiet, "standoff": 2},
        },
        "yaxis": {
            **axis,
            "range": [len(rows) - 0.5, -0.5],
            "tickvals": list(range(len(rows))),
            "ticktext": rows,
            "title": {"text": "source", "font": quiet, "standoff": 2},
        },
    }
