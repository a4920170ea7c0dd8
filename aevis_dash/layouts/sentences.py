"""Sentences on the page, whose exact numbers appear where the mouse rests."""

from collections.abc import Iterable
from dataclasses import dataclass

from dash import html


@dataclass(frozen=True)
class Sentence:
    """A sentence on the page, and the exact numbers that are shown while the mouse rests on it; "" for none."""

    text: str
    exact: str = ""


def sentences(told: Iterable[Sentence]) -> list[html.Span]:
    """The sentences one after the other, as parts of the page."""
    return [_sentence(sentence) for sentence in told]


def _sentence(told: Sentence) -> html.Span:
    text = html.Span(told.text, title=told.exact, className="exact") if told.exact else told.text
    return html.Span([text, " "])
