"""Every component ID of the page, named once for layouts and callbacks."""

from typing import Any

URL = "url"
PAGE = "page-load"
VIEW = "view"
CHANGES = "view-changes"
OWN = "own-extraction"
THEME = "theme"
PATHS_VIEW = "paths-view"
NETWORK_VIEW = "network-view"
LAYER_VIEW = "layer-view"
NEURON_VIEW = "neuron-view"
AREA_VIEW = "area-view"
TABLE_VIEW = "table-view"
EDGES_VIEW = "connections-view"
LARGE_VIEW = "large-view"
TRAIL_VIEW = "trail-view"
LANDED = "extraction-landed"
READY = "extraction-ready"
NULLS_READY = "nulls-ready"
WANTED = "extraction-wanted"
DONE = "extraction-done"
WIDTH = "layer-width"
SPLITTER = "splitter"

WARNINGS = "warnings"
MESSAGE = "message"
HINT = "hint"
TRAIL = "trail"
JOBS = "jobs"
JOBS_CHIP = "jobs-chip"
JOBS_SAID = "jobs-said"
JOBS_OF_OTHERS = "jobs-of-others"
EXTRACTION, CONTRIBUTIONS, FLIP_BACK, SEARCH, COMPARISON, VISUALISATION, EDGES, SECOND = KINDS = (
    *("extraction", "contributions", "flip-back", "trail-search", "comparison", "visualisation", "edge-search"),
    "second-model",
)
"""The kinds of jobs. A page runs at most one job of each kind."""
EXTRACT_NOW = "extract-now"
EXTRACT_AGAIN = "extract-again"
THEME_SWITCH = "theme-switch"
COPY_LINK, COPY_SCRIPT = "copy-link", "copy-script"
LINK = "link"
TOUR = "tour"
TOUR_BUTTON = "tour-button"
GLOSSARY = "glossary"
SCRIPT, SCRIPT_TEXT = "script", "script-text"

DRAWER = "drawer"
SCORES = "scores"
RANGE = "score-range"
MARGINS = "margin-range"
ORDER = "example-order"
READY_CARDS = "ready-cards"
ONLY_MISCLASSIFIED = "only-misclassified"
CLASS_FROM = "class-from"
CLASS_TO = "class-to"
GALLERY = "gallery"
CARDS = "gallery-cards"
CHOSEN_EXAMPLE = "chosen-example"
COUNT = "gallery-count"
EXAMPLES = "examples-digest"

DIVERGENCES = "divergences"
DIVERGENCES_SWITCH = "divergences-switch"
DIVERGENCES_ASKED = "divergences-asked"
WENT = "went"
ARRIVED = "arrived"
AREA_DRAWN = "area-drawn"
MAPS_DRAWN = "maps-drawn"
WHOLE_SET = "whole-set"
WHOLE_SET_TITLE = "whole-set-title"
CONFUSIONS = "confusions"
CONFUSIONS_NOTE = "confusions-note"
CONFUSED = "confused-classes"
RECURRENT_VIEW = "recurrent-view"
RECURRENT = "recurrent"
RECURRENT_NOTE = "recurrent-note"
DIVERGENCES_NOTE = "divergences-note"
BAND = "divergences-band"
BY = "divergences-by"
COMPARE = "compare-pairs"
COMPARED = "pairs-compared"
CULPRITS = "culprits"
LEGEND = "divergences-legend"
PICKED = "picked"
PICKED_LINE = "picked-line"
PICKED_TEXT = "picked-text"
UNPICK = "unpick"

TWO = "two-models"
TWO_SWITCH = "two-models-switch"
TWO_TITLE = "two-models-title"
TWO_VIEW = "two-models-view"
TWO_NOTE = "two-models-note"
TWO_RIVERS = "two-models-rivers"
TWO_NUMBERS = "two-models-numbers"
TWO_PROFILES = "two-models-profiles"
TWO_LEGEND = "two-models-legend"
TWO_MAPS = "two-models-maps"
TWO_COMPARE = "two-models-compare"
TWO_COMPARED = "two-models-compared"

QUESTION = "question"
STORY = "story"
STORY_VIEW = "story-view"
EVIDENCE = "evidence"

TRIPLET = "triplet"
TARGET = "target"
METHOD = "method"
SHARE = "share"
DISTANCE = "distance"
GAP = "gap"
PLOT = "plot"
HOW_PATHS = "how-paths"
HOW_CELLS = "how-cells"
LEGEND_PAIR = "legend-pair"
BESIDE = "compared-with"
FIND = "find-layer"
RIVER = "river"
RIVER_KEYS = "river-keys"
RIVER_ASKED = "river-asked"
RIVER_ANSWERED = "river-answered"
MINIMAP = "minimap"
RIVER_NOTE = "river-note"

LAYER_TITLE = "layer-title"
PAIR = "pair"
CAUSE_ROLE = "cause-role"
TREEMAP = "treemap"
TREEMAP_KEYS = "treemap-keys"
TREEMAPS = "treemaps"
SHOWN = "shown-layer"
SHOWN_NAME = "shown-layer-name"
PIN = "pin-layer"
PINNED = "pinned-layers"
SORT = "layer-sort"
KEEP = "layer-keep"
CELLS = "layer-cells"
FEWER_CELLS = "fewer-cells"
FACES = "layer-faces"
FACES_READY = "faces-ready"
TABLE_SWITCH = "layer-table-switch"
TABLE = "layer-table"
TABLE_ORDER = "layer-table-order"
CSV = "layer-csv"
CSV_FILE = "layer-csv-file"
WINNERS = "winners"

NEURON_TITLE = "neuron-title"
LEARNED = "learned"
LEARNED_NOTE = "learned-note"
LEARN_TEXT = "learn-text"
LEARN_TICK = "learn-tick"
LEARN = "learn-wanted"
SEEN_SO_FAR = "learned-seen"
BEST = "best-by"
VISUALISE = "visualise"
VISUALISED = "visualised"
PICTURE = "feature-picture"
ACTIVATIONS = "activations"
AREA_TEXT = "area-text"
WHOLE_MAP = "whole-map"
SOURCE_LAYER = "source-layer"
TRACE = "trace"
TRACE_PREDICTION = "trace-prediction"
MOST_ACTIVE = "most-active"
SEEN = "seen-on-images"
AREA_WORDS = "area-words"
LOOK = "look"
FIELDS = "receptive-fields"
HOVERED = "hovered-neuron"
ENLARGE = "enlarge"
LARGE = "large"
LARGE_TITLE = "large-title"
LARGE_LOOK = "large-look"
LARGE_ACTIVATIONS = "large-activations"
LARGE_HOVERED = "large-hovered-neuron"
HOW = "how"
AGAINST = "against"
SOLVE = "solve-wanted"
SOLVE_DONE = "solve-done"
SOLVED = "solved"
ASKED = "solve-asked"

MAPS = "chosen-maps"
ADD_MAP = "add-map"
TAKE_WINNERS = "take-winners"
REPLACEMENT = "replacement"
FLIP = "flip-back"
FLIPPED = "flipped"
FLIP_KEPT = "flip-kept"
FLIPPING = "flipping"
FLIP_TEXT = "flip-text"

FIND_EDGES = "find-connections"
EDGES_FOUND = "connections-found"
EDGES_FOLD = "connections-fold"
EDGE_TEXT = "connections-text"

TREE = "tree"
TREE_PANEL = "tree-panel"
SAVED, SAVED_CHANGED = "saved-trails", "saved-changed"
SAVE_NAME, SAVE_WHO, SAVE_TRAIL, SAVE_ASKED = "save-name", "save-who", "save-trail", "save-asked"
SUGGEST = "suggest"
SUGGESTED = "suggested"
HANDED_ON = (FLIPPED, SUGGESTED, COMPARED, VISUALISED, EDGES_FOUND, TWO_COMPARED)
"""Stores of what a job ended with. The job writes it beside (`job_end`), and the browser hands it on, because Dash lets
no callback that listens to a job's output run while the job does."""


def flip(layer: str, channel: int) -> dict[str, str]:
    """The ID of the button of a map that turns the prediction together with others."""
    return {"type": "flip", "index": f"{layer}:{channel}"}


def evidence(number: int, layer: str, channel: int | None) -> dict[str, str]:
    """The ID of the button of a sentence of the story, by its number, and the layer and the map that it speaks of."""
    return {"type": "evidence", "index": f"{number}:{layer}:{'' if channel is None else channel}"}


def connection(earlier: str, begin: int, end: int) -> dict[str, str]:
    """The ID of the button of a connection. It leads to the map where it begins, as a sentence of the story does to
    its map."""
    return {"type": "evidence", "index": f"{end}>{begin}:{earlier}:{begin}"}


def winner(layer: str, channel: int) -> dict[str, str]:
    """The ID of the button of one of the strongest contributors."""
    return {"type": "winner", "index": f"{layer}:{channel}"}


def node(number: int, of: int) -> dict[str, str]:
    """The ID of the button, in the tree of steps, of step `number` among `of` steps."""
    return {"type": "node", "index": f"{number}/{of}"}


def note(number: int) -> dict[str, str | int]:
    """The ID of the field for the user's words on a step."""
    return {"type": "note", "index": number}


def drop(number: int, of: int) -> dict[str, str]:
    """The ID of the button that takes step `number` among `of` steps out of the trail."""
    return {"type": "drop", "index": f"{number}/{of}"}


def saved_drop(key: Any) -> dict[str, Any]:
    """The ID of the button that deletes the saved trail of that key; with ALL for its key, the IDs of all of them."""
    return {"type": "saved-drop", "index": key}


def step(number: int, of: int) -> dict[str, str]:
    """The ID of the button, in the trail, of step `number` among `of` steps; it goes back to before that step."""
    return {"type": "step", "index": f"{number}/{of}"}


def pinned_treemap(layer: str) -> dict[str, str]:
    """The ID of the treemap of a pinned layer."""
    return {"type": "pinned", "index": layer}


def pinned_title(layer: str) -> dict[str, str]:
    """The ID of the heading of a pinned layer; a click on it shows the layer."""
    return {"type": "pinned-title", "index": layer}


def unpin(layer: str) -> dict[str, str]:
    """The ID of the button that takes a pinned layer away."""
    return {"type": "unpin", "index": layer}


def table_row(layer: str, channel: int) -> dict[str, str]:
    """The ID of the button of a map in the layer's table."""
    return {"type": "table-row", "index": f"{layer}:{channel}"}


def table_column(name: str) -> dict[str, str]:
    """The ID of the button that sorts the layer's table by a column."""
    return {"type": "table-column", "index": name}


def job_end(store: str) -> str:
    """The store that a job writes what it ended with into, which the browser hands on to `store`."""
    return f"{store}-end"


def job(kind: str) -> str:
    """The ID of the line of a job in the list of jobs that run or wait."""
    return f"{kind}-job"


def job_bar(kind: str) -> str:
    """The ID of the bar that shows how far a job is."""
    return f"{kind}-bar"


def job_text(kind: str) -> str:
    """The ID of the text that says what a job does."""
    return f"{kind}-text"


def job_left(kind: str) -> str:
    """The ID of the text that says how long a job will still take."""
    return f"{kind}-left"


def job_subject(kind: str) -> str:
    """The ID of the text that says which example, or which map, a job is about."""
    return f"{kind}-subject"


def job_ended(kind: str) -> str:
    """The ID of the text that says why a job ended without a result."""
    return f"{kind}-ended"


def go_on(kind: str) -> str:
    """The ID of the button that begins a job again that ended without a result."""
    return f"{kind}-go-on"


def cancel(kind: str) -> str:
    """The ID of the button that cancels a job."""
    return f"{kind}-cancel"
