"""A graph of fixed height that stays empty until its station draws it."""

from dash import dcc

from aevis_dash.figures.notice import notice
from aevis_dash.figures.theme import LIGHT, graph_config


def waiting_graph(name: str, height: int, *buttons: str) -> dcc.Graph:
    """The graph of that id, `height` pixels high, with those mode bar buttons; nothing on it leads out of the page."""
    config = graph_config(*buttons)
    return dcc.Graph(id=name, figure=notice("", LIGHT, height), config=config, style={"height": f"{height}px"})
