"""The bench of names: how far the names of feature maps hold on images that did not name them."""

import argparse
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from aevis_dash.cli.output import Answer, decimals, table
from aevis_dash.config import Progress
from aevis_dash.core.evaluation import Estimate
from aevis_dash.core.names import THRESHOLDS, NameKind
from aevis_dash.domain import AevisError
from aevis_dash.names_study import LEAST_RIGHT, LINES, NameScores, judge_names
from aevis_dash.workbench import Workbench

_DEPTHS = ("first fifth", "second fifth", "third fifth", "fourth fifth", "last fifth")
_TITLES = {
    NameKind.FOR: "speaks for: the named class is the one of all whose logit falls most where the map is closed",
    NameKind.AGAINST: "speaks against: the named class is the one of all whose logit rises most",
    NameKind.IMAGES: "fires most on images of: the share of the other half's images, of the most that could be",
    NameKind.PART: "detects: the other half's best part is the same",
}


def names(bench: Workbench, args: argparse.Namespace, progress: Progress) -> tuple[Answer, list[dict[str, Any]]]:
    """Names of maps by one half of the reference images, judged by the other.

    Returns:
        The answer, and its lines for a table.

    Raises:
        AevisError: for options that this bench does not have, and as `names_study.judge_names`.
    """
    if args.processes or args.scheduler or args.methods or args.weakest:
        raise AevisError(
            "This bench names maps by the normal images, in one process. Leave out --methods, --weakest, --processes "
            "and --scheduler."
        )
    found = judge_names(bench, args.examples, args.seed, progress)
    listed = [line for kind, scores in found.items() for line in _listed(kind, scores)]
    document = {
        "workspace": str(bench.workspace.root),
        "model": bench.workspace.settings.model.source,
        "images": bench.learning.total,
        "maps_of_each_fifth": args.examples,
        "thresholds": {str(kind): THRESHOLDS[kind] for kind in found},
        "proposed": {str(kind): scores.proposed for kind, scores in found.items()},
        "lines": listed,
    }
    head = (
        f"{document['model']}, {bench.learning.total} images, of which one half names maps and the other judges; "
        f"{args.examples} maps of each fifth of the layers for the classes, all maps for images and parts"
    )
    return Answer(document, "\n\n".join([head, *(_text(kind, scores) for kind, scores in found.items())])), listed


def _listed(kind: NameKind, scores: NameScores) -> list[dict[str, Any]]:
    rows = [("all", least, lines) for least, lines in scores.by_score.items()]
    rows += [(_DEPTHS[depth], THRESHOLDS[kind], lines) for depth, lines in scores.by_depth.items()]
    return [
        {"kind": str(kind), "depth": depth, "from_score": least, "line": line, **asdict(estimate)}
        for depth, least, lines in rows
        for line, estimate in lines.items()
    ]


def _text(kind: NameKind, scores: NameScores) -> str:
    proposed = "none" if scores.proposed is None else f"{scores.proposed:g}"
    by_score = [[f"{least:.2f}", *_cells(lines)] for least, lines in scores.by_score.items()]
    by_depth = [[_DEPTHS[depth], *_cells(lines)] for depth, lines in scores.by_depth.items()]
    return "\n".join(
        [
            f"{_TITLES[kind]}; least score from which at least {LEAST_RIGHT:.0%} are right, at the lower end of the "
            f"interval: {proposed}",
            table(["from score", "maps", *LINES], by_score),
            table([f"from {THRESHOLDS[kind]:.2f}", "maps", *LINES], by_depth),
        ]
    )


def _cells(lines: Mapping[str, Estimate]) -> list[Any]:
    named, right = lines["named"], lines["right"]
    interval = f"{decimals(right.mean, 2)} [{decimals(right.low, 2)}, {decimals(right.high, 2)}] of {right.n}"
    nulls = [decimals(lines[line].mean, 3) for line in LINES[2:]]
    return [named.n, f"{named.mean:.0%}" if named.n else None, interval, *nulls]
