"""The view: what the page shows, as IDs and parameters only, and what a click changes of it. The browser keeps it."""

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
from aevis_dash.domain import AevisError, Way

CHOSEN = (
    "question",
    "plot",
    "distance",
    "gap",
    "pair",
    "cause",
    "how",
    "against",
    "sort",
    "keep",
    "cells",
    "faces",
    "look",
    "best",
    "replacement",
    "beside",
)
"""The fields that name one of a few ways to show things."""
TEXTS = ("example", "target", "method", "layer", "on", *CHOSEN)
LISTS = ("compared", "folds", "pinned")
"""The fields that hold several names."""
SPANS = ("margins", "scores")
"""The fields that hold the two ends of a range of examples; None for the range of a new page."""
FIRST, NULLS, ALL = "first", "nulls", "all"
"""The parts of the datapaths that a job extracts: all but those of the null targets; those of the null targets; or
both."""
LOST, BECAME = QUESTIONS = ("lost", "became")
"""The two questions that the page answers: why adv lost the class of src, and why it became the class of tar."""
PAIRS = ("adv-src", "adv-tar", "src-tar")
GAPS = ("measured", "equal")
PLOTS = ("river", "dots")
SORTS = ("fill", "contribution", "turning", "channel")
KEEPS = ("all", "src", "adv", "tar", "shared", "top")
CELLS = ("few", "all")
FACES = ("on", "off")
LOOKS = ("maps", "over", "difference")
BESTS = ("activation", "relevance")
BESIDES = ("off", "on")
SHARES = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
"""The sizes of the hard set that the page offers, as shares of each layer's maps; 0 for as few as keep the label."""


@dataclass(frozen=True)
class View:
    """The state of one visitor's page.

    Attributes:
        example: the ID of the example.
        target: the file name of the candidate target; None for the representative one.
        method: how the datapaths are extracted; None for the workspace's own method.
        share: the size of the hard set; None for the workspace's own.
        compared: the images whose datapaths are compared with adv's; () for the triplet's.
        question: which question the page answers, one of QUESTIONS.
        plot: how the network is drawn, one of PLOTS.
        distance: the distance of datapaths, one of `core.distance.DISTANCES`.
        gap: whether the river's width shows d1, one of GAPS.
        folds: the groups that are opened or closed other than by default.
        pinned: the layers that stand beside the shown one.
        layer: the name of the shown layer.
        map: the channel of the shown map.
        area: the area of interest; None for the whole map.
        pair: the two roles whose activations are compared, one of PAIRS.
        cause: the role whose contributions are shown.
        how: the method that contributions are found by, one of CONTRIBUTIONS.
        against: the foil that maps are moved towards when contributions are found, one of FOILS.
        sort: the order of the cells, one of SORTS.
        keep: which maps are shown, one of KEEPS.
        cells: whether only the first maps of each set have cells, one of CELLS.
        faces: whether cells show learned features, one of FACES.
        look: how activations are shown, one of LOOKS.
        best: the measure by which patches are best, one of BESTS.
        on: the role on whose image the area was chosen; "" for the one that the map itself names (see `roles`).
        maps: the maps of the layer that are chosen for a flip-back; () for a search.
        replacement: what replaces them, one of REPLACEMENTS.
        steps: the trail, a tree of steps.
        at: the number of the step that led here; -1 for none.
        margins: the lower and the upper end of the margins of the examples that are listed; None for all.
        scores: the lower and the upper end of their adversarial scores; None for the range that a new page begins
            with.
        beside: whether the second model is shown beside the workspace's, one of BESIDES.
    """

    example: str | None = None
    target: str | None = None
    method: str | None = None
    share: float | None = None
    compared: tuple[str, ...] = ()
    question: str = LOST
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
    against: str = "source"
    sort: str = "fill"
    keep: str = "all"
    cells: str = "few"
    faces: str = "on"
    look: str = "maps"
    best: str = "activation"
    on: str = ""
    maps: tuple[int, ...] = ()
    replacement: str = "source"
    steps: tuple[Step, ...] = ()
    at: int = -1
    margins: tuple[float, float] | None = None
    scores: tuple[float, float] | None = None
    beside: str = "off"

    def but(self, **changes: Any) -> "View":
        """This view with some fields changed and all others as they are."""
        return replace(self, **changes)

    def edit(self, **fields: Any) -> "View":
        """This view after a click that sets some fields.

        What belongs to one of these fields (BELONGS), and is not set with it, is as on a new page. `edit` of
        assets/controls.js does the same in the browser.
        """
        cleared = {name: FRESH[name] for field in fields for name in BELONGS.get(field, ())}
        return replace(self, **(cleared | fields))

    def asking(self, question: str) -> "View":
        """This view with another question, with what is shown for it (ASKED) and without a map, an area or a trail's
        place, which answered the question before."""
        return self.edit(question=question, map=None, area=None, maps=(), at=-1, **ASKED[question])

    def at_example(self, example: str | None) -> "View":
        """This view of another example, without what belongs to the one before.

        The ways to show things stay, except for an order by contributions, as the other example has none yet.
        """
        sort = PLAIN_VIEW.sort if self.sort == "contribution" else self.sort
        return self.edit(example=example, sort=sort)

    def to_data(self) -> dict[str, Any]:
        """The view as JSON values for a dcc.Store."""
        return asdict(self)

    @property
    def traced(self) -> Step | None:
        """The step whose contributions the shown layer carries; None where it carries none."""
        step = self.steps[self.at] if self.at >= 0 else None
        return step if step is not None and not step.is_flip and step.source == self.layer else None

    @property
    def way(self) -> Way:
        """How contributions are found."""
        return Way(self.how, self.against)

    @property
    def path(self) -> list[int]:
        """The numbers of the steps that led here, the first one first."""
        return path_to(self.steps, self.at)

    def after(self, step: Step) -> "View":
        """This view after a step was added to the trail.

        The step follows the one whose outcome is shown. It begins a branch where there is none, and always where the
        prediction is traced. A trace also shows the layer that was traced to, with the contributions on the trace's
        image, and sorts its maps by them.
        """
        parent = self.at if self.traced is not None and step.layer != THE_PREDICTION else -1
        steps, number = add_steps(self.steps, [replace(step, parent=parent)])
        if step.is_flip:
            return self.edit(steps=steps)
        sort = "contribution" if self.sort == "fill" else self.sort
        return self.edit(steps=steps, at=number, layer=step.source, cause=step.on, sort=sort)


_PLAINLY = {"pair": "adv-src", "cause": "adversarial", "sort": "fill", "keep": "all"}
ASKED = MappingProxyType(
    {
        LOST: _PLAINLY | {"against": "source", "replacement": "source"},
        BECAME: _PLAINLY | {"against": "zero", "replacement": "adversarial"},
    }
)
"""How the layer and its contributions are shown for each question. Contributions are found against the source where the
lost class is asked for, and towards silence, which tells what a map fires on, where the new class is. A flip-back puts
maps of src into adv for the lost class, and maps of adv into src for the new one."""
BELONGS = {
    "example": ("target", "compared", "layer", "map", "area", "on", "maps", "steps", "at"),
    "layer": ("map", "area", "on", "maps"),
    "map": ("on",),
    "area": ("on",),
}
"""The fields that belong to a field. They are cleared with another example, layer, map or area where nothing else is
said of them. The browser gets this table with the page (FIELDS), for `edit` and `merge` in assets/controls.js."""
PLAIN_VIEW = View()
FRESH = MappingProxyType({name: getattr(PLAIN_VIEW, name) for names in BELONGS.values() for name in names})
"""The values that fields have after they are cleared."""
PLAIN = MappingProxyType({name: getattr(PLAIN_VIEW, name) for name in (*CHOSEN, "on", "at")})
"""The values that an address leaves out: those of a new page, of the fields that name a way to show things."""
FIELDS = MappingProxyType({"belongs": BELONGS, "fresh": dict(FRESH), "plain": dict(PLAIN)})
"""What the browser is told about the view's fields."""


def from_data(data: Mapping[str, Any] | None) -> View:
    """The view from a dcc.Store. Raises AevisError for values that the page never makes (see `received`)."""
    given = received.mapping(data or {}, "view")
    known = {name: value for name, value in given.items() if name in View.__dataclass_fields__}
    for name in TEXTS:
        if known.get(name) is not None or name in CHOSEN:
            known[name] = received.text(known.get(name, getattr(PLAIN_VIEW, name)), name)
    if known.get("share") is not None:
        known["share"] = received.share(known["share"], "share")
    if known.get("map") is not None:
        known["map"] = received.number(known["map"], "map")
    known |= {name: received.span(known.get(name), name) for name in SPANS}
    known["area"] = received.area(known.get("area"), "area")
    known |= {name: received.texts(known.get(name, ()), name) for name in LISTS}
    known["maps"] = received.numbers(known.get("maps", ()), "maps")
    known["at"] = received.number(known.get("at", -1), "at")
    steps = received.sequence(known.get("steps", ()), "steps", received.STEPS)
    known["steps"] = tuple(step_from_data(step) for step in steps)
    received.tree([step.parent for step in known["steps"]], known["at"])
    return View(**known)


def changes(before: View, after: View, since: int = 0, then: Mapping[str, Any] | None = None) -> Any:
    """What an answer changes of the view, for the browser to put into the view as it then is (assets/controls.js,
    `merge`).

    What the visitor has changed meanwhile stays, and with it what belongs to it.

    Args:
        before: the view when the question was asked.
        after: the view that the answer makes of it.
        since: when another example was chosen, in ms.
        then: the data of stores, by their IDs, that are set together with the view, so that stations that listen to
            both are asked once.

    Returns:
        `of`, the example that was shown when the question was asked; `since`; `was`, what the changed fields were then;
        `fields`, what they become; `at`, a name of this change; and `then`. no_update where nothing changes.
    """
    old, now = before.to_data(), after.to_data()
    differ = [name for name in now if now[name] != old[name]]
    along = {name for field in differ for name in BELONGS.get(field, ())}
    along |= {"steps", "at"} if {"steps", "at"} & set(differ) else set()  # `at` is the number of one of the steps
    fields = {name: now[name] for name in now if name in differ or name in along}
    was = {name: old[name] for name in fields} | {"layer": before.layer}
    if not fields and not then:
        return no_update
    change = {"of": before.example, "since": since, "was": was, "fields": fields, "at": uuid4().hex}
    return change | {"then": dict(then or {})}


def flip_of(view: View) -> Step:
    """The flip-back that the view asks for, as a step after the one whose outcome is shown.

    It replaces the chosen maps of the view's layer, or searches for maps where none are chosen.
    """
    parent = view.at if view.traced is not None else -1
    return Step(view.layer or "", view.map, maps=view.maps, replacement=view.replacement, parent=parent)


def wanted_of(view: View, own: ExtractionParameters) -> ExtractionParameters:
    """The extraction parameters of the view's datapaths.

    Args:
        view: the view.
        own: the workspace's own parameters.

    Raises:
        AevisError: for a method or a share that the page does not offer.
    """
    wanted = replace(own, method=view.method or own.method, share=own.share if view.share is None else view.share)
    for name, value, offered in (("method", wanted.method, methods(own)), ("share", wanted.share, shares(own))):
        if value not in offered:
            raise AevisError(f"The page offers no {name} {value!r}. It is one of: {', '.join(map(str, offered))}.")
    return wanted


def without_own(view: View, own: ExtractionParameters) -> View:
    """The view, with None for a method or a share that is the workspace's own."""
    method = None if view.method == own.method else view.method
    return view.but(method=method, share=None if view.share == own.share else view.share)


def methods(own: ExtractionParameters) -> tuple[str, ...]:
    """The extraction methods to choose from, the workspace's own first."""
    return tuple(dict.fromkeys((own.method, *METHODS)))


def shares(own: ExtractionParameters) -> tuple[float, ...]:
    """The sizes of the hard set to choose from, with the workspace's own among them, in ascending order."""
    return tuple(sorted({*SHARES, own.share}))


def datapaths_of(view: View) -> dict[str, str | float | None]:
    """The part of the view that names the datapaths that are shown, which is also the question of a job."""
    return {"example": view.example, "target": view.target, "method": view.method, "share": view.share}
