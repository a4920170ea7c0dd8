"""What the page shows, as ids and parameters only, and what a click changes of it; kept in the browser."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Any
from uuid import uuid4

from dash import no_update

from aevis_dash.callbacks.view import received
from aevis_dash.callbacks.view.steps import THE_PREDICTION, Area, Step, add_steps, path_to, step_from_data
from aevis_dash.config import ExtractionParameters
from aevis_dash.core.datapath import METHODS
from aevis_dash.domain import AevisError

CHOSEN = ("plot", "distance", "gap", "pair", "cause", "how", "sort", "keep", "faces", "look", "best", "replacement")
"""Fields that name one of a few ways to show things."""
TEXTS = ("example", "target", "method", "layer", "on", *CHOSEN)
LISTS = ("compared", "folds", "pinned")
"""Fields that hold several names."""
FIRST, NULLS, ALL = "first", "nulls", "all"
"""What a job extracts: all but the datapaths of the null targets, these, or both at once."""
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
    `on` is the role on whose image the area was chosen, "" for the one that the map itself names (see `roles`).
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
        """This view with some fields changed and all others as they are."""
        return replace(self, **changes)

    def edit(self, **fields: Any) -> "View":
        """This view after a click that sets some fields. What belongs to one of them (BELONGS) and is not set with it
        is as on a new page. `edit` of assets/controls.js is the same for the browser."""
        cleared = {name: FRESH[name] for field in fields for name in BELONGS.get(field, ())}
        return replace(self, **(cleared | fields))

    def at_example(self, example: str | None) -> "View":
        """This view of another example, without what belongs to the one before; how things are shown stays, but for
        an order by contributions, of which there are none yet."""
        sort = PLAIN_VIEW.sort if self.sort == "contribution" else self.sort
        return self.edit(example=example, sort=sort)

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
        steps, number = add_steps(self.steps, [replace(step, parent=parent)])
        if step.is_flip:
            return self.edit(steps=steps)
        sort = "contribution" if self.sort == "fill" else self.sort
        return self.edit(steps=steps, at=number, layer=step.source, cause=step.on, sort=sort)


BELONGS = {
    "example": ("target", "compared", "layer", "map", "area", "on", "maps", "steps", "at"),
    "layer": ("map", "area", "on", "maps"),
    "map": ("on",),
    "area": ("on",),
}
"""What belongs to a field: with another example, layer, map or area it is cleared where nothing else is said of it. The
browser has this table from the page (FIELDS), for `edit` and `merge` in assets/controls.js."""
PLAIN_VIEW = View()
FRESH = MappingProxyType({name: getattr(PLAIN_VIEW, name) for names in BELONGS.values() for name in names})
"""What is cleared, as it then is."""
PLAIN = MappingProxyType({name: getattr(PLAIN_VIEW, name) for name in (*CHOSEN, "on", "at")})
"""What an address leaves out: the fields that name a way to show things, as a new page has them."""
FIELDS = MappingProxyType({"belongs": BELONGS, "fresh": dict(FRESH), "plain": dict(PLAIN)})
"""What the browser is told of the view's fields."""


def from_data(data: Mapping[str, Any] | None) -> View:
    """The view from a dcc.Store; raises AevisError for values that the page never makes (see `received`)."""
    given = received.mapping(data or {}, "view")
    known = {name: value for name, value in given.items() if name in View.__dataclass_fields__}
    for name in TEXTS:
        if known.get(name) is not None or name in CHOSEN:
            known[name] = received.text(known.get(name, getattr(PLAIN_VIEW, name)), name)
    if known.get("share") is not None:
        known["share"] = received.share(known["share"], "share")
    if known.get("map") is not None:
        known["map"] = received.number(known["map"], "map")
    known["area"] = received.area(known.get("area"), "area")
    known |= {name: received.texts(known.get(name, ()), name) for name in LISTS}
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
    along = {name for field in differ for name in BELONGS.get(field, ())}
    along |= {"steps", "at"} if {"steps", "at"} & set(differ) else set()  # a step's number is one of these steps
    fields = {name: now[name] for name in now if name in differ or name in along}
    was = {name: old[name] for name in fields} | {"layer": before.layer}
    if not fields and not then:
        return no_update
    change = {"of": before.example, "since": since, "was": was, "fields": fields, "at": uuid4().hex}
    return change | {"then": dict(then or {})}


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


def datapaths_of(view: View) -> dict[str, str | float | None]:
    """The part of the view that says which datapaths are shown: what a job is asked for."""
    return {"example": view.example, "target": view.target, "method": view.method, "share": view.share}
