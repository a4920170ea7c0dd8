"""What the verbs answer, made of the workbench's values: plain documents, and tables of them as text."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from aevis_dash import pairs
from aevis_dash.cli.layer_maps import maps_text
from aevis_dash.cli.names import facts_of, told_names
from aevis_dash.cli.output import decimals, table
from aevis_dash.config import ExtractionParameters
from aevis_dash.domain import (
    PREDICTION,
    Contribution,
    Datapath,
    Example,
    FeatureMap,
    JudgedExample,
    LearnedIndex,
    Outcome,
    Perturbation,
    Role,
    unsolved_note,
)
from aevis_dash.workbench import Triplet, Workbench

TOP = 10
"""The number of feature maps that a contribution lists for each role."""


def attack_facts(bench: Workbench, judged: JudgedExample, margin: float | None = None) -> dict[str, Any]:
    """The outcome of one attack as a document.

    Args:
        bench: the workbench of the workspace.
        judged: the example that the attack made.
        margin: the margin that the attack had to reach, in logits; None where it did not have to reach any.
    """
    fooled = judged.outcome is Outcome.MISCLASSIFIED
    reached = margin is None or judged.attack_margin.reaches(margin)
    short = "" if reached else f"its margin of {judged.attack_margin} is below the {margin:g} asked for"
    return {
        "example": judged.example.id,
        "source": bench.class_names[judged.source.label],
        "adversarial": bench.class_names[judged.adversarial.label],
        "success": fooled and reached,
        "outcome": str(judged.outcome),
        "attack": judged.example.attack,
        "epsilon": judged.example.epsilon,
        "linf": judged.perturbation.linf,
        **margin_facts(judged),
        "reason": pairs.reason(judged, bench.class_names) or short,
    }


def attack_row(outcome: Mapping[str, Any]) -> list[Any]:
    """What `attack_facts` gives, as the cells of a table's row."""
    names = [outcome[name] for name in ("example", "source", "adversarial", "success")]
    return [*names, f"{outcome['linf']:g}/255", outcome["margin_text"], outcome["reason"]]


def margin_facts(judged: JudgedExample) -> dict[str, Any]:
    """The margin of an example as a document: its value, whether that is only a bound, and as people read it."""
    margin = judged.margin
    return {"margin": margin.value, "margin_is": margin.kind, "margin_text": str(margin)}


def score_facts(bench: Workbench, judged: JudgedExample) -> dict[str, Any]:
    """An example with its predictions, what tells its images apart, and its score, as a document."""
    example, found = judged.example, judged.perturbation
    return {
        "example": example.id,
        "source": bench.class_names[judged.source.label],
        "adversarial": bench.class_names[judged.adversarial.label],
        "misclassified": judged.misclassified,
        "outcome": str(judged.outcome),
        "reason": pairs.reason(judged, bench.class_names),
        **pair_facts(example, found),
        **margin_facts(judged),
        "score": judged.score,
        "no_score": _no_score(bench, judged),
    }


def _no_score(bench: Workbench, judged: JudgedExample) -> str:
    """Why an example has no adversarial score; "" where it has one."""
    if math.isfinite(judged.score):
        return ""
    return f"no score: no other clean image is predicted as {bench.class_names[judged.adversarial.label]}"


def no_auroc(auroc: float, judged: Sequence[JudgedExample]) -> str:
    """The reason why there is no AUROC of these examples' scores; "" where there is one."""
    fooled = [each for each in judged if each.misclassified]
    if math.isfinite(auroc):
        return ""
    if not fooled:
        return "none of these examples is misclassified"
    if not any(math.isfinite(each.score) for each in fooled):
        return "no misclassified adversarial has a score, because no other clean image is predicted as its class"
    return "no source has a score, because no other clean image is predicted as its class"


def pair_facts(example: Example, found: Perturbation) -> dict[str, Any]:
    """What tells the images of a pair apart, beside what its attack declares, as a document."""
    return {
        "linf": found.linf,
        "l2": found.l2,
        "changed": found.changed,
        "edges": found.edges,
        "epsilon": example.epsilon,
        "exceeds_epsilon": found.exceeds(example.epsilon),
        "allow_large": example.allow_large,
    }


def score_row(row: Mapping[str, Any]) -> list[Any]:
    """What `score_facts` gives of an example, as the cells of a table's row."""
    notes = [row["reason"]] if row["reason"] else []
    declared = "declares no epsilon for it" if row["epsilon"] is None else f"exceeds its epsilon of {row['epsilon']:g}"
    notes += [declared] if row["exceeds_epsilon"] else []
    notes += [row["no_score"]] if row["no_score"] else []
    change = [f"{row['linf']:g}/255", f"{row['l2']:.2f}", f"{row['changed']:.0%}"]
    names = [row[name] for name in ("example", "source", "adversarial", "misclassified")]
    return [*names, decimals(row["score"]), row["margin_text"], *change, "; ".join(notes)]


def learned_facts(bench: Workbench, index: LearnedIndex, seconds: float) -> dict[str, Any]:
    """What is known of the learned features, as a document.

    It says from how many images they are, how often the sets by activation and by relevance begin with the same image,
    and how many maps have a clear name, of any kind and after parts; `named_after_parts` is None where no parts are
    known.

    Args:
        bench: the workbench of the workspace.
        index: the learned features.
        seconds: how long learning took.
    """
    fires, speaks = index.activation.image[:, 0], index.relevance.image[:, 0]
    both, names = (fires >= 0) & (speaks >= 0), bench.learning.part_names()
    return {
        "workspace": str(bench.workspace.root),
        "images": index.seen,
        "feature_maps": bench.layers.n_maps,
        "firing_maps": int((fires >= 0).sum()),
        "same_first_image_by_relevance": float((fires == speaks)[both].mean()) if both.any() else float("nan"),
        "named": sum(bool(own) for i in range(len(bench.layers)) for own in bench.naming.of_layer(i).names),
        "named_after_parts": None if names is None else sum(map(bool, names)),
        "layers_looked_at_for_classes": bench.naming.layers_looked_at,
        "seconds": seconds,
    }


def extraction(bench: Workbench, triplet: Triplet, wanted: ExtractionParameters) -> dict[str, Any]:
    """The datapaths of an example as a document."""
    plan = triplet.plan
    images = (plan.example.adversarial, plan.example.source, *plan.candidates, *plan.nulls)
    parts = ["adversarial", "source", *["candidate"] * len(plan.candidates), *["null"] * len(plan.nulls)]
    return {
        "example": plan.example.id,
        "target": triplet.image(Role.TARGET),
        "pair": pair_facts(plan.example, bench.judging.perturbation(plan.example)),
        **_request_facts(wanted),
        "passes": sum(path.passes for path in triplet.paths),
        "seconds": sum(path.seconds for path in triplet.paths),
        "unsolved": sum(path.unsolved for path in triplet.paths),
        "datapaths": [_datapath(bench, *each) for each in zip(parts, images, triplet.paths, strict=True)],
    }


def _datapath(bench: Workbench, part: str, image: str, path: Datapath) -> dict[str, Any]:
    return {
        "part": part,
        "image": image,
        **_path_facts(bench, path),
    }


def _path_facts(bench: Workbench, path: Datapath) -> dict[str, Any]:
    return {
        "label": bench.class_names[path.label],
        "rival": bench.class_names[path.rival] if path.rival >= 0 else None,
        "method": path.method,
        "size": path.size,
        "share": path.size / bench.layers.n_maps,
        "core": int(path.core.sum()),
        "p_full": path.p_full,
        "p_soft": path.p_soft,
        "p_hard": path.p_hard,
        "keeps_label": path.keeps_hard,
        "passes": path.passes,
        "seconds": path.seconds,
        "loss": path.loss,
        "left": path.left,
        "unsolved": path.unsolved,
    }


def _request_facts(wanted: ExtractionParameters) -> dict[str, Any]:
    return {"method": wanted.method, "asked_share": wanted.share}


def _asked_text(found: Mapping[str, Any]) -> str:
    share = found["asked_share"]
    return f"by {found['method']}, " + (f"{share:.3g} of each layer" if share else "as few maps as keep the label")


def set_extraction(
    bench: Workbench, examples: Sequence[Example], path: Datapath, wanted: ExtractionParameters
) -> dict[str, Any]:
    """One datapath for the adversarial images of several examples, as a document."""
    return {
        "examples": [e.id for e in examples],
        **_request_facts(wanted),
        "images": path.images,
        "kept": path.kept,
        "datapath": _path_facts(bench, path),
    }


def set_extraction_text(found: Mapping[str, Any]) -> str:
    """What `set_extraction` gives, as text: how many images the hard set keeps, and how large hard set and core are."""
    path = found["datapath"]
    return (
        f"{found['kept']} of {found['images']} keep the label {path['label']!r}: hard set {path['size']} maps "
        f"({path['share']:.1%}), core {path['core']}\n"
        f"{_asked_text(found)}: {path['passes']:.1f} passes, {path['seconds']:.2f} s"
        + (f"\n{unsolved_note('it', 'Eq. 5')}" if path["unsolved"] else "")
    )


def extraction_text(found: Mapping[str, Any]) -> str:
    """What `extraction` gives, as a table, or the reason why the example was refused."""
    if "refused" in found:
        return f"{found['example']}: {found['refused']}"
    rows = [_datapath_row(path, found["target"]) for path in found["datapaths"]]
    head = "part image label rival maps share core p.full p.soft p.hard keeps passes seconds".split()
    costs = f"{found['passes']:.1f} passes, {found['seconds']:.2f} s"
    count = found["unsolved"]
    doubt = f"\n{unsolved_note(f'{count} of {len(rows)} datapaths', 'Eq. 5')}" if count else ""
    maps = f"\n\n{maps_text(found['maps'])}" if "maps" in found else ""
    first = f"{found['example']}: target {found['target']}, {_asked_text(found)}, {costs}"
    return f"{first}\n{table(head, rows)}{doubt}{maps}"


def _datapath_row(path: Mapping[str, Any], target: str) -> list[Any]:
    part = "target" if path["part"] == "candidate" and path["image"] == target else path["part"]
    chances = [decimals(path[name]) for name in ("p_full", "p_soft", "p_hard")]
    costs = [decimals(path["passes"], 1), decimals(path["seconds"], 2)]
    share = f"{path['share']:.1%}"
    sizes = [path["size"], share, path["core"]]
    return [part, path["image"], path["label"], path["rival"] or "-", *sizes, *chances, path["keeps_label"], *costs]


def contribution(
    bench: Workbench, triplet: Triplet, found: Contribution, wanted: ExtractionParameters, on: Role | None = None
) -> dict[str, Any]:
    """The strongest contributions for each role as a document. Layer, map and area are None for the prediction.

    Args:
        bench: the workbench of the workspace.
        triplet: the example's datapaths.
        found: the contributions.
        wanted: the extraction parameters of the datapaths.
        on: the role on whose image the neurons fire most; None where they were chosen in another way.
    """
    area, traced = found.area, found.target != PREDICTION
    return {
        "example": triplet.plan.example.id,
        "target": triplet.image(Role.TARGET),
        **_request_facts(wanted),
        "layer": bench.layers.layers[found.target.layer].name if traced else None,
        "map": found.target.channel if traced else None,
        "area": [area.top, area.left, area.bottom, area.right] if traced else None,
        "neurons": area.neurons,
        "most_active_on": None if on is None else str(on),
        "how": found.method,
        "foil": found.foil,
        "from": bench.layers.layers[found.layer].name,
        "passes": found.passes,
        "seconds": found.seconds,
        "loss": found.loss,
        "left": found.left,
        "unsolved": found.unsolved,
        "roles": [_row(bench, triplet.plan.example.id, found, i, role) for i, role in enumerate(Role)],
    }


def _row(bench: Workbench, example: str, found: Contribution, i: int, role: Role) -> dict[str, Any]:
    maps, strength = [int(m) for m in found.ranking(i)[:TOP]], found.strength(i)
    return {
        "role": str(role),
        "effect": found.effect[i],
        "change": found.change[i],
        "residual": found.residual[i],
        "maps": [
            {"map": m, "contribution": strength[m], "gate": found.values[i, m], "share": found.share[i, m]}
            | facts_of(bench, FeatureMap(found.layer, m), example)
            for m in maps
        ],
    }


_NOTHING = ("the area stays as it is with the foil's maps", "the area does not fire")
_FOIL_TEXTS = {
    "source": "against the other image of the pair",
    "zero": "against silence",
    "mean": "against the mean of third classes",
}


def contribution_text(document: Mapping[str, Any]) -> str:
    """What `contribution` gives, as a table of the ranking of each role, side by side."""
    roles, named = document["roles"], document["how"] != "exact"
    ranks = [
        [i, *(cell for role in roles for cell in _rank_cells(role["maps"][i - 1]))]
        for i in range(1, len(roles[0]["maps"]) + 1)
    ]
    head = ["rank", *(cell for role in roles for cell in (role["role"], "contribution"))]
    notes = [
        f"{role['role']}: effect {role['effect']:.3g}"
        + ("" if document["foil"] == "zero" else f", of which {role['change']:.3g} changes with the foil's maps")
        + (f", {role['residual']:.1%} of it unexplained" if named else "")
        + ("; parts above 1 stand where other maps work against it" if role["maps"][0]["contribution"] > 1 else "")
        if role["change"] > 0
        else f"{role['role']}: {_NOTHING[document['foil'] == 'zero']}, so there is nothing to explain"
        for role in roles
    ]
    return "\n".join(
        [
            f"{document['example']}: {_target_text(document)}, from {document['from']}, {document['how']}, "
            f"{_FOIL_TEXTS.get(document['foil'], 'against ' + document['foil'])}: "
            f"{document['passes']:.1f} passes, {document['seconds']:.2f} s",
            table(head, ranks),
            *told_names(document["from"], [ranked for role in roles for ranked in role["maps"]]),
            *notes,
            *([unsolved_note("these contributions", "Eq. 7 and 8")] if document["unsolved"] else []),
        ]
    )


def _target_text(document: Mapping[str, Any]) -> str:
    if document["layer"] is None:
        return "the prediction"
    on = f", the most active ones on the {document['most_active_on']} image" if document["most_active_on"] else ""
    return f"{document['layer']}, map {document['map']}, {document['neurons']} neurons in {document['area']}{on}"


def _rank_cells(ranked: Mapping[str, Any]) -> tuple[str, str]:
    return f"map {ranked['map']}", decimals(float(ranked["contribution"]))
