"""The trail: a tree of steps, and how a step is written in an address.

A step is a trace back to an earlier layer, or a flip-back.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote

from aevis_dash.assistant import RANDOMS, Hop
from aevis_dash.callbacks.view import received
from aevis_dash.domain import (
    PREDICTION,
    WHOLE_PREDICTION,
    AevisError,
    AreaOfInterest,
    FeatureMap,
    Intervention,
    LayerGraph,
    Role,
    shorten,
    whole_number,
)

_HEXADECIMAL = re.compile("[0-9a-fA-F]+")
Area = tuple[int, ...]
"""An area of interest as numbers: top, left, bottom and right, where the ends are not included; then the places of the
chosen neurons, where not all are chosen."""
THE_PREDICTION = ""
"""It stands in the place of a layer's name where the final prediction is traced."""


@dataclass(frozen=True)
class Step:
    """One step of the trail: a trace where it has a `source`, else a flip-back.

    Attributes:
        layer: the layer of the map that was traced, or whose maps were replaced; THE_PREDICTION where that was traced.
        map: the channel of the map that was traced.
        area: the area of the map that was traced; None for all of it.
        source: the earlier layer that was traced to; "" for a flip-back.
        maps: the maps that were replaced; () for a search.
        replacement: what took their place, one of REPLACEMENTS.
        parent: the number of the step that this one follows; -1 for the first of a branch.
        note: the user's words on the step.
        on: the role on whose image the map was traced.
    """

    layer: str
    map: int | None
    area: Area | None = None
    source: str = ""
    maps: tuple[int, ...] = ()
    replacement: str = ""
    parent: int = -1
    note: str = ""
    on: str = Role.ADVERSARIAL.value

    @property
    def is_flip(self) -> bool:
        """Whether the step is a flip-back."""
        return not self.source

    def under(self, offset: int) -> "Step":
        """The step with `offset` added to the number of its parent. The first step of a branch stays as it is."""
        return self if self.parent < 0 else replace(self, parent=self.parent + offset)

    def same(self, other: "Step") -> bool:
        """Whether the other step asks the same at the same place of the tree; notes do not count."""
        return replace(self, note="") == replace(other, note="")


def path_to(steps: Sequence[Step], number: int) -> list[int]:
    """The numbers of the steps that lead to a step, from the first one to the step itself."""
    path: list[int] = []
    while number >= 0:
        path.insert(0, number)
        number = steps[number].parent
    return path


def add_steps(steps: tuple[Step, ...], new: Sequence[Step]) -> tuple[tuple[Step, ...], int]:
    """Add steps to the end of the tree. A step that is there already is not added again.

    Args:
        steps: the tree.
        new: the further steps. Their parents are numbered as if all of them stood at the end of the tree.

    Returns:
        The new tree, and the number of the last of the further steps.

    Raises:
        AevisError: where there would be more steps than a link can hold.
    """
    places = list(range(len(steps)))
    kept = list(steps)
    for step in new:
        step = step if step.parent < 0 else replace(step, parent=places[step.parent])
        known = next((i for i, old in enumerate(kept) if old.same(step)), None)
        places.append(len(kept) if known is None else known)
        kept += [step] if known is None else []
    if len(kept) > received.STEPS:
        raise AevisError(
            f"The trail holds at most {received.STEPS} steps. Take some out (*all steps*), then try again."
        )
    return tuple(kept), places[-1]


def cause_of(graph: LayerGraph, step: Step) -> tuple[FeatureMap, AreaOfInterest, int]:
    """The arguments of `Contributions.contribute` for a trace: the target map, the area, and the index of the earlier
    layer."""
    earlier = graph.find(step.source).index
    if step.layer == THE_PREDICTION or step.map is None:
        return PREDICTION, WHOLE_PREDICTION, earlier
    return graph.feature_map(step.layer, step.map), area_of(graph, step.layer, step.area), earlier


def intervention_of(graph: LayerGraph, step: Step) -> Intervention:
    """The argument of `Flips.verify` for a flip-back. A single map stands beside fewer random ones, as that of a hop
    does."""
    randoms = RANDOMS if len(step.maps) == 1 else Intervention.randoms
    return Intervention(graph.find(step.layer).index, step.maps or None, step.replacement, randoms)


def steps_of(graph: LayerGraph, hops: Sequence[Hop]) -> list[Step]:
    """A proposed way back as steps of a trail: for each hop a trace, unless an earlier hop had the same, and a
    flip-back."""
    steps: list[Step] = []
    trace_of: dict[int, int] = {-1: -1}
    for number, hop in enumerate(hops):
        effect, source = hop.effect, graph.layers[hop.layer].name
        traced = effect != PREDICTION
        step = Step(
            layer=graph.layers[effect.layer].name if traced else THE_PREDICTION,
            map=effect.channel if traced else None,
            area=plain_area(hop.area) if traced else None,
            source=source,
            parent=trace_of[hop.parent],
        )
        known = next((i for i, old in enumerate(steps) if old.same(step)), None)
        trace_of[number] = len(steps) if known is None else known
        steps += [step] if known is None else []
        steps.append(Step(source, hop.map, maps=(hop.map,), replacement="source", parent=trace_of[number]))
    return steps


def maps_in(graph: LayerGraph, layer: str, text: str | None) -> tuple[int, ...]:
    """The feature maps of a layer that a text names. Raises AevisError for what is no map."""
    words = (text or "").replace(",", " ").split()
    numbers = [whole_number(word) for word in words]
    for word, number in zip(words, numbers, strict=True):
        if number is None:
            raise AevisError(
                f"{shorten(word, 20)!r} is no feature map. Write numbers with spaces between them, such as 3 14 15."
            )
    return tuple(dict.fromkeys(graph.feature_map(layer, n).channel for n in numbers if n is not None))


def area_of(graph: LayerGraph, layer_name: str, area: Area | None) -> AreaOfInterest:
    """The area of interest in the layer of that name; the whole map for None."""
    layer = graph.find(layer_name)
    if area is None:
        return AreaOfInterest(layer.index, 0, 0, layer.height, layer.width)
    top, left, bottom, right, *picked = area
    return AreaOfInterest(layer.index, top, left, bottom, right, tuple(picked))


def plain_area(area: AreaOfInterest) -> Area:
    """The area of interest as numbers."""
    return (area.top, area.left, area.bottom, area.right, *area.picked)


def area_from_text(text: str, name: str = "area") -> Area | None:
    """The area in an address: its ends, and the chosen places as the bits of a hexadecimal number; None for "".

    Raises:
        AevisError: for any other text, and for more places than an area can have.
    """
    if not text:
        return None
    ends, bits = text.split(",")[:4], text.split(",")[4:]
    if bits and len(bits[0]) > received.NUMBERS // 4:
        raise AevisError(f"The link names an area of more than {received.NUMBERS} neurons. Copy it again.")
    if len(ends) < 4 or len(bits) > 1 or not all(map(_HEXADECIMAL.fullmatch, bits)):
        numbers = "four whole numbers, with a hexadecimal one after them where neurons were chosen,"
        raise received.unreadable(name, text, f"an area of {numbers}")
    chosen = f"{int(bits[0], 16):b}"[::-1] if bits else ""
    places = (place for place, bit in enumerate(chosen) if bit == "1")
    return received.area([*(received.read_number(end, name) for end in ends), *places], name)


def step_from_text(text: str, name: str = "steps") -> Step:
    """A step in an address, whose fields stand between colons. The last field is left out for the adversarial image.

    Raises:
        AevisError: for any other text.
    """
    parts = text.split(":")
    if len(parts) not in (8, 9):
        raise received.unreadable(name, text, "a step of eight or nine parts with colons between them")
    parent, layer, channel, area, source, maps, replacement, note, *last = parts
    (on,) = last or (Role.ADVERSARIAL.value,)
    return Step(
        layer=layer,
        map=received.read_number(channel, name) if channel else None,
        area=area_from_text(area, name),
        source=source,
        maps=received.read_numbers(maps, name),
        replacement=replacement,
        parent=received.read_number(parent, name),
        note=unquote(note),
        on=on,
    )


def step_from_data(data: Any) -> Step:
    """A step from a dcc.Store. Raises AevisError for values that the page never makes."""
    given = received.mapping(data, "steps")
    channel = given.get("map")
    return Step(
        layer=received.text(given.get("layer"), "layer"),
        map=None if channel is None else received.number(channel, "map"),
        area=received.area(given.get("area"), "area"),
        source=received.text(given.get("source", ""), "source"),
        maps=received.numbers(given.get("maps", ()), "maps"),
        replacement=received.text(given.get("replacement", ""), "replacement"),
        parent=received.number(given.get("parent", -1), "parent"),
        note=received.text(given.get("note") or "", "note"),
        on=received.text(given.get("on", Role.ADVERSARIAL), "on"),
    )
