"""What the page shows, as ids and parameters only: kept in the browser, written to the address, read from a link."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any
from urllib.parse import parse_qs, urlencode

from aevis_dash.config import ExtractionParameters
from aevis_dash.core.datapath import METHODS
from aevis_dash.core.distance import DISTANCES
from aevis_dash.domain import AevisError, AreaOfInterest, FeatureMap, LayerGraph, Role
from aevis_dash.workbench import Workbench

Area = tuple[int, int, int, int]
"""top, left, bottom, right; rows and columns of neurons, the ends not included."""


_TEXTS = ("example", "target", "method", "layer", "distance", "gap", "pair", "cause")
PAIRS = ("adv-src", "adv-tar", "src-tar")
GAPS = ("measured", "equal")
SHARES = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
"""Sizes of the hard set that the page offers, as shares of each layer's maps; 0 for as few as keep the label."""


@dataclass(frozen=True)
class Step:
    """One step back: what of `layer`'s map `map` (its `area`, None for all of it) was traced to the layer `source`."""

    layer: str
    map: int
    area: Area | None
    source: str


@dataclass(frozen=True)
class View:
    """The state of one visitor's page.

    `method` and `share` say how the datapaths are extracted, None as the workspace does; `gap` whether the river's
    width shows d1; `pair` is the pair of roles whose activations are compared; `cause` the role whose contributions
    are shown.
    """

    example: str | None = None
    target: str | None = None
    method: str | None = None
    share: float | None = None
    distance: str = "activations"
    gap: str = "measured"
    layer: str | None = None
    map: int | None = None
    area: Area | None = None
    pair: str = "adv-src"
    cause: str = "adversarial"
    steps: tuple[Step, ...] = ()

    def but(self, **changes: Any) -> "View":
        """This view with some fields changed."""
        return replace(self, **changes)

    def to_data(self) -> dict[str, Any]:
        """As JSON values for a dcc.Store, the address included."""
        return asdict(self) | {"search": self.to_search()}

    def to_search(self) -> str:
        """As the query part of an address."""
        fields = {"example": self.example, "target": self.target, "method": self.method}
        fields |= {"share": None if self.share is None else f"{self.share:g}", "layer": self.layer, "map": self.map}
        fields |= {"area": _join(self.area), "steps": "~".join(_step_text(s) for s in self.steps)}
        for name in ("distance", "gap", "pair", "cause"):
            fields[name] = None if getattr(self, name) == getattr(_PLAIN, name) else getattr(self, name)
        return "?" + urlencode({k: v for k, v in fields.items() if v not in (None, "")})

    @property
    def traced(self) -> Step | None:
        """The step whose contributions the shown layer carries, None where it carries none."""
        last = self.steps[-1] if self.steps else None
        return last if last is not None and last.source == self.layer else None


_PLAIN = View()


def from_data(data: Mapping[str, Any] | None) -> View:
    """The view from a dcc.Store."""
    known: dict[str, Any] = {k: v for k, v in (data or {}).items() if k in View.__dataclass_fields__}
    known["steps"] = tuple(Step(s["layer"], s["map"], _area(s["area"]), s["source"]) for s in known.get("steps", ()))
    known["area"] = _area(known.get("area"))
    return View(**known)


def from_search(search: str) -> View:
    """The view from an address; raises AevisError for what is no view."""
    fields = {k: v[0] for k, v in parse_qs((search or "").lstrip("?")).items()}
    try:
        number = int(fields["map"]) if "map" in fields else None
        share = float(fields["share"]) if "share" in fields else None
        area = _area([int(n) for n in fields["area"].split(",")]) if "area" in fields else None
        steps = tuple(_step(text) for text in fields.get("steps", "").split("~") if text)
    except (ValueError, IndexError) as error:
        raise AevisError(f"The link cannot be read ({error}). Copy it again, or choose an example here.") from error
    texts: dict[str, Any] = {k: fields[k] for k in _TEXTS if k in fields}
    return View(**texts, share=share, map=number, area=area, steps=steps)


def check(view: View, bench: Workbench) -> None:
    """Raise AevisError where the view names an example, layer, map, area or way to show them that does not exist."""
    if view.example is not None:
        bench.workspace.example(view.example)
    for name, allowed in _choices(bench.workspace.settings.extraction).items():
        if getattr(view, name) not in (*allowed, getattr(_PLAIN, name)):
            known = ", ".join(a if isinstance(a, str) else f"{a:g}" for a in allowed)
            raise AevisError(f"The link names no {name} {getattr(view, name)!r}. It is one of: {known}.")
    places = [(view.layer, view.map, view.area), *((s.layer, s.map, s.area) for s in view.steps)]
    for layer, channel, area in places:
        if layer is not None:
            bench.layers.feature_map(layer, channel or 0)
            bench.check_area(area_of(bench.layers, layer, area))
    for step in view.steps:
        bench.layers.find(step.source)


def wanted_of(view: View, own: ExtractionParameters) -> ExtractionParameters:
    """How the view's datapaths are extracted in a workspace whose own parameters are `own`."""
    share = own.share if view.share is None else view.share
    return replace(own, method=view.method or own.method, share=share)


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


def area_of(graph: LayerGraph, layer_name: str, area: Area | None) -> AreaOfInterest:
    """The area of interest in that layer; the whole map for None."""
    layer = graph.find(layer_name)
    return AreaOfInterest(layer.index, *(area or (0, 0, layer.height, layer.width)))


def cause_of(graph: LayerGraph, step: Step) -> tuple[FeatureMap, AreaOfInterest, int]:
    """A step as what `Workbench.contribute` takes: the target map, the area, the earlier layer."""
    return graph.feature_map(step.layer, step.map), area_of(graph, step.layer, step.area), graph.find(step.source).index


def _choices(own: ExtractionParameters) -> dict[str, Sequence[str | float]]:
    named = {"method": methods(own), "share": shares(own), "distance": tuple(DISTANCES)}
    return named | {"gap": GAPS, "pair": PAIRS, "cause": tuple(Role)}


def _area(values: Any) -> Area | None:
    if values is None:
        return None
    top, left, bottom, right = (int(v) for v in values)
    return top, left, bottom, right


def _join(area: Area | None) -> str:
    return ",".join(str(v) for v in area) if area else ""


def _step_text(step: Step) -> str:
    return f"{step.layer}:{step.map}:{_join(step.area)}:{step.source}"


def _step(text: str) -> Step:
    layer, channel, area, source = text.split(":")
    return Step(layer, int(channel), _area(area.split(",")) if area else None, source)
