"""The bench of the solver of Eq. 5, as tables for people."""

import argparse

from aevis_dash.cli.output import Answer, table
from aevis_dash.cli.reports import document_of, interval, sample_of, write_files
from aevis_dash.config import Progress
from aevis_dash.descent_study import MARKS, compare_descents
from aevis_dash.domain import AevisError
from aevis_dash.workbench import Workbench


def solver(bench: Workbench, args: argparse.Namespace, progress: Progress) -> Answer:
    """How fast the solver of Eq. 5 comes to its end, beside the one that solved it before.

    Raises:
        AevisError: for options that this bench does not have, and where no example is misclassified.
    """
    if args.methods:
        raise AevisError("This bench compares solvers of the method needed. Leave out --methods.")
    examples, found = compare_descents(bench, sample_of(args), progress)
    document = document_of(bench, examples, found)
    write_files(args, document, found, {f"loss {mark}": f"loss after {mark} passes" for mark in MARKS})
    heads = {
        "loss": "loss over the least, after passes",
        "jaccard": "Jaccard with its own long run",
        "warned": "warned of",
    }
    listed = [
        table(
            [head, *map(str, MARKS)],
            [[name, *(interval(of[f"{line} {mark}"]) for mark in MARKS)] for name, of in found.items()],
        )
        for line, head in heads.items()
    ]
    ends = [[name, *(interval(of[line]) for line in ("near", "passes", "ends"))] for name, of in found.items()]
    last = table(["solver", "passes to within 1 %", "passes to its end", "loss there over the least"], ends)
    same = next(iter(found.values()))["same"]
    text = [
        f"{len(examples)} adversarials, medians",
        *listed,
        last,
        f"The hard sets of the two long runs have a Jaccard index of {interval(same)}.",
    ]
    return Answer(document, "\n\n".join(text))
