"""The figure of the bench of extraction methods: a panel for each line, and in it a dot with its interval for each
method."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from aevis_dash.core.evaluation import Estimate

_COLUMNS = 4
_DOT, _DEFAULT = "#6b7280", "#0072b2"


def bench_figure(methods: Mapping[str, Mapping[str, Estimate]], lines: Mapping[str, str]) -> go.Figure:
    """The figure of the bench.

    Args:
        methods: the estimates of every method by line, the default method first.
        lines: the titles of the lines that are drawn, by their names.
    """
    names, count = list(methods), -(-len(lines) // _COLUMNS)
    figure = make_subplots(
        count, _COLUMNS, subplot_titles=list(lines.values()), shared_yaxes=True, horizontal_spacing=0.02
    )
    for i, line in enumerate(lines):
        estimates = [methods[name][line] for name in names]
        figure.add_trace(_dots(names, estimates), i // _COLUMNS + 1, i % _COLUMNS + 1)
    figure.update_yaxes(autorange="reversed")
    figure.update_layout(
        template="plotly_white",
        showlegend=False,
        height=60 + count * (60 + 24 * len(names)),
        margin={"l": 130, "t": 50},
    )
    return figure


def _dots(names: Sequence[str], estimates: Sequence[Estimate]) -> go.Scatter:
    means = [e.mean for e in estimates]
    return go.Scatter(
        x=means,
        y=list(names),
        mode="markers",
        marker={"size": 9, "color": [_DEFAULT if i == 0 else _DOT for i in range(len(names))]},
        error_x={
            "type": "data",
            "array": [e.high - e.mean for e in estimates],
            "arrayminus": [e.mean - e.low for e in estimates],
            "thickness": 1.2,
            "color": _DOT,
        },
        hovertemplate="%{y}: %{x:.3g}<extra></extra>",
    )
