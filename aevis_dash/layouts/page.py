"""The page: a bar on top, the story, the examples, the network over the layer, the evidence, and the trail."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

import dash_bootstrap_components as dbc
from dash import dcc, html

from aevis_dash import ids
from aevis_dash.layouts.examples import ClassChoices, ScoreRange, examples_panel
from aevis_dash.layouts.glossary import glossary
from aevis_dash.layouts.jobs import jobs_chip
from aevis_dash.layouts.layer import layer_panel
from aevis_dash.layouts.network import Methods, network_panel
from aevis_dash.layouts.neuron import neuron_panel
from aevis_dash.layouts.story import story_bar
from aevis_dash.layouts.tour import tour, tour_button
from aevis_dash.layouts.trail import trail_bar
from aevis_dash.layouts.two_models import two_models_button, two_models_dialog
from aevis_dash.layouts.visitor import visitor_chip
from aevis_dash.layouts.warnings import warnings_strip
from aevis_dash.users import User


def page(
    workspace: str,
    model: str,
    classes: ClassChoices,
    scores: ScoreRange,
    methods: Methods,
    findable: Sequence[dict[str, str]],
    fields: Mapping[str, Any],
    warnings: Sequence[str] = (),
    second: str = "",
    visitor: User | None = None,
) -> html.Div:
    """The whole page, before anything is chosen. It is made anew for each load.

    Args:
        workspace: the name of the workspace.
        model: the name of the model.
        classes: the classes by which examples are chosen.
        scores: the slider of scores.
        methods: the extraction methods and sizes of the hard set to choose from.
        findable: the options of the network's search.
        fields: what the browser is told about the view's fields.
        warnings: sentences about what is doubtful about the workspace.
        second: the name of the model that can be shown beside; "" for none.
        visitor: the user for whom the page is made; None where the server has no users.
    """
    return html.Div(
        [
            *_state(),
            dcc.Store(id=ids.OWN, data=_own(methods, scores) | dict(fields)),
            html.Button("Skip to the evidence", className="skip", **{"data-skip": "evidence"}),  # type: ignore[arg-type]
            _top_bar(workspace, model, scores.note, second, visitor),
            warnings_strip(warnings),
            story_bar(),
            tour(),
            html.Main(
                [
                    _tabs(),
                    examples_panel(classes, scores),
                    html.Div([network_panel(methods, findable), layer_panel()], className="middle"),
                    _splitter(),
                    neuron_panel(),
                ],
                className="stations",
            ),
            trail_bar(visitor),
            two_models_dialog(second),
        ],
        className="page",
    )


def _own(methods: Methods, scores: ScoreRange) -> dict[str, Any]:
    """What the view of a new page is: the workspace's own method, size of the hard set, and range of scores."""
    return {"method": methods.names[0], "share": methods.share, "scores": list(scores.start)}


def _tabs() -> html.Div:
    """Where the window is narrow, two buttons: one shows the network with the layer, the other one the evidence."""
    named = (("middle", "Network and layer"), ("evidence", "Evidence"))
    buttons = [html.Button(words, className="tab", **{"data-tab": place}) for place, words in named]  # type: ignore[arg-type]
    return html.Div(buttons, className="tabs")


def _splitter() -> html.Div:
    """The bar between the middle column and the evidence, which assets/split.js moves."""
    names = {"aria-label": "width of the evidence", "aria-orientation": "vertical"}
    hint = "Drag it, or use the arrow keys; a double click puts it back"
    return html.Div(id=ids.SPLITTER, className="splitter", role="separator", tabIndex=0, title=hint, **names)  # type: ignore[arg-type]


def _state() -> list:
    names = (
        *(ids.VIEW, ids.PATHS_VIEW, ids.NETWORK_VIEW, ids.LAYER_VIEW, ids.NEURON_VIEW, ids.AREA_VIEW, ids.TRAIL_VIEW),
        *(ids.TABLE_VIEW, ids.EDGES_VIEW, ids.LARGE_VIEW, ids.STORY_VIEW, ids.CHANGES),
        *(
            ids.CARDS,
            ids.READY_CARDS,
            ids.CHOSEN_EXAMPLE,
            ids.EXAMPLES,
            ids.COMPARED,
            ids.PICKED,
            ids.DIVERGENCES_ASKED,
            ids.WENT,
            ids.ARRIVED,
            ids.MAPS_DRAWN,
            ids.AREA_DRAWN,
        ),
        *(
            ids.LANDED,
            ids.READY,
            ids.NULLS_READY,
            ids.WANTED,
            ids.DONE,
            ids.SOLVE,
            ids.SOLVE_DONE,
            ids.SOLVED,
            ids.ASKED,
        ),
        *(ids.FLIPPED, ids.FLIP_KEPT, ids.SUGGESTED, ids.LEARN, ids.SEEN_SO_FAR, ids.VISUALISED, ids.EDGES_FOUND),
        ids.FACES_READY,
        *(ids.RIVER_ASKED, ids.RIVER_ANSWERED, ids.TABLE_ORDER),
        *(ids.job_end(store) for store in ids.HANDED_ON),
    )
    return [
        dcc.Location(id=ids.URL, refresh=False),
        dcc.Store(id=ids.PAGE, data=uuid4().hex),
        dcc.Store(id=ids.THEME, data="light", storage_type="local"),
        dcc.Store(id=ids.WIDTH, data=760),
        *(dcc.Store(id=name) for name in names),
        dcc.Interval(id=ids.LEARN_TICK, interval=2000),
    ]


def _script() -> html.Details:
    """The shown view as a Python script, folded away behind a word; the page asks for it when it is opened
    (assets/page.js)."""
    names = {"aria-label": "Python script of this view"}
    copy = dcc.Clipboard(id=ids.COPY_SCRIPT, target_id=ids.SCRIPT_TEXT, title="Copy the script", className="copy")
    drop = html.Div(
        [copy, html.Pre(id=ids.SCRIPT_TEXT)],
        className="drop",
        tabIndex=0,
        role="region",
        **names,  # type: ignore[arg-type]
    )
    summary = html.Summary("Python", id=ids.SCRIPT, title="The lines of Python that make this view")
    return html.Details([summary, drop], className="how script-of-page")


def _top_bar(workspace: str, model: str, note: str, second: str, visitor: User | None) -> html.Header:
    return html.Header(
        [
            html.H1("AEVis Dash", className="brand"),
            html.Span([workspace, html.Span(" · ", className="quiet"), model], title="workspace and model"),
            html.Span(note, className="quiet"),
            two_models_button(second),
            jobs_chip(),
            glossary(),
            _script(),
            tour_button(),
            html.Span(id=ids.LINK, hidden=True),
            dcc.Clipboard(id=ids.COPY_LINK, target_id=ids.LINK, title="Copy a link to this view", className="copy"),
            dbc.Switch(id=ids.THEME_SWITCH, label="dark", value=False, persistence=True),
            visitor_chip(visitor),
        ],
        className="top",
    )
