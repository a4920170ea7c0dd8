"""A graph of fixed height that stays empty until its station draws it."""

from functools import lru_cache
from typing import Any

from dash import dcc

from aevis_dash.figures.notice import notice
from aevis_dash.figures.theme import LIGHT, graph_config


def waiting_graph(name: str, height: int, *buttons: str) -> dcc.Graph:
    """An empty graph with that ID, `height` pixels high and with these mode bar buttons. Nothing on it leads out of the
    page."""
    config = graph_config(*buttons)
    return dcc.Graph(id=name, figure=empty(height), config=config, style={"height": f"{height}px"})


@lru_cache(maxsize=64)
def empty(height: int) -> dict[str, Any]:
    """An empty figure. Plotly takes milliseconds to check one, and a page has many."""
    return notice("", LIGHT, height).to_plotly_json()
