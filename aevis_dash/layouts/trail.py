"""The trail: the steps that led here, the whole tree of steps, what to do next, and messages."""

from collections.abc import Sequence
from dataclasses import dataclass

import dash_bootstrap_components as dbc
from dash import dcc, html

from aevis_dash import ids
from aevis_dash.domain import Role
from aevis_dash.layouts.saved_trails import saved_panel
from aevis_dash.users import User

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


@dataclass(frozen=True)
class Turn:
    """How far a map alone turns the margin, in parts of what turns the prediction, beside the best random map; and both
    in words."""

    part: float
    chance: float
    words: str


@dataclass(frozen=True)
class TrailStop:
    """One effect on the way: the number of the step that traced it, None for where the user is now; the effect in
    words, and what was found; pictures by their addresses, with words; and what flipping it back does, None where that
    was not tested. `linked` says whether it is traced from the effect before it."""

    number: int | None
    words: str
    said: str = ""
    pictures: Sequence[tuple[str, str]] = ()
    turn: Turn | None = None
    linked: bool = True


def trail_bar(visitor: User | None = None) -> html.Nav:
    """The trail at the foot of the page.

    Args:
        visitor: the user for whom the page is made; None where the server has no users.
    """
    return html.Nav(
        [
            html.Div(id=ids.TRAIL, className="trail"),
            html.Div(id=ids.HINT, className="hint", role="status"),
            html.Details(
                [
                    html.Summary("all steps"),
                    html.Div([html.Div(id=ids.TREE), saved_panel(visitor)], className="tree"),
                ],
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
            dbc.Alert(id=ids.MESSAGE, color="warning", is_open=False, dismissable=True, className="message"),
        ],
        className="trail-bar",
    )


def trail(stops: Sequence[TrailStop], of: int) -> list:
    """The way from the prediction to where the user is now, as cards in pictures.

    Args:
        stops: the effects that were traced, from the prediction on; the last one is where the user is now.
        of: the number of all steps of the tree.
    """
    parts: list = []
    for stop in stops:
        parts += [html.Span("←" if stop.linked else "·", className="quiet")] if parts else []
        parts.append(_stop(stop, of))
    return parts


def _stop(stop: TrailStop, of: int) -> html.Button | html.Span:
    inside = [
        *(
            html.Img(src=address, alt=words, title=words, className=kind)
            for (address, words), kind in zip(stop.pictures, _kinds(len(stop.pictures)), strict=True)
        ),
        html.Span(
            [html.Span(stop.words, className="name"), html.Span(stop.said, className="quiet"), *_bars(stop.turn)],
            className="stop-words",
        ),
    ]
    if stop.number is None:
        return html.Span(inside, className="here")
    return html.Button(inside, id=ids.step(stop.number, of), className="step", n_clicks=0, title="Go back to here")


def _kinds(count: int) -> list[str]:
    """The classes of a stop's pictures: those of the three images, after the patch where there is one."""
    images = [role.short for role in Role]
    return ["patch", *images][-count:] if count else []


def _bars(turn: Turn | None) -> list[html.Span]:
    """The bar of a flip-back, with a mark for the best of the random maps beside it."""
    if turn is None:
        return []
    fill = html.Span(className="fill", style={"width": f"{100 * min(max(turn.part, 0), 1):.0f}%"})
    mark = html.Span(className="mark", style={"left": f"{100 * min(max(turn.chance, 0), 1):.0f}%"})
    return [html.Span([fill, mark], className="turn", title=turn.words)]


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
