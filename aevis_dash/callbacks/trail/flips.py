"""What a flip-back asks and what it found, in sentences."""

from collections.abc import Callable, Sequence

from aevis_dash.domain import CONTROLS, DISJOINT, Verdict, Verification, others_drawn

UNLIKE = 1.25
"""From this ratio on, what maps do together and the sum of what each does alone are said to differ."""
ADDS_UP = 0.005
"""The largest difference between both, as a share of the joint move, at which maps are said to add up."""
SHOWN = 24
"""The number of maps of a flip-back that are shown as buttons, at most."""
_SWAPS = {
    "source": "put from src into adv",
    "adversarial": "put from adv into src",
    "zero": "set to zero in adv",
    "mean": "set to the mean of other images in adv",
    "resample": "taken from another image in adv",
}
_ORDERS = {
    "difference": "of largest difference",
    "patching": "first by attribution patching",
    "integrated": "first by integrated attribution patching",
}
"""The words for the maps that each of CONTROLS puts first."""


def question(maps: Sequence[int], replacement: str) -> str:
    """What a flip-back asks: to replace the chosen maps of a layer, or to search for the smallest set, in a
    sentence."""
    several = f"Do maps {', '.join(map(str, maps))}" if maps else "Which maps"
    asked = f"Does map {maps[0]}" if len(maps) == 1 else several
    return f"{asked}, {_SWAPS[replacement]}, turn the prediction?"


def in_words(found: Verification, class_names: Sequence[str], at_end: bool = False) -> list[str]:
    """What a flip-back found, in sentences. The verdict comes last, and then what the buttons below are, if not all
    maps.

    Args:
        found: the flip-back.
        class_names: the names of the classes.
        at_end: whether the maps are those of the network's last layer.
    """
    count, swap = len(found.maps), _SWAPS[found.replacement]
    turns, turn, gone = _turning(found, class_names)
    if found.verdict is Verdict.WHOLE_LAYER:
        return [
            f"No set was found that {turns} but that of all maps of this layer that differ, which proves nothing: "
            "everything passes through it."
        ]
    if found.verdict is Verdict.NO_SET:
        return [
            f"No set of this layer's {found.width} maps was found that {turns}: with all of them {swap} the margin is "
            f"{found.whole:.2f}."
        ]
    turn, do = (turns, "does") if count == 1 else (turn, "do")
    margins = f"margin {found.margins[0]:.2f} to {found.margins[-1]:.2f}"
    first = [f"The first {SHOWN}:"] if count > SHOWN else []
    if found.verdict is Verdict.NOT_TURNED:
        return [
            f"{count} of {found.width} maps, {swap}, {do} not {gone} ({margins}).",
            f"{_chance(found, f'{found.percentile:.0%}', 'move it less')}; {_controls(found, _margin_of)}.",
            *first,
        ]
    return [
        f"{count} of {found.width} maps, {swap}, {turn} ({margins}).",
        f"{_chance(found, f'{found.chance_turned:.0%}', 'do it')}; {_controls(found, _does_it)}.",
        *_together(found, at_end),
        _orders(found),
        _proof(found),
        *first,
    ]


def verdict(found: Verification) -> str:
    """What a flip-back found, in one line."""
    count = len(found.maps)
    if found.verdict is Verdict.NO_SET:
        whole = f"margin {found.margins[0]:.2f} → {found.whole:.2f}"
        return f"{found.verdict}, not even all {found.width} maps of the layer ({whole})"
    if not count:
        return found.verdict
    change = f"margin {found.margins[0]:.2f} → {found.margins[-1]:.2f}"
    if found.verdict is Verdict.NOT_TURNED:
        beaten = int((found.chance < found.margins[-1]).sum())
        return f"{change}, does not turn it" + (
            f"; more than {beaten} of {_drawn(len(found.chance), count)}" if len(found.chance) else ""
        )
    too, do = _too(found)
    said = f"so {do} {too}" if too else found.verdict
    return f"{count} of {found.width} maps {'turns' if count == 1 else 'turn'} it, {said}"


def _drawn(count: int, size: int) -> str:
    """The words for the `count` random sets beside a set of `size` maps. Beside a single map they are single other
    maps."""
    if size == 1:
        return others_drawn(count)
    return "the one random set" if count == 1 else f"the {count} random sets"


def _proof(found: Verification) -> str:
    """A sentence on what the controls say of maps that turn the label."""
    too, do = _too(found)
    if too:
        return f"Not proven to be the cause: {too} {do} it too."
    they, them = ("it", "it") if len(found.maps) == 1 else ("they", "them")
    if found.verdict is Verdict.TOO_FEW:
        return (
            f"No set of the other maps was found to do it; too few random sets were drawn to tell {them} from chance."
        )
    if found.verdict is Verdict.SAME:
        return (
            "No set of the other maps was found to do it. But both orders by attribution patching begin with these "
            "same maps, so it is not shown that maps chosen without a datapath would not do: the cause stays open."
        )
    return f"No set of the other maps was found to do it, so {they} may be the cause at this layer."


def _too(found: Verification) -> tuple[str, str]:
    """What else turns the label, so that the maps are no proof of a cause, and "does" or "do"; "" for nothing."""
    count = len(found.maps)
    one = {"does": count == 1, "do": count > 1}
    said = {
        "random": (f"{found.chance_turned:.0%} of the random sets", "do"),
        "others": _other_sets(found),
    } | {name: (_those(count, [name]), next(do for do, holds in one.items() if holds)) for name in CONTROLS}
    named = [said[name] for name in found.rivals]
    if len(named) > 1:
        return _listed([name for name, _ in named]), "do"
    return named[0] if named else ("", "do")


def _other_sets(found: Verification) -> tuple[str, str]:
    """The words for further sets that turn the label and share no map with one another, and "does" or "do"."""
    sizes = [str(size) for size in found.disjoint]
    without = f"without {'it' if len(found.maps) == 1 else 'them'}"
    if len(sizes) > 1:
        least = "at least " if len(sizes) == DISJOINT else ""
        return f"{least}{len(sizes)} other sets {without} (of {_listed(sizes)} maps, none in common)", "do"
    return ("one other" if found.others == 1 else f"{found.others} others") + f" {without}", (
        "does" if found.others == 1 else "do"
    )


def _together(found: Verification, at_end: bool) -> list[str]:
    """A sentence on what the maps do together beside what each does alone; none for a single map.

    Where both are the same at the network's end, the network behind it only adds the maps up, as a linear head does.
    """
    if len(found.maps) < 2:
        return []
    apart = float(found.alone.sum())
    said = f"Together they move the margin by {found.joint:.2f}; each alone, these moves add up to {apart:.2f}"
    if at_end and abs(found.joint - apart) <= ADDS_UP * abs(found.joint):
        return [f"{said}. That they are the same is no finding: behind its last layer this network only adds maps up."]
    if found.joint > UNLIKE * max(apart, 0.0):
        return [f"{said}, so single maps tell little of what they do together."]
    return [f"{said}, so they do in part the same." if apart > UNLIKE * found.joint else f"{said}."]


def _orders(found: Verification) -> str:
    """A sentence on how many maps it takes by each order that knows of no datapath."""
    by = {"difference": "difference", "patching": "attribution patching", "integrated": "integrated"}
    needed = dict(zip(CONTROLS, found.needed.tolist(), strict=True))
    counts = [f"{count} by {by[name]}" for name, count in needed.items() if count >= 0]
    none = [by[name] for name, count in needed.items() if count < 0]
    said = [f"Taken simply in an order, it needs {_listed(counts)}."] if counts else []
    return " ".join([*said, *([f"No set was found in the order by {_listed(none)}."] if none else [])])


def _chance(found: Verification, share: str, do: str) -> str:
    count = len(found.chance)
    if not count:
        return "There is no random set as large"
    return f"Of {_drawn(count, len(found.maps))}{' as large' * (len(found.maps) > 1)}, {share} {do}"


def _controls(found: Verification, what: Callable[[Verification, int], str]) -> str:
    """A sentence on what as many maps by each order of CONTROLS do. Orders that do the same are named together.

    An order that begins with the maps themselves is said to be no control.
    """
    count, said = len(found.maps), {}
    for i, name in enumerate(CONTROLS):
        said.setdefault("" if found.controls_same[i] else what(found, i), []).append(name)
    same = "is this same map, and so no control" if count == 1 else "are these same maps, and so no control"
    return "; ".join(f"{_those(count, names)} {does or same}" for does, names in said.items())


def _margin_of(found: Verification, control: int) -> str:
    return f"{'gives' if len(found.maps) == 1 else 'give'} {found.controls[control]:.2f}"


def _does_it(found: Verification, control: int) -> str:
    do = "does" if len(found.maps) == 1 else "do"
    return f"{do} it" if found.controls_turned[control] else f"{do} not"


def _those(count: int, names: Sequence[str]) -> str:
    """The words for as many maps by some orders of CONTROLS."""
    the = "the one" if count == 1 else f"the {count}"
    return f"{the} {_listed([_ORDERS[name] for name in names])}"


def _listed(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else words[0]


def _turning(found: Verification, class_names: Sequence[str]) -> tuple[str, str, str]:
    """The words for turning the label: of one, of several, and after "not"."""
    if found.wanted < 0:
        name = class_names[found.before]
        return f"takes {name} away", f"take {name} away", f"take {name} away"
    name = class_names[found.wanted]
    back = "back" if found.replacement == "source" else "instead"
    return f"gives {name} {back}", f"give {name} {back}", f"give {name} {back}"
