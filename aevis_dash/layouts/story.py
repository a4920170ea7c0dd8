"""The story: the triplet in pictures, the two questions, and what the results say to the one that is asked."""

from collections.abc import Sequence
from dataclasses import dataclass

from dash import html

from aevis_dash import ids
from aevis_dash.domain import Role
from aevis_dash.layouts.radio import radio
from aevis_dash.layouts.sentences import Sentence, sentences

QUESTIONS = [{"label": "Why not what it was?", "value": "lost"}, {"label": "Why what it became?", "value": "became"}]
"""The options of the two questions before an example is chosen. Then they name its classes."""


@dataclass(frozen=True)
class Member:
    """What is shown of one image of the triplet. `path` says its datapath in words, None where there is none yet."""

    role: Role
    image: str
    label: str
    confidence: float
    path: Sentence | None = None
    warning: str = ""


@dataclass(frozen=True)
class Telling:
    """A sentence of the story, and its evidence: the layer and the map that a click on it shows, None for none."""

    told: Sentence
    layer: str | None = None
    map: int | None = None


def story_bar() -> html.Section:
    """The band under the bar on top."""
    return html.Section(
        [
            html.Div(id=ids.TRIPLET, className="triplet"),
            html.Div(
                [
                    radio(ids.QUESTION, "the question", QUESTIONS, "lost", "questions"),
                    html.Div(id=ids.STORY, className="told", role="status"),
                ],
                className="asked",
            ),
        ],
        className="story",
        **{"aria-label": "Story"},  # type: ignore[arg-type]
    )


def questions(lost: str, became: str) -> list[dict[str, str]]:
    """The options of the two questions for an example of two classes."""
    return [{"label": f"Why not {lost}?", "value": "lost"}, {"label": f"Why {became}?", "value": "became"}]


def triplet(members: Sequence[Member]) -> list[html.Div]:
    """The source, the adversarial and the target side by side."""
    return [_member(member) for member in members]


def _member(member: Member) -> html.Div:
    words: list = [
        html.Span(f"{member.role.short} · {member.label} {member.confidence:.1%}", className=member.role.short),
        html.Span(sentences([member.path] if member.path else []), className="quiet"),
    ]
    if member.warning:
        words.append(html.Span(member.warning, className="warning"))
    return html.Div(
        [html.Img(src=member.image, alt=f"{member.role.value}: {member.label}"), html.Div(words, className="words")],
        className="member",
    )


def story(told: Sequence[Telling]) -> list:
    """The story's sentences one after the other; those with evidence are buttons that show it."""
    return [part for number, telling in enumerate(told) for part in (_telling(number, telling), " ")]


def _telling(number: int, telling: Telling) -> html.Button | html.Span:
    if telling.layer is None:
        return sentences([telling.told])[0]
    return html.Button(
        telling.told.text,
        id=ids.evidence(number, telling.layer, telling.map),
        className="evidence",
        n_clicks=0,
        title=telling.told.exact or "Show it",
    )
