"""The view in an address, which the browser writes. It is read and checked here."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any
from urllib.parse import parse_qs, unquote

from aevis_dash.callbacks.view import received
from aevis_dash.callbacks.view.state import (
    BELONGS,
    BESIDES,
    BESTS,
    CELLS,
    FACES,
    GAPS,
    KEEPS,
    LISTS,
    LOOKS,
    PAIRS,
    PLAIN_VIEW,
    PLOTS,
    QUESTIONS,
    SORTS,
    SPANS,
    TEXTS,
    View,
    from_data,
    methods,
    shares,
)
from aevis_dash.callbacks.view.steps import THE_PREDICTION, Step, area_from_text, area_of, cause_of, step_from_text
from aevis_dash.config import ExtractionParameters
from aevis_dash.core.distance import DISTANCES
from aevis_dash.domain import CONTRIBUTIONS, FOILS, REPLACEMENTS, AevisError, Role, shorten
from aevis_dash.workbench import Workbench

_NAMED = 3
"""The number of parts of a link that a sentence names at most."""


def from_search(search: str) -> View:
    """The view from an address, as assets/address.js writes it. `remainder` says what the view leaves out of it.

    Raises:
        AevisError: for an address that names no view.
    """
    fields = {name: given[0] for name, given in _fields(search).items() if given[0]}
    texts = fields["steps"].split("~") if "steps" in fields else []
    steps = [asdict(step_from_text(text)) for text in received.sequence(texts, "steps", received.STEPS)]
    named: dict[str, Any] = {k: fields[k] for k in TEXTS if k in fields}
    named |= {k: [unquote(text) for text in fields[k].split("~")] for k in LISTS if k in fields}
    named |= {k: received.read_number(fields[k], k) for k in ("map", "at") if k in fields}
    named |= {"share": _share(fields["share"])} if "share" in fields else {}
    named |= {name: received.read_span(fields[name], name) for name in SPANS if name in fields}
    named |= {
        "area": area_from_text(fields.get("area", "")),
        "maps": received.read_numbers(fields.get("maps", ""), "maps"),
    }
    return from_data({**named, "steps": steps})


def remainder(search: str, refused: bool = False) -> list[str]:
    """Sentences on what an address holds that the shown view leaves out.

    Args:
        search: the query of the address.
        refused: whether the address was refused, so that nothing of it is shown.
    """
    fields = _fields(search)
    known = {name: given for name, given in fields.items() if name in View.__dataclass_fields__}
    full = [name for name, given in known.items() if given[0]]
    lost = [name for name in full if name in BELONGS["example"]] if "example" not in full and not refused else []
    end = "." if refused or set(full) <= set(lost) else "; the rest is shown."
    unknown = [f"`{shorten(name, 30)}`" for name in fields if name not in known]
    said = [f"The link says {list_names(unknown)}, which this page does not know{end}"] if unknown else []
    twice = [f"`{name}`" for name, given in known.items() if len(given) > 1]
    said += [f"The link says {list_names(twice)} more than once; only the first counts."] if twice else []
    empty = [f"`{name}`" for name, given in known.items() if not given[0]]
    said += [f"The link says nothing for {list_names(empty)}{end}"] if empty else []
    out = "belong to an example: they are" if len(lost) > 1 else "belongs to an example: it is"
    names = ", ".join(f"`{name}`" for name in lost)
    return said + ([f"The link names no example, and {names} {out} left out{end}"] if lost else [])


def _fields(search: str) -> dict[str, list[str]]:
    return parse_qs((search or "").lstrip("?"), keep_blank_values=True)


def list_names(names: Sequence[str]) -> str:
    """The first few of the names, and the number of the others."""
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _share(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise received.unreadable("share", text, "a number from 0 to 1") from None


def checked_view(data: Mapping[str, Any] | None, bench: Workbench) -> View:
    """The view from a dcc.Store, checked as strictly as that of a link. Raises AevisError for what does not exist."""
    view = from_data(data)
    check(view, bench)
    return view


def check(view: View, bench: Workbench) -> None:
    """Raise AevisError where the view names an example, layer, map, area or way to show them that does not exist."""
    if view.example is not None:
        bench.workspace.example(view.example)
    for name, allowed in _choices(bench.workspace.settings.extraction).items():
        if getattr(view, name) not in (*allowed, getattr(PLAIN_VIEW, name)):
            known = ", ".join(a if isinstance(a, str) else f"{a:g}" for a in allowed)
            given = getattr(view, name)
            raise AevisError(f"The page or the link names no {name} {given!r}. It is one of: {known}.")
    for name in foreign(view, bench):
        raise AevisError(f"The page or the link compares with {shorten(name)!r}, which is no image here.")
    for name in view.pinned:
        bench.layers.find(name)
    if view.layer is None and (view.map is not None or view.area or view.maps):
        raise AevisError("The page or the link names a map, maps or an area of no layer. Copy the link again.")
    places = [(view.layer, view.map, view.area, view.maps)]
    places += [(s.layer, s.map, s.area, s.maps) for s in view.steps if s.layer != THE_PREDICTION or s.is_flip]
    for layer, channel, area, maps in places:
        if layer is not None:
            for each in (channel or 0, *maps):
                bench.layers.feature_map(layer, each)
            bench.contributions.check_area(area_of(bench.layers, layer, area))
    for number, step in enumerate(view.steps):
        _check_step(step, number, bench)


def foreign(view: View, bench: Workbench) -> tuple[str, ...]:
    """The compared images that the workspace does not have."""
    if not view.compared:
        return ()
    known, source = bench.workspace.image_places, bench.workspace.example(view.example).source if view.example else None
    return tuple(name for name in view.compared if name not in known and name != source)


def _check_step(step: Step, number: int, bench: Workbench) -> None:
    if step.on not in tuple(Role):
        raise AevisError(f"Step {number} of the trail is on no image {step.on!r}. It is one of: {', '.join(Role)}.")
    if not step.is_flip:
        _, area, earlier = cause_of(bench.layers, step)
        if earlier not in bench.contributions.sources(area.layer):
            raise AevisError(
                f"Step {number} of the trail traces to {step.source!r}, which leads nowhere near. Copy the link again."
            )
    elif step.replacement not in REPLACEMENTS:
        raise AevisError(
            f"Step {number} of the trail has no replacement {step.replacement!r}. "
            f"It is one of: {', '.join(REPLACEMENTS)}."
        )


def _choices(own: ExtractionParameters) -> dict[str, Sequence[str | float]]:
    named = {"method": methods(own), "share": shares(own), "distance": tuple(DISTANCES)}
    named |= {"how": CONTRIBUTIONS, "against": FOILS, "replacement": REPLACEMENTS}
    named |= {
        "question": QUESTIONS,
        "plot": PLOTS,
        "sort": SORTS,
        "keep": KEEPS,
        "cells": CELLS,
        "faces": FACES,
        "look": LOOKS,
        "best": BESTS,
        "beside": BESIDES,
    }
    return named | {"gap": GAPS, "pair": PAIRS, "cause": tuple(Role), "on": tuple(Role)}
