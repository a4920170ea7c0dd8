"""The page's help explains the words that stand on the page."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from dash.development.base_component import Component

from aevis_dash.glossary import GLOSSARY, as_markdown
from aevis_dash.layouts.examples import ClassChoices, ScoreRange, examples_panel
from aevis_dash.layouts.glossary import glossary
from aevis_dash.layouts.layer import layer_panel
from aevis_dash.layouts.network import Methods, network_panel
from aevis_dash.layouts.neuron import neuron_panel
from aevis_dash.layouts.sentences import Sentence
from aevis_dash.layouts.tour import tour
from aevis_dash.layouts.trail import trail_bar

ASKED_FOR = (
    "src, adv, tar, datapath, critical map, hard set, core, gate, datapath distance, share, null band, flip-back, "
    "turning effect, contribution, foil, margin, adversarial score, AUROC, area of interest, receptive field"
)
ON_THE_PAGE = {
    "adv - src": ("src", "adv"),
    "src - tar": ("tar",),
    "by contribution": ("contribution",),
    "by turning back": ("turning effect",),
    "contributions against ": ("foil",),
    "Trace contributions": ("contribution",),
    "Flip back": ("flip-back",),
    "area": ("area of interest",),
    "river": ("river",),
    "gates, by width": ("gate",),
    "critical sets": ("critical map", "hard set"),
    "distance by ": ("datapath distance",),
    "all steps": ("trail",),
    "target ": ("tar",),
    "margin": ("margin",),
}
"""Labels of the page, and the words of the glossary that explain them."""


def texts(part: Any) -> Iterator[str]:
    """All texts of a part of the page: those between its elements, and the labels and placeholders of its controls."""
    if isinstance(part, str):
        yield part
    elif isinstance(part, list | tuple):
        for each in part:
            yield from texts(each)
    elif isinstance(part, dict):
        yield from texts(part.get("label", ""))
    elif isinstance(part, Component):
        for name in ("children", "label", "placeholder", "options"):
            yield from texts(getattr(part, name, None))


@pytest.mark.parametrize("word", ASKED_FOR.split(", "))
def test_a_word_is_explained_in_a_few_plain_sentences(word):
    text = GLOSSARY[word]
    assert re.match(r"[A-Z]", text)
    assert text.endswith(".")
    assert 1 <= len(re.findall(r"[.:?](?: |$)", text)) <= 4
    assert len(text) < 330


def test_the_labels_of_the_page_are_explained():
    page = [layer_panel(), neuron_panel(), network_panel(Methods(("needed",), (0.0,), 0.0), []), trail_bar(), tour()]
    page.append(examples_panel(ClassChoices([], []), ScoreRange(0.0, 1.0, 0.1, (0.0, 1.0), "", Sentence(""))))
    shown = list(texts(page))
    for label, words in ON_THE_PAGE.items():
        assert any(label in text for text in shown), f"{label!r} stands on the page"
        assert set(words) <= set(GLOSSARY)


def test_the_help_shows_every_word_with_its_explanation():
    summary, drop = glossary().children
    assert summary.children == "Words"
    assert json.loads(drop.children.to_plotly_json()["props"]["data-words"]) == [
        list(pair) for pair in GLOSSARY.items()
    ]


def test_the_list_in_markdown_says_the_same_on_lines_of_120_characters():
    lines = as_markdown().splitlines()
    assert max(map(len, lines)) <= 120
    joined = re.sub(r"\n  ", " ", as_markdown()).splitlines()
    assert joined == [f"- **{word}**: {text}" for word, text in GLOSSARY.items()]
