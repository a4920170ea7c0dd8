"""Every component id of the page, once."""

URL = "url"
PAGE = "page-load"
VIEW = "view"
THEME = "theme"
NETWORK_VIEW = "network-view"
LAYER_VIEW = "layer-view"
NEURON_VIEW = "neuron-view"
READY = "extraction-ready"
WANTED = "extraction-wanted"
DONE = "extraction-done"
WIDTH = "layer-width"

MESSAGE = "message"
HINT = "hint"
TRAIL = "trail"
JOB = "job"
JOB_BAR = "job-bar"
JOB_TEXT = "job-text"
CANCEL = "cancel"
THEME_SWITCH = "theme-switch"
COPY_LINK = "copy-link"

SCORES = "scores"
RANGE = "score-range"
ONLY_MISCLASSIFIED = "only-misclassified"
CLASS_FROM = "class-from"
CLASS_TO = "class-to"
GALLERY = "gallery"
COUNT = "gallery-count"

TRIPLET = "triplet"
TARGET = "target"
METHOD = "method"
SHARE = "share"
DISTANCE = "distance"
GAP = "gap"
RIVER = "river"
RIVER_NOTE = "river-note"

LAYER_TITLE = "layer-title"
PAIR = "pair"
CAUSE_ROLE = "cause-role"
TREEMAP = "treemap"
WINNERS = "winners"

NEURON_TITLE = "neuron-title"
LEARNED = "learned"
ACTIVATIONS = "activations"
AREA_TEXT = "area-text"
WHOLE_MAP = "whole-map"
SOURCE_LAYER = "source-layer"
TRACE = "trace"


def card(example_id: str) -> dict[str, str]:
    """The gallery card of an example."""
    return {"type": "card", "index": example_id}


def winner(channel: int) -> dict[str, str | int]:
    """The button of a strongest contributor."""
    return {"type": "winner", "index": channel}


def step(number: int) -> dict[str, str | int]:
    """The button of a step of the trail."""
    return {"type": "step", "index": number}
