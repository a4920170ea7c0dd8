"""The words of the page with their explanations, folded away behind a word in the bar on top."""

from dash import html

from aevis_dash import ids
from aevis_dash.glossary import GLOSSARY


def glossary() -> html.Details:
    """The words and their explanations. A click elsewhere, or Escape, closes them (assets/page.js)."""
    told = [part for word, text in GLOSSARY.items() for part in (html.Dt(word), html.Dd(text))]
    return html.Details(
        [
            html.Summary("Words", id=ids.GLOSSARY, title="What the words of this page mean"),
            html.Div(html.Dl(told), className="drop", tabIndex=0, role="region", **{"aria-label": "Words"}),  # type: ignore[arg-type]
        ],
        className="how words-of-page",
    )
