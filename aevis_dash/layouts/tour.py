"""A tour of six steps for newcomers: a card beside the station that it explains; assets/tour.js moves it."""

from dash import html

from aevis_dash import ids

STEPS = (
    (
        "story",
        "1. Read the story",
        "The source (src), its adversarial image (adv) and a normal image of the class that adv is taken for (tar). "
        "Choose a question; the sentences say what was measured, and an underlined one leads to its evidence.",
    ),
    (
        "examples",
        "2. Choose an example",
        "Each card is a source and its adversarial image; click one. Under choose, a slider picks adversarial scores, "
        "and a line says what the score tells in this workspace.",
    ),
    (
        "network",
        "3. Find where the datapaths part and meet",
        "The curves are the datapaths of src, adv and tar. The brackets, and the sentence below, say from which layer "
        "adv leaves src and joins tar. Click a layer, or look for one, or for maps by their names; click a grey bar "
        "to open or close a group.",
    ),
    (
        "layer",
        "4. See which feature maps differ",
        "A cell is a feature map, its box the datapaths that need it. The solid fill is how much more (from the foot) "
        "or less (from the top) it is activated by adv. The bar at its foot is how much src's map, put into adv's run, "
        "would turn the prediction back (to the right) or farther away (to the left). Click one.",
    ),
    (
        "neuron",
        "5. Look at the evidence, and ask where it comes from",
        "What the map has learned, and where it fires on each image. Draw a box around a bright spot, then "
        "Trace contributions: the layer view shows which earlier maps made it fire on the image that the button names.",
    ),
    (
        "neuron .flips-block",
        "6. Put it to the test",
        "Flip back puts maps of src into the adv run. If src's class comes back, and no control does the same (random "
        "maps, the largest differences, the first by attribution patching, other maps of the layer), they may be the "
        "cause; often a control does it too. All steps are kept below, and in the link.",
    ),
)
"""The steps of the tour: the class of the station on the page, a title, and the words."""


def tour_button() -> html.Button:
    """The button that begins the tour."""
    return html.Button("Tour", id=ids.TOUR_BUTTON, className="btn btn-sm btn-outline-primary", n_clicks=0)


def tour() -> html.Div:
    """The tour's card, which is hidden until the tour begins."""
    steps = [_step(*step) for step in STEPS]
    buttons = html.Div(
        [_button("Back", "back"), _button("Next", "next"), _button("End", "end")],
        className="tour-buttons",
    )
    card = [html.Div(steps, className="tour-steps"), buttons]
    return html.Div(card, id=ids.TOUR, className="tour", role="dialog", hidden=True, **{"aria-label": "Tour"})  # type: ignore[arg-type]


def _step(place: str, title: str, words: str) -> html.Div:
    return html.Div([html.B(title), html.P(words)], hidden=True, **{"data-place": place})  # type: ignore[arg-type]


def _button(text: str, to: str) -> html.Button:
    return html.Button(text, className="btn btn-sm btn-outline-secondary", n_clicks=0, **{"data-tour": to})  # type: ignore[arg-type]
