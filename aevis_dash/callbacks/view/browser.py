"""What runs in the browser: what follows from the view is set at once, the address is written, the theme is applied."""

from dash import ClientsideFunction, Dash, Input, Output, State

from aevis_dash import ids

CHOICES = {
    ids.PLOT: "plot",
    ids.DISTANCE: "distance",
    ids.GAP: "gap",
    ids.PAIR: "pair",
    ids.CAUSE_ROLE: "cause",
    ids.HOW: "how",
    ids.AGAINST: "against",
    ids.SORT: "sort",
    ids.KEEP: "keep",
    ids.CELLS: "cells",
    ids.FACES: "faces",
    ids.REPLACEMENT: "replacement",
    ids.BEST: "best",
    ids.LOOK: "look",
    ids.LARGE_LOOK: "look",
}
"""The controls whose value is a field of the view. A choice there sets the field in the browser (assets/controls.js,
`choose`), and the field sets the control."""
CLEARED = {ids.WHOLE_MAP: "area"}
"""The buttons that clear a field of the view."""
CONTROLS = (*CHOICES, ids.QUESTION, ids.METHOD, ids.SHARE, ids.MAPS, ids.AREA_WORDS, ids.RANGE, ids.MARGINS)
"""The controls that are set from the view in the browser. An answer of the server would come late and undo a choice."""


def register(app: Dash) -> None:
    """Add the clientside callbacks. What follows from the view at a station is in the station's own script in
    assets/."""
    app.clientside_callback(
        ClientsideFunction("controls", "follow"),
        *(Output(name, "value") for name in CONTROLS),
        *(Output(name, "children") for name in (ids.HOW_PATHS, ids.PIN, ids.LEGEND_PAIR)),
        *(Output(name, "disabled") for name in (ids.WHOLE_MAP, ids.ENLARGE)),
        Output(ids.TWO, "is_open"),
        Input(ids.VIEW, "data"),
        Input(ids.THEME, "data"),
        Input(ids.WIDTH, "data"),
        Input(ids.TABLE_SWITCH, "n_clicks"),
        Input(ids.EDGES_FOLD, "n_clicks"),
        Input(ids.LARGE, "is_open"),
        Input(ids.WHOLE_SET, "is_open"),
        State(ids.OWN, "data"),
    )
    app.clientside_callback(
        ClientsideFunction("controls", "merge"), Input(ids.CHANGES, "data"), State(ids.VIEW, "data")
    )
    app.clientside_callback(
        ClientsideFunction("controls", "choose"),
        *(Input(name, "value") for name in CHOICES),
        *(Input(name, "n_clicks") for name in CLEARED),
        State(ids.VIEW, "data"),
        prevent_initial_call=True,
    )
    app.clientside_callback(
        ClientsideFunction("gallery", "ranges"),
        Input(ids.RANGE, "value"),
        Input(ids.MARGINS, "value"),
        State(ids.VIEW, "data"),
        prevent_initial_call=True,
    )
    landing = (Input(ids.DONE, "data"), State(ids.WANTED, "data"), State(ids.VIEW, "data"))
    app.clientside_callback(ClientsideFunction("aevis", "land"), *landing)
    app.clientside_callback(ClientsideFunction("aevis", "solved"), Input(ids.SOLVE_DONE, "data"))
    for store in ids.HANDED_ON:
        app.clientside_callback(ClientsideFunction("aevis", "handOn"), Input(ids.job_end(store), "data"))
    app.clientside_callback(ClientsideFunction("aevis", "flipped"), Input(ids.FLIP_KEPT, "data"))
    app.clientside_callback(
        ClientsideFunction("aevis", "theme"), Output(ids.THEME, "data"), Input(ids.THEME_SWITCH, "value")
    )
    app.clientside_callback(ClientsideFunction("aevis", "width"), Output(ids.WIDTH, "data"), Input(ids.PAGE, "data"))
    app.clientside_callback(ClientsideFunction("gallery", "draw"), Input(ids.CARDS, "data"), State(ids.VIEW, "data"))
    app.clientside_callback(ClientsideFunction("gallery", "ready"), Input(ids.READY_CARDS, "data"))
