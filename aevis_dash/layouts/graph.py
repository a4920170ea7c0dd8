"""A graph of fixed height that stays empty until its station draws it."""

from dash import dcc

from aevis_dash.figures.notice import notice
from aevis_dash.figures.theme import LIGHT, graph_config


def waiting_graph(name: str, height: int) -> dcc.Graph:
    """The graph of that id, `height` pixels high; nothing on it leads out of the page."""
    return dcc.Graph(id=name, figure=notice("", LIGHT, height), config=graph_config(), style={"height": f"{height}px"})
