"""Opens the workspace that a verb is about, with its warnings; the example and the earlier layer that options name."""

import argparse
from collections.abc import Callable
from dataclasses import replace
from functools import wraps

from aevis_dash.cli.output import Answer, warn
from aevis_dash.config import Progress
from aevis_dash.domain import AevisError, Layer
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


def example_of(bench: Workbench, args: argparse.Namespace) -> str:
    """The ID of the example that the options name, or of the one that the page opens on.

    Raises:
        AevisError: there is neither.
    """
    example = args.example or bench.workspace.settings.opens_on
    if not example:
        raise AevisError("Say which example: --example ID, as `aevis score` lists them.")
    return example


def earlier_layer(bench: Workbench, later: int, name: str | None) -> Layer:
    """The layer of that name; without a name the nearest layer that feeds the layer of index `later`.

    Raises:
        AevisError: there is no layer of that name, or none feeds the later one.
    """
    layers = bench.layers.layers
    if name is not None:
        return bench.layers.find(name)
    sources = bench.contributions.sources(later)
    if not sources:
        raise AevisError(f"No layer feeds {layers[later].name!r}, it is the first. Choose a later --layer.")
    return layers[sources[0]]
