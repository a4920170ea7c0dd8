"""Marks tell which part of a station's answer is news to the page.

Dash may drop an answer, where the same callback is asked again before the answer came. So each part of an answer stays
due until the page returns its mark, whatever triggered the callback last.
"""

import hashlib
import json
from typing import Any

from dash import Output, State

TOLD = "data-told"


def mark(*shown: Any) -> str:
    """A short text that stands for the values that a part of the page was drawn from."""
    return hashlib.sha1(json.dumps(shown, sort_keys=True).encode(), usedforsecurity=False).hexdigest()[:12]


def mark_output(component: str) -> Output:
    """The output in which the mark of a part is kept, on a component of that part."""
    return Output(component, TOLD)


def mark_state(component: str) -> State:
    """The state with the mark that the page has of a part; None where it has none."""
    return State(component, TOLD)
