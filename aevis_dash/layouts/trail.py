"""The trail: the steps that led here, the whole tree of steps, what to do next, and messages."""

from collections.abc import Sequence
from dataclasses import dataclass

import dash_bootstrap_components as dbc
from dash import dcc, html

from aevis_dash import ids

NOTE = 200
"""The number of characters of a note at most. A link with 200 steps of such notes still passes through a web server."""


@dataclass(frozen=True)
class Node:
    """A step in the tree: its depth, what was done in words, what came of it, the user's note, and whether it led
    here."""

    number: int
    depth: int
    words: str
    verdict: str
    note: str
    here: bool


def trail_bar() -> html.Nav:
    """The line of the trail, under the bar on top."""
    return html.Nav(
        [
            html.Div(id=ids.TRAIL, className="trail"),
            html.Details(
                [html.Summary("all steps"), html.Div(id=ids.TREE, className="tree")],
                id=ids.TREE_PANEL,
                className="tree-panel",
            ),
            dbc.Button(
                "Suggest a trail",
                id=ids.SUGGEST,
                size="sm",
                color="secondary",
                outline=True,
                title="Traces the prediction back through the stages and tests each step by patching",
            ),
            html.Div(id=ids.HINT, className="hint", role="status"),
            dbc.Alert(id=ids.MESSAGE, color="warning", is_open=False, dismissable=True, className="message"),
        ],
        className="trail-bar",
    )


def trail(steps: Sequence[tuple[int, str]], of: int, here: str) -> list:
    """The steps that led here and the place where the user is now, as buttons, the oldest step first.

    Args:
        steps: the steps, by number and in words.
        of: the number of all steps of the tree.
        here: where the user is now, in words.
    """
    buttons = [
        html.Button(words, id=ids.step(number, of), className="step", n_clicks=0, title="Go back to here")
        for number, words in steps
    ]
    parts: list = []
    for button in buttons:
        parts += [button, html.Span("←", className="quiet")]
    return [*parts, html.Span(here, className="here")] if here else parts


def tree(nodes: Sequence[Node]) -> list:
    """Every step with what came of it, indented under the step that it follows."""
    if not nodes:
        return [html.Div("No step yet: trace an area, flip a layer back, or let a trail be suggested.")]
    return [_node(node, len(nodes)) for node in nodes]


def _node(node: Node, of: int) -> html.Div:
    return html.Div(
        [
            html.Button(
                node.words, id=ids.node(node.number, of), className="step", n_clicks=0, title="Show what came of it"
            ),
            html.Span(node.verdict, className="quiet"),
            dcc.Input(
                id=ids.note(node.number),
                value=node.note,
                placeholder="note",
                maxLength=NOTE,
                debounce=True,
                className="note",
            ),
            html.Button("×", id=ids.drop(node.number, of), title="Take this step and what follows out", n_clicks=0),
        ],
        className="node here" if node.here else "node",
        style={"marginLeft": f"{1.2 * node.depth}rem"},
    )
