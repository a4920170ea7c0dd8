"""The bench of masks, as tables for people."""

import argparse

from aevis_dash.cli.output import Answer, table
from aevis_dash.cli.reports import document_of, interval, sample_of, write_files
from aevis_dash.config import Progress
from aevis_dash.mask_study import DRAWS, LINES, OTHERS, compare_masks
from aevis_dash.workbench import Workbench

_HEADS = {
    "keeps": "keeps adv's label on adv",
    "others": "says it of others",
    "constant": "constant",
    "one label": "one label for all",
    "labels": "labels",
    "agree": "agree",
    "size": "size",
}


def masks(bench: Workbench, args: argparse.Namespace, progress: Progress) -> Answer:
    """What random masks say beside hard sets that keep an adversarial's label.

    Raises:
        AevisError: as `mask_study.compare_masks`.
    """
    methods = list(dict.fromkeys(args.methods or [bench.workspace.settings.extraction.method]))
    examples, found = compare_masks(bench, methods, sample_of(args), progress)
    document = document_of(bench, examples, found)
    write_files(args, document, found, {line: _HEADS[line] for line in LINES})
    listed = [[name, *(interval(of[line]) for line in _HEADS)] for name, of in found.items()]
    text = [
        f"{len(examples)} adversarials, {DRAWS} random masks of each kind beside each hard set, up to {OTHERS} other "
        "images; means",
        table(["open maps", *_HEADS.values()], listed),
        'A hard set keeps adv\'s label by construction. "constant" is the share of the other images that get the '
        'label which the mask says most often, "labels" the number of different labels, and "agree" the share that '
        "gets the whole network's label.",
    ]
    return Answer(document, "\n\n".join(text))
