"""The network: the triplet in words and the river."""

from collections.abc import Sequence
from dataclasses import dataclass

from dash import dcc, html

from aevis_dash import ids
from aevis_dash.domain import Role
from aevis_dash.layouts.graph import waiting_graph

DISTANCES = [
    {"label": "activations", "value": "activations"},
    {"label": "gates (paper)", "value": "gates"},
]


GAPS = [
    {"label": "gap as measured", "value": "measured"},
    {"label": "equal gaps", "value": "equal"},
]


@dataclass(frozen=True)
class Methods:
    """The extraction methods, the workspace's own first, and the sizes of the hard set, of which `share` is its own."""

    names: Sequence[str]
    shares: Sequence[float]
    share: float


@dataclass(frozen=True)
class Member:
    """What is shown of one image of the triplet; `path` says its datapath in words, "" where there is none yet."""

    role: Role
    image: str
    label: str
    confidence: float
    path: str
    warning: str = ""


def network_panel(methods: Methods) -> html.Section:
    """The upper half of the middle column."""
    return html.Section(
        [
            html.Div(
                [
                    html.H2("Network"),
                    html.Label(["method ", _choice(ids.METHOD, methods.names, methods.names[0], "10rem")]),
                    html.Label(["size ", _choice(ids.SHARE, _sizes(methods.shares), methods.share, "14rem")]),
                ],
                className="head",
            ),
            html.Div(
                [
                    html.Label(["distance by ", _choice(ids.DISTANCE, DISTANCES, "activations", "8.5rem")]),
                    html.Label([_choice(ids.GAP, GAPS, "measured", "11rem")]),
                    html.Label(["target ", dcc.Dropdown(id=ids.TARGET, clearable=False, style={"width": "100%"})]),
                ],
                className="head one-line",
            ),
            html.Div(id=ids.TRIPLET, className="triplet"),
            waiting_graph(ids.RIVER, 250),
            html.Div(id=ids.RIVER_NOTE, className="quiet"),
        ],
        className="panel network",
    )


def triplet(members: Sequence[Member]) -> list[html.Div]:
    """Source, adversarial and target side by side."""
    return [_member(member) for member in members]


def _sizes(shares: Sequence[float]) -> list[dict]:
    return [{"label": f"{100 * s:g} % of each layer" if s else "as few as keep the label", "value": s} for s in shares]


def _member(member: Member) -> html.Div:
    words: list = [
        html.Span(f"{member.role.value} · {member.label} {member.confidence:.1%}", className=member.role.short),
        html.Span(member.path, className="quiet"),
    ]
    if member.warning:
        words.append(html.Span(member.warning, className="warning"))
    return html.Div(
        [html.Img(src=member.image, alt=f"{member.role.value}: {member.label}"), html.Div(words, className="words")],
        className="member",
    )


def _choice(name: str, options: Sequence, value: str | float, width: str) -> dcc.Dropdown:
    return dcc.Dropdown(list(options), value, id=name, clearable=False, searchable=False, style={"width": width})
