"""What recurs over a whole workspace, as documents and as texts: pairs of classes, and maps that are gained or lost."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from aevis_dash.cli.output import decimals, table
from aevis_dash.recurrence import RecurrentMaps, Recurring, documents, how_many, verdict

SHOWN = 12
"""The number of pairs of classes that are printed at most."""


def confusions_document(pairs: Sequence[tuple[int, int]], names: Sequence[str]) -> list[dict[str, Any]]:
    """The pairs of classes with the number of their examples, the most frequent first.

    Args:
        pairs: for every example the class of its source and the class that it is taken for.
        names: the names of all classes.
    """
    counted = sorted(Counter(pairs).items(), key=lambda pair: (-pair[1], pair[0]))
    return [
        {"source": names[source], "adversarial": names[taken], "examples": count} for (source, taken), count in counted
    ]


def confusions_text(document: Sequence[dict[str, Any]]) -> str:
    """The most frequent pairs of classes as a table, with the number of those that are left out."""
    more = len(document) - SHOWN
    left = f"\n({more} more pairs of classes; --json lists them all)" if more > 0 else ""
    listed = [list(row.values()) for row in document[:SHOWN]]
    drawn = table(["source", "taken for", "examples"], listed)
    return f"The classes of sources, and what they are taken for:\n{drawn}{left}"


def recurring_document(found: Recurring) -> dict[str, Any]:
    """The maps that recur, and of how many examples they are."""
    return {
        "examples": list(found.examples),
        "stored": found.stored,
        "asked": found.asked,
        "with_other_images": found.beside,
        **{
            side.side: {"most_by_chance": side.most, "recurring": side.recurring, "beyond": side.beyond}
            | {"maps": documents(side)}
            for side in (found.gained, found.lost)
        },
    }


def recurring_text(found: Recurring, method: str) -> str:
    """The maps that recur as two tables, with what chance gives.

    Args:
        found: the maps.
        method: the name of the extraction method of the datapaths.
    """
    said = how_many(found, method)
    if len(found.examples) < 2:
        return f"{said} Maps recur from two on: store more with `aevis extract`."
    return "\n\n".join([said, *(_side(side, len(found.examples)) for side in (found.gained, found.lost))])


def _side(found: RecurrentMaps, count: int) -> str:
    rows = [
        [
            f"{each.layer}:{each.map}",
            len(each.examples),
            decimals(each.chance, 1),
            decimals(each.others, 1),
            f"{each.pairs[0].source} -> {each.pairs[0].adversarial} ({each.pairs[0].examples})",
        ]
        for each in found.maps
    ]
    head = ["map", f"of {count} examples", "chance", "other images", "most frequent pair of classes"]
    said = f"Maps that are {found.side}, {found.recurring} of them in two examples or more. {verdict(found, count)}"
    return f"{said}\n{table(head, rows)}"
