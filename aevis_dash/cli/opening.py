"""Opens the workspace that a verb is about, and prints its warnings."""

import argparse
from collections.abc import Callable
from dataclasses import replace
from functools import wraps

from aevis_dash.cli.output import Answer, warn
from aevis_dash.config import Progress
from aevis_dash.workbench import Workbench, open_workbench


def on_workspace(
    verb: Callable[[Workbench, argparse.Namespace, Progress], Answer],
) -> Callable[[argparse.Namespace, Progress], Answer]:
    """Turn a verb that takes a workbench into one that takes the options, which name the workspace."""

    @wraps(verb)
    def opened(args: argparse.Namespace, progress: Progress) -> Answer:
        return with_warnings(open_workbench(args.workspace), lambda bench: verb(bench, args, progress))

    return opened


def with_warnings(bench: Workbench, answer: Callable[[Workbench], Answer]) -> Answer:
    """The answer about a workspace; its warnings go to stderr and into the answer's document.

    The warnings are printed before the work begins, so that they stand there also where the work is refused. New ones
    that the work gave rise to are printed after it.

    Args:
        bench: the workbench of the workspace.
        answer: does the work.
    """
    before = bench.warnings
    warn(before)
    given = answer(bench)
    after = (*bench.warnings, *given.doubts)
    warn([sentence for sentence in after if sentence not in before])
    return replace(given, document={**given.document, "warnings": after})
