"""The words of the page with their explanations, folded away behind a word in the bar on top."""

import json

from dash import html

from aevis_dash import ids
from aevis_dash.glossary import GLOSSARY


def glossary() -> html.Details:
    """The words and their explanations. A click elsewhere, or Escape, closes them (assets/page.js).

    They travel as one text, from which the page makes the list when it is first opened. As components of their own
    they would cost time at every click, because Dash asks each component of the page at each change of another one.
    """
    told = html.Div(**{"data-words": json.dumps(list(GLOSSARY.items()))})  # type: ignore[arg-type]
    return html.Details(
        [
            html.Summary("Words", id=ids.GLOSSARY, title="What the words of this page mean"),
            html.Div(told, className="drop", tabIndex=0, role="region", **{"aria-label": "Words"}),  # type: ignore[arg-type]
        ],
        className="how words-of-page",
    )
