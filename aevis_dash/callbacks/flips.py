"""What a flip-back asks and found, in sentences that say no more than the figures."""

from collections.abc import Sequence

from aevis_dash.domain import RARE, Verification, too_few

SHOWN = 24
"""Maps of a flip-back shown as buttons at most."""
_SWAPS = {
    "source": "put from src into adv",
    "adversarial": "put from adv into src",
    "zero": "set to zero in adv",
    "mean": "set to the mean of other images in adv",
    "resample": "taken from another image in adv",
}


def question(maps: Sequence[int], replacement: str) -> str:
    """What is asked of the chosen maps of a layer, or of its smallest set."""
    several = f"Do maps {', '.join(map(str, maps))}" if maps else "Which maps"
    asked = f"Does map {maps[0]}" if len(maps) == 1 else several
    return f"{asked}, {_SWAPS[replacement]}, turn the prediction?"


def in_words(found: Verification, class_names: Sequence[str]) -> list[str]:
    """A flip-back in sentences, the last of which is the verdict; then what the buttons below are, if not all."""
    count, swap = len(found.maps), _SWAPS[found.replacement]
    turns, turn, gone = _turning(found, class_names)
    if not count and found.whole_turned:
        return [
            f"Only all {found.width} maps of this layer together {turn}, which proves nothing: everything "
            "passes through it."
        ]
    if not count:
        return [
            f"No set of this layer's {found.width} maps {turns}: with all of them {swap} the margin is "
            f"{found.whole:.2f}."
        ]
    turn, do, give = (turns, "does", "gives") if count == 1 else (turn, "do", "give")
    margins = f"margin {found.margins[0]:.2f} to {found.margins[-1]:.2f}"
    first = [f"The first {SHOWN}:"] if count > SHOWN else []
    if not found.turned:
        return [
            f"{count} of {found.width} maps, {swap}, {do} not {gone} ({margins}).",
            f"{_chance(found, f'{found.percentile:.0%}', 'move it less')}; "
            f"{_control(found, f'{give} {found.difference:.2f}')}.",
            *first,
        ]
    return [
        f"{count} of {found.width} maps, {swap}, {turn} ({margins}).",
        f"{_chance(found, f'{found.chance_turned:.0%}', 'do it')}; "
        f"{_control(found, f'{do} it' if found.difference_turned else f'{do} not')}.",
        _proof(found),
        *first,
    ]


def verdict(found: Verification) -> str:
    """The same in a line."""
    count = len(found.maps)
    if not count:
        return "only the whole layer turns it" if found.whole_turned else "no set turns it"
    change = f"margin {found.margins[0]:.2f} → {found.margins[-1]:.2f}"
    if not found.turned:
        beaten, kind = int((found.chance < found.margins[-1]).sum()), "other maps" if count == 1 else "random sets"
        return f"{change}, does not turn it; more than {beaten} of {len(found.chance)} {kind}"
    too, do = _too(found)
    alone = "beside too few controls" if too_few(len(found.chance), count) else "no others were found to"
    said = f"so {do} {too}" if too else alone
    return f"{count} of {found.width} maps {'turns' if count == 1 else 'turn'} it, {said}"


def _proof(found: Verification) -> str:
    """What the controls make of maps that turn the label."""
    too, do = _too(found)
    if too:
        return f"Not proven to be the cause: {too} {do} it too."
    they, them = ("it", "it") if len(found.maps) == 1 else ("they", "them")
    if too_few(len(found.chance), len(found.maps)):
        return (
            f"No set of the other maps was found to do it; too few random sets were drawn to tell {them} from chance."
        )
    return f"No set of the other maps was found to do it, so {they} may be the cause at this layer."


def _too(found: Verification) -> tuple[str, str]:
    """What else turns the label, which makes the maps no proof of a cause, and "does" or "do"; "" for nothing."""
    count = len(found.maps)
    others = "one other" if found.others == 1 else f"{found.others} others"
    controls = [
        (found.chance_turned > RARE, f"{found.chance_turned:.0%} of the random sets", "do"),
        (found.difference_turned and not found.largest, _largest(count), "does" if count == 1 else "do"),
        (
            found.others >= 0,
            f"{others} without {'it' if count == 1 else 'them'}",
            "does" if found.others == 1 else "do",
        ),
    ]
    names = [name for turns, name, _ in controls if turns]
    if len(names) > 1:
        return f"{', '.join(names[:-1])} and {names[-1]}", "do"
    return next(((name, do) for turns, name, do in controls if turns), ("", "do"))


def _chance(found: Verification, share: str, do: str) -> str:
    count = len(found.chance)
    return f"Of {count} random sets as large, {share} {do}" if count else "There is no random set as large"


def _control(found: Verification, do: str) -> str:
    """What the maps of largest difference do, where these are others."""
    count = len(found.maps)
    these = "it is itself" if count == 1 else "they are themselves"
    return f"{these} {_largest(count)}" if found.largest else f"{_largest(count)} {do}"


def _largest(count: int) -> str:
    return f"the {'one' if count == 1 else count} of largest difference"


def _turning(found: Verification, class_names: Sequence[str]) -> tuple[str, str, str]:
    """What turning the label is, said of one, of several, and after "not"."""
    if found.wanted < 0:
        name = class_names[found.before]
        return f"takes {name} away", f"take {name} away", f"take {name} away"
    name = class_names[found.wanted]
    back = "back" if found.replacement == "source" else "instead"
    return f"gives {name} {back}", f"give {name} {back}", f"give {name} {back}"
