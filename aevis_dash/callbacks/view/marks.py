"""Marks tell which part of a station's answer is news to the page.

Dash drops an answer when the same callback is asked again before the answer came. So what the page lacks is not what
triggered the callback last. A part of an answer is sent until the page says, by the mark that it holds, that it has
this part.
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
