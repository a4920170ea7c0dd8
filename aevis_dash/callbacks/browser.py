"""What runs in the browser: the view is split among the stations, written to the address, and the theme applied."""

from dash import ClientsideFunction, Dash, Input, Output, State

from aevis_dash import ids


def register(app: Dash) -> None:
    """Add the clientside callbacks; their functions stand in assets/page.js."""
    stations = (ids.NETWORK_VIEW, ids.LAYER_VIEW, ids.NEURON_VIEW)
    app.clientside_callback(
        ClientsideFunction("aevis", "split"),
        *(Output(name, "data") for name in stations),
        Output(ids.COPY_LINK, "content"),
        Input(ids.VIEW, "data"),
        Input(ids.THEME, "data"),
        Input(ids.WIDTH, "data"),
        *(State(name, "data") for name in stations),
    )
    app.clientside_callback(
        ClientsideFunction("aevis", "choices"),
        *(Output(name, "value") for name in (ids.PAIR, ids.CAUSE_ROLE, ids.HOW, ids.REPLACEMENT, ids.MAPS, ids.BEST)),
        Input(ids.VIEW, "data"),
    )
    app.clientside_callback(ClientsideFunction("aevis", "land"), Input(ids.DONE, "data"), State(ids.VIEW, "data"))
    app.clientside_callback(ClientsideFunction("aevis", "solved"), Input(ids.SOLVE_DONE, "data"))
    app.clientside_callback(
        ClientsideFunction("aevis", "theme"), Output(ids.THEME, "data"), Input(ids.THEME_SWITCH, "value")
    )
    app.clientside_callback(ClientsideFunction("aevis", "width"), Output(ids.WIDTH, "data"), Input(ids.PAGE, "data"))
    app.clientside_callback(
        ClientsideFunction("aevis", "mark"),
        Output(ids.GALLERY, "className"),
        Input(ids.GALLERY, "children"),
        Input(ids.VIEW, "data"),
    )
