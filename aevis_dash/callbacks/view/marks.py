"""What of a station's answer is news.

Dash drops an answer when the same callback is asked again before it came. So what changed is not what triggered the
callback last: a part of the answer is sent until the page says, by the mark it holds, that it has it.
"""

import hashlib
import json
from typing import Any

from dash import Output, State

TOLD = "data-told"


def mark(*shown: Any) -> str:
    """A short name of what a part of the page was drawn from."""
    return hashlib.sha1(json.dumps(shown, sort_keys=True).encode(), usedforsecurity=False).hexdigest()[:12]


def mark_output(component: str) -> Output:
    """Where the mark of a part is kept: on a component of that part."""
    return Output(component, TOLD)


def mark_state(component: str) -> State:
    """The mark that the page has of a part, None for none."""
    return State(component, TOLD)
