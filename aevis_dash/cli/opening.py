"""Opening the workspace that a verb is about, and saying what is doubtful about it."""

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
    """Let a verb, which takes the workbench of the workspace that the options name, be called with the options."""

    @wraps(verb)
    def opened(args: argparse.Namespace, progress: Progress) -> Answer:
        return with_warnings(open_workbench(args.workspace), lambda bench: verb(bench, args, progress))

    return opened


def with_warnings(bench: Workbench, answer: Callable[[Workbench], Answer]) -> Answer:
    """The answer about a workspace, whose warnings go to stderr and into the document.

    They are said before the work begins, so that they stand there also where it is refused; those that the work
    itself gave rise to are said after it.
    """
    before = bench.warnings
    warn(before)
    given = answer(bench)
    after = (*bench.warnings, *given.doubts)
    warn([sentence for sentence in after if sentence not in before])
    return replace(given, document={**given.document, "warnings": after})
