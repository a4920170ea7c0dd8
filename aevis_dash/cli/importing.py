"""The verb `import`: adversarial images that other tools made become examples of the workspace."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aevis_dash.cli import answers
from aevis_dash.cli.opening import on_workspace
from aevis_dash.cli.output import Answer, pairs, table
from aevis_dash.config import Progress
from aevis_dash.core.array_files import ADVERSARIALS, SOURCES, names_sources, read_arrays
from aevis_dash.core.array_labels import labels_of_batch
from aevis_dash.core.image_batch import ArrayReading, read_batch
from aevis_dash.domain import AevisError, Outcome
from aevis_dash.labels import count_names
from aevis_dash.tables import is_unprintable
from aevis_dash.workbench import Workbench
from aevis_dash.workbench.import_files import TABLES
from aevis_dash.workbench.imports import Imported, Origin

_OF_ARRAYS = ("sources", "of", "labels", "key", "sources_key", "layout", "array_range")
"""The options that a folder of files does not need."""


@on_workspace
def import_adversarials(bench: Workbench, args: argparse.Namespace, progress: Progress) -> Answer:
    """Make examples of adversarial images of other tools, and say what became of each."""
    if is_unprintable(args.attack or ""):
        raise AevisError("--attack holds a control character. Say in plain words what made the images.")
    origin = Origin(args.attack or f"imported from {args.adversarials.name}", args.epsilon)
    if args.adversarials.is_dir() or args.adversarials.suffix.lower() in TABLES:
        made, read_as = _files(bench, args, origin, progress), {}
    else:
        made, read_as = _arrays(bench, args, origin, progress)
    outcomes = [answers.attack_facts(bench, judged) for judged in bench.judging.judged_examples(among=made.examples)]
    lost = sum(bool(example.lost_in_8_bits) for example in made.examples)
    named = {name: count_names(value) if isinstance(value, list) else value for name, value in made.facts.items()}
    facts: dict[str, Any] = {
        **read_as,
        "imported": len(made.examples),
        "sources_added": len(made.sources_added),
        **named,
        "lost_in_8_bits": lost,
        "successful": sum(outcome["success"] for outcome in outcomes),
    }
    shown = {name: value["count"] if isinstance(value, dict) else value for name, value in facts.items()}
    text = table(
        ["example", "source", "adversarial", "success", "L∞", "margin", "why not"],
        [answers.attack_row(outcome) for outcome in outcomes],
    )
    return Answer(
        {**facts, "examples": outcomes},
        f"{text}\n\n{pairs(shown)}",
        _doubts(outcomes, lost, facts.get("kept_as_floats", 0)),
    )


def _doubts(outcomes: Sequence[Mapping[str, Any]], lost: int, floats: int) -> tuple[str, ...]:
    """Sentences about what makes the imported examples doubtful as a whole."""
    said = []
    if len(outcomes) > 1 and all(outcome["outcome"] == Outcome.NO_PAIR for outcome in outcomes):
        said.append(
            f"None of the {len(outcomes)} imported images is its source plus a small perturbation. Look whether the "
            "sources have the order of the adversarials; if not, take the new rows out of examples.csv and images.csv."
        )
    if lost:
        said.append(
            f"{lost} of {len(outcomes)} attacks succeed on the array's numbers and are lost when their images are "
            "rounded to 8 bits. They are marked in examples.csv."
        )
    if floats:
        said.append(
            f"{floats} of {len(outcomes)} attacks succeed on the array's numbers and would be lost when their images "
            "are rounded to 8 bits. They are kept as floats, in files that end in .npy; their pictures are rounded."
        )
    return tuple(said)


def _files(bench: Workbench, args: argparse.Namespace, origin: Origin, progress: Progress) -> Imported:
    is_table = not args.adversarials.is_dir()
    of_folder = not is_table and args.sources is not None and args.sources.is_dir()
    given = [name for name in _OF_ARRAYS if getattr(args, name) is not None]
    given = [name for name in given if not (of_folder and name in ("sources", "labels"))]
    if given:
        raise AevisError(
            f"--{given[0].replace('_', '-')} is about arrays, and {args.adversarials} is a "
            f"{'table, which names the source of each file' if is_table else 'folder, whose files are named as theirs'}"
            ". Leave it out."
            + ("" if is_table or given[0] not in ("sources", "labels") else " New sources are another folder.")
        )
    if is_table:
        return bench.imports.table(args.adversarials, origin, progress)
    return bench.imports.folder(args.adversarials, origin, progress, args.sources, args.labels)


def _arrays(
    bench: Workbench, args: argparse.Namespace, origin: Origin, progress: Progress
) -> tuple[Imported, dict[str, str]]:
    path: Path = args.adversarials
    channels = bench.workspace.settings.preprocessing.channels
    adversarials = read_batch(path, ADVERSARIALS, ArrayReading(args.key, args.layout, args.array_range), channels)
    read_as = {"adversarials": adversarials.words}
    if args.of is not None:
        given = [name for name in ("sources", "sources_key", "labels") if getattr(args, name) is not None]
        if given:
            raise AevisError(
                f"--of takes the sources from the workspace, with their labels. Leave out --{given[0]}, or --of."
            )
        names = bench.imports.sources_in(args.of)
        return bench.imports.of_workspace(adversarials, names, origin, progress), read_as
    beside = args.sources is None
    if beside and args.sources_key is None and not names_sources(read_arrays(path)):
        raise AevisError(
            "Say what the adversarials were made of: --of LIST, the workspace's images in the same order, or --sources "
            "FILE, an array of their own."
        )
    file: Path = path if beside else args.sources
    sources = read_batch(file, SOURCES, ArrayReading(args.sources_key, args.layout, args.array_range), channels)
    if file.resolve() == path.resolve() and sources.name == adversarials.name:
        raise AevisError(f"{sources.name} cannot be both the adversarials and their sources. Name the sources.")
    labels, whose = labels_of_batch(file, args.labels, len(sources), bench.workspace.classes)
    read_as |= {"sources": sources.words, "labels_from": whose}
    return bench.imports.with_sources(adversarials, sources, labels, origin, progress), read_as
