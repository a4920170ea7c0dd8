"""The verbs `store` and `sweep`: what takes how much of a workspace's store, and removing what is not needed."""

import argparse
import time
from collections.abc import Mapping
from typing import Any

from aevis_dash.cli.output import Answer, table, warn
from aevis_dash.config import Progress
from aevis_dash.housekeeping import Share, holdings, model_of, sweep
from aevis_dash.stored import in_units
from aevis_dash.workbench import open_workbench

_LISTED = 20
"""The number of examples that the text lists at most; the JSON document lists all."""


def store(args: argparse.Namespace, progress: Progress) -> Answer:
    """Say what takes how much of a workspace's store: by kind, by example, and how long it is unused."""
    bench = open_workbench(args.workspace)
    model, why = model_of(bench)
    found, now = holdings(bench, model, progress), time.time()
    quota = bench.store.quota
    document = {
        "results": _facts(found.whole, now),
        "quota_bytes": quota,
        "free_bytes": found.free,
        "outdated": None if found.outdated is None else _facts(found.outdated, now),
        "unknown": _facts(found.unknown, now),
        "leftovers": _facts(found.leftovers, now),
        "kinds": _listed("kind", found.by_kind, now),
        "examples": _listed("example", found.by_example, now),
        "warnings": [why] if why else [],
    }
    warn(document["warnings"])
    return Answer(document, _text(document, args.workspace))


def sweep_store(args: argparse.Namespace, progress: Progress) -> Answer:
    """Remove leftovers and outdated results from a workspace's store, then those unused for longest."""
    bench = open_workbench(args.workspace)
    model, why = model_of(bench)
    found = sweep(bench, model, args.older_than, args.to, args.dry_run, progress)
    reasons = {name: {"files": files, "bytes": size} for name, (files, size) in vars(found).items()}
    doubts = [why] if why else []
    if args.to is not None and found.left[1] > args.to:
        doubts.append(
            f"{in_units(found.left[1])} stay, more than {in_units(args.to)}, as results that were used in the last ten "
            "minutes are not removed. Give the command again later."
        )
    warn(doubts)
    verb = "would be removed" if args.dry_run else "removed"
    named = {
        "leftovers": "leftovers of killed processes",
        "outdated": "results of other models or earlier versions",
        "old": "results unused for longer than --older-than",
        "unused": "results unused for longest, beyond --to",
        "left": "results that stay",
    }
    rows = [[named[name], each["files"], in_units(each["bytes"])] for name, each in reasons.items()]
    text = table([verb, "files", "size"], rows)
    return Answer({"dry_run": args.dry_run, **reasons, "warnings": doubts}, text)


def _facts(share: Share, now: float) -> dict[str, Any]:
    days = max(0.0, now - share.oldest) / 86_400 if share.files else None
    return {"files": share.files, "bytes": share.size, "unused_days": None if days is None else round(days, 2)}


def _listed(name: str, shares: Mapping[str, Share], now: float) -> list[dict[str, Any]]:
    ordered = sorted(shares.items(), key=lambda one: (-one[1].size, one[0]))
    return [{name: key, **_facts(share, now)} for key, share in ordered]


def _text(document: Mapping[str, Any], workspace: object) -> str:
    whole, quota = document["results"], document["quota_bytes"]
    of = f" of the quota of {in_units(quota)}" if quota is not None else ""
    parts = [f"{whole['files']} results take {in_units(whole['bytes'])}{of}; {in_units(document['free_bytes'])} free"]
    head = ["files", "size", "unused for (days)"]
    for name, listed in (("kind", document["kinds"]), ("example", document["examples"])):
        rows = [_row(name, each) for each in listed[: _LISTED if name == "example" else None]]
        if rows:
            parts.append(table([name, *head], rows))
    rest = len(document["examples"]) - _LISTED
    if rest > 0:
        parts.append(f"{rest} more examples: --json lists all of them")
    for name, what in (
        ("outdated", "are of other models or earlier versions"),
        ("unknown", "do not tell what they are of: an earlier version of the program stored them, or they are damaged"),
    ):
        if document[name] is not None and document[name]["files"]:
            parts.append(f"{document[name]['files']} results ({in_units(document[name]['bytes'])}) {what}")
    if document["leftovers"]["files"]:
        parts.append(f"{document['leftovers']['files']} unfinished files were left by killed processes")
    if (document["outdated"] and document["outdated"]["files"]) or document["leftovers"]["files"]:
        parts.append(f"aevis sweep {workspace} removes them")
    return "\n\n".join(parts)


def _row(name: str, each: Mapping[str, Any]) -> list[Any]:
    return [each[name], each["files"], in_units(each["bytes"]), f"{each['unused_days']:.1f}"]
