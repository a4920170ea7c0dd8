"""What the page shows, as ids and parameters only: kept in the browser, written to the address, read from a link."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qs, unquote
from uuid import uuid4

from dash import no_update

from aevis_dash.callbacks import received
from aevis_dash.callbacks.steps import (
    THE_PREDICTION,
    Area,
    Step,
    added,
    area_from_text,
    area_of,
    cause_of,
    path_to,
    step_from_data,
    step_from_text,
)
from aevis_dash.config import ExtractionParameters
from aevis_dash.core.datapath import METHODS
from aevis_dash.core.distance import DISTANCES
from aevis_dash.domain import CONTRIBUTIONS, REPLACEMENTS, AevisError, Role, shortened
from aevis_dash.workbench import Workbench

CHOSEN = ("plot", "distance", "gap", "pair", "cause", "how", "sort", "keep", "faces", "look", "best", "replacement")
"""Fields that name one of a few ways to show things."""
_TEXTS = ("example", "target", "method", "layer", "on", *CHOSEN)
_LISTS = ("compared", "folds", "pinned")
"""Fields that hold several names."""
_NAMED = 3
"""Parts of a link that a sentence names at most."""
PAIRS = ("adv-src", "adv-tar", "src-tar")
GAPS = ("measured", "equal")
PLOTS = ("river", "dots")
SORTS = ("fill", "contribution", "channel")
KEEPS = ("all", "src", "adv", "tar", "shared", "top")
FACES = ("on", "off")
LOOKS = ("maps", "over", "difference")
BESTS = ("activation", "relevance")
SHARES = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
"""Sizes of the hard set that the page offers, as shares of each layer's maps; 0 for as few as keep the label."""


@dataclass(frozen=True)
class View:
    """The state of one visitor's page.

    `method` and `share` say how the datapaths are extracted, None as the workspace does. `compared` are the images
    whose datapaths are compared with adv's, none for the triplet's. Network: `plot` is how; `gap` whether the river's
    width shows d1; `folds` the groups that are opened or closed other than by default. Layer: `pinned` ones stand
    beside the shown one; `pair` is the pair of roles whose activations are compared; `cause` the role whose
    contributions are shown, and `how` those are found; cells are sorted by `sort` and left out by `keep`; `faces` are
    learned features in the cells. Neuron: `look` is how activations are shown, `best` by what the patches are the best;
    `on` is the role on whose image the area was chosen, "" for the one that the map itself names (callbacks/roles.py).
    `maps` of the layer are chosen for a flip-back by `replacement`, none for a search. `steps` are the trail, a tree,
    and `at` the number of the step that led here, -1 for none.
    """

    example: str | None = None
    target: str | None = None
    method: str | None = None
    share: float | None = None
    compared: tuple[str, ...] = ()
    plot: str = "river"
    distance: str = "activations"
    gap: str = "measured"
    folds: tuple[str, ...] = ()
    pinned: tuple[str, ...] = ()
    layer: str | None = None
    map: int | None = None
    area: Area | None = None
    pair: str = "adv-src"
    cause: str = "adversarial"
    how: str = "solved"
    sort: str = "fill"
    keep: str = "all"
    faces: str = "on"
    look: str = "maps"
    best: str = "activation"
    on: str = ""
    maps: tuple[int, ...] = ()
    replacement: str = "source"
    steps: tuple[Step, ...] = ()
    at: int = -1

    def but(self, **changes: Any) -> "View":
        """This view with some fields changed."""
        return replace(self, **changes)

    def at_example(self, example: str | None) -> "View":
        """This view of another example, without what belongs to the one before; how things are shown stays, but for
        an order by contributions, of which there are none yet."""
        sort = _PLAIN.sort if self.sort == "contribution" else self.sort
        fresh = self.but(example=example, target=None, compared=(), layer=None, map=None, area=None, on="")
        return fresh.but(maps=(), steps=(), at=-1, sort=sort)

    def to_data(self) -> dict[str, Any]:
        """As JSON values for a dcc.Store."""
        return asdict(self)

    @property
    def traced(self) -> Step | None:
        """The step whose contributions the shown layer carries, None where it carries none."""
        step = self.steps[self.at] if self.at >= 0 else None
        return step if step is not None and not step.is_flip and step.source == self.layer else None

    @property
    def path(self) -> list[int]:
        """The numbers of the steps that led here, the first one first."""
        return path_to(self.steps, self.at)

    def after(self, step: Step) -> "View":
        """This view with a step that follows the one whose outcome is shown, or begins a branch, as a trace of the
        prediction always does; a trace goes there, shows what contributes on its image, and sorts the maps by that."""
        parent = self.at if self.traced is not None and step.layer != THE_PREDICTION else -1
        steps, number = added(self.steps, [replace(step, parent=parent)])
        if step.is_flip:
            return self.but(steps=steps)
        sort = "contribution" if self.sort == "fill" else self.sort
        there = self.but(steps=steps, at=number, layer=step.source, map=None, maps=(), on="")
        return there.but(cause=step.on, sort=sort)


BELONGS = {
    "example": ("target", "compared", "layer", "map", "area", "on", "maps", "steps", "at"),
    "layer": ("map", "area", "on", "maps"),
    "map": ("on",),
    "area": ("on",),
    "steps": ("at",),
    "at": ("steps",),
}
"""What goes with a field, and is never left as it was before; assets/controls.js (`merge`) has it from the page."""
_PLAIN = View()
PLAIN = MappingProxyType({name: getattr(_PLAIN, name) for name in (*CHOSEN, "on", "at")})
"""What an address leaves out: the fields that name a way to show things, as a new page has them."""


def from_data(data: Mapping[str, Any] | None) -> View:
    """The view from a dcc.Store; raises AevisError for values that the page never makes (see `received`)."""
    given = received.mapping(data or {}, "view")
    known = {name: value for name, value in given.items() if name in View.__dataclass_fields__}
    for name in _TEXTS:
        if known.get(name) is not None or name in CHOSEN:
            known[name] = received.text(known.get(name, getattr(_PLAIN, name)), name)
    if known.get("share") is not None:
        known["share"] = received.share(known["share"], "share")
    if known.get("map") is not None:
        known["map"] = received.number(known["map"], "map")
    known["area"] = received.area(known.get("area"), "area")
    known |= {name: received.texts(known.get(name, ()), name) for name in _LISTS}
    known["maps"] = received.numbers(known.get("maps", ()), "maps")
    known["at"] = received.number(known.get("at", -1), "at")
    steps = received.sequence(known.get("steps", ()), "steps", received.STEPS)
    known["steps"] = tuple(step_from_data(step) for step in steps)
    received.tree([step.parent for step in known["steps"]], known["at"])
    return View(**known)


def changes(before: View, after: View, since: int = 0, then: Mapping[str, Any] | None = None) -> Any:
    """What an answer changes of the view, for the browser to put into the view as it is then (assets/controls.js,
    `merge`): clicks that came meanwhile stay. no_update where it changes nothing.

    `of` is the example that was shown when it was asked, `since` when another one was chosen (ms), `was` what the
    fields were then: what the visitor has changed meanwhile stays, and with it what goes with it. `then` is the data of
    stores by their ids that are set with the view, so that stations that hear of both are asked once.
    """
    old, now = before.to_data(), after.to_data()
    differ = [name for name in now if now[name] != old[name]]
    fields = {name: now[name] for name in now if name in differ or any(name in BELONGS.get(d, ()) for d in differ)}
    was = {name: old[name] for name in fields} | {"layer": before.layer}
    if not fields and not then:
        return no_update
    change = {"of": before.example, "since": since, "was": was, "fields": fields, "at": uuid4().hex}
    return change | {"then": dict(then or {})}


def from_search(search: str) -> View:
    """The view from an address, as assets/address.js writes it; raises AevisError for what is no view. What it leaves
    out says `unread`."""
    fields = {name: given[0] for name, given in _fields(search).items() if given[0]}
    texts = fields["steps"].split("~") if "steps" in fields else []
    steps = [asdict(step_from_text(text)) for text in received.sequence(texts, "steps", received.STEPS)]
    named: dict[str, Any] = {k: fields[k] for k in _TEXTS if k in fields}
    named |= {k: [unquote(text) for text in fields[k].split("~")] for k in _LISTS if k in fields}
    named |= {k: received.written(fields[k], k) for k in ("map", "at") if k in fields}
    named |= {"share": _share(fields["share"])} if "share" in fields else {}
    named |= {
        "area": area_from_text(fields.get("area", "")),
        "maps": received.all_written(fields.get("maps", ""), "maps"),
    }
    return from_data({**named, "steps": steps})


def unread(search: str, refused: bool = False) -> list[str]:
    """What an address holds beside the view that is shown of it, a sentence each; of one that is `refused`, nothing is
    shown."""
    fields = _fields(search)
    known = {name: given for name, given in fields.items() if name in View.__dataclass_fields__}
    full = [name for name, given in known.items() if given[0]]
    lost = [name for name in full if name in BELONGS["example"]] if "example" not in full and not refused else []
    end = "." if refused or set(full) <= set(lost) else "; the rest is shown."
    unknown = [f"`{shortened(name, 30)}`" for name in fields if name not in known]
    said = [f"The link says {listed(unknown)}, which this page does not know{end}"] if unknown else []
    twice = [f"`{name}`" for name, given in known.items() if len(given) > 1]
    said += [f"The link says {listed(twice)} more than once; only the first counts."] if twice else []
    empty = [f"`{name}`" for name, given in known.items() if not given[0]]
    said += [f"The link says nothing for {listed(empty)}{end}"] if empty else []
    out = "belong to an example: they are" if len(lost) > 1 else "belongs to an example: it is"
    names = ", ".join(f"`{name}`" for name in lost)
    return said + ([f"The link names no example, and {names} {out} left out{end}"] if lost else [])


def _fields(search: str) -> dict[str, list[str]]:
    return parse_qs((search or "").lstrip("?"), keep_blank_values=True)


def listed(names: Sequence[str]) -> str:
    """The first of the names, and how many there are beside them."""
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _share(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise received.unreadable("share", text, "a number from 0 to 1") from None


def checked(data: Mapping[str, Any] | None, bench: Workbench) -> View:
    """The view from a dcc.Store, as strictly checked as that of a link."""
    view = from_data(data)
    check(view, bench)
    return view


def check(view: View, bench: Workbench) -> None:
    """Raise AevisError where the view names an example, layer, map, area or way to show them that does not exist."""
    if view.example is not None:
        bench.workspace.example(view.example)
    for name, allowed in _choices(bench.workspace.settings.extraction).items():
        if getattr(view, name) not in (*allowed, getattr(_PLAIN, name)):
            known = ", ".join(a if isinstance(a, str) else f"{a:g}" for a in allowed)
            given = getattr(view, name)
            raise AevisError(f"The page or the link names no {name} {given!r}. It is one of: {known}.")
    for name in foreign(view, bench):
        raise AevisError(f"The page or the link compares with {shortened(name)!r}, which is no image here.")
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
            bench.check_area(area_of(bench.layers, layer, area))
    for number, step in enumerate(view.steps):
        _check_step(step, number, bench)


def foreign(view: View, bench: Workbench) -> tuple[str, ...]:
    """The compared images that the workspace does not have."""
    if not view.compared:
        return ()
    known = {image.file for image in bench.workspace.images}
    known |= {bench.workspace.example(view.example).source} if view.example else set()
    return tuple(name for name in view.compared if name not in known)


def _check_step(step: Step, number: int, bench: Workbench) -> None:
    if step.on not in tuple(Role):
        raise AevisError(f"Step {number} of the trail is on no image {step.on!r}. It is one of: {', '.join(Role)}.")
    if not step.is_flip:
        _, area, earlier = cause_of(bench.layers, step)
        if earlier not in bench.contribution_sources(area.layer):
            raise AevisError(
                f"Step {number} of the trail traces to {step.source!r}, which leads nowhere near. Copy the link again."
            )
    elif step.replacement not in REPLACEMENTS:
        raise AevisError(
            f"Step {number} of the trail has no replacement {step.replacement!r}. "
            f"It is one of: {', '.join(REPLACEMENTS)}."
        )


def flip_of(view: View) -> Step:
    """The flip-back that the view asks for, after the step whose outcome is shown: its chosen maps of its layer, none
    for a search."""
    parent = view.at if view.traced is not None else -1
    return Step(view.layer or "", view.map, maps=view.maps, replacement=view.replacement, parent=parent)


def wanted_of(view: View, own: ExtractionParameters) -> ExtractionParameters:
    """How the view's datapaths are extracted in a workspace whose own parameters are `own`; raises AevisError for a
    method or a share that the page does not offer."""
    wanted = replace(own, method=view.method or own.method, share=own.share if view.share is None else view.share)
    for name, value, offered in (("method", wanted.method, methods(own)), ("share", wanted.share, shares(own))):
        if value not in offered:
            raise AevisError(f"The page offers no {name} {value!r}. It is one of: {', '.join(map(str, offered))}.")
    return wanted


def without_own(view: View, own: ExtractionParameters) -> View:
    """The view with a method and a share only where they are not the workspace's own."""
    method = None if view.method == own.method else view.method
    return view.but(method=method, share=None if view.share == own.share else view.share)


def methods(own: ExtractionParameters) -> tuple[str, ...]:
    """The extraction methods to choose from, the workspace's own first."""
    return tuple(dict.fromkeys((own.method, *METHODS)))


def shares(own: ExtractionParameters) -> tuple[float, ...]:
    """The sizes of the hard set to choose from, the workspace's own among them."""
    return tuple(sorted({*SHARES, own.share}))


def _choices(own: ExtractionParameters) -> dict[str, Sequence[str | float]]:
    named = {"method": methods(own), "share": shares(own), "distance": tuple(DISTANCES)}
    named |= {"how": CONTRIBUTIONS, "replacement": REPLACEMENTS}
    named |= {"plot": PLOTS, "sort": SORTS, "keep": KEEPS, "faces": FACES, "look": LOOKS, "best": BESTS}
    return named | {"gap": GAPS, "pair": PAIRS, "cause": tuple(Role), "on": tuple(Role)}
