"""What `aevis verify` answers about flip-backs and their controls, as a document and as text."""

from collections.abc import Mapping, Sequence
from typing import Any

from aevis_dash.cli.output import decimals, table
from aevis_dash.domain import (
    CONTROLS,
    DISJOINT,
    RARE,
    Verdict,
    Verification,
    so_many,
)
from aevis_dash.workbench import Workbench

_SETS = {
    "difference": "as many of largest difference",
    "patching": "as many first by attribution patching",
    "integrated": "as many first by integrated attribution patching",
}
"""The words for the maps that each of CONTROLS puts first."""
_SINGLE = {name: words.replace("as many", "the one") for name, words in _SETS.items()}
_ALONE = "sum_of_single_effects"
_NAMED = 16
"""The number of a set's maps that a sentence names. All of them are in the document."""


def verification(bench: Workbench, example: str, replacement: str, found: Sequence[Verification]) -> dict[str, Any]:
    """What replacing maps did at each layer, as a document. A layer has no maps where no set turns the label."""
    return {"example": example, "replacement": replacement, "layers": [_facts(bench, each) for each in found]}


def _facts(bench: Workbench, found: Verification) -> dict[str, Any]:
    names = bench.class_names
    return {
        "layer": bench.layers.layers[found.layer].name,
        "width": found.width,
        "maps": found.maps,
        "before": names[found.before],
        "wanted": names[found.wanted] if found.wanted >= 0 else None,
        "labels": [names[int(label)] for label in found.labels],
        "margins": found.margins,
        "turned": found.turned,
        "random": {"sets": len(found.chance), "turn": found.chance_turned, "percentile": found.percentile},
        "controls": {
            name: {
                "margin": found.controls[i],
                "turns": bool(found.controls_turned[i]),
                "same_maps": bool(found.controls_same[i]),
                "needed": int(found.needed[i]) if found.needed[i] >= 0 else None,
            }
            for i, name in enumerate(CONTROLS)
        },
        "whole_layer": {"margin": found.whole, "turns": found.whole_turned},
        "others": found.others if found.others >= 0 else None,
        "disjoint_sets": found.disjoint,
        "joint_effect": found.joint if len(found.maps) else None,
        "sum_of_single_effects": float(found.alone.sum()) if len(found.maps) else None,
        "verdict": str(found.verdict),
        "also_turn": found.rivals,
        "runs": found.runs,
    }


def verification_text(document: Mapping[str, Any]) -> str:
    """What `verification` gives, as text: a table with a line for each layer, and for each set a verdict."""
    head = [
        "layer",
        "maps",
        "of",
        "margin before",
        "after",
        "label",
        "random turn",
        "percentile",
        "by difference",
        "by patching",
        "by integrated",
        "others",
        "together",
        "alone, sum",
    ]
    rows = [
        [
            each["layer"],
            len(each["maps"]),
            each["width"],
            *(decimals(float(each["margins"][i]), 2) for i in (0, -1)),
            each["labels"][-1],
            f"{each['random']['turn']:.0%}",
            f"{each['random']['percentile']:.0%}" if each["random"]["sets"] else None,
            *(each["controls"][name]["needed"] for name in CONTROLS),
            ", ".join(str(size) for size in each["disjoint_sets"]) or None,
            *(None if each[name] is None else decimals(each[name], 2) for name in ("joint_effect", _ALONE)),
        ]
        for each in document["layers"]
    ]
    sets = [f"{each['layer']}: {_verdict(each)}" for each in document["layers"]]
    note = (
        "by difference, patching, integrated: how many maps it takes in that order alone (largest difference between "
        "the runs, attribution patching, integrated attribution patching). others: the sizes of further sets that turn "
        f"it and have no map in common, {DISJOINT} at most. together: by how much the maps move the margin. "
        "alone, sum: the sum of what each of them does alone."
    )
    first = f"{document['example']}: maps replaced by {document['replacement']}"
    return "\n".join([first, table(head, rows), note, *sets])


def _verdict(each: Mapping[str, Any]) -> str:
    found = Verdict(each["verdict"])
    if found is Verdict.WHOLE_LAYER:
        return "No set of its maps was found that turns it but that of all that differ, which proves nothing."
    if found is Verdict.NO_SET:
        return "No set of its maps was found that turns it."
    more = f" and {len(each['maps']) - _NAMED} more" if len(each["maps"]) > _NAMED else ""
    single = len(each["maps"]) == 1
    maps = f"Map{'s' * (not single)} {' '.join(map(str, each['maps'][:_NAMED]))}{more}"
    if found is Verdict.NOT_TURNED:
        return f"{maps} {'does' if single else 'do'} not turn it."
    random = each["random"]
    chance = f"{random['turn']:.0%} of {so_many(random['sets'], 'random set')} as large"
    count = len(each["disjoint_sets"])
    further = f"{'at least ' * (count == DISJOINT)}{count} other sets, with no map in common,"
    others = further if count > 1 else so_many(each["others"] or 0, "other map")
    others += f" without {'it' if single else 'them'}"
    names = {"random": chance, "others": others} | (_SINGLE if single else _SETS)
    themselves = [names[name] for name in CONTROLS if each["controls"][name]["same_maps"]]
    these = "this same map" if single else "these same maps"
    are = "is" if single and len(themselves) == 1 else "are"
    same = f" {_sentence(themselves)} {are} {these}, and so no control." if themselves else ""
    by_order = "no set by another order does, " if len(themselves) < len(CONTROLS) else ""
    alone = f"{Verdict.ALONE}: at most {RARE:.0%} of random sets do ({chance}), {by_order}and no set of the others was"
    said = {
        Verdict.CONTROL: f"but so {_do(each)} {', '.join(names[name] for name in each['also_turn'])}",
        Verdict.OTHERS: f"and no control does; but so {_do(each)} {names['others']}",
        Verdict.TOO_FEW: f"but {chance} do, too few to tell",
        Verdict.SAME: f"and {alone} found to; that these maps are the cause stays open",
        Verdict.ALONE: f"and {alone} found to",
    }[found]
    return f"{maps} {'turns' if single else 'turn'} it, {said}.{same}"


def _do(each: Mapping[str, Any]) -> str:
    """ "does" where it is said of one map that it turns it too, else "do"."""
    too = list(each["also_turn"])
    one = each["others"] == 1 if too == ["others"] else len(each["maps"]) == 1 and too[0:1] != ["random"]
    return "does" if one and len(too) == 1 else "do"


def _sentence(names: Sequence[str]) -> str:
    listed = ", ".join(names)
    return listed[:1].upper() + listed[1:]
