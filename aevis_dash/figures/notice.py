"""A figure that says only why there is nothing to see yet."""

import plotly.graph_objects as go

from aevis_dash.figures.theme import Theme, bare_axis, base_layout, plain


def notice(text: str, theme: Theme, height: int) -> go.Figure:
    """A sentence in the middle of an empty figure, `height` pixels high."""
    figure = go.Figure(layout=base_layout(theme))
    figure.update_layout(height=height, xaxis=bare_axis(0, 1), yaxis=bare_axis(0, 1))
    figure.add_annotation(text=plain(text), x=0.5, y=0.5, showarrow=False, font={"color": theme.faint, "size": 14})
    return figure
