"""The bench of the hops of trails beside their controls, as a table for people."""

import argparse

from aevis_dash.cli.output import Answer, table
from aevis_dash.cli.reports import document_of, interval, sample_of, write_files
from aevis_dash.config import Progress
from aevis_dash.core.evaluation import Estimate
from aevis_dash.domain import AevisError
from aevis_dash.hop_study import LINES, compare_hops
from aevis_dash.workbench import Workbench

_HEADS = ("hop", *LINES)


def hops(bench: Workbench, args: argparse.Namespace, progress: Progress) -> Answer:
    """How often a hop of a proposed trail exceeds its controls.

    Raises:
        AevisError: for options that this bench does not have, and where no example is misclassified.
    """
    if args.methods:
        raise AevisError("This bench compares no extraction methods. Leave out --methods.")
    examples, found = compare_hops(bench, sample_of(args), progress)
    document = document_of(bench, examples, found)
    write_files(args, document, found, {line: line for line in ("all donors", "part of donors")})
    listed = [[name, _count(of["hops"]), *(interval(of[line]) for line in LINES[1:])] for name, of in found.items()]
    text = [
        f"{len(examples)} examples; the share of their trails' hops that move the margin more than other maps",
        table(_HEADS, listed),
        "donors: the same choice with other clean images in src's place; by chance: the share that exceeds all of them "
        "if src is an image like them; gain: the median move of the margin, as a part of adv's margin.",
    ]
    return Answer(document, "\n\n".join(text))


def _count(hops: Estimate) -> int:
    """The number of hops of all examples, from their mean number."""
    return round(hops.mean * hops.n)
