"""The options about images that come as arrays or were made by other tools. It is loaded without torch."""

import argparse
from pathlib import Path

from aevis_dash.cli import numbers


def import_adversarials(verb: argparse.ArgumentParser) -> None:
    """The options of `import`."""
    verb.add_argument("workspace", type=Path)
    verb.add_argument(
        "--adversarials",
        required=True,
        type=Path,
        metavar="FILE|FOLDER",
        help="a batch of images (.npy, .npz, .pt, .safetensors), a folder of files named as their sources, or a table "
        "of file and source (.csv)",
    )
    verb.add_argument(
        "--of",
        type=Path,
        metavar="LIST",
        help="their sources, which are images of the workspace: a text with a file a line, or a CSV, in the same order",
    )
    verb.add_argument(
        "--sources",
        type=Path,
        metavar="FILE|FOLDER",
        help="their sources as a batch, or a folder of them, which are added to the workspace (default: those in the "
        "same file)",
    )
    verb.add_argument(
        "--labels", type=Path, metavar="FILE", help="the sources' classes, an array or a CSV in the same order"
    )
    verb.add_argument("--sources-key", metavar="NAME", help="which array holds the sources")
    array_reading(verb)
    verb.add_argument("--attack", metavar="TEXT", help="what made them, such as 'AutoAttack 8/255'")
    verb.add_argument(
        "--epsilon", type=numbers.epsilon, metavar="N", help="the largest change it was allowed, in grey levels of 255"
    )


def array_reading(verb: argparse.ArgumentParser) -> None:
    """The options that say how arrays of images are read where they do not tell."""
    verb.add_argument("--key", metavar="NAME", help="which array of the file holds the images, where several may")
    verb.add_argument("--layout", choices=("NHWC", "NCHW"), help="the order of an array's axes, where both can be")
    verb.add_argument(
        "--array-range",
        type=numbers.many(2),
        metavar="LO,HI",
        help="the values of black and of white in an array; say --array-range=-1,1",
    )


def count_from(verb: argparse.ArgumentParser) -> None:
    """The option that says how a table counts classes."""
    verb.add_argument(
        "--count-from",
        type=int,
        choices=(0, 1),
        help="the number of the first class in the table (default: 0, but 1 in that of the NIPS 2017 competition)",
    )
